/**
 * Numbers, acknowledges and repeats the counted messages of one session, both directions, without sockets and clocks: each side has one
 * Replay, which outlives its connections. See "Counting, resuming" in docs/reference/command-protocol.md. Runs in browsers too.
 */

/** What is kept for a peer that has not acknowledged it. Beyond any of these the oldest message is forgotten, and counted. */
export interface ReplayLimits {
  readonly messages: number;
  readonly bytes: number;
  readonly ageMs: number;
}

/** Numbers go from 1 to this, and then to 1 again. 0 is what stands before the first 1, and so the same as this one. */
const LAST = 0xffffffff;
/** A number further ahead than this is one of the past. */
export const HALF = 0x80000000;
/** Acknowledge after so many. */
const ACK_MESSAGES = 32;
/** Room in the ring of messages at first; it doubles when it is full. MUST be a power of two. */
const RING_SIZE = 16;
/** A larger ring is given back once nothing is kept. */
const LARGE_RING = 1_024;

/** Acknowledge no later than this after the first message that was not. */
export const ACK_DELAY_MS = 1_000;

export function nextSeq(seq: number): number {
  return seq === LAST ? 1 : seq + 1;
}

/** How many steps lead from one number to the other; more than half of all that there are: the second is one of the past. */
export function distance(from: number, to: number): number {
  const steps = (to - from) % LAST;
  return steps < 0 ? steps + LAST : steps;
}

/** Counts what several sessions keep together. */
export interface ReplayTally<T> {
  onKept(message: T): void;
  onDropped(message: T): void;
}

/** The receiving direction: which of the peer's messages have come, and when to say so. */
export class Receipts {
  /** The number that the peer's next counted message has. */
  #expectedSeq = 1;
  /** The last one of the peer's that has come. */
  receivedSeq = 0;
  /** Messages of the peer since the last `takeAck`. */
  unacknowledged = 0;

  /** A connection has been resumed: the peer goes on behind what it was told that we have, unless SEQ says otherwise. */
  resumed(): void {
    this.#expectedSeq = nextSeq(this.receivedSeq);
    this.unacknowledged = 0;
  }

  /** Whether a peer that can repeat from this number on can repeat all that has not come. */
  lacksNothingBefore(seq: number): boolean {
    const ahead = distance(this.receivedSeq, seq);
    return ahead <= 1 || ahead > HALF;
  }

  /** The peer's next counted message has this number. False: it has left some out, which it must not. */
  expect(seq: number): boolean {
    if (seq === 0 || !this.lacksNothingBefore(seq)) return false;
    this.#expectedSeq = seq;
    return true;
  }

  /** A counted message has come. False: it came before, and MUST NOT be handled again. */
  received(): boolean {
    const seq = this.#expectedSeq;
    this.#expectedSeq = nextSeq(seq);
    // Also counted: a peer that repeats what is known has missed an acknowledgement.
    this.unacknowledged++;
    if (distance(this.receivedSeq, seq) !== 1) return false;
    this.receivedSeq = seq;
    return true;
  }

  /** Whether so many messages wait for it that an ACK is to be sent now. One is due `ACK_DELAY_MS` after the first in any case. */
  get isAckDue(): boolean {
    return this.unacknowledged >= ACK_MESSAGES;
  }

  /** The number for an ACK that is sent now. */
  takeAck(): number {
    this.unacknowledged = 0;
    return this.receivedSeq;
  }
}

/** Both directions: this side's messages, kept until the peer has them, and the receipts for the peer's. */
export class Replay<T extends { readonly length: number }> extends Receipts {
  readonly #limits: ReplayLimits;
  readonly #tally: ReplayTally<T> | undefined;
  /** A ring, and beside it when each message came: no object for each message of each client. */
  #ring: (T | undefined)[] = [];
  #timesMs: number[] = [];
  /** Where in the ring the oldest one is. */
  #front = 0;
  #count = 0;
  /** Of the last message counted here. */
  #sentSeq = 0;
  /** Bytes of the messages that are kept. */
  keptBytes = 0;
  /** Messages forgotten although they were not acknowledged. */
  forgotten = 0;

