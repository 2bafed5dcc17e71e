import { constants, createDeflateRaw, createInflateRaw, type DeflateRaw, type InflateRaw, type ZlibOptions } from 'node:zlib';
import { PeerError } from '../base/errors.ts';
import {
  type CompressionCodec,
  type Compressor,
  type CompressorSink,
  type Decompressor,
  type DecompressorSink,
  PIECE_BYTES,
} from './compression-codec.ts';

/**
 * Raw deflate streams (RFC 1951), without a header or checksum. Every piece ends with a sync flush: an empty stored block, whose bytes
 * `FLUSH_MARK` stand at a byte boundary, so that the peer can inflate all that came.
 */
const FLUSH_MARK = Buffer.of(0x00, 0x00, 0xff, 0xff);
const FLUSH_MARK_NUMBER = FLUSH_MARK.readUInt32BE();
/** A last block without content, in the shortest form. It may stand wherever a piece has ended. */
const END_MARK = Buffer.of(0x03, 0x00);
/** What zlib inflates in one go; bytes of the peer are never turned into more before the session has seen them. */
const OUTPUT_BYTES = 16_384;
/** So many pieces in a row end where the peer has flushed, if more is waiting behind that; each is a trip to another thread. */
const MAX_CUTS = 16;

class ZlibCompressor implements Compressor {
  readonly endMark = END_MARK;
  readonly #sink: CompressorSink;
  readonly #zlib: DeflateRaw;

  constructor(sink: CompressorSink, options: ZlibOptions) {
    this.#sink = sink;
    // Room for all that a piece can become, so that `write` never waits for `read`.
    this.#zlib = createDeflateRaw({ ...options, flush: constants.Z_SYNC_FLUSH, readableHighWaterMark: 2 * PIECE_BYTES } as ZlibOptions);
    this.#zlib.on('error', (error) => this.#sink.onCompressorFailure(error));
  }

  compress(piece: Uint8Array): void {
    this.#zlib.write(piece, (error) => {
      if (error) return;
      const compressed: Buffer | null = this.#zlib.read();
      if (compressed !== null) this.#sink.onCompressed(compressed);
    });
  }

  destroy(): void {
    this.#zlib.destroy();
  }
}

/** Inflates one piece after the other on another thread, as far as it is not paused. */
class ZlibDecompressor implements Decompressor {
  readonly #sink: DecompressorSink;
  readonly #zlib: InflateRaw;
  /** What zlib was not given yet. */
  #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #cuts = 0;
  #isBusy = false;
  /** The last four bytes given, as a number. */
  #tail = 0;
  #hasInput = false;
  #hasInputEnded = false;
  #isFinishing = false;
  #isOver = false;

  constructor(sink: DecompressorSink) {
    this.#sink = sink;
    this.#zlib = createInflateRaw({ chunkSize: OUTPUT_BYTES });
    this.#zlib.on('data', (bytes: Buffer) => {
      if (this.#isOver) return;
      this.#sink.onDecompressed(bytes);
      if (this.isIdle) this.#sink.onTaken();
      this.#next();
    });
    this.#zlib.on('end', () => {
      if (this.#isFinishing) this.#end();
      else this.#fail('bytes behind the end of the stream');
    });
    this.#zlib.on('error', (error) => this.#fail(this.#isFinishing ? 'the stream was cut off' : error.message, error));
  }

  get isFull(): boolean {
    return this.#waitingBytes > PIECE_BYTES;
  }

  get isIdle(): boolean {
    return !this.#isBusy && this.#waitingBytes === 0 && this.#zlib.readableLength === 0;
  }

  feed(bytes: Buffer): void {
    this.#hasInput = true;
    for (const byte of bytes.subarray(-FLUSH_MARK.length)) this.#tail = ((this.#tail << 8) | byte) >>> 0;
    this.#waitingBytes += bytes.length;
    this.#waiting.push(Buffer.from(bytes));
    this.#next();
  }

  end(): void {
    this.#hasInputEnded = true;
    this.#next();
  }

  pause(): void {
    this.#zlib.pause();
  }

  resume(): void {
    this.#zlib.resume();
    this.#next();
  }

  destroy(): void {
    this.#isOver = true;
    this.#waiting = [];
    this.#zlib.destroy();
  }

  #next(): void {
    if (this.#isOver || this.#isBusy || this.#zlib.isPaused()) return;
    if (this.#waitingBytes > 0) {
      this.#isBusy = true;
      const piece = this.#nextPiece();
      this.#zlib.write(piece, () => {
        this.#isBusy = false;
        if (this.#isOver) return;
        this.#sink.onTaken();
        this.#next();
      });
      return;
    }
    if (!this.#hasInputEnded || this.#isFinishing || !this.isIdle) return;
    // A peer that closes without ending its stream first has still sent all of it when it has flushed.
    if (!this.#hasInput || this.#tail === FLUSH_MARK_NUMBER) {
      this.#end();
    } else {
      this.#isFinishing = true;
      this.#zlib.end();
    }
  }

  /**
   * All that waits, or as much of it as the peer has flushed at once: what zlib makes of a piece before it finds it corrupt is lost, so
   * what was flushed before should be a piece of its own.
   */
  #nextPiece(): Buffer {
    const all = this.#waiting.length === 1 ? this.#waiting[0] : undefined;
    const bytes = all ?? Buffer.concat(this.#waiting, this.#waitingBytes);
    const found = this.#cuts < MAX_CUTS ? bytes.indexOf(FLUSH_MARK) : -1;
    const end = found === -1 ? bytes.length : found + FLUSH_MARK.length;
    this.#waitingBytes -= end;
    this.#waiting = this.#waitingBytes === 0 ? [] : [bytes.subarray(end)];
    this.#cuts = this.#waitingBytes === 0 ? 0 : this.#cuts + 1;
    return bytes.subarray(0, end);
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#sink.onDecompressedEnd();
  }

  #fail(what: string, cause?: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#sink.onDecompressorFailure(new PeerError('PROTOCOL_VIOLATION', `inflate: ${what}`, { cause }));
  }
}

/** Raw deflate with what `options` say about compressing; inflating takes whatever the peer has chosen. */
export function zlibCodec(options: ZlibOptions): CompressionCodec {
  return {
    compressor: (sink) => new ZlibCompressor(sink, options),
    decompressor: (sink) => new ZlibDecompressor(sink),
  };
}
