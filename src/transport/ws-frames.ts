import { randomFillSync } from 'node:crypto';
import { copyBytes, FastBuffer } from '../base/fast-buffer.ts';

/** Frames of one turn leave at 64 KiB; one more message that is copied and its header still fit behind that. */
const SLAB_BYTES = 98_304;
/** Up to this size a message is copied behind the others; from there on it is sent where it is. */
export const COPY_BYTES = 16_384;
const LARGEST_HEADER_BYTES = 14;
const MASK_POOL_BYTES = 8192;

const FIN_TEXT = 0x81;
const FIN_BINARY = 0x82;
const MASKED = 0x80;
const LENGTH_16 = 126;
const LENGTH_64 = 127;

/** Frames of all connections are put together here. `users` have frames in it that have not been handed over yet. */
let slab: Buffer = Buffer.alloc(0);
let used = 0;
let users = 0;

/** Shared, and never changed. */
const NO_CHUNKS: Uint8Array[] = [];

/**
 * The frames (RFC 6455 section 5.2) that one connection sends in one turn, without fragments and without compression. A server sends
 * payloads as they are; those of a client are masked, and so always copied.
 */
export class FrameGatherer {
  /** With headers: what waits here. */
  bytes = 0;
  readonly #isMasked: boolean;
  #chunks: Uint8Array[] = NO_CHUNKS;
  /** The frames being put together, from #start to #end of a slab. */
  #slab: Buffer | undefined;
  #start = 0;
  #end = 0;

  constructor(isMasked: boolean) {
    this.#isMasked = isMasked;
  }

  /** Whether a frame may be sent to several peers: each masked one is different. */
  get canShare(): boolean {
    return !this.#isMasked;
  }

  /** One message. Its chunks may be changed afterwards, unless they are together larger than COPY_BYTES. */
  add(chunks: readonly Uint8Array[], size: number, isText: boolean): void {
    if (size <= COPY_BYTES) {
      this.#copy(chunks, size, isText);
    } else if (this.#isMasked) {
      const frame = Buffer.allocUnsafe(size + LARGEST_HEADER_BYTES);
      const end = writeFrame(frame, 0, chunks, size, isText, true);
      this.append(frame.subarray(0, end));
    } else {
      const at = this.#reserve(LARGEST_HEADER_BYTES);
      this.#advance(writeHeader(slab, at, size, isText, false));
      for (const chunk of chunks) this.append(chunk);
    }
  }

  /** What is a frame already, or a part of one; passed on by reference. */
  append(bytes: Uint8Array): void {
    this.#closeRun();
    this.#put(bytes);
    this.bytes += bytes.length;
  }

  /** All frames, in order; empty afterwards. `isCopied`: in memory of their own, because they are still needed after the write. */
  take(isCopied: boolean): readonly Uint8Array[] {
    this.#closeRun();
    const chunks = this.#chunks;
    this.#chunks = NO_CHUNKS;
    this.bytes = 0;
    if (!isCopied) return chunks;
    const copies = chunks.map((chunk) => (chunk.buffer === slab.buffer ? Buffer.from(chunk) : chunk));
    this.release(true);
    return copies;
  }

  /** After `take`: whether the memory of the frames is free again, or belongs to the socket now. */
  release(isFree: boolean): void {
    if (this.#slab === undefined) return;
    const isCurrent = this.#slab === slab;
    this.#slab = undefined;
    if (!isCurrent) return;
    users--;
    if (!isFree) renewSlab();
    else if (users === 0) used = 0;
  }

  /** Forgets everything. */
  clear(): void {
    this.take(false);
    this.release(true);
  }

  #copy(chunks: readonly Uint8Array[], size: number, isText: boolean): void {
    const at = this.#reserve(size + LARGEST_HEADER_BYTES);
    this.#advance(writeFrame(slab, at, chunks, size, isText, this.#isMasked));
  }

  /** Makes room behind what stands in the slab, and goes on there. */
  #reserve(size: number): number {
    if (used + size > slab.length) renewSlab();
    if (this.#slab === slab && this.#end === used) return used;
    this.#closeRun();
    if (this.#slab !== slab) {
      this.#slab = slab;
      users++;
    }
    this.#start = used;
    this.#end = used;
    return used;
  }

