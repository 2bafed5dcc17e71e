import { describe, expect, it } from 'vitest';
import { ByteWriter } from '../../src/base/byte-writer.ts';
import { joinPeer, PeerAddress, splitPeer } from '../../src/base/peer-header.ts';
import { DatagramHandler } from '../../src/codec/datagram.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { MessageReader } from '../../src/codec/message-reader.ts';
import { NO_SESSION } from '../../src/codec/package-reader.ts';
import type { PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';
import { RawHandler } from '../../src/codec/raw.ts';

/** Decodes messages from peers; each package as `text from peer`. */
function decode(
  handler: PkgReader<unknown> & PkgWriter<never>,
  messages: readonly (readonly [host: string, port: number, text: string])[],
): string[] {
  const log: string[] = [];
  const sink = {
    onPackage(datagram: unknown) {
      const { pkg, peer } = datagram as { pkg: unknown; peer: PeerAddress };
      log.push(`${pkg} from ${peer.text}`);
      return true;
    },
    onPackageError: (error: Error & { code: string }) => void log.push(error.code),
  };
  const reader = new MessageReader<unknown>(new DatagramHandler<unknown, never>(handler, handler), sink, 200, NO_SESSION, true);
  for (const [host, port, text] of messages) reader.feed(joinPeer(host, port, Buffer.from(text)), false);
  return log;
}

function encode(handler: PkgReader<unknown> & PkgWriter<unknown>, pkg: unknown, peer: unknown): readonly Uint8Array[] {
  const out = new ByteWriter();
  out.beginPackage();
  new DatagramHandler(handler, handler).write({ pkg, peer: peer as PeerAddress }, NO_SESSION, out);
  return out.take();
}

describe('packages with their peer', () => {
  it('are decoded by the handler inside, each with the peer of its message', () => {
    const messages = [
      ['10.0.0.1', 1, 'a\nb\n'],
      ['fe80::1%eth0', 65_535, 'c\n'],
      ['::1', 80, 'cut'],
      ['10.0.0.1', 1, 'd\n'],
    ] as const;
    expect(decode(new LineHandler(), messages)).toEqual([
      'a from 10.0.0.1:1',
      'b from 10.0.0.1:1',
      'c from [fe80::1%eth0]:65535',
      'cut from [::1]:80',
      'd from 10.0.0.1:1',
    ]);
  });

  it('may be empty, if the handler inside takes that', () => {
    expect(decode(new RawHandler(), [['10.0.0.1', 1, '']])).toEqual([' from 10.0.0.1:1']);
    expect(decode(new LineHandler(), [['10.0.0.1', 1, '']])).toEqual([]);
  });

  it('leave the state of a message to the handler inside, and ask it for a last package', () => {
    const seen: number[] = [];
    const counting = {
      read(bytes: { state: number; length: number; readString(count: number): string }) {
        seen.push(bytes.state);
        bytes.state += 3;
        return bytes.length < 2 ? undefined : bytes.readString(2);
      },
      readEnd: (bytes: { length: number; readString(count: number): string }) => bytes.readString(bytes.length),
      write: () => undefined,
    };
    const log = decode(counting as never, [
      ['10.0.0.1', 1, 'abcde'],
      ['10.0.0.2', 2, 'fg'],
    ]);
    expect(log).toEqual(['ab from 10.0.0.1:1', 'cd from 10.0.0.1:1', 'e from 10.0.0.1:1', 'fg from 10.0.0.2:2']);
    expect(seen).toEqual([0, 3, 6, 0]);
  });

  it('go on after a package that cannot be decoded, with the right peer', () => {
    const max = new LineHandler({ maxLineBytes: 3, tooLong: 'skip' } as never);
    expect(decode(max, [['10.0.0.9', 9, 'good\nok\n']]).at(-1)).toMatch(/^ok from 10\.0\.0\.9:9$|^MALFORMED|^PACKAGE/);
  });

  it('of a session that is not for all peers are refused', () => {
    const log: string[] = [];
    const sink = { onPackage: () => true, onPackageError: (error: Error & { code: string }) => void log.push(error.code) };
    const raw = new RawHandler();
    const reader = new MessageReader<unknown>(new DatagramHandler(raw, raw), sink, 200, NO_SESSION, true);
    reader.feed(Buffer.from('no peer in front'), false);
    expect(log).toEqual(['MALFORMED_PACKAGE']);
  });

  it.each([
    ['small', 10],
    ['passed on by reference', 20_000],
  ])('are encoded by the handler inside, lengths written late included, with the peer behind: %s', (_name, size) => {
    const chunks = encode(new LengthFieldHandler(), Buffer.alloc(size, 7), { host: '::1', port: 443 });
    const last = splitPeer(chunks.at(-1) ?? Buffer.alloc(0));
    expect(last).toMatchObject({ host: '::1', port: 443 });
    const message = Buffer.concat([...chunks.slice(0, -1), last?.rest ?? Buffer.alloc(0)]);
    expect([message.readUInt32BE(0), message.length]).toEqual([size, size + 4]);
  });

  it.each([
    undefined,
    null,
    {},
    { host: 'example.org', port: 1 },
    { host: '10.0.0.1', port: 0 },
    { host: '10.0.0.1', port: 1.5 },
    { host: '10.0.0.1', port: '1' },
    { host: `fe80::1%${'x'.repeat(60)}`, port: 1 },
  ])('need a peer with an IP address and a port: %j', (peer) => {
    expect(() => encode(new RawHandler(), Buffer.from('x'), peer)).toThrow(expect.objectContaining({ code: 'NO_PEER' }));
  });

  it('need a package, too', () => {
    expect(() => encode(new RawHandler(), undefined, { host: '10.0.0.1', port: 1 })).toThrow(
      expect.objectContaining({ code: 'NO_PACKAGE' }),
    );
  });

  it('are told from bytes that have no peer', () => {
    for (const text of ['', 'short', 'long enough to be one']) expect(splitPeer(Buffer.from(text))).toBeUndefined();
  });
});

it('an address of a peer shows itself', () => {
  expect(String(new PeerAddress('::1', 5))).toBe('[::1]:5');
  expect([new PeerAddress('::1', 5).family, new PeerAddress('10.0.0.1', 5).family]).toEqual(['IPv6', 'IPv4']);
});
