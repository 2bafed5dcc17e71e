import { ByteWriter } from '../base/byte-writer.ts';
import { FastBuffer } from '../base/fast-buffer.ts';

/** A round that has grown to this is sent before its end. */
const MAX_ROUND_BYTES = 65_536;
const MAX_ROUND_DATAGRAMS = 64;
const NO_BYTES = Buffer.alloc(0);

/**
 * Datagrams that leave together: the replies made while the ones that had come were handed out. Sent one between two that are received,
 * each wakes its receiver anew, which costs a good part of sending it; sent in a row, the receiver is awake for most.
 */
export class UdpRound<Sender> {
  readonly writer: ByteWriter = new ByteWriter();
  /** Whether a package is being encoded behind the others, so that they cannot leave just now. */
  isEncoding = false;
  /** The first `#count` are in use. */
  readonly #senders: (Sender | undefined)[] = new Array(MAX_ROUND_DATAGRAMS).fill(undefined);
  readonly #sizes: number[] = new Array(MAX_ROUND_DATAGRAMS).fill(0);
  #count = 0;

  get isFull(): boolean {
    return this.#count >= MAX_ROUND_DATAGRAMS || this.writer.batchLength >= MAX_ROUND_BYTES;
  }

  /** The package that was written last, `size` bytes, is complete. MUST NOT be called when the round is full. */
  add(sender: Sender, size: number): void {
    this.#senders[this.#count] = sender;
    this.#sizes[this.#count] = size;
    this.#count++;
  }

  /**
   * Gives all datagrams to `send`, in order; it answers whether their memory is free again. Returns a copy of what stands behind them.
   */
  flush(send: (sender: Sender, chunks: readonly Uint8Array[], size: number) => boolean): Buffer {
    const count = this.#count;
    this.#count = 0;
    const rest = new ChunkCursor(this.writer.take());
    let isFree = true;
    for (let index = 0; index < count; index++) {
      const sender = this.#senders[index];
      const size = this.#sizes[index] ?? 0;
      this.#senders[index] = undefined;
      const chunks = rest.cut(size);
      if (sender !== undefined && !send(sender, chunks, size)) isFree = false;
    }
    const behind = rest.isAtEnd ? NO_BYTES : Buffer.concat(rest.cut(Number.POSITIVE_INFINITY));
    if (isFree) this.writer.reuse();
    else this.writer.release();
    return behind;
  }
}

/** Cuts bytes off the front of chunks. */
class ChunkCursor {
  readonly #chunks: readonly Uint8Array[];
  #index = 0;
  #at = 0;

  constructor(chunks: readonly Uint8Array[]) {
    this.#chunks = chunks;
  }

  get isAtEnd(): boolean {
    return this.#index >= this.#chunks.length;
  }

  /** The next `size` bytes, or as many as there are. */
  cut(size: number): Uint8Array[] {
    const chunk = this.#chunks[this.#index];
    if (chunk === undefined) return [];
    const at = this.#at;
    // Nearly always: small packages, all of them in one chunk.
    if (at + size < chunk.length) {
      this.#at = at + size;
      return [new FastBuffer(chunk.buffer, chunk.byteOffset + at, size)];
    }
    const rest = new FastBuffer(chunk.buffer, chunk.byteOffset + at, chunk.length - at);
    this.#index++;
    this.#at = 0;
    return rest.length === size ? [rest] : [rest, ...this.cut(size - rest.length)];
  }
}
