import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PeerError } from '../../src/base/errors.ts';
import { isProxyHeader, readProxyHeader } from '../../src/codec/proxy-protocol.ts';
import { PROXY_TLV, type ProxyHeader, type ProxyHeaderLimits } from '../../src/codec/proxy-protocol-header.ts';
import { writeProxyHeader } from '../../src/codec/proxy-protocol-writer.ts';
import { propertyRuns } from '../helpers/codec-property.ts';
import {
  DESTINATION4,
  DESTINATION6,
  hex,
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

/** What a whole header is read as; fails when bytes are missing. */
function read(bytes: Buffer | string, limits: Partial<ProxyHeaderLimits> = {}): ProxyHeader {
  const header = readProxyHeader(Buffer.from(bytes), limits);
  if (typeof header === 'number') throw new Error(`needs ${header} bytes`);
  return header;
}

function refusal(bytes: Buffer | string, limits: Partial<ProxyHeaderLimits> = {}): string {
  try {
    return `accepted: ${JSON.stringify(readProxyHeader(Buffer.from(bytes), limits))}`;
  } catch (thrown) {
    expect(thrown).toMatchObject({ name: 'PeerError', code: 'PROXY_HEADER_INVALID' });
    return (thrown as Error).message;
  }
}

describe('version 1', () => {
  const ipv6Full = 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff';
  it.each([
    ['TCP4', V1_LINE, 'TCP4', SOURCE4, DESTINATION4],
    ['TCP6', 'PROXY TCP6 2001:db8::1 2001:DB8:0:0:0:0:0:2 56324 443\r\n', 'TCP6', SOURCE6, DESTINATION6],
    [
      'the longest TCP4 line',
      'PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n',
      'TCP4',
      { host: '255.255.255.255', port: 65_535 },
      { host: '255.255.255.255', port: 65_535 },
    ],
    [
      'the longest TCP6 line',
      `PROXY TCP6 ${ipv6Full} ${ipv6Full} 65535 65535\r\n`,
      'TCP6',
      { host: ipv6Full, port: 65_535 },
      { host: ipv6Full, port: 65_535 },
    ],
    ['ports of 0', 'PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n', 'TCP4', { host: '0.0.0.0', port: 0 }, { host: '0.0.0.0', port: 0 }],
    ['the short UNKNOWN', 'PROXY UNKNOWN\r\n', 'UNKNOWN', undefined, undefined],
    ['UNKNOWN with the longest rest', `PROXY UNKNOWN ${ipv6Full} ${ipv6Full} 65535 65535\r\n`, 'UNKNOWN', undefined, undefined],
    ['UNKNOWN with any rest', 'PROXY UNKNOWN whatever  you like\r\n', 'UNKNOWN', undefined, undefined],
  ])('reads %s', (_name, line, protocol, source, destination) => {
    const expected = { version: 1, command: 'PROXY', protocol, source, destination, tlvs: [], byteCount: line.length };
    expect(read(line)).toEqual(expected);
    // What follows is not looked at.
    expect(read(`${line}\r\n\0\xffPROXY`)).toEqual(expected);
  });

  it('takes 107 bytes with CR and LF, and no more', () => {
    const fitting = `PROXY UNKNOWN ${'x'.repeat(107 - 16)}\r\n`;
    expect(fitting).toHaveLength(107);
    expect(read(fitting).byteCount).toBe(107);
    expect(readProxyHeader(Buffer.from(fitting.slice(0, -1)))).toBe(107);
    expect(refusal(`PROXY UNKNOWN ${'x'.repeat(108 - 16)}\r\n`)).toContain('within 107 bytes');
    expect(refusal('PROXY '.padEnd(107))).toContain('within 107 bytes');
  });

  it.each([
    ['no addresses', 'PROXY TCP4\r\n'],
    ['an empty line', 'PROXY \r\n'],
    ['two spaces', 'PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['a space at the end', 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n'],
    ['a tab', 'PROXY TCP4\t192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['a field too many', 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 1\r\n'],
    ['a field too few', 'PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n'],
    ['LF alone', 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n'],
    ['LF alone in an UNKNOWN', 'PROXY UNKNOWN\nGET / HTTP/1.1\r\n'],
    ['CR inside', 'PROXY UNKNOWN a\rb\r\n'],
    ['two CR', 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\r\n'],
    ['a NUL', 'PROXY UNKNOWN \0\r\n'],
    ['a letter beyond ASCII', 'PROXY UNKNOWN \xe9\r\n'],
    ['a protocol in small letters', 'PROXY tcp4 192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['UDP4', 'PROXY UDP4 192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['UNKNOWN with something stuck to it', 'PROXY UNKNOWN2\r\n'],
    ['IPv6 in TCP4', 'PROXY TCP4 2001:db8::1 2001:db8::2 56324 443\r\n'],
    ['IPv4 in TCP6', 'PROXY TCP6 192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['a mapped address in TCP4', 'PROXY TCP4 ::ffff:192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['families mixed', 'PROXY TCP4 192.0.2.1 2001:db8::2 56324 443\r\n'],
    ['an octal address', 'PROXY TCP4 192.0.02.1 198.51.100.2 56324 443\r\n'],
    ['a short address', 'PROXY TCP4 127.1 198.51.100.2 56324 443\r\n'],
    ['a hexadecimal address', 'PROXY TCP4 0x7f.0.0.1 198.51.100.2 56324 443\r\n'],
    ['256 in an address', 'PROXY TCP4 192.0.2.256 198.51.100.2 56324 443\r\n'],
    ['a host name', 'PROXY TCP4 localhost 198.51.100.2 56324 443\r\n'],
    ['a zone', 'PROXY TCP6 fe80::1%eth0 2001:db8::2 56324 443\r\n'],
    ['brackets', 'PROXY TCP6 [2001:db8::1] 2001:db8::2 56324 443\r\n'],
    ['two gaps in an address', 'PROXY TCP6 2001::db8::1 2001:db8::2 56324 443\r\n'],
    ['nine groups', 'PROXY TCP6 1:2:3:4:5:6:7:8:9 2001:db8::2 56324 443\r\n'],
    ['port 65536', 'PROXY TCP4 192.0.2.1 198.51.100.2 65536 443\r\n'],
    ['a port with a leading zero', 'PROXY TCP4 192.0.2.1 198.51.100.2 056 443\r\n'],
    ['a port with a sign', 'PROXY TCP4 192.0.2.1 198.51.100.2 +56 443\r\n'],
    ['a port below zero', 'PROXY TCP4 192.0.2.1 198.51.100.2 -1 443\r\n'],
    ['a hexadecimal port', 'PROXY TCP4 192.0.2.1 198.51.100.2 0x50 443\r\n'],
    ['a port like 1e4', 'PROXY TCP4 192.0.2.1 198.51.100.2 1e4 443\r\n'],
    ['an empty port', 'PROXY TCP4 192.0.2.1 198.51.100.2  443\r\n'],
    ['an Arabic digit', 'PROXY TCP4 192.0.2.1 198.51.100.2 \u0661 443\r\n'],
    ['small letters', 'proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['a tab behind PROXY', 'PROXY\tTCP4 192.0.2.1 198.51.100.2 56324 443\r\n'],
    ['HTTP', 'GET / HTTP/1.1\r\n'],
    ['a byte order mark', '\ufeffPROXY UNKNOWN\r\n'],
  ])('refuses %s', (_name, line) => {
    expect(refusal(line)).toMatch(/^PROXY header: expected .+, given /);
  });
});

describe('version 2', () => {
  const of4 = { version: 2, command: 'PROXY', protocol: 'TCP4', source: SOURCE4, destination: DESTINATION4, tlvs: [], byteCount: 28 };
  const unix = (path: string): object => ({ host: '', port: 0, path });
  it.each([
    ['TCP4', V2_TCP4, of4],
    ['UDP4', v2('21', '12', IPV4_ENDS), { ...of4, protocol: 'UDP4' }],
    ['TCP6', v2('21', '21', IPV6_ENDS), { ...of4, protocol: 'TCP6', source: SOURCE6, destination: DESTINATION6, byteCount: 52 }],
    ['UDP6', v2('21', '22', IPV6_ENDS), { ...of4, protocol: 'UDP6', source: SOURCE6, destination: DESTINATION6, byteCount: 52 }],
    [
      'a Unix stream',
      v2('21', '31', unixPath('/run/a.sock'), unixPath('\0name')),
      { ...of4, protocol: 'UNIX_STREAM', source: unix('/run/a.sock'), destination: unix('\0name'), byteCount: 232 },
    ],
    [
      'Unix datagrams of nameless sockets',
      v2('21', '32', unixPath(''), unixPath('x'.repeat(108))),
      { ...of4, protocol: 'UNIX_DGRAM', source: unix(''), destination: unix('x'.repeat(108)), byteCount: 232 },
    ],
    ['UNSPEC', v2('21', '00'), { ...of4, protocol: 'UNKNOWN', source: undefined, destination: undefined, byteCount: 16 }],
    [
      'UNSPEC with bytes that are no TLVs',
      v2('21', '00', 'ffffffffff'),
      { ...of4, protocol: 'UNKNOWN', source: undefined, destination: undefined, byteCount: 21 },
    ],
    ['a family without a transport', v2('21', '10', IPV4_ENDS), { ...of4, protocol: 'UNKNOWN', source: undefined, destination: undefined }],
    ['LOCAL', v2('20', '00'), { ...of4, command: 'LOCAL', protocol: 'UNKNOWN', source: undefined, destination: undefined, byteCount: 16 }],
    [
      'LOCAL with a block, that says nothing, and a family that there is not',
      v2('20', 'ff', 'ffffff'),
      { ...of4, command: 'LOCAL', protocol: 'UNKNOWN', source: undefined, destination: undefined, byteCount: 19 },
    ],
  ])('reads %s', (_name, bytes, expected) => {
    expect(read(bytes)).toEqual(expected);
    expect(read(Buffer.concat([bytes, Buffer.from('\r\nGET /')]))).toEqual(expected);
  });

  it('reads the TLVs that the specification registers, and keeps the others', () => {
    const ssl = [
      tlv(0x21, 'TLSv1.3'),
      tlv(0x22, 'client é'),
      tlv(0x23, 'TLS_AES_128_GCM_SHA256'),
      tlv(0x24, 'RSA-SHA256'),
      tlv(0x25, 'RSA2048'),
    ];
    const body = [
      IPV4_ENDS,
      tlv(0x01, 'h2'),
      tlv(0x04, 'padding'),
      tlv(0x02, 'example.org'),
      tlv(0x05, Buffer.from('0102ff', 'hex')),
      tlv(0x20, hex('05 00000000', ...ssl)),
      tlv(0x30, 'blue'),
      tlv(0xe0, ''),
      tlv(0xea, 'own'),
    ];
    const header = read(v2('21', '11', ...body));
    expect(header).toMatchObject({
      alpnProtocol: 'h2',
      authority: 'example.org',
      uniqueId: Buffer.from('0102ff', 'hex'),
      ssl: {
        isTls: true,
        hasClientCert: true,
        isVerified: true,
        version: 'TLSv1.3',
        commonName: 'client é',
        cipher: 'TLS_AES_128_GCM_SHA256',
        signatureAlgorithm: 'RSA-SHA256',
        keyAlgorithm: 'RSA2048',
      },
      namespace: 'blue',
    });
    expect(header.tlvs.map(({ type }) => type)).toEqual([0x01, 0x02, 0x05, 0x20, 0x30, 0xe0, 0xea]);
    expect(Buffer.from(header.tlvs.at(-1)?.value ?? '').toString()).toBe('own');
  });

  it.each([
    ['no certificate', '01 00000000', { isTls: true, hasClientCert: false, isVerified: false }],
    ['a certificate that was not verified', '03 00000001', { isTls: true, hasClientCert: true, isVerified: false }],
    ['no TLS', '00 ffffffff', { isTls: false, hasClientCert: false, isVerified: false }],
  ])('tells of TLS with %s', (_name, value, expected) => {
    expect(read(v2('21', '11', IPV4_ENDS, tlv(0x20, hex(value)))).ssl).toEqual(expected);
  });

  it('does not look into an SSL TLV inside an SSL TLV', () => {
    let value = hex('01 00000000');
    for (let depth = 0; depth < 200; depth++) value = Buffer.concat([hex('01 00000000', tlv(0x20, value))]);
    expect(read(v2('21', '11', IPV4_ENDS, tlv(0x20, value))).ssl).toEqual({ isTls: true, hasClientCert: false, isVerified: false });
  });

  it('does not refer to the bytes that it was given', () => {
    const bytes = v2('21', '11', IPV4_ENDS, tlv(0x02, 'example.org'));
    const header = read(bytes);
    const lent = Buffer.from(bytes);
    const other = readProxyHeader(lent);
    lent.fill(0);
    expect(other).toEqual(header);
  });

  it('verifies the checksum, wherever it stands', () => {
    const first = v2('21', '11', IPV4_ENDS, tlv(0x03, hex('00000000')), tlv(0x02, 'a'));
    const right = Buffer.from(first);
    right.writeUInt32BE(naiveCrc32c(first), 31);
    expect(read(right)).toMatchObject({ authority: 'a', source: SOURCE4 });
    for (let index = 12; index < right.length; index++) {
      for (const bit of [1, 0x80]) {
        const wrong = Buffer.from(right);
        wrong[index] = (wrong[index] ?? 0) ^ bit;
        let header: ProxyHeader | number | string;
        try {
          header = readProxyHeader(wrong);
        } catch (thrown) {
          header = (thrown as Error).message;
        }
        // It is seen, unless the checksum is no checksum any more, the length asks for more, or all is a LOCAL header.
        const isSeen =
          typeof header !== 'object' || header.command === 'LOCAL' || !header.tlvs.some(({ type }) => type === PROXY_TLV.CRC32C);
        expect(isSeen, `byte ${index}, bit ${bit}`).toBe(true);
      }
    }
  });

  it.each([
    ['version 1', v2('11', '11', IPV4_ENDS)],
    ['version 3', v2('31', '11', IPV4_ENDS)],
    ['command 2', v2('22', '11', IPV4_ENDS)],
    ['family 4', v2('21', '41', IPV4_ENDS)],
    ['transport 3', v2('21', '13', IPV4_ENDS)],
    ['11 bytes of IPv4', v2('21', '11', IPV4_ENDS.slice(0, -2))],
    ['IPv4 addresses said to be IPv6', v2('21', '21', IPV4_ENDS)],
    ['215 bytes of Unix', v2('21', '31', unixPath('a'), unixPath('b').slice(2))],
    ['a TLV that is cut off', v2('21', '11', IPV4_ENDS, '02 0005 41')],
    ['a TLV without a length', v2('21', '11', IPV4_ENDS, '02 00')],
    ['a TLV of a type alone', v2('21', '11', IPV4_ENDS, '02')],
    ['a checksum of 3 bytes', v2('21', '11', IPV4_ENDS, tlv(0x03, 'abc'))],
    ['a wrong checksum', v2('21', '11', IPV4_ENDS, tlv(0x03, 'abcd'))],
    ['two checksums', v2('21', '11', IPV4_ENDS, tlv(0x03, 'abcd'), tlv(0x03, 'abcd'))],
    ['a wrong checksum without addresses', v2('21', '00', tlv(0x03, 'abcd'))],
    ['a unique id of 129 bytes', v2('21', '11', IPV4_ENDS, tlv(0x05, Buffer.alloc(129)))],
    ['4 bytes about TLS', v2('21', '11', IPV4_ENDS, tlv(0x20, 'abcd'))],
    ['a TLV about TLS that is cut off', v2('21', '11', IPV4_ENDS, tlv(0x20, hex('01 00000000 21 0002 41')))],
    ['a signature with one wrong byte', Buffer.concat([hex('0d0a0d0a000d0a515549540b'), V2_TCP4.subarray(12)])],
  ])('refuses %s', (_name, bytes) => {
    expect(refusal(bytes)).toMatch(/^PROXY header: expected .+, given /);
  });

  it('is bounded: the length alone is enough to refuse it', () => {
    const announced = Buffer.concat([V2_TCP4.subarray(0, 14), hex('ffff')]);
    expect(refusal(announced)).toBe('PROXY header: expected at most 4096 bytes, given 65551');
    expect(readProxyHeader(announced, { maxHeaderBytes: 65_551 })).toBe(65_551);
    const fitting = v2('21', '11', IPV4_ENDS, tlv(0xe0, Buffer.alloc(4096 - 31)));
    expect(read(fitting).byteCount).toBe(4096);
    expect(refusal(v2('21', '11', IPV4_ENDS, tlv(0xe0, Buffer.alloc(4097 - 31))))).toContain('at most 4096 bytes');
    expect(refusal(V2_TCP4, { maxHeaderBytes: 27 })).toContain('at most 27 bytes');
  });
});

it('shows bytes of the peer in an escaped and short form', () => {
  for (const text of ['\x1b[31m\r\n\x9b\x7f'.padEnd(5000, 'x'), `PROXY TCP4 ${'\x7f\x9b'.repeat(30)}\r\n`]) {
    const message = refusal(Buffer.from(text, 'latin1'));
    const isPlain = [...message].every((letter) => letter >= ' ' && !(letter >= '\x7f' && letter <= '\x9f'));
    expect([isPlain, message.length < 260], message).toEqual([true, true]);
  }
});

describe('a limit to one version', () => {
  it('refuses the other at its first byte', () => {
    expect(refusal('P', { versions: [2] })).toContain('version 2');
    expect(refusal('\r', { versions: [1] })).toContain('version 1');
    expect(read(V1_LINE, { versions: [1] }).version).toBe(1);
    expect(read(V2_TCP4, { versions: [2] }).version).toBe(2);
  });
});

describe('isProxyHeader', () => {
  it('tells as soon as the bytes can', () => {
    expect(isProxyHeader(Buffer.alloc(0))).toBeUndefined();
    expect(isProxyHeader(Buffer.from('PROXY'))).toBeUndefined();
    expect(isProxyHeader(Buffer.from('PROXY '))).toBe(true);
    expect(isProxyHeader(Buffer.from('PROXIES'))).toBe(false);
    expect(isProxyHeader(V2_TCP4.subarray(0, 11))).toBeUndefined();
    expect(isProxyHeader(V2_TCP4.subarray(0, 12))).toBe(true);
    expect(isProxyHeader(Buffer.from('\r\n\r\n\n'))).toBe(false);
    expect(isProxyHeader(Buffer.from('PROXY '), [2])).toBe(false);
    // A TLS ClientHello, an HTTP request.
    expect(isProxyHeader(hex('16 03 01'))).toBe(false);
    expect(isProxyHeader(Buffer.from('POST / HTTP/1.1'))).toBe(false);
  });
});

describe('any cutting', () => {
  const ip4 = fc.ipV4();
  const ip6 = fc.ipV6();
  const port = fc.nat(65_535);
  const end = (ip: fc.Arbitrary<string>): fc.Arbitrary<{ host: string; port: number }> => fc.record({ host: ip, port });
  const tlvs = fc.array(
    fc.record({ type: fc.nat(255).filter((type) => type !== 0x03 && type !== 0x20), value: fc.uint8Array({ maxLength: 100 }) }),
    { maxLength: 4 },
  );
  const headers = fc
    .oneof(fc.record({ source: end(ip4), destination: end(ip4) }), fc.record({ source: end(ip6), destination: end(ip6) }))
    .chain((ends) =>
      fc.oneof(
        fc.constant({ version: 1 as const, ...ends }),
        fc.record({ version: fc.constant(2 as const), tlvs, crc32c: fc.boolean() }).map((rest) => ({ ...ends, ...rest })),
      ),
    );

  /** What comes of bytes that are given one more at a time: a header or an error, and after how many bytes. */
  function outcome(bytes: Buffer): { at: number; header?: ProxyHeader; code?: string } {
    for (let length = 1; length <= bytes.length; length++) {
      try {
        const header = readProxyHeader(bytes.subarray(0, length));
        if (typeof header === 'object') return { at: length, header };
        expect(header).toBeGreaterThan(length);
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(PeerError);
        return { at: length, code: (thrown as PeerError).code };
      }
    }
    return { at: Number.POSITIVE_INFINITY };
  }

  it('of a header gives the same one, at its last byte and not before', () => {
    fc.assert(
      fc.property(headers, fc.uint8Array({ maxLength: 8 }), (fields, rest) => {
        const bytes = writeProxyHeader(fields);
        const whole = read(Buffer.concat([bytes, rest]));
        expect(outcome(bytes)).toEqual({ at: bytes.length, header: whole });
        expect(whole.byteCount).toBe(bytes.length);
        expect([whole.source?.port, whole.destination?.port]).toEqual([fields.source.port, fields.destination.port]);
      }),
      propertyRuns(150, 10_000),
    );
  });

  it('of any bytes gives the same error, or none', () => {
    const starts = [Buffer.from('PROXY '), Buffer.from('PROXY TCP4 1.2.3.4 '), V2_TCP4.subarray(0, 12), V2_TCP4.subarray(0, 14), V2_TCP4];
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.string({ maxLength: 40 }).map((text) => Buffer.from(text)),
    );
    fc.assert(
      fc.property(fc.constantFrom(Buffer.alloc(0), ...starts), noise, fc.nat(30), fc.nat(255), (start, rest, index, byte) => {
        const bytes = Buffer.concat([start, rest]);
        if (index < bytes.length) bytes[index] = byte;
        const bytewise = outcome(bytes);
        let whole: ProxyHeader | number | string;
        try {
          whole = readProxyHeader(bytes);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(PeerError);
          whole = (thrown as PeerError).code;
        }
        if (typeof whole === 'string') expect(bytewise.code).toBe(whole);
        else if (typeof whole === 'object') expect(bytewise.header).toEqual(whole);
        else expect(bytewise).toEqual({ at: Number.POSITIVE_INFINITY });
      }),
      propertyRuns(1000, 50_000),
    );
  });
});

/** One bit at a time, with the polynomial the right way round. */
function naiveCrc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    for (let bit = 0; bit < 8; bit++) {
      const isOne = ((crc >>> 31) ^ (byte >>> bit)) & 1;
      crc = (crc << 1) ^ (isOne === 1 ? 0x1edc6f41 : 0);
    }
  }
  let reversed = 0;
  for (let bit = 0; bit < 32; bit++) if (((crc >>> bit) & 1) === 1) reversed |= 1 << (31 - bit);
  return ~reversed >>> 0;
}