  constructor(limits: ReplayLimits, tally?: ReplayTally<T>) {
    super();
    this.#limits = limits;
    this.#tally = tally;
  }

  /** How many messages are kept. */
  get keptMessages(): number {
    return this.#count;
  }

  /** The number of the message sent last; 0 before the first. */
  get sentSeq(): number {
    return this.#sentSeq;
  }

  /** The number of the oldest message that could be repeated; with none, that of the next one. */
  get oldestSeq(): number {
    const before = this.#sentSeq - this.keptMessages;
    return nextSeq(before < 0 ? before + LAST : before);
  }

  /** Numbers a message and keeps it, whether there is a connection now or not. The message MUST NOT be changed afterwards. */
  sent(message: T, nowMs: number): number {
    this.#sentSeq = nextSeq(this.#sentSeq);
    if (this.#count === this.#ring.length) this.#grow();
    const at = (this.#front + this.#count) & (this.#ring.length - 1);
    this.#ring[at] = message;
    this.#timesMs[at] = nowMs;
    this.#count++;
    this.keptBytes += message.length;
    this.#tally?.onKept(message);
    this.forgetOld(nowMs);
    return this.#sentSeq;
  }

  #grow(): void {
    const messages = [...this.pending()];
    const times = this.#timesMs;
    const size = times.length;
    const doubled = Math.max(RING_SIZE, size * 2);
    this.#timesMs = Array.from({ length: doubled }, (_, at) => times[(this.#front + at) & (size - 1)] ?? 0);
    this.#ring = Array.from({ length: doubled }, (_, at) => messages[at]);
    this.#front = 0;
  }

  /** Brings what is kept within the limits. `sent` does it too. */
  forgetOld(nowMs: number): void {
    const { messages, bytes, ageMs } = this.#limits;
    while (this.#count > 0) {
      if (this.#count <= messages && this.keptBytes <= bytes && nowMs - (this.#timesMs[this.#front] ?? 0) <= ageMs) return;
      this.forgetOldest();
    }
  }

  /** One less is kept, if any. */
  forgetOldest(): void {
    if (this.#count === 0) return;
    this.forgotten++;
    this.#drop();
  }

  /** Keeps nothing any more, because the session is over. */
  clear(): void {
    while (this.#count > 0) this.#drop();
  }

  /** The peer has everything up to `seq`. False: it cannot have, because that was not sent yet. */
  acknowledged(seq: number): boolean {
    const left = distance(seq, this.#sentSeq);
    // What is further back than all that is kept was acknowledged, or forgotten, before; only a number of the future is wrong.
    if (left > HALF) return false;
    while (this.#count > left) this.#drop();
    return true;
  }

  /** Whether a peer that has everything up to `seq` can be given all the rest. */
  canRepeatAfter(seq: number): boolean {
    return distance(seq, this.#sentSeq) <= this.#count;
  }

  /** What is kept, oldest first; `oldestSeq` is the number of the first. Call `acknowledged` before. */
  *pending(): IterableIterator<T> {
    const mask = this.#ring.length - 1;
    for (let index = 0; index < this.#count; index++) {
      const message = this.#ring[(this.#front + index) & mask];
      if (message !== undefined) yield message;
    }
  }

  #drop(): void {
    const message = this.#ring[this.#front];
    this.#ring[this.#front] = undefined;
    this.#front = (this.#front + 1) & (this.#ring.length - 1);
    this.#count--;
    if (message !== undefined) {
      this.keptBytes -= message.length;
      this.#tally?.onDropped(message);
    }
    if (this.#count > 0 || this.#ring.length < LARGE_RING) return;
    this.#ring = [];
    this.#timesMs = [];
    this.#front = 0;
  }
}
