import { StateError } from './errors.ts';
import { viewOf } from './fast-buffer.ts';
import { show } from './option.ts';

/** A batch is flushed at 64 KiB, and what does not fit into the rest is passed by reference. */
const INITIAL_BYTES = 73_728;
/** From this size on, bytes are sent where they are instead of being copied behind the others. */
const REFERENCE_BYTES = 8192;

let reusedMemory: ArrayBufferLike | undefined;

/** Tells every writer that views of this memory (the shared read buffer) change soon, so they MUST be copied at any size. */
export function neverReference(memory: ArrayBufferLike): void {
  reusedMemory = memory;
}

/**
 * Where `PkgHandler.write` may put an encoded package, straight into the bytes that leave with this batch: nothing is
 * allocated for a small package. Large byte arrays are passed on by reference and MUST NOT be changed afterwards.
 */
export class ByteWriter {
  #buffer: Buffer | undefined;
  /** Where the bytes begin that are not yet in #chunks. */
  #runStart = 0;
  #end = 0;
  #chunks: Uint8Array[] = [];
  #chunkBytes = 0;
  #packageRun = 0;
  #packageChunks = 0;
  #packageStartLength = 0;
  #packageChunkBytes = 0;
  /** The chunk that holds what the package wrote before its first large byte array, and what stood before the package there. */
  #firstRun: Buffer | undefined;

  /** Bytes of the package being written. */
  get length(): number {
    return this.batchLength - this.#packageStartLength;
  }

  // --- for PkgHandler.write ---

  writeUint8(value: number): void {
    const at = this.#reserve(1);
    this.#memory()[at] = value;
  }

