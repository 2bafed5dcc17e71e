import type { Attributes } from '../base/attributes.ts';
import { type PeerError, type PorticoError, TransportError } from '../base/errors.ts';
import { BaseConnection } from './base-connection.ts';
import {
  type CompressionCodec,
  type Compressor,
  type CompressorSink,
  type Decompressor,
  type DecompressorSink,
  PIECE_BYTES,
} from './compression-codec.ts';
import type { Address, Connection, SendLimits, TlsInfo } from './connection.ts';

/**
 * Of the connection below: it is given no further piece while more than the high mark waits there, so that at most this and one
 * compressed piece wait. The packages themselves are bounded above, by the limits of the session.
 */
const LOWER_LIMITS: SendLimits = {
  lowWaterMarkBytes: PIECE_BYTES / 4,
  highWaterMarkBytes: PIECE_BYTES,
  maxQueueBytes: Number.MAX_SAFE_INTEGER,
  overflowPolicy: 'reject',
};

/**
 * Compresses what goes to the connection below, and decompresses what comes from it. Nothing is made before it is needed, so that an
 * idle session costs no memory of zlib.
 *
 * ```
 * sendBatch -> pieces of at most 64 KiB -> compressor, one at a time -> lower.sendShared -> its receipt: so much less is unsent
 *                                             | the lower queue is full: wait for its onDrain
 * onBytes <- at most 64 KiB <- decompressor <- lower's onBytes
 *                | paused, or enough waits: pause the lower connection
 * ```
 */
export class CompressionConnection extends BaseConnection implements CompressorSink, DecompressorSink {
  readonly kind = 'stream';
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly #lower: Connection;
  readonly #codec: CompressionCodec;
  #isLowerOpen = false;

  #compressor: Compressor | undefined;
  /** Of the batch: what the compressor was not given yet. */
  #pieces: Uint8Array[] = [];
  #unsentBytes = 0;
  /** The size of the piece that is being compressed; 0 = none is. */
  #pieceBytes = 0;
  #isLowerFull = false;
  #isSending = false;
  #isHandingOver = false;

  #decompressor: Decompressor | undefined;
  #isPaused = true;
  #isLowerReading = true;
  /** The end of the stream was told, or that the rest of it is of no use. */
  #hasEnded = false;

  /** Nothing is delivered any more: this side closes, or has. */
  #isDiscarding = false;
  #lowerEnd: { readonly error: PorticoError | undefined } | undefined;
  #isOver = false;

  constructor(lower: Connection, codec: CompressionCodec) {
    super();
    this.#lower = lower;
    this.#codec = codec;
    this.localAddress = lower.localAddress;
    this.remoteAddress = lower.remoteAddress;
  }

  get tls(): TlsInfo | undefined {
    return this.#lower.tls;
  }

  get raw(): unknown {
    return this.#lower.raw;
  }

  get readPath(): 'static' | 'chunk' {
    return this.#lower.readPath;
  }

  override get attributes(): Attributes | undefined {
    return this.#lower.attributes;
  }

  // --- sending ---

  protected sendOpen(): void {
    this.#openLower();
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    for (const chunk of chunks) {
      this.#pieces.push(chunk);
      this.#unsentBytes += chunk.length;
    }
    this.#isHandingOver = true;
    this.#sendPieces();
    this.#isHandingOver = false;
  }

  protected unsentBytes(): number {
    return this.#unsentBytes;
  }

  /** The memory of a batch is read by another thread. */
  protected override get sendsLater(): boolean {
    return true;
  }

  #sendPieces(): void {
    if (this.#isSending) return;
    this.#isSending = true;
    while (this.#pieceBytes === 0 && !this.#isLowerFull && !this.#isOver) {
      const piece = this.#nextPiece();
      if (piece === undefined) break;
      this.#pieceBytes = piece.length;
      this.#compressor ??= this.#codec.compressor(this);
      this.#compressor.compress(piece);
    }
    this.#isSending = false;
  }

