import { ListenerError } from './errors.ts';
import { copyBytes, FastBuffer } from './fast-buffer.ts';
import { show } from './option.ts';
import { ignoreRejection } from './thenable.ts';

/** A batch is flushed at 64 KiB, and what does not fit into the rest is passed by reference. */
const INITIAL_BYTES = 73_728;
/** From this size on, bytes are sent where they are instead of being copied behind the others. */
const REFERENCE_BYTES = 8192;

const NO_MEMORY = Buffer.alloc(0);
const NO_VIEW = new DataView(NO_MEMORY.buffer, 0, 0);

let reusedMemory: ArrayBufferLike | undefined;

/** Tells every writer that views of this memory (the shared read buffer) change soon, so they MUST be copied at any size. */
export function neverReference(memory: ArrayBufferLike): void {
  reusedMemory = memory;
}

/** Bytes that are to be sent by reference: themselves, or a copy if they lie in memory that changes soon. */
export function toReference(bytes: Uint8Array): Uint8Array {
  return bytes.buffer === reusedMemory ? Buffer.from(bytes) : bytes;
}

/** Where a package stood when its first large byte array closed the run that it had begun in. */
interface PackageCut {
  readonly chunks: number;
  readonly chunkBytes: number;
  readonly startLength: number;
  /** What the package wrote before the array, behind what stood there before the package. */
  firstRun: Buffer | undefined;
}

/**
 * Where `PkgHandler.write` may put an encoded package, straight into the bytes that leave with this batch: nothing is
 * allocated for a small package. Large byte arrays are passed on by reference and MUST NOT be changed afterwards.
 */
export class ByteWriter {
  /**
   * Set it in `write` to send the package as a text message where the connection tells text from binary (WebSocket); its bytes MUST
   * then be UTF-8. Nothing elsewhere.
   */
  isText = false;
  /** Empty until something is written. */
  #buffer: Buffer = NO_MEMORY;
  #view: DataView = NO_VIEW;
  /** Where the bytes begin that are not yet in #chunks. */
  #runStart = 0;
  #end = 0;
  #chunks: Uint8Array[] = [];
  #chunkBytes = 0;
  #packageRun = 0;
  /** What is known of the package being written once it has a large byte array; a package without one needs none of it. */
  #cut: PackageCut | undefined;

  /** Bytes of the package being written. */
  get length(): number {
    return this.#cut === undefined ? this.#end - this.#packageRun : this.batchLength - this.#cut.startLength;
  }

  // --- for PkgHandler.write ---

  writeUint8(value: number): void {
    const at = this.#reserve(1);
    this.#buffer[at] = value;
  }

