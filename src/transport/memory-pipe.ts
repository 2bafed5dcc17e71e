import type { Clock } from '../base/clock.ts';
import { FastBuffer } from '../base/fast-buffer.ts';
import { sharedReadBuffer } from './static-read.ts';

/** How a stream is cut on its way: a chunk for each write, pieces of random size, or single bytes. */
export type MemorySplit = 'none' | 'random' | 'bytes';

/** The network as its pipes see it. */
export interface MemoryEnvironment {
  readonly clock: Clock;
  readonly kind: 'stream' | 'message';
  readonly split: MemorySplit;
  readonly bufferBytes: number;
  readonly poison: boolean;
  random(): number;
  /** Runs the task in the next turn of the event loop, together with all others that wait for it. */
  soon(task: () => void): void;
  onReset(): void;
}

/** The connection that sends into a pipe. */
export interface PipeSource {
  /** All bytes given to `write` were taken, and they were not at once. */
  onTaken(): void;
}

/** The connection that receives from a pipe. */
export interface PipeTarget {
  onArrived(bytes: Buffer): void;
  onEndArrived(): void;
  onResetArrived(): void;
}

interface Segment {
  readonly bytes: Uint8Array;
  readonly arrivesAt: number;
  readonly isEnd: boolean;
  offset: number;
}

const NO_BYTES = Buffer.alloc(0);
/** What delivered memory is overwritten with, so that bytes which were kept without a copy are found out. */
const POISON = 0xdd;
/** As a socket, a stream delivers no more than this at once. */
const READ_BYTES = 65_536;
/** How often a stream split at random stops in the middle, until the next turn. */
const STOP_CHANCE = 0.1;

/**
 * One direction of a link: `write` fills the kernel's buffer, time passes, and the target gets what has arrived, in order, in
 * the next turn of the event loop at the earliest.
 *
 * ```
 * write -> unsent --(room in the buffer)--> segments --(latency)--> target, unless it is paused or stalled -> room again
 * ```
 */
export class MemoryPipe {
  /** Set by the link, which makes pipes before connections. */
  source: PipeSource | undefined;
  target: PipeTarget | undefined;
  /** The target was opened and has not paused. */
  isReading = false;
  /** A test holds the target back. */
  isStalled = false;
  /** Nothing arrives any more. */
  isSilent = false;
  /** The target is closed: what arrives is answered with a reset. */
  isRefusing = false;
  unsentBytes = 0;

  readonly #environment: MemoryEnvironment;
  readonly #latency: () => number;
  readonly #refuse: () => void;
  #unsent: Uint8Array[] = [];
  #segments: Segment[] = [];
  #first = 0;
  #bufferedBytes = 0;
  #lastArrival = 0;
  #resetAt: number | undefined;
  #isScheduled = false;
  #wakeAt = 0;
  #cancelTimer: (() => void) | undefined;
  readonly #pump = (): void => this.#run();

  constructor(environment: MemoryEnvironment, latency: () => number, refuse: () => void) {
    this.#environment = environment;
    this.#latency = latency;
    this.#refuse = refuse;
  }

  /** A batch of a stream, or one message. What does not fit into the buffer is `unsentBytes` until the target has read. */
  write(chunks: readonly Uint8Array[]): void {
    if (this.#environment.kind === 'message') {
      const message = Buffer.concat(chunks);
      if (this.#bufferedBytes < this.#environment.bufferBytes || message.length === 0) {
        this.#push(message, false);
      } else {
        this.#unsent.push(message);
        this.unsentBytes += message.length;
      }
    } else {
      for (const chunk of chunks) {
        this.#unsent.push(chunk);
        this.unsentBytes += chunk.length;
      }
      this.#fill();
    }
    this.schedule();
  }

  /** The end of the stream, behind everything written. */
  end(): void {
    this.#push(NO_BYTES, true);
    this.schedule();
  }

  /** Forgets what was not sent, and resets the target when what was sent has arrived. */
  reset(): void {
    this.abandon();
    this.#resetAt = this.#arrival();
    this.schedule();
  }

  /** Forgets what was not sent. */
  abandon(): void {
    this.#unsent = [];
    this.unsentBytes = 0;
  }