  #nextPiece(): Uint8Array | undefined {
    const [first] = this.#pieces;
    if (first === undefined) return undefined;
    if (first.length > PIECE_BYTES) {
      this.#pieces[0] = first.subarray(PIECE_BYTES);
      return first.subarray(0, PIECE_BYTES);
    }
    let count = 0;
    let size = 0;
    for (const { length } of this.#pieces) {
      if (size + length > PIECE_BYTES) break;
      size += length;
      count++;
    }
    const pieces = this.#pieces.splice(0, count);
    return count === 1 ? first : Buffer.concat(pieces, size);
  }

  onCompressed(bytes: Uint8Array): void {
    if (this.#isOver) return;
    const size = this.#pieceBytes;
    this.#pieceBytes = 0;
    const lower = this.#lower;
    lower.sendShared(bytes, { onSent: () => this.#onTaken(size), onUnsent: () => {} });
    lower.flush();
    if (lower.pendingBytes > LOWER_LIMITS.highWaterMarkBytes) {
      this.#isLowerFull = true;
      lower.isDrainExpected = true;
    }
    this.#sendPieces();
  }

  #onTaken(size: number): void {
    this.#unsentBytes -= size;
    // While `sendBatch` runs, its caller looks for itself.
    if (this.#unsentBytes === 0 && !this.#isHandingOver) this.onSent();
  }

  onCompressorFailure(error: Error): void {
    this.abort(new TransportError('TRANSPORT_FAILED', `compression: ${error.message}`, { cause: error }));
  }

  // --- receiving ---

  protected sendPause(): void {
    this.#isPaused = true;
    this.#decompressor?.pause();
    this.#regulate();
    this.#checkOver();
  }

  protected sendResume(): void {
    this.#isPaused = false;
    this.#decompressor?.resume();
    this.#regulate();
  }

  #onLowerBytes(bytes: Buffer): void {
    if (this.#isDiscarding || this.#hasEnded) return;
    if (this.#decompressor === undefined) {
      this.#decompressor = this.#codec.decompressor(this);
      if (this.#isPaused) this.#decompressor.pause();
    }
    this.#decompressor.feed(bytes);
    this.#regulate();
  }

  onDecompressed(bytes: Buffer): void {
    this.onBytes(bytes);
  }

  onTaken(): void {
    this.#regulate();
    this.#checkOver();
  }

  onDecompressedEnd(): void {
    this.#hasEnded = true;
    this.onEnd();
    this.#checkOver();
  }

  /** The rest of the stream is of no use; the sink closes, so that what it has still to send is sent. */
  onDecompressorFailure(error: PeerError): void {
    this.#hasEnded = true;
    this.#decompressor?.destroy();
    this.#lower.pause();
    this.onEnd({ error });
    this.#checkOver();
  }

  /** Reads from below as long as somebody can take it. */
  #regulate(): void {
    if (this.#hasEnded || this.#isDiscarding) return;
    const reads = !this.#isPaused && this.#decompressor?.isFull !== true;
    if (reads === this.#isLowerReading) return;
    this.#isLowerReading = reads;
    if (reads) this.#lower.resume();
    else this.#lower.pause();
  }

  // --- closing ---

  protected sendEnd(): void {
    const endMark = this.#compressor?.endMark;
    if (endMark !== undefined) this.#lower.sendShared(endMark);
    this.#lower.end();
  }

  protected sendClose(): void {
    this.#discard();
    this.#lower.close();
    this.#checkOver();
  }

  protected sendAbort(error: TransportError | undefined): void {
    this.#discard();
    // To see its end.
    this.#openLower();
    this.#lower.abort(error);
    if (this.#lowerEnd !== undefined) this.#lowerEnd = { error };
    this.#checkOver();
  }

  #discard(): void {
    this.#isDiscarding = true;
    this.#decompressor?.destroy();
  }

  /** Ends when the connection below has, and all that came from it was delivered or is not wanted any more. */
  #checkOver(): void {
    const end = this.#lowerEnd;
    if (end === undefined || this.#isOver) return;
    const isDelivered = this.#decompressor === undefined || this.#decompressor.isIdle;
    if (!this.#isDiscarding && !this.#hasEnded && (end.error === undefined || !(isDelivered || this.#isPaused))) return;
    this.#isOver = true;
    this.#compressor?.destroy();
    this.#decompressor?.destroy();
    // This may be a call of the sink.
    process.nextTick(() => this.onClosed(end.error));
  }

  #openLower(): void {
    if (this.#isLowerOpen) return;
    this.#isLowerOpen = true;
    this.#lower.open(
      {
        onBytes: (bytes) => this.#onLowerBytes(bytes),
        onDrain: () => {
          this.#isLowerFull = false;
          this.#sendPieces();
        },
        onEnd: () => {
          if (this.#isDiscarding || this.#hasEnded) return;
          if (this.#decompressor === undefined) this.onDecompressedEnd();
          else this.#decompressor.end();
        },
        onBlocked: () => {},
        onFinished: () => {},
        onClose: (error) => {
          this.#lowerEnd = { error };
          this.#checkOver();
        },
        onOverflow: () => {},
      },
      LOWER_LIMITS,
    );
  }
}
