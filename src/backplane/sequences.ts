import type { Position } from './frame.ts';

/** A beat tells of so many bytes of topics at most; the others follow with the next one. */
const MAX_BEAT_BYTES = 65_536;
/** Topics that a beat tells of although they were not used, in turn, because an earlier beat may be lost. */
const IDLE_PER_BEAT = 32;

/** What `accept` and `reach` answer for a topic that is heard of for the first time, and on which more was sent before. */
export const UNKNOWN = -2;

interface Counter {
  readonly stream: number;
  seq: number;
}

/**
 * Numbers what this node sends on each topic. Bounded: the topic that was begun first is forgotten, and begins a new stream when it is
 * used again.
 */
export class SentSequences {
  readonly #max: number;
  readonly #counters = new Map<string, Counter>();
  /** Used since the last beat. */
  readonly #used = new Set<string>();
  #idle: IterableIterator<string> = new Map<string, Counter>().keys();
  #streams = 0;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#counters.size;
  }

  next(topic: string): Position {
    let counter = this.#counters.get(topic);
    if (counter === undefined) {
      if (this.#counters.size >= this.#max) this.#forgetOldest();
      this.#streams = (this.#streams + 1) >>> 0;
      counter = { stream: this.#streams, seq: 0 };
      this.#counters.set(topic, counter);
    }
    counter.seq = (counter.seq + 1) >>> 0;
    this.#used.add(topic);
    return counter;
  }

  /** Where topics stand: those that were used since they were told last, and some others. */
  forBeat(): (readonly [string, Position])[] {
    const told: (readonly [string, Position])[] = [];
    let bytes = 0;
    for (const topic of this.#used) {
      bytes += topic.length * 3 + 10;
      if (bytes > MAX_BEAT_BYTES) return told;
      this.#used.delete(topic);
      const counter = this.#counters.get(topic);
      if (counter !== undefined) told.push([topic, counter]);
    }
    for (let count = Math.min(IDLE_PER_BEAT, this.#counters.size - told.length); count > 0; count--) {
      const topic = this.#nextIdle();
      const counter = topic === undefined ? undefined : this.#counters.get(topic);
      if (topic !== undefined && counter !== undefined) told.push([topic, counter]);
    }
    return told;
  }

  /** Round and round; a map may change meanwhile. */
  #nextIdle(): string | undefined {
    let next = this.#idle.next();
    if (next.done === true) {
      this.#idle = this.#counters.keys();
      next = this.#idle.next();
    }
    return next.done === true ? undefined : next.value;
  }

  #forgetOldest(): void {
    for (const topic of this.#counters.keys()) {
      this.#counters.delete(topic);
      this.#used.delete(topic);
      return;
    }
  }
}

/** Follows the numbers of one other node. Bounded by what this node subscribed to. */
export class ReceivedSequences {
  readonly #counters = new Map<string, Counter>();

  /** How many are missing before this message; -1 when it was here before; UNKNOWN. */
  accept(topic: string, { stream, seq }: Position): number {
    const last = this.#counters.get(topic);
    if (last === undefined || isLater(stream, last.stream)) {
      this.#counters.set(topic, { stream, seq });
      if (last === undefined && seq > 1) return UNKNOWN;
      return seq - 1;
    }
    if (last.stream !== stream || !isLater(seq, last.seq)) return -1;
    const missing = ((seq - last.seq) >>> 0) - 1;
    last.seq = seq;
    return missing;
  }

  /** How many are missing when the sender says that it has come so far; UNKNOWN. */
  reach(topic: string, { stream, seq }: Position): number {
    const last = this.#counters.get(topic);
    if (last !== undefined && last.stream === stream && last.seq === seq) return 0;
    const missing = this.accept(topic, { stream, seq });
    if (last === undefined) return UNKNOWN;
    return missing === -1 ? 0 : missing + 1;
  }

  forget(topic: string): void {
    this.#counters.delete(topic);
  }
}

/** Numbers of 32 bits that begin anew after the last one. */
function isLater(a: number, b: number): boolean {
  return a !== b && (a - b) >>> 0 < 0x8000_0000;
}