  #advance(end: number): void {
    this.bytes += end - this.#end;
    this.#end = end;
    used = end;
  }

  /** Usually there is one: pushed to an empty array it would take room for seventeen. */
  #put(chunk: Uint8Array): void {
    if (this.#chunks.length === 0) this.#chunks = [chunk];
    else this.#chunks.push(chunk);
  }

  #closeRun(): void {
    if (this.#slab === undefined || this.#end === this.#start) return;
    this.#put(new FastBuffer(this.#slab.buffer, this.#slab.byteOffset + this.#start, this.#end - this.#start));
    this.#start = this.#end;
  }
}

/** Who has frames in the old slab keeps it. */
function renewSlab(): void {
  slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  used = 0;
  users = 0;
}

let framed: { readonly payload: Uint8Array; readonly isText: boolean; readonly frame: Buffer } | undefined;

/** The frame of a message that goes to many peers of a server: made once while one broadcast lasts. */
export function sharedFrame(payload: Uint8Array, isText: boolean): Buffer {
  if (framed !== undefined && framed.payload === payload && framed.isText === isText) return framed.frame;
  const memory = Buffer.allocUnsafeSlow(payload.length + LARGEST_HEADER_BYTES);
  const frame = memory.subarray(0, writeFrame(memory, 0, [payload], payload.length, isText, false));
  if (framed === undefined) process.nextTick(forgetFrame);
  framed = { payload, isText, frame };
  return frame;
}

function forgetFrame(): void {
  framed = undefined;
}

/** Returns where the frame ends. */
function writeFrame(target: Buffer, at: number, chunks: readonly Uint8Array[], size: number, isText: boolean, isMasked: boolean): number {
  const start = writeHeader(target, at, size, isText, isMasked);
  let end = start;
  for (const chunk of chunks) {
    copyBytes(target, chunk, end);
    end += chunk.length;
  }
  if (isMasked) mask(target, start, end);
  return end;
}

/** Returns where the payload begins. */
function writeHeader(target: Buffer, at: number, size: number, isText: boolean, isMasked: boolean): number {
  const maskBit = isMasked ? MASKED : 0;
  let end = at + 2;
  target[at] = isText ? FIN_TEXT : FIN_BINARY;
  if (size < LENGTH_16) {
    target[at + 1] = maskBit | size;
  } else if (size < 65_536) {
    target[at + 1] = maskBit | LENGTH_16;
    end = target.writeUInt16BE(size, end);
  } else {
    target[at + 1] = maskBit | LENGTH_64;
    end = target.writeUInt32BE(Math.floor(size / 2 ** 32), end);
    end = target.writeUInt32BE(size % 2 ** 32, end);
  }
  return isMasked ? writeMask(target, end) : end;
}

const maskPool = Buffer.alloc(MASK_POOL_BYTES);
let maskAt = MASK_POOL_BYTES;

/** A new key for each frame, which nobody can foresee (RFC 6455 section 5.3). */
function writeMask(target: Buffer, at: number): number {
  if (maskAt === MASK_POOL_BYTES) {
    randomFillSync(maskPool);
    maskAt = 0;
  }
  for (let i = 0; i < 4; i++) target[at + i] = maskPool[maskAt++] ?? 0;
  return at + 4;
}

/** XORs the payload with the key in front of it, four bytes at a time where there are many. */
function mask(target: Buffer, start: number, end: number): void {
  const key = start - 4;
  let at = start;
  if (end - start >= 64) {
    while (((target.byteOffset + at) & 3) !== 0) {
      target[at] = (target[at] ?? 0) ^ (target[key + ((at - start) & 3)] ?? 0);
      at++;
    }
    const words = new Uint32Array(target.buffer, target.byteOffset + at, (end - at) >>> 2);
    const rotated = Buffer.alloc(4);
    for (let i = 0; i < 4; i++) rotated[i] = target[key + ((at - start + i) & 3)] ?? 0;
    const word = new Uint32Array(rotated.buffer, rotated.byteOffset, 1)[0] ?? 0;
    for (let i = 0; i < words.length; i++) words[i] = (words[i] ?? 0) ^ word;
    at += words.length * 4;
  }
  for (; at < end; at++) target[at] = (target[at] ?? 0) ^ (target[key + ((at - start) & 3)] ?? 0);
}