  /** Delivers what has arrived in the next turn, and what has not when it does. */
  schedule(): void {
    if (this.#isScheduled || this.isSilent) return;
    const next = (this.#canDeliver || this.isRefusing ? this.#head?.arrivesAt : undefined) ?? this.#resetAt;
    if (next === undefined || (this.#cancelTimer !== undefined && this.#wakeAt <= next)) return;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    const delay = next - this.#environment.clock.now();
    if (delay > 0) {
      this.#wakeAt = next;
      this.#cancelTimer = this.#environment.clock.after(delay, this.#pump);
    } else {
      this.#isScheduled = true;
      this.#environment.soon(this.#pump);
    }
  }

  get #canDeliver(): boolean {
    return this.isReading && !this.isStalled;
  }

  get #head(): Segment | undefined {
    return this.#segments[this.#first];
  }

  #dropHead(): void {
    this.#first++;
    // Array.shift moves all the rest: cut the used front off only now and then.
    if (this.#first < this.#segments.length && this.#first < 1024) return;
    this.#segments = this.#segments.slice(this.#first);
    this.#first = 0;
  }

  #arrival(): number {
    // Latency that falls must not change the order.
    this.#lastArrival = Math.max(this.#lastArrival, this.#environment.clock.now() + this.#latency());
    return this.#lastArrival;
  }

  #push(bytes: Uint8Array, isEnd: boolean): void {
    this.#segments.push({ bytes, arrivesAt: this.#arrival(), isEnd, offset: 0 });
    this.#bufferedBytes += bytes.length;
  }

  /** Takes as much as the buffer has room for. */
  #fill(): void {
    const room = this.#environment.bufferBytes - this.#bufferedBytes;
    if (this.unsentBytes === 0 || room <= 0) return;
    if (this.#environment.kind === 'message') {
      for (let message = this.#unsent[0]; message !== undefined; message = this.#unsent[0]) {
        if (this.#bufferedBytes >= this.#environment.bufferBytes) return;
        this.#unsent.shift();
        this.unsentBytes -= message.length;
        this.#push(message, false);
      }
      return;
    }
    const bytes = Buffer.allocUnsafe(Math.min(room, this.unsentBytes));
    let filled = 0;
    let used = 0;
    for (const chunk of this.#unsent) {
      const part = chunk.subarray(0, bytes.length - filled);
      bytes.set(part, filled);
      filled += part.length;
      if (part.length < chunk.length) {
        this.#unsent[used] = chunk.subarray(part.length);
        break;
      }
      used++;
    }
    this.#unsent.splice(0, used);
    this.unsentBytes -= filled;
    this.#push(bytes, false);
  }

  #run(): void {
    this.#isScheduled = false;
    this.#cancelTimer = undefined;
    if (this.isSilent) return;
    const wasBlocked = this.unsentBytes > 0;
    const isStopped = this.isRefusing ? this.#discard() : this.#deliver();
    if (wasBlocked) {
      this.#fill();
      if (this.unsentBytes === 0) this.source?.onTaken();
    }
    if (!isStopped && this.#resetAt !== undefined && this.#resetAt <= this.#environment.clock.now()) {
      this.#resetAt = undefined;
      this.#segments = [];
      this.#first = 0;
      this.target?.onResetArrived();
    }
    this.schedule();
  }

  /** Returns whether it stopped by itself in the middle of what could be delivered. */
  #deliver(): boolean {
    const now = this.#environment.clock.now();
    for (let segment = this.#head; segment !== undefined && segment.arrivesAt <= now; segment = this.#head) {
      if (!this.#canDeliver || this.isSilent || this.isRefusing) return false;
      if (segment.isEnd) {
        this.#dropHead();
        this.target?.onEndArrived();
        continue;
      }
      const count = this.#nextCut(segment.bytes.length - segment.offset);
      const from = segment.offset;
      segment.offset += count;
      this.#bufferedBytes -= count;
      if (segment.offset === segment.bytes.length) this.#dropHead();
      this.#lend(segment.bytes.subarray(from, from + count));
      if (this.#environment.split === 'random' && this.#environment.random() < STOP_CHANCE) return true;
    }
    return false;
  }

  /** Lends the bytes from the buffer that all sockets read into, and spoils it afterwards. */
  #lend(bytes: Uint8Array): void {
    const memory = sharedReadBuffer();
    if (bytes.length > memory.length) {
      this.target?.onArrived(Buffer.from(bytes));
      return;
    }
    memory.set(bytes);
    this.target?.onArrived(new FastBuffer(memory.buffer, memory.byteOffset, bytes.length));
    if (this.#environment.poison) memory.fill(POISON, 0, bytes.length);
  }

  #nextCut(available: number): number {
    const { kind, split } = this.#environment;
    if (kind === 'message') return available;
    const most = Math.min(available, READ_BYTES);
    if (split === 'none') return most;
    if (split === 'bytes') return 1;
    const range = this.#environment.random() < 0.5 ? Math.min(most, 8) : most;
    return 1 + Math.floor(this.#environment.random() * range);
  }

  /** The target is closed: what arrives is thrown away, and bytes are answered with a reset. */
  #discard(): false {
    const now = this.#environment.clock.now();
    let hasBytes = false;
    for (let segment = this.#head; segment !== undefined && segment.arrivesAt <= now; segment = this.#head) {
      this.#dropHead();
      this.#bufferedBytes -= segment.bytes.length - segment.offset;
      hasBytes ||= !segment.isEnd;
    }
    if (hasBytes) this.#refuse();
    return false;
  }
}