  writeUint16(value: number, littleEndian?: boolean): void {
    const at = this.#reserve(2);
    put16(this.#buffer, at, value, littleEndian);
  }

  writeUint24(value: number, littleEndian?: boolean): void {
    const at = this.#reserve(3);
    const buffer = this.#buffer;
    buffer[at + (littleEndian ? 2 : 0)] = value >>> 16;
    buffer[at + 1] = value >>> 8;
    buffer[at + (littleEndian ? 0 : 2)] = value;
  }

  writeUint32(value: number, littleEndian?: boolean): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, value, littleEndian);
  }

  /** 8 bytes, unsigned. */
  writeUint64(value: bigint, littleEndian?: boolean): void {
    const at = this.#reserve(8);
    if (littleEndian) this.#buffer.writeBigUInt64LE(value, at);
    else this.#buffer.writeBigUInt64BE(value, at);
  }

  writeBytes(bytes: Uint8Array): void {
    if (bytes.length >= REFERENCE_BYTES && bytes.buffer !== reusedMemory) {
      this.#refer(bytes);
      return;
    }
    const at = this.#reserve(bytes.length);
    copyBytes(this.#buffer, bytes, at);
  }

  #refer(bytes: Uint8Array): void {
    const isFirst = this.#cut === undefined;
    this.#cut ??= {
      chunks: this.#chunks.length,
      chunkBytes: this.#chunkBytes,
      startLength: this.#chunkBytes + this.#packageRun - this.#runStart,
      firstRun: undefined,
    };
    const run = this.#endRun();
    if (isFirst) this.#cut.firstRun = run;
    this.#chunks.push(bytes);
    this.#chunkBytes += bytes.length;
  }

  /** Returns the number of bytes that the text took. */
  writeString(text: string, encoding: BufferEncoding = 'utf8'): number {
    // UTF-8 needs at most three bytes for a UTF-16 unit: cheaper to reserve than to count.
    const most = text.length <= 1024 ? text.length * 3 : Buffer.byteLength(text, encoding);
    const at = this.#reserve(most);
    const count = this.#buffer.write(text, at, most, encoding);
    this.#end = at + count;
    return count;
  }

  /** Overwrites bytes already written to this package, for a length that is known late. MUST lie before any large byte array. */
  setUint16At(offset: number, value: number, littleEndian?: boolean): void {
    const at = this.#positionOf(offset, 2);
    put16(this.#cut?.firstRun ?? this.#buffer, at, value, littleEndian);
  }

  setUint32At(offset: number, value: number, littleEndian?: boolean): void {
    const at = this.#positionOf(offset, 4);
    put32(this.#cut?.firstRun ?? this.#buffer, at, value, littleEndian);
  }

  // --- for connections ---

  /** Bytes of the whole batch. */
  get batchLength(): number {
    return this.#chunkBytes + this.#end - this.#runStart;
  }

  beginPackage(): void {
    this.#packageRun = this.#end;
    this.#cut = undefined;
    this.isText = false;
  }

  /** Takes back everything since `beginPackage`. */
  cancelPackage(): void {
    const cut = this.#cut;
    if (cut === undefined) {
      this.#end = this.#packageRun;
      return;
    }
    this.#chunks.length = cut.chunks;
    this.#chunkBytes = cut.startLength;
    // The run that the package began in was closed by a reference: cut it back to where the package began.
    const kept = cut.startLength - cut.chunkBytes;
    if (kept > 0 && cut.firstRun !== undefined) this.#chunks.push(cut.firstRun.subarray(0, kept));
    this.#cut = undefined;
    this.#end = this.#runStart;
    this.#packageRun = this.#end;
  }

  /** The batch as chunks in order; the writer is empty afterwards, and its memory in use until `reuse` or `release`. */
  take(): readonly Uint8Array[] {
    this.#endRun();
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#chunkBytes = 0;
    this.#packageRun = this.#end;
    this.#cut = undefined;
    return chunks;
  }

  /** A copy of the batch in memory of its own, made for a connection that must wait. The writer is empty afterwards. */
  takeCopies(): readonly Uint8Array[] {
    const own = this.#buffer.buffer;
    const copies = this.take().map((chunk) => (chunk.buffer === own ? Buffer.from(chunk) : chunk));
    this.reuse();
    return copies;
  }

  /** The taken chunks have been sent: their memory may be overwritten. */
  reuse(): void {
    this.#runStart = 0;
    this.#end = 0;
    this.#packageRun = 0;
    if (this.#buffer.length > INITIAL_BYTES) this.#useMemory(NO_MEMORY);
  }

  /** The taken chunks are still being sent: their memory belongs to the socket now. */
  release(): void {
    this.#runStart = 0;
    this.#end = 0;
    this.#packageRun = 0;
    this.#useMemory(NO_MEMORY);
  }

  // --- private ---

  #reserve(count: number): number {
    const at = this.#end;
    if (at + count > this.#buffer.length) return this.#grow(count);
    this.#end = at + count;
    return at;
  }

  #grow(count: number): number {
    const run = this.#buffer.subarray(this.#runStart, this.#end);
    const needed = run.length + count;
    const larger = Buffer.allocUnsafeSlow(needed <= INITIAL_BYTES ? INITIAL_BYTES : needed * 2);
    larger.set(run);
    this.#packageRun = Math.max(0, this.#packageRun - this.#runStart);
    this.#useMemory(larger);
    this.#runStart = 0;
    this.#end = run.length + count;
    return run.length;
  }

  #useMemory(memory: Buffer): void {
    this.#buffer = memory;
    this.#view = new DataView(memory.buffer, memory.byteOffset, memory.length);
  }

  #endRun(): Buffer | undefined {
    const count = this.#end - this.#runStart;
    if (count === 0) return undefined;
    const run = new FastBuffer(this.#buffer.buffer, this.#buffer.byteOffset + this.#runStart, count);
    this.#chunks.push(run);
    this.#chunkBytes += count;
    this.#runStart = this.#end;
    return run;
  }

  /** Where `count` bytes of the package stand, in the first run if that was closed, otherwise in #buffer. */
  #positionOf(offset: number, count: number): number {
    const cut = this.#cut;
    const start = cut === undefined ? this.#packageRun : cut.startLength - cut.chunkBytes;
    const end = cut === undefined ? this.#end : (cut.firstRun?.length ?? 0);
    if (offset >>> 0 !== offset || start + offset + count > end) {
      throw new RangeError(`expected an offset of bytes written to this package before any large byte array, given ${offset}`);
    }
    return start + offset;
  }
}

function put16(buffer: Buffer, at: number, value: number, littleEndian?: boolean): void {
  buffer[at + (littleEndian ? 1 : 0)] = value >>> 8;
  buffer[at + (littleEndian ? 0 : 1)] = value;
}

function put32(buffer: Buffer, at: number, value: number, littleEndian?: boolean): void {
  if (littleEndian) {
    buffer.writeUInt32LE(value >>> 0, at);
    return;
  }
  buffer[at] = value >>> 24;
  buffer[at + 1] = value >>> 16;
  buffer[at + 2] = value >>> 8;
  buffer[at + 3] = value;
}

/** What a PkgHandler may return from `write`, appended to the batch. */
export function appendEncoded(out: ByteWriter, encoded: unknown): void {
  if (encoded === undefined) return;
  if (encoded instanceof Uint8Array) {
    out.writeBytes(encoded);
    return;
  }
  if (Array.isArray(encoded) && encoded.every((part) => part instanceof Uint8Array)) {
    for (const part of encoded) out.writeBytes(part);
    return;
  }
  ignoreRejection(encoded);
  throw new ListenerError(
    'ENCODE_FAILED',
    'write',
    `PkgHandler.write: expected bytes, a list of bytes, or nothing when it wrote to \`out\`, given ${show(encoded)}`,
  );
}
