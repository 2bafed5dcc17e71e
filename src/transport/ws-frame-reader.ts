import { isUtf8 } from 'node:buffer';
import { FastBuffer } from '../base/fast-buffer.ts';
import { unmask, wordsOf } from './ws-unmask.ts';

const FIN = 0x80;
const MASKED = 0x80;
const RSV = 0x70;
const OPCODE = 0x0f;
/** RSV bits and opcode. */
const KIND = 0x7f;
const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const PING = 9;
const PONG = 10;
const LENGTH_16 = 126;
const LARGEST_HEADER_BYTES = 14;
const LARGEST_PAYLOAD_BYTES = 2 ** 31 - 1;
const FIRST_PART_BYTES = 4096;
const KEY_BYTES = 4;

/** Who gets what the reader makes of a chunk. */
export interface WsFrameSink {
  /** A whole message, unmasked; lent, as the chunk is. */
  onFrameMessage(payload: Buffer, isText: boolean): void;
  /** Bytes for `ws`, to be used up or copied before the return. */
  passOn(bytes: Buffer): void;
}

/**
 * The short way for what nearly all frames of a WebSocket are: one unfragmented message (RFC 6455 section 5.2), text or binary, without
 * extensions. Whatever else comes, control frames, fragments and every breach of the protocol, goes to `ws` byte for byte, which
 * answers it as if it had read all the rest as well. Text that is not UTF-8 goes there too.
 *
 * ```
 * chunk -> whole simple frame -> unmasked in place, delivered
 *      |-> simple binary frame cut by the end of the chunk -> collected here
 *      |-> any other frame -> `ws`, exactly its bytes
 *      '-> wrong mask bit, too long, behind a close frame -> `ws`, for good
 * ```
 */
export class WsFrameReader {
  /** The largest payload; a longer one goes to `ws`, which refuses it. 0 = no limit. */
  maxPayloadBytes = 0;
  readonly #sink: WsFrameSink;
  /** What a frame of the peer has to have: clients mask (section 5.1). */
  readonly #maskBit: number;
  /** Bytes of a frame that `ws` is reading and that have not come. */
  #owed = 0;
  #isOwedData = false;
  /** A header cut by the end of a chunk. */
  #header: Buffer | undefined;
  /** A binary frame cut by the end of a chunk: its key, and what has come of its payload. */
  #part: Buffer | undefined;
  #partBytes = 0;
  #partTotal = 0;
  /** Parts of a fragmented message have gone to `ws`. */
  #isFragmented = false;
  /** A part of a message has gone to `ws`, which may find fault with it after this chunk only: it gets the rest of the chunk. */
  #isWatched = false;
  /** Everything goes to `ws`. */
  #isGivenUp = false;

  constructor(sink: WsFrameSink, isServer: boolean) {
    this.#sink = sink;
    this.#maskBit = isServer ? MASKED : 0;
  }

  /** Whether a message has begun here and is not complete. */
  get isMidMessage(): boolean {
    return this.#part !== undefined || this.#header !== undefined;
  }

  /** Whether `ws` may be in the middle of one. */
  get isWithWs(): boolean {
    return this.#owed > 0 || this.#isFragmented || this.#isGivenUp;
  }

