import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { MemoryNetwork } from '../../src/testing/index.ts';
import { type Compression, compressionUpgrade } from '../../src/transport/compression.ts';
import type { Connection } from '../../src/transport/connection.ts';
import { compressedPair, halfCompressed } from '../helpers/compressed-pair.ts';
import { pattern, turns, until } from '../helpers/raw-peer.ts';

const TYPES: readonly Compression[] = ['zip', 'best-speed', 'best-compression', { type: 'zip', level: 0 }, 'huffman', 'snappy'];
const MIB = 1_048_576;

/** A deflate stream without its end, flushed behind each part. */
function flushed(...parts: readonly (Uint8Array | string)[]): Buffer {
  return Buffer.concat(parts.map((part) => deflateRawSync(part, { finishFlush: constants.Z_SYNC_FLUSH })));
}

const IDENTIFIER = Buffer.from('\xff\x06\x00\x00sNaPpY', 'latin1');
/** "portico portico …" and "noise", as github.com/golang/snappy v1.0.0 writes them. */
const SNAPPY_OF_GO = Buffer.from(
  'ff060000734e61507059001e0000f651002c301c706f727469636f203a0800202c206120676174653b3e190001090000c0824aa26e6f697365',
  'hex',
);
const SNAPPY_TEXT = 'portico portico portico, a gate; portico porticonoise';

describe.each(TYPES)('a stream compressed by %j', (compression) => {
  it('gives back any bytes, sent in any batches, however the stream is cut', async () => {
    const piece = fc.oneof(
      fc.uint8Array({ minLength: 1, maxLength: 100 }),
      fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 5000 })).map(([byte, count]) => new Uint8Array(count).fill(byte)),
      fc.tuple(fc.integer({ min: 60_000, max: 140_000 }), fc.nat(9)).map(([size, seed]) => pattern(size, seed)),
    );
    const step = fc.record({ bytes: piece, isBatchOver: fc.boolean(), isEcho: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(step, { maxLength: 12 }),
        fc.constantFrom('none' as const, 'random' as const),
        fc.nat(1000),
        async (steps, split, seed) => {
          const [first, second] = await compressedPair([compression, compression], { split, seed, bufferBytes: 20_000 });
          const sent = { there: [] as Uint8Array[], back: [] as Uint8Array[] };
          for (const { bytes, isBatchOver, isEcho } of steps) {
            (isEcho ? second : first).send(bytes);
            (isEcho ? sent.back : sent.there).push(bytes);
            if (isBatchOver) await turns(1);
          }
          first.connection.close();
          await until(() => second.ends === 1, 'the end');
          second.connection.close();
          await until(() => first.closes + second.closes === 2, 'both ends to close');
          expect(second.bytes.equals(Buffer.concat(sent.there))).toBe(true);
          expect([...first.breaches, ...second.breaches]).toEqual([]);
          expect([first.closeError, second.closeError]).toEqual([undefined, undefined]);
        },
      ),
      { numRuns: 8 },
    );
  });

  it('flushes each batch: one byte arrives at once, also after others', async () => {
    const [first, second] = await compressedPair([compression, compression]);
    for (const count of [1, 2, 3]) {
      first.send(Buffer.of(count));
      await until(() => second.length === count, 'the byte');
    }
    expect([...second.bytes]).toEqual([1, 2, 3]);
  });
});

it.each<[Compression, Compression]>([
  ['zip', 'huffman'],
  ['best-compression', 'best-speed'],
  ['huffman', { type: 'zip', level: 0 }],
])('%j and %j understand each other', async (one, other) => {
  const [first, second] = await compressedPair([one, other]);
  first.send(pattern(100_000));
  second.send(Buffer.alloc(100_000));
  await until(() => first.length === 100_000 && second.length === 100_000, 'the bytes');
  expect(second.bytes.equals(pattern(100_000))).toBe(true);
  expect(first.bytes.equals(Buffer.alloc(100_000))).toBe(true);
});

