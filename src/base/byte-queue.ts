import type { ByteReader } from './byte-reader.ts';
import { ListenerError } from './errors.ts';
import { copyBytes, FastBuffer } from './fast-buffer.ts';

/** Packages up to this size are copied out of the receive buffer many at a time, into slabs that they share. */
const SLAB_PACKAGE_BYTES = 2048;
const SLAB_BYTES = 32_768;
const NO_BYTES = Buffer.alloc(0);

/**
 * The slab shared by all queues of the process. `slabOwner` is the queue that copied a run of its chunk in last: positions
 * [slabFrom, slabTo) of its chunk stand in the slab `slabShift` further on.
 */
let slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
let slabMemory: ArrayBufferLike = slab.buffer;
let slabUsed = 0;
let slabOwner: ByteQueue | undefined;
let slabFrom = 0;
let slabTo = 0;
let slabShift = 0;

/**
 * Received bytes, contiguous in front. A chunk is *offered* as a loan: it is parsed in place, and what is left of it when the
 * loan ends is copied by `retain`. A package cut by a chunk border is completed by copying only the bytes it lacks; the rest
 * of the new chunk is again parsed in place. One queue holds at most one run of its own, however small the pieces came in.
 */
export class ByteQueue implements ByteReader {
  examined = 0;
  state = 0;
  isMessage = false;
  isText = false;
  /** Whether the bytes offered are in memory that nobody else uses, so that a package of all of them needs no copy. */
  isOwned = false;
  /** Bytes consumed or given up in all; the decode loop compares it to see what one `read` took. */
  consumed = 0;
  #bytes: Buffer = NO_BYTES;
  #start = 0;
  #end = 0;
  /** Whether #bytes is ours (a copy) or on loan. */
  #owned = false;
  #needed = 0;
  #toDiscard = 0;
  /** A chunk on loan whose front is being copied behind an owned remainder. */
  #next: Buffer | undefined;
  #nextAt = 0;

  get length(): number {
    return this.#end - this.#start;
  }

  /** All unread bytes, those behind the contiguous front included. */
  get totalLength(): number {
    return this.#end - this.#start + (this.#next === undefined ? 0 : this.#next.length - this.#nextAt);
  }

  /** Whether it is worth asking a handler: there are bytes, and as many as it said it needs. */
  get isReadable(): boolean {
    const length = this.#end - this.#start;
    return length > 0 && length >= this.#needed;
  }

  /** Whether nothing is held and nothing remembered, as in a new queue. */
  get isPristine(): boolean {
    return this.totalLength === 0 && this.#toDiscard === 0 && this.#needed === 0 && this.state === 0;
  }

  /** What the last `need()` asked for; 0 when nothing was asked since bytes were consumed. */
  get needed(): number {
    return this.#needed;
  }

  /** How many bytes that have not arrived yet will be dropped on arrival. */
  get discarding(): number {
    return this.#toDiscard;
  }

  // --- filling ---