  read(chunk: Buffer): void {
    const memory = chunk.buffer;
    const words = wordsOf(memory);
    const end = chunk.length;
    let at = 0;
    this.#isWatched = false;
    while (at < end && !this.#isGivenUp) {
      if (this.#owed > 0) at = this.#payOwed(chunk, at);
      else if (this.#part !== undefined) at = this.#fillPart(chunk, at, this.#part);
      else if (this.#header !== undefined) at = this.#completeHeader(chunk, this.#header);
      else at = this.#readFrame(chunk, memory, words, at, end);
    }
    if (at < end) this.#sink.passOn(at === 0 ? chunk : chunk.subarray(at));
  }

  /** Where the next frame begins: behind this one, or `end` when there is more of it to come. */
  #readFrame(chunk: Buffer, memory: ArrayBufferLike, words: Int32Array, at: number, end: number): number {
    const first = chunk[at] as number;
    const second = at + 1 < end ? (chunk[at + 1] as number) : this.#maskBit;
    const short = second & 0x7f;
    const keyAt = at + (short < LENGTH_16 ? 2 : short === LENGTH_16 ? 4 : 10);
    const start = keyAt + (this.#maskBit === 0 ? 0 : 4);
    const kind = first & KIND;
    const isSimple = first >= FIN && (kind === BINARY || kind === TEXT) && !this.#isFragmented;
    if ((second & MASKED) !== this.#maskBit || (!isSimple && at + 1 < end && this.#isLast(first, short))) {
      this.#isGivenUp = true;
      return at;
    }
    if (at + 1 >= end || start > end) {
      this.#header = Buffer.from(chunk.subarray(at));
      return end;
    }
    const length = short < LENGTH_16 ? short : longLength(chunk, at, short);
    if (!this.#isAllowed(length)) {
      this.#isGivenUp = true;
      return at;
    }
    const stop = start + length;
    if (!isSimple || this.#isWatched || (stop > end && kind === TEXT)) return this.#passFrame(chunk, at, stop, first);
    if (stop > end) return this.#beginPart(chunk, keyAt, start, length);
    if (this.#maskBit !== 0) unmask(chunk, words, start, stop, keyAt);
    const payload = new FastBuffer(memory, chunk.byteOffset + start, length);
    if (kind === TEXT && !isUtf8(payload)) {
      if (this.#maskBit !== 0) unmask(chunk, words, start, stop, keyAt);
      this.#isGivenUp = true;
      return at;
    }
    this.#sink.onFrameMessage(payload, kind === TEXT);
    return stop;
  }

  #isAllowed(length: number): boolean {
    return length <= LARGEST_PAYLOAD_BYTES && (this.maxPayloadBytes === 0 || length <= this.maxPayloadBytes);
  }

  // --- what `ws` reads ---

  /** A close frame, behind which nothing counts, or a breach of the protocol, which ends the connection too. */
  #isLast(first: number, short: number): boolean {
    const opcode = first & OPCODE;
    if ((first & RSV) !== 0) return true;
    if (opcode <= BINARY) return this.#isFragmented !== (opcode === CONTINUATION);
    return (opcode !== PING && opcode !== PONG) || first < FIN || short >= LENGTH_16;
  }

  #passFrame(chunk: Buffer, at: number, stop: number, first: number): number {
    const isData = (first & OPCODE) <= BINARY;
    if (isData) this.#isFragmented = first < FIN;
    this.#owed = stop - at;
    this.#isOwedData = isData;
    return this.#payOwed(chunk, at);
  }

  #payOwed(chunk: Buffer, at: number): number {
    const to = Math.min(chunk.length, at + this.#owed);
    this.#owed -= to - at;
    this.#isWatched ||= this.#isOwedData;
    this.#sink.passOn(chunk.subarray(at, to));
    return to;
  }

  // --- frames cut by the end of a chunk ---

  #completeHeader(chunk: Buffer, header: Buffer): number {
    this.#header = undefined;
    const whole = Buffer.concat([header, chunk.subarray(0, LARGEST_HEADER_BYTES - header.length)]);
    // The frame may end in `whole`, with the first bytes of another one behind it.
    const next = this.#readFrame(whole, whole.buffer, wordsOf(whole.buffer), 0, whole.length);
    if (next > 0) return next - header.length;
    this.#sink.passOn(header);
    return 0;
  }

  #beginPart(chunk: Buffer, keyAt: number, start: number, length: number): number {
    const come = chunk.length - start;
    // No memory for an announced length alone.
    const part = Buffer.allocUnsafeSlow(KEY_BYTES + Math.min(length, Math.max(come * 2, FIRST_PART_BYTES)));
    part.set(chunk.subarray(keyAt, start), 0);
    part.set(chunk.subarray(start), KEY_BYTES);
    this.#part = part;
    this.#partBytes = come;
    this.#partTotal = length;
    return chunk.length;
  }

  #fillPart(chunk: Buffer, at: number, part: Buffer): number {
    const to = Math.min(chunk.length, at + this.#partTotal - this.#partBytes);
    const whole = this.#grownPart(part, this.#partBytes + to - at);
    whole.set(chunk.subarray(at, to), KEY_BYTES + this.#partBytes);
    this.#part = whole;
    this.#partBytes += to - at;
    if (this.#partBytes < this.#partTotal) return to;
    this.#part = undefined;
    const end = KEY_BYTES + this.#partTotal;
    if (this.#maskBit !== 0) unmask(whole, wordsOf(whole.buffer), KEY_BYTES, end, 0);
    this.#sink.onFrameMessage(whole.subarray(KEY_BYTES, end), false);
    return to;
  }

  #grownPart(part: Buffer, bytes: number): Buffer {
    if (KEY_BYTES + bytes <= part.length) return part;
    const larger = Buffer.allocUnsafeSlow(KEY_BYTES + Math.min(this.#partTotal, bytes * 2));
    larger.set(part.subarray(0, KEY_BYTES + this.#partBytes));
    return larger;
  }
}

function longLength(chunk: Buffer, at: number, short: number): number {
  if (short === LENGTH_16) return chunk.readUInt16BE(at + 2);
  return chunk.readUInt32BE(at + 2) * 2 ** 32 + chunk.readUInt32BE(at + 6);
}