  writeUint16(value: number, littleEndian?: boolean): void {
    const at = this.#reserve(2);
    put16(this.#memory(), at, value, littleEndian);
  }

  writeUint24(value: number, littleEndian?: boolean): void {
    const at = this.#reserve(3);
    const buffer = this.#memory();
    buffer[at + (littleEndian ? 2 : 0)] = value >>> 16;
    buffer[at + 1] = value >>> 8;
    buffer[at + (littleEndian ? 0 : 2)] = value;
  }

  writeUint32(value: number, littleEndian?: boolean): void {
    const at = this.#reserve(4);
    put32(this.#memory(), at, value, littleEndian);
  }

  /** 8 bytes, unsigned. */
  writeUint64(value: bigint, littleEndian?: boolean): void {
    const at = this.#reserve(8);
    if (littleEndian) this.#memory().writeBigUInt64LE(value, at);
    else this.#memory().writeBigUInt64BE(value, at);
  }

  writeBytes(bytes: Uint8Array): void {
    if (bytes.length >= REFERENCE_BYTES && bytes.buffer !== reusedMemory) {
      this.#endRun();
      this.#chunks.push(bytes);
      this.#chunkBytes += bytes.length;
      return;
    }
    const at = this.#reserve(bytes.length);
    this.#memory().set(bytes, at);
  }

  /** Returns the number of bytes that the text took. */
  writeString(text: string, encoding: BufferEncoding = 'utf8'): number {
    // UTF-8 needs at most three bytes for a UTF-16 unit: cheaper to reserve than to count.
    const most = text.length <= 1024 ? text.length * 3 : Buffer.byteLength(text, encoding);
    const at = this.#reserve(most);
    const count = this.#memory().write(text, at, most, encoding);
    this.#end = at + count;
    return count;
  }

  /** Overwrites bytes already written to this package, for a length that is known late. MUST lie before any large byte array. */
  setUint16At(offset: number, value: number, littleEndian?: boolean): void {
    const at = this.#positionOf(offset, 2);
    put16(this.#firstRun ?? this.#memory(), at, value, littleEndian);
  }

  setUint32At(offset: number, value: number, littleEndian?: boolean): void {
    const at = this.#positionOf(offset, 4);
    put32(this.#firstRun ?? this.#memory(), at, value, littleEndian);
  }

  // --- for connections ---

  /** Bytes of the whole batch. */
  get batchLength(): number {
    return this.#chunkBytes + this.#end - this.#runStart;
  }

  beginPackage(): void {
    this.#packageRun = this.#end;
    this.#packageChunks = this.#chunks.length;
    this.#packageStartLength = this.batchLength;
    this.#packageChunkBytes = this.#chunkBytes;
    this.#firstRun = undefined;
  }

  /** Takes back everything since `beginPackage`. */
  cancelPackage(): void {
    if (this.#chunks.length > this.#packageChunks) {
      // The run that the package began in was closed by a reference: cut it back to where the package began.
      this.#chunks.length = this.#packageChunks;
      this.#chunkBytes = this.#packageStartLength;
      const kept = this.#packageStartLength - this.#packageChunkBytes;
      if (kept > 0 && this.#firstRun !== undefined) this.#chunks.push(this.#firstRun.subarray(0, kept));
      this.#firstRun = undefined;
      this.#end = this.#runStart;
    } else {
      this.#end = this.#packageRun;
    }
  }

  /** The batch as chunks in order; the writer is empty afterwards, and its memory in use until `reuse` or `release`. */
  take(): readonly Uint8Array[] {
    this.#endRun();
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#chunkBytes = 0;
    this.#packageStartLength = 0;
    this.#firstRun = undefined;
    return chunks;
  }

  /** A copy of the batch in memory of its own, made for a connection that must wait. The writer is empty afterwards. */
  takeCopies(): readonly Uint8Array[] {
    const own = this.#buffer?.buffer;
    const copies = this.take().map((chunk) => (chunk.buffer === own ? Buffer.from(chunk) : chunk));
    this.reuse();
    return copies;
  }

  /** The taken chunks have been sent: their memory may be overwritten. */
  reuse(): void {
    this.#runStart = 0;
    this.#end = 0;
    if (this.#buffer !== undefined && this.#buffer.length > INITIAL_BYTES) this.#buffer = undefined;
  }

  /** The taken chunks are still being sent: their memory belongs to the socket now. */
  release(): void {
    this.#runStart = 0;
    this.#end = 0;
    this.#buffer = undefined;
  }

  // --- private ---

  #memory(): Buffer {
    this.#buffer ??= Buffer.allocUnsafeSlow(INITIAL_BYTES);
    return this.#buffer;
  }

  #reserve(count: number): number {
    const at = this.#end;
    if (at + count > this.#memory().length) return this.#grow(count);
    this.#end = at + count;
    return at;
  }

  #grow(count: number): number {
    const run = this.#memory().subarray(this.#runStart, this.#end);
    const larger = Buffer.allocUnsafeSlow(Math.max(INITIAL_BYTES, (run.length + count) * 2));
    larger.set(run);
    this.#packageRun = Math.max(0, this.#packageRun - this.#runStart);
    this.#buffer = larger;
    this.#runStart = 0;
    this.#end = run.length + count;
    return run.length;
  }

  #endRun(): void {
    if (this.#end === this.#runStart) return;
    const buffer = this.#memory();
    const count = this.#end - this.#runStart;
    const run = viewOf(buffer.buffer, buffer.byteOffset + this.#runStart, count);
    if (this.#chunks.length === this.#packageChunks) this.#firstRun = run;
    this.#chunks.push(run);
    this.#chunkBytes += count;
    this.#runStart = this.#end;
  }

  /** Where `count` bytes of the package stand, in #firstRun if there is one, otherwise in #memory. */
  #positionOf(offset: number, count: number): number {
    const firstRun = this.#firstRun;
    const start = firstRun === undefined ? this.#packageRun : this.#packageStartLength - this.#packageChunkBytes;
    const isOnlyReferences = firstRun === undefined && this.#chunks.length > this.#packageChunks;
    if (offset >>> 0 !== offset || isOnlyReferences || start + offset + count > (firstRun?.length ?? this.#end)) {
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
    buffer[at] = value;
    buffer[at + 1] = value >>> 8;
    buffer[at + 2] = value >>> 16;
    buffer[at + 3] = value >>> 24;
  } else {
    buffer[at] = value >>> 24;
    buffer[at + 1] = value >>> 16;
    buffer[at + 2] = value >>> 8;
    buffer[at + 3] = value;
  }
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
  throw new StateError(
    'NO_PACKAGE',
    `PkgHandler.write: expected bytes, a list of bytes, or nothing when it wrote to \`out\`, given ${show(encoded)}`,
  );
}