  /** Lends a chunk; the loan ends with `retain`. */
  offer(chunk: Buffer): void {
    let at = 0;
    if (this.#toDiscard > 0) {
      at = Math.min(this.#toDiscard, chunk.length);
      this.#toDiscard -= at;
      if (at === chunk.length) return;
    }
    if (slabOwner === this) slabOwner = undefined;
    if (this.#start === this.#end) {
      this.#bytes = chunk;
      this.#start = at;
      this.#end = chunk.length;
      this.#owned = false;
      return;
    }
    if (this.#next !== undefined || !this.#owned) this.retain();
    this.#next = chunk;
    this.#nextAt = 0;
  }

  /** Moves more of the lent chunk behind the contiguous front; false when there is none. */
  pull(): boolean {
    const next = this.#next;
    if (next === undefined) return false;
    const left = next.length - this.#nextAt;
    if (left === 0) {
      this.#next = undefined;
      return false;
    }
    const lacking = this.#needed > this.length ? this.#needed - this.length : Math.max(this.length, 1024);
    const count = Math.min(left, lacking);
    this.#append(next, this.#nextAt, count);
    this.#nextAt += count;
    return true;
  }

  /** Moves more of the lent chunk to the front; whether it is worth asking a handler then. */
  pullReadable(): boolean {
    return this.pull() && this.isReadable;
  }

  /** Ends the loan: what is unread is copied. */
  retain(): void {
    const next = this.#next;
    if (next !== undefined) {
      this.#next = undefined;
      if (this.#nextAt < next.length) this.#append(next, this.#nextAt, next.length - this.#nextAt);
    }
    if (this.#start === this.#end) {
      this.#dropMemory();
    } else if (!this.#owned) {
      const rest = this.length;
      // A cut package will grow: room for what it said it needs saves a second copy, but never more than twice what is here.
      const copy = Buffer.allocUnsafe(Math.max(rest, Math.min(this.#needed, rest * 2)));
      copy.set(this.#bytes.subarray(this.#start, this.#end));
      this.#adoptOwn(copy, rest);
    }
  }

  /** Forgets all bytes. */
  clear(): void {
    this.#dropMemory();
    this.#next = undefined;
    this.#needed = 0;
    this.examined = 0;
  }

  /** Forgets what a handler has noted, and that there were messages: what comes next is another stream. */
  forget(): void {
    this.state = 0;
    this.#toDiscard = 0;
    this.isMessage = false;
    this.isText = false;
    this.isOwned = false;
  }

  #dropMemory(): void {
    if (slabOwner === this) slabOwner = undefined;
    this.#bytes = NO_BYTES;
    this.#start = 0;
    this.#end = 0;
    this.#owned = false;
  }

  #append(source: Buffer, from: number, count: number): void {
    const length = this.length;
    if (!this.#owned || this.#end + count > this.#bytes.length) {
      const wanted = length + count;
      const copy = Buffer.allocUnsafe(wanted <= this.#needed ? Math.min(this.#needed, wanted * 2) : wanted * 2);
      copy.set(this.#bytes.subarray(this.#start, this.#end));
      this.#adoptOwn(copy, length);
    }
    this.#bytes.set(source.subarray(from, from + count), this.#end);
    this.#end += count;
    if (slabOwner === this) slabOwner = undefined;
  }

  #adoptOwn(copy: Buffer, length: number): void {
    if (slabOwner === this) slabOwner = undefined;
    this.#bytes = copy;
    this.#start = 0;
    this.#end = length;
    this.#owned = true;
  }

  // --- looking ---

  uint8At(offset: number): number {
    const byte = this.#bytes[this.#start + offset];
    if (byte === undefined || offset >= this.#end - this.#start || offset < 0) throw this.#outOfRange(offset, 1);
    return byte;
  }

  uint16At(offset: number, littleEndian?: boolean): number {
    const at = this.#check(offset, 2);
    return littleEndian ? this.#byte(at) | (this.#byte(at + 1) << 8) : (this.#byte(at) << 8) | this.#byte(at + 1);
  }

  uint24At(offset: number, littleEndian?: boolean): number {
    const at = this.#check(offset, 3);
    const [a, b, c] = [this.#byte(at), this.#byte(at + 1), this.#byte(at + 2)];
    return littleEndian ? a | (b << 8) | (c << 16) : (a << 16) | (b << 8) | c;
  }

  uint32At(offset: number, littleEndian?: boolean): number {
    const at = this.#check(offset, 4);
    const bytes = this.#bytes;
    if (littleEndian) return bytes.readUInt32LE(at);
    const high = ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
    const low = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);
    return ((high << 16) | low) >>> 0;
  }

  uint64At(offset: number, littleEndian?: boolean): bigint {
    const at = this.#check(offset, 8);
    return littleEndian ? this.#bytes.readBigUInt64LE(at) : this.#bytes.readBigUInt64BE(at);
  }

  indexOf(value: number | Uint8Array, from = 0): number {
    if (from >>> 0 !== from) throw this.#outOfRange(from, 1);
    const bytes = this.#bytes;
    const end = this.#end;
    // A run of our own has room behind the received bytes: searching that too would make a drip-fed package quadratic.
    const received = bytes.length === end ? bytes : new FastBuffer(bytes.buffer, bytes.byteOffset, end);
    const found = received.indexOf(value, this.#start + from);
    return found === -1 ? -1 : found - this.#start;
  }

  // --- consuming ---

  readBytes(count: number, skip = 0): Buffer {
    const at = this.#check(skip, count);
    if (this.isOwned && count > 0 && count === this.#bytes.length) return this.#readWhole(count);
    if (count > SLAB_PACKAGE_BYTES || count === 0) return this.#readAlone(at, skip, count);
    if (slabOwner !== this || at < slabFrom || at + count > slabTo) this.#fillSlab(at, count);
    this.#consume(skip + count);
    return new FastBuffer(slabMemory, at + slabShift, count);
  }

  #readWhole(count: number): Buffer {
    const whole = this.#bytes;
    this.#consume(count);
    return whole;
  }

  #readAlone(at: number, skip: number, count: number): Buffer {
    const result = count === 0 ? NO_BYTES : Buffer.allocUnsafeSlow(count);
    if (count > 0) result.set(new FastBuffer(this.#bytes.buffer, this.#bytes.byteOffset + at, count));
    this.#consume(skip + count);
    return result;
  }

  readView(count: number, skip = 0): Buffer {
    const at = this.#check(skip, count);
    const result = new FastBuffer(this.#bytes.buffer, this.#bytes.byteOffset + at, count);
    this.#consume(skip + count);
    return result;
  }

  readString(count: number, encoding: BufferEncoding = 'utf8'): string {
    const at = this.#check(0, count);
    const text = this.#bytes.toString(encoding, at, at + count);
    this.#consume(count);
    return text;
  }

  skip(count: number): void {
    this.#check(0, count);
    this.#consume(count);
  }

  discard(count: number): void {
    if (!Number.isSafeInteger(count) || count < 0) throw this.#outOfRange(0, count);
    let left = count;
    const front = Math.min(left, this.length);
    left -= front;
    const next = this.#next;
    if (left > 0 && next !== undefined) {
      const behind = Math.min(left, next.length - this.#nextAt);
      this.#nextAt += behind;
      left -= behind;
    }
    this.#toDiscard += left;
    this.consumed += count - front;
    this.#consume(front);
  }

  need(count: number): undefined {
    // Not a number of bytes, it could be compared with no limit, and the queue would grow for ever.
    if (!Number.isInteger(count) || count < 0) throw this.#outOfRange(0, count);
    this.#needed = count;
    return undefined;
  }

  #consume(count: number): void {
    this.#start += count;
    this.consumed += count;
    this.examined = 0;
    this.#needed = 0;
    if (this.#next !== undefined) this.#goOnInNext(this.#next);
  }

  /** When all that is left came from the lent chunk, it is read in place there. */
  #goOnInNext(next: Buffer): void {
    const left = this.#end - this.#start;
    if (left > this.#nextAt) return;
    if (slabOwner === this) slabOwner = undefined;
    this.#start = this.#nextAt - left;
    this.#bytes = next;
    this.#end = next.length;
    this.#owned = false;
    this.#next = undefined;
  }

  /** Copies a run of the chunk, beginning at the package in front, into the slab: one copy for all small packages in it. */
  #fillSlab(at: number, count: number): void {
    const available = this.#end - at;
    if (SLAB_BYTES - slabUsed < Math.max(count, Math.min(available, SLAB_PACKAGE_BYTES))) {
      slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      slabMemory = slab.buffer;
      slabUsed = 0;
    }
    const run = Math.min(available, SLAB_BYTES - slabUsed);
    copyBytes(slab, new FastBuffer(this.#bytes.buffer, this.#bytes.byteOffset + at, run), slabUsed);
    slabOwner = this;
    slabFrom = at;
    slabTo = at + run;
    slabShift = slabUsed - at;
    slabUsed += run;
  }

  #byte(at: number): number {
    return this.#bytes[at] as number;
  }

  #check(offset: number, count: number): number {
    // `>>> 0` changes whatever is not a whole number from 0 on: a fraction, a negative number, NaN.
    if (count >>> 0 !== count || offset >>> 0 !== offset || offset + count > this.#end - this.#start) throw this.#outOfRange(offset, count);
    return this.#start + offset;
  }

  #outOfRange(offset: number, count: number): ListenerError {
    const message = `PkgHandler.read asked for ${count} byte(s) at ${offset}, but ${this.length} are there`;
    return new ListenerError('READ_OUT_OF_RANGE', 'read', message);
  }
}