describe('on the wire', () => {
  it('zip is raw deflate with its history kept, and ends with a last block', async () => {
    const { ours, raw } = await halfCompressed('zip');
    const text = pattern(1000, 1);
    ours.send(text);
    await until(() => raw.length > 0, 'the first batch');
    const first = raw.length;
    expect(inflateRawSync(raw.bytes, { finishFlush: constants.Z_SYNC_FLUSH })).toEqual(text);
    ours.send(text);
    await until(() => raw.length > first, 'the second batch');
    expect(raw.length - first).toBeLessThan(50);
    ours.connection.end();
    await until(() => raw.ends === 1, 'the end');
    expect(inflateRawSync(raw.bytes)).toEqual(Buffer.concat([text, text]));
  });

  it('snappy begins with its identifier, stores what does not shrink, and takes what Go writes', async () => {
    const { ours, raw } = await halfCompressed('snappy');
    ours.send(Buffer.from('portico portico portico, a gate; portico portico'));
    await turns(2);
    ours.send(Buffer.from('noise'));
    await until(() => raw.length === SNAPPY_OF_GO.length, 'the stream');
    expect(raw.bytes).toEqual(SNAPPY_OF_GO);
    raw.send(SNAPPY_OF_GO);
    await until(() => ours.length === SNAPPY_TEXT.length, 'the text');
    expect(String(ours.bytes)).toBe(SNAPPY_TEXT);
  });

  it('nothing is there before something is sent, and nothing but the end if nothing is', async () => {
    for (const compression of ['zip', 'snappy'] as const) {
      const { ours, raw } = await halfCompressed(compression);
      raw.connection.end();
      await until(() => ours.ends === 1, 'the end of the peer');
      ours.connection.end();
      await until(() => ours.closes + raw.closes === 2, 'both ends to close');
      expect([raw.length, ours.length, ours.closeError]).toEqual([0, 0, undefined]);
    }
  });

  it('counts the bytes of packages, not those of the wire', async () => {
    const { ours, raw, below } = await halfCompressed('zip');
    ours.send(Buffer.alloc(10_000));
    raw.send(flushed(Buffer.alloc(20_000)));
    await until(() => ours.length === 20_000 && raw.length > 0, 'the bytes');
    expect([ours.connection.bytesWritten, ours.connection.bytesRead]).toEqual([10_000, 20_000]);
    expect(below.bytesWritten).toBeLessThan(100);
  });
});

describe('the end of the peer', () => {
  it.each([
    ['a last block', deflateRawSync('hello')],
    ['a flush and no last block', flushed('hello')],
    ['the last block of Go', Buffer.concat([flushed('hello'), Buffer.from('010000ffff', 'hex')])],
  ])('with %s is an orderly one', async (_name, stream) => {
    for (const split of ['none', 'bytes'] as const) {
      const { ours, raw } = await halfCompressed('zip', { split });
      raw.send(stream);
      raw.connection.end();
      await until(() => ours.ends === 1, 'the end');
      expect(String(ours.bytes)).toBe('hello');
      expect(ours.ending).toBeUndefined();
    }
  });

  it('is told behind all that came, when the reader is slow', async () => {
    const { ours, raw } = await halfCompressed('zip');
    ours.onBytesHook = () => {
      ours.connection.pause();
      setImmediate(() => ours.connection.resume());
    };
    raw.send(deflateRawSync(Buffer.alloc(MIB)));
    raw.connection.end();
    ours.connection.end();
    await until(() => ours.closes === 1, 'the close');
    expect(ours.length).toBe(MIB);
    expect(ours.events).toEqual(['end', 'close']);
  });

  it('by a reset comes behind what was received before it', async () => {
    const { ours, raw } = await halfCompressed('zip');
    raw.send(flushed(Buffer.alloc(MIB)));
    await turns(3);
    raw.connection.abort();
    await until(() => ours.closes === 1, 'the close');
    expect(ours.closeError?.code).toBe('CONNECTION_RESET');
    expect(ours.length).toBe(MIB);
  });
});

