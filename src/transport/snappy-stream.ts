import { ByteQueue } from '../base/byte-queue.ts';
import { crc32c } from '../base/crc32c.ts';
import { PeerError } from '../base/errors.ts';
import type { CompressionCodec, Compressor, CompressorSink, Decompressor, DecompressorSink } from './compression-codec.ts';
import { compressBlock, decompressBlock, MAX_BLOCK_BYTES, maxCompressedBytes } from './snappy-block.ts';

/**
 * The framing of snappy streams, with bytes that are not cut into chunks at the same places as packages.
 *
 * ```
 * type, 1 byte | length of the body, 3 bytes little-endian | body
 * 0xff          "sNaPpY": begins the stream, and may come again
 * 0x00, 0x01    masked CRC-32C of the content, 4 bytes little-endian | content, compressed or not: at most 65 536 bytes
 * 0x02 to 0x7f  refused
 * 0x80 to 0xfe  skipped
 * ```
 *
 * Source of the format: google/snappy, framing_format.txt.
 */
const STREAM_IDENTIFIER = 0xff;
const COMPRESSED = 0x00;
const UNCOMPRESSED = 0x01;
const FIRST_SKIPPED = 0x80;
const IDENTIFIER = Buffer.from('\xff\x06\x00\x00sNaPpY', 'latin1');
const HEADER_BYTES = 4;
const CHECKSUM_BYTES = 4;
/** The longest body that is not skipped: a block that grew as much as one can, and its checksum. */
const MAX_BODY_BYTES = CHECKSUM_BYTES + maxCompressedBytes(MAX_BLOCK_BYTES);

/** A checksum that stands among the bytes that it is about would be a poor one; so the format changes it. */
function masked(checksum: number): number {
  return (((checksum >>> 15) | (checksum << 17)) + 0xa282ead8) >>> 0;
}

class SnappyCompressor implements Compressor {
  readonly endMark = undefined;
  readonly #sink: CompressorSink;
  #hasBegun = false;

  constructor(sink: CompressorSink) {
    this.#sink = sink;
  }

  compress(piece: Uint8Array): void {
    const start = this.#hasBegun ? 0 : IDENTIFIER.length;
    const content = start + HEADER_BYTES + CHECKSUM_BYTES;
    const out = Buffer.allocUnsafe(content + maxCompressedBytes(piece.length));
    if (!this.#hasBegun) out.set(IDENTIFIER);
    this.#hasBegun = true;
    let end = compressBlock(piece, out, content);
    // Less than an eighth saved is not worth the peer's time.
    const isWorthIt = end - content < piece.length - (piece.length >>> 3);
    if (!isWorthIt) {
      out.set(piece, content);
      end = content + piece.length;
    }
    out[start] = isWorthIt ? COMPRESSED : UNCOMPRESSED;
    out.writeUIntLE(end - start - HEADER_BYTES, start + 1, 3);
    out.writeUInt32LE(masked(crc32c(piece)), start + HEADER_BYTES);
    this.#sink.onCompressed(out.subarray(0, end));
  }

  destroy(): void {}
}

/** Decompresses one chunk after the other, as far as it is not paused. */
class SnappyDecompressor implements Decompressor {
  /** Never: what is not paused keeps less than a chunk. */
  readonly isFull = false;
  readonly #sink: DecompressorSink;
  readonly #bytes = new ByteQueue();
  #hasBegun = false;
  #isPaused = false;
  #isRunning = false;
  #hasInputEnded = false;
  #isOver = false;

  constructor(sink: DecompressorSink) {
    this.#sink = sink;
  }

  get isIdle(): boolean {
    return !this.#isRunning && !this.#isPaused;
  }

  feed(bytes: Buffer): void {
    this.#bytes.offer(bytes);
    this.#run();
    this.#bytes.retain();
  }

  end(): void {
    this.#hasInputEnded = true;
    this.#run();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#run();
  }

  destroy(): void {
    this.#isOver = true;
    this.#bytes.clear();
  }

  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    while (!this.#isPaused && !this.#isOver && this.#takeChunk());
    this.#isRunning = false;
    if (this.#isPaused || this.#isOver) return;
    this.#sink.onTaken();
    if (!this.#hasInputEnded || this.#isOver) return;
    if (this.#bytes.totalLength > 0 || this.#bytes.discarding > 0) {
      this.#fail('the stream ended in the middle of a chunk');
    } else {
      this.#isOver = true;
      this.#sink.onDecompressedEnd();
    }
  }

  /** False when the next chunk is not there yet. */
  #takeChunk(): boolean {
    const bytes = this.#bytes;
    if (!this.#has(HEADER_BYTES)) return false;
    const type = bytes.uint8At(0);
    const bodyBytes = bytes.uint24At(1, true);
    if (!this.#hasBegun && type !== STREAM_IDENTIFIER) return this.#fail('expected the stream identifier of snappy first');
    if (type >= FIRST_SKIPPED && type !== STREAM_IDENTIFIER) {
      bytes.discard(HEADER_BYTES + bodyBytes);
      return true;
    }
    // Nothing is waited for that would be refused when it is there.
    if (type === STREAM_IDENTIFIER ? bodyBytes !== IDENTIFIER.length - HEADER_BYTES : type > UNCOMPRESSED)
      return this.#fail(`a chunk of type ${type} with ${bodyBytes} bytes`);
    if (bodyBytes > MAX_BODY_BYTES) return this.#fail(`expected a chunk of at most ${MAX_BODY_BYTES} bytes, given ${bodyBytes}`);
    if (!this.#has(HEADER_BYTES + bodyBytes)) return false;
    const chunk = bytes.readView(HEADER_BYTES + bodyBytes);
    if (type === STREAM_IDENTIFIER) {
      this.#hasBegun = true;
      return chunk.equals(IDENTIFIER) || this.#fail('another stream identifier');
    }
    return this.#deliver(type, chunk.subarray(HEADER_BYTES));
  }

  #deliver(type: number, body: Buffer): boolean {
    if (body.length < CHECKSUM_BYTES) return this.#fail('a chunk without a checksum');
    const stored = body.subarray(CHECKSUM_BYTES);
    const content = type === COMPRESSED ? decompressBlock(stored) : stored;
    if (typeof content === 'string') return this.#fail(content);
    if (content.length > MAX_BLOCK_BYTES)
      return this.#fail(`expected at most ${MAX_BLOCK_BYTES} bytes in a chunk, given ${content.length}`);
    if (masked(crc32c(content)) !== body.readUInt32LE(0)) return this.#fail('a chunk with a wrong checksum');
    if (content.length > 0) this.#sink.onDecompressed(content);
    return true;
  }

  /** Whether so many bytes are there; they are next to each other then. */
  #has(count: number): boolean {
    const bytes = this.#bytes;
    while (bytes.length < count) {
      bytes.need(count);
      if (!bytes.pull()) return false;
    }
    return true;
  }

  #fail(what: string): false {
    this.#isOver = true;
    this.#sink.onDecompressorFailure(new PeerError('PROTOCOL_VIOLATION', `snappy: ${what}`));
    return false;
  }
}

export const SNAPPY: CompressionCodec = {
  compressor: (sink) => new SnappyCompressor(sink),
  decompressor: (sink) => new SnappyDecompressor(sink),
};
