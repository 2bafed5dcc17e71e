import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/base/errors.ts';
import { readProxyHeader } from '../../src/codec/proxy-protocol.ts';
import { writeProxyHeader } from '../../src/codec/proxy-protocol-writer.ts';
import {
  DESTINATION4,
  DESTINATION6,
  IPV4_ENDS,
  IPV6_ENDS,
  SOURCE4,
  SOURCE6,
  tlv,
  unixPath,
  V1_LINE,
  V2_TCP4,
  v2,
} from '../helpers/proxy-vectors.ts';
import { thrownBy } from '../helpers/thrown.ts';

const ends4 = { source: SOURCE4, destination: DESTINATION4 };
const ends6 = { source: SOURCE6, destination: DESTINATION6 };
const unix = (path: string): { host: string; port: number; path: string } => ({ host: '', port: 0, path });
const bad = (value: unknown): never => value as never;

describe('writeProxyHeader', () => {
  it.each([
    ['version 1, IPv4', { version: 1, ...ends4 }, Buffer.from(V1_LINE)],
    ['version 1, IPv6', { version: 1, ...ends6 }, Buffer.from('PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n')],
    ['version 1 without addresses', { version: 1 }, Buffer.from('PROXY UNKNOWN\r\n')],
    ['version 2, IPv4', { version: 2, ...ends4 }, V2_TCP4],
    ['version 2, IPv6', { version: 2, ...ends6 }, v2('21', '21', IPV6_ENDS)],
    ['datagrams', { version: 2, ...ends4, isDatagram: true }, v2('21', '12', IPV4_ENDS)],
    ['datagrams, IPv6', { version: 2, ...ends6, isDatagram: true }, v2('21', '22', IPV6_ENDS)],
    ['Unix sockets', { version: 2, source: unix(''), destination: unix('/a') }, v2('21', '31', unixPath(''), unixPath('/a'))],
    [
      'Unix datagrams',
      { version: 2, source: unix('\0b'), destination: unix('/a'), isDatagram: true },
      v2('21', '32', unixPath('\0b'), unixPath('/a')),
    ],
    ['version 2 without addresses', { version: 2 }, v2('21', '00')],
    ['LOCAL', { version: 2, command: 'LOCAL' }, v2('20', '00')],
    [
      'TLVs',
      {
        version: 2,
        ...ends4,
        tlvs: [
          { type: 2, value: Buffer.from('a') },
          { type: 4, value: Buffer.alloc(0) },
        ],
      },
      v2('21', '11', IPV4_ENDS, tlv(2, 'a'), tlv(4, '')),
    ],
  ] as const)('%s', (_name, fields, expected) => {
    expect(writeProxyHeader(fields)).toEqual(expected);
  });

  it('writes IPv4 in IPv6 clothes as IPv4, leaves zones out, and mixed families as IPv6', () => {
    const v1 = (source: string, destination: string): string =>
      writeProxyHeader({ version: 1, source: { host: source, port: 1 }, destination: { host: destination, port: 2 } }).toString();
    expect(v1('::ffff:192.0.2.1', '::ffff:198.51.100.2')).toBe('PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n');
    expect(v1('fe80::1%eth0', 'FE80:0:0::2')).toBe('PROXY TCP6 fe80::1 fe80::2 1 2\r\n');
    expect(v1('192.0.2.1', '2001:db8::2')).toBe('PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2\r\n');
    const mixed = writeProxyHeader({ version: 2, source: { host: '192.0.2.1', port: 1 }, destination: { host: '::1', port: 2 } });
    expect(mixed.subarray(16, 48).toString('hex')).toBe(`00000000000000000000ffffc0000201${'1'.padStart(32, '0')}`);
  });

  it('adds the checksum that haproxy 2.6 adds to the header of a health check', () => {
    const sent = '0d0a0d0a000d0a515549540a20000007030004a9b87e8f';
    expect(writeProxyHeader({ version: 2, command: 'LOCAL', crc32c: true }).toString('hex')).toBe(sent);
  });

  it('adds a checksum that a reader verifies', () => {
    const bytes = writeProxyHeader({ version: 2, ...ends4, crc32c: true, tlvs: [{ type: 2, value: Buffer.from('a') }] });
    expect(bytes.subarray(0, -4)).toEqual(v2('21', '11', IPV4_ENDS, tlv(2, 'a'), '03 0004 00000000').subarray(0, -4));
    expect(readProxyHeader(bytes)).toMatchObject({ authority: 'a' });
    bytes[20] = 9;
    expect(() => readProxyHeader(bytes)).toThrow('checksum');
  });

  it.each([
    ['another version', { version: bad(3) }, 'PROXY header version'],
    ['an unknown command', { version: 2, command: bad('local') }, 'PROXY header command'],
    ['LOCAL in version 1', { version: 1, command: 'LOCAL' }, 'PROXY header command'],
    ['LOCAL with addresses', { version: 2, command: 'LOCAL', ...ends4 }, 'PROXY header command'],
    ['one end', { version: 2, source: SOURCE4 }, 'PROXY header: expected both'],
    ['a Unix socket in version 1', { version: 1, source: unix('/a'), destination: unix('/b') }, 'PROXY header version'],
    ['one Unix end', { version: 2, source: unix('/a'), destination: DESTINATION4 }, 'PROXY header destination path'],
    ['a long path', { version: 2, source: unix('x'.repeat(109)), destination: unix('/b') }, 'PROXY header source path'],
    ['a host name', { version: 1, source: { host: 'localhost', port: 1 }, destination: DESTINATION4 }, 'PROXY header source host'],
    ['no host', { version: 1, source: bad({ port: 1 }), destination: DESTINATION4 }, 'PROXY header source host'],
    ['a port too high', { version: 1, source: SOURCE4, destination: { host: '::1', port: 65_536 } }, 'PROXY header destination port'],
    ['TLVs in version 1', { version: 1, ...ends4, tlvs: [{ type: 2, value: Buffer.from('a') }] }, 'PROXY header version'],
    ['a checksum in version 1', { version: 1, ...ends4, crc32c: true }, 'PROXY header version'],
    ['datagrams in version 1', { version: 1, ...ends4, isDatagram: true }, 'PROXY header version'],
    ['a checksum as a TLV', { version: 2, tlvs: [{ type: 3, value: Buffer.alloc(4) }] }, 'PROXY header TLV type'],
    ['a TLV type of 256', { version: 2, tlvs: [{ type: 256, value: Buffer.alloc(4) }] }, 'PROXY header TLV type'],
    ['a TLV of text', { version: 2, tlvs: [{ type: 2, value: bad('a') }] }, 'PROXY header TLV value'],
    ['a long unique id', { version: 2, tlvs: [{ type: 5, value: Buffer.alloc(129) }] }, 'PROXY header TLV value'],
    ['too much of it', { version: 2, tlvs: [{ type: 2, value: Buffer.alloc(65_533) }] }, 'PROXY header: expected at most 65535'],
  ] as const)('refuses %s', (_name, fields, message) => {
    const error = thrownBy(() => writeProxyHeader(fields));
    expect(error).toBeInstanceOf(ConfigError);
    expect((error as Error).message.startsWith(message), (error as Error).message).toBe(true);
  });
});