describe('a corrupt stream', () => {
  const whole = flushed('good ');
  const snappy = (...parts: readonly (string | Buffer)[]): Buffer =>
    Buffer.concat([SNAPPY_OF_GO, ...parts.map((part) => (typeof part === 'string' ? Buffer.from(part.replaceAll(' ', ''), 'hex') : part))]);

  it.each<[string, Compression, Buffer, string]>([
    ['garbage in a zip stream', 'zip', Buffer.concat([whole, Buffer.alloc(40, 0xff)]), 'good '],
    ['plain text', 'zip', Buffer.from('hello\nhello\nhello\n'), ''],
    ['bytes behind the last block', 'zip', Buffer.concat([deflateRawSync('good '), Buffer.from('more')]), 'good '],
    ['plain text instead of snappy', 'snappy', Buffer.from('hello\n'), ''],
    ['a chunk before the identifier', 'snappy', SNAPPY_OF_GO.subarray(IDENTIFIER.length), ''],
    ['a chunk skipped before the identifier', 'snappy', Buffer.from('fe000000', 'hex'), ''],
    ['another identifier', 'snappy', snappy('ff060000 734e61507058'), SNAPPY_TEXT],
    ['an identifier of another length', 'snappy', snappy('ff050000'), SNAPPY_TEXT],
    ['an unknown chunk that must be understood', 'snappy', snappy('02000000'), SNAPPY_TEXT],
    ['a chunk without a checksum', 'snappy', snappy('00030000 000000'), SNAPPY_TEXT],
    ['a wrong checksum', 'snappy', snappy('01090000 c0824aa2 6e6f697366'), SNAPPY_TEXT],
    ['a chunk said to be of 16 MiB', 'snappy', snappy('00ffffff'), SNAPPY_TEXT],
    ['more than 64 KiB stored', 'snappy', snappy('01050001 00000000', Buffer.alloc(65_537)), SNAPPY_TEXT],
    ['a block said to become 4 GiB', 'snappy', snappy('00090000 00000000 ffffffff0f'), SNAPPY_TEXT],
  ])('%s: what came before is delivered, then PROTOCOL_VIOLATION', async (_name, compression, stream, expected) => {
    for (const split of ['none', 'random'] as const) {
      const { ours, raw } = await halfCompressed(compression, { split, seed: 3 });
      raw.send(stream);
      raw.connection.end();
      await until(() => ours.ends === 1, 'the report');
      expect(ours.ending?.error).toMatchObject({ name: 'PeerError', code: 'PROTOCOL_VIOLATION' });
      expect(String(ours.bytes)).toBe(expected);
      // The other direction still works.
      ours.send(Buffer.from('farewell'));
      ours.connection.close();
      await until(() => ours.closes + raw.closes === 2, 'both ends to close');
      expect(raw.length).toBeGreaterThan(8);
      expect(ours.closeError).toBeUndefined();
    }
  });

  it.each<[Compression, Buffer]>([
    ['zip', deflateRawSync(pattern(3000)).subarray(0, 2000)],
    ['snappy', SNAPPY_OF_GO.subarray(0, -1)],
    ['snappy', Buffer.concat([IDENTIFIER, Buffer.from('fe050000ff', 'hex')])],
    ['snappy', IDENTIFIER.subarray(0, 3)],
  ])('%j that is cut off is told as one', async (compression, stream) => {
    const { ours, raw } = await halfCompressed(compression);
    raw.send(stream);
    raw.connection.end();
    await until(() => ours.ends === 1, 'the report');
    expect(ours.ending?.error).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  it.each([
    [10, 10],
    [40, 16],
  ])('behind %i flushed batches that came at once loses at most those beyond the sixteenth', async (count, kept) => {
    const batches = Array.from({ length: count }, (_, index) => `batch ${index};`);
    const { ours, raw } = await halfCompressed('zip');
    raw.send(Buffer.concat([flushed(...batches), Buffer.alloc(40, 0xff)]));
    await until(() => ours.ends === 1, 'the report');
    expect(ours.ending?.error).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
    const text = String(ours.bytes);
    expect(batches.join('').startsWith(text)).toBe(true);
    expect(text.split(';').length - 1).toBeGreaterThanOrEqual(kept);
  });

  it('is told when the reader goes on, not while it is paused', async () => {
    const { ours, raw } = await halfCompressed('snappy');
    ours.connection.pause();
    raw.send(Buffer.concat([SNAPPY_OF_GO, Buffer.from('02000000', 'hex')]));
    await turns(10);
    expect([ours.length, ours.ends]).toEqual([0, 0]);
    ours.connection.resume();
    await until(() => ours.ends === 1, 'the report');
    expect(String(ours.bytes)).toBe(SNAPPY_TEXT);
  });

  it('of any kind ends in order or as PROTOCOL_VIOLATION, and throws nothing', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom<[Compression, Buffer]>(['zip', flushed('to be or not ', 'to be')], ['snappy', SNAPPY_OF_GO]),
        fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 4 }),
        fc.uint8Array({ maxLength: 20 }),
        async ([compression, good], changes, more) => {
          const stream = Buffer.concat([good, more]);
          for (const [at, byte] of changes) stream[at % stream.length] = byte;
          const { ours, raw } = await halfCompressed(compression);
          raw.send(stream);
          raw.connection.end();
          await until(() => ours.ends === 1, 'the end');
          if (ours.ending !== undefined) expect(ours.ending.error?.code).toBe('PROTOCOL_VIOLATION');
          ours.connection.abort();
          await until(() => ours.closes === 1, 'the close');
          expect(ours.breaches).toEqual([]);
        },
      ),
      { numRuns: 100 },
    );
  });
});

describe('a stream that grows a thousandfold', () => {
  const zeros = Buffer.alloc(16 * MIB);

  async function compressed(compression: Compression): Promise<Buffer> {
    if (compression === 'zip') return deflateRawSync(zeros);
    const { ours, raw } = await halfCompressed(compression, { bufferBytes: MIB });
    ours.send(zeros);
    ours.connection.end();
    await until(() => raw.ends === 1, 'the stream');
    return raw.bytes;
  }

  it.each(['zip', 'snappy'] as const)('%j comes in pieces of at most 64 KiB, and stands still while it is paused', async (compression) => {
    const stream = await compressed(compression);
    expect(stream.length).toBeLessThan(MIB);
    const { ours, raw } = await halfCompressed(compression, { bufferBytes: MIB });
    let largest = 0;
    let length = 0;
    let isHeld = true;
    // Not recorded: the bytes of a bomb are more than a test should keep.
    ours.onBytes = (bytes) => {
      largest = Math.max(largest, bytes.length);
      length += bytes.length;
      if (isHeld) ours.connection.pause();
    };
    raw.send(stream);
    raw.connection.end();
    await until(() => length > 0, 'the first piece');
    await turns(50);
    expect(length).toBeLessThanOrEqual(65_536);
    const before = length;
    isHeld = false;
    ours.connection.resume();
    await until(() => length > before, 'the next pieces');
    ours.connection.pause();
    await turns(5);
    const held = length;
    await turns(20);
    expect(length).toBe(held);
    ours.connection.resume();
    await until(() => ours.ends === 1, 'the end');
    expect(ours.ending).toBeUndefined();
    expect(length).toBe(zeros.length);
    expect(largest).toBeLessThanOrEqual(65_536);
  });

  it('is not inflated any further once the connection is closed', async () => {
    const { ours, raw } = await halfCompressed('zip', { bufferBytes: MIB });
    let length = 0;
    ours.onBytes = (bytes) => {
      length += bytes.length;
      ours.connection.close();
    };
    raw.send(await compressed('zip'));
    raw.connection.end();
    await until(() => ours.closes === 1, 'the close');
    expect(length).toBeLessThanOrEqual(65_536);
  });

  it('stops reading from below while compressed bytes wait, and takes little at a time from a package that is sent', async () => {
    const { ours, raw, below } = await halfCompressed({ type: 'zip', level: 0 }, { bufferBytes: 100_000 });
    ours.connection.pause();
    for (let index = 0; index < 20; index++) raw.send(flushed(pattern(50_000, index)));
    await until(() => raw.connection.pendingBytes > 0, 'the peer to be blocked');
    await turns(20);
    expect(below.bytesRead).toBeLessThan(300_000);
    raw.connection.pause();
    ours.send(pattern(5 * MIB));
    await until(() => below.pendingBytes > 0, 'the bytes to wait');
    await turns(20);
    expect(below.pendingBytes).toBeLessThan(200_000);
    expect(ours.connection.pendingBytes).toBeGreaterThan(4 * MIB);
    raw.connection.resume();
    ours.connection.resume();
    await until(() => ours.connection.pendingBytes === 0 && ours.length === 1_000_000, 'everything');
  });
});

describe('compressionUpgrade', () => {
  it('gives connections back as they are for "none"', async () => {
    const connection = {} as Connection;
    expect(await compressionUpgrade('none')(connection, { signal: new AbortController().signal })).toBe(connection);
  });

  it.each([
    ['gzip', 'withCompression: expected one of none, zip, best-speed, best-compression, huffman, snappy, given "gzip"'],
    [undefined, 'withCompression: expected one of'],
    [null, 'withCompression: expected one of'],
    [{ type: 'snappy', level: 1 }, 'withCompression type: expected \'zip\', given "snappy"'],
    [{ type: 'zip', level: 10 }, 'withCompression level: expected a whole number, from 0 to 9, given 10'],
    [{ type: 'zip' }, 'withCompression level'],
  ])('refuses %j', (compression, message) => {
    expect(() => compressionUpgrade(compression as Compression)).toThrow(message);
  });

  it('refuses connections of messages', async () => {
    const network = new MemoryNetwork({ kind: 'message' });
    const { signal } = new AbortController();
    await network.transport().listen('server:1', {
      admit: () => undefined,
      onConnection: (connection) => connection.abort(),
      onConnectionLost: () => {},
      onAcceptError: () => {},
    });
    const connection = await network.transport().dial('server:1', { signal });
    await expect(compressionUpgrade('zip')(connection, { signal })).rejects.toMatchObject({
      name: 'ConfigError',
      code: 'INVALID_OPTION',
    });
    connection.abort();
  });
});
