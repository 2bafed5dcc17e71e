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
const HALF = 0x80000000;
/** Acknowledge after so many. */
const ACK_MESSAGES = 32;
/** Forgotten entries at the front of the list before they are moved out of it. */
const COMPACT = 256;

/** Acknowledge no later than this after the first message that was not. */
export const ACK_DELAY_MS = 1_000;

export function nextSeq(seq: number): number {
  return seq === LAST ? 1 : seq + 1;
}

/** How many steps lead from one number to the other. */
function distance(from: number, to: number): number {
  const steps = (to - from) % LAST;
  return steps < 0 ? steps + LAST : steps;
}

interface Kept<T> {
  readonly message: T;
  readonly atMs: number;
}

export class Replay<T extends { readonly length: number }> {
  readonly #limits: ReplayLimits;
  #kept: (Kept<T> | undefined)[] = [];
  /** Where in #kept the oldest one is. */
  #front = 0;
  /** Of the last message counted here. */
  #sentSeq = 0;
  /** The number that the peer's next counted message has. */
  #expectedSeq = 1;
  /** Bytes of the messages that are kept. */
  keptBytes = 0;
  /** Messages forgotten although they were not acknowledged. */
  forgotten = 0;
  /** The last one of the peer's that has come. */
  receivedSeq = 0;
  /** Messages of the peer since the last `takeAck`. */
  unacknowledged = 0;

  constructor(limits: ReplayLimits) {
    this.#limits = limits;
  }

  // --- sending ---

  /** How many messages are kept. */
  get keptMessages(): number {
    return this.#kept.length - this.#front;
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
    this.#kept.push({ message, atMs: nowMs });
    this.keptBytes += message.length;
    this.forgetOld(nowMs);
    return this.#sentSeq;
  }

  /** Brings what is kept within the limits. `sent` does it too. */
  forgetOld(nowMs: number): void {
    const { messages, bytes, ageMs } = this.#limits;
    for (let oldest = this.#kept[this.#front]; oldest !== undefined; oldest = this.#kept[this.#front]) {
      if (this.keptMessages <= messages && this.keptBytes <= bytes && nowMs - oldest.atMs <= ageMs) return;
      this.forgotten++;
      this.#drop(oldest);
    }
  }

  /** The peer has everything up to `seq`. False: it cannot have, because that was not sent yet. */
  acknowledged(seq: number): boolean {
    const left = distance(seq, this.#sentSeq);
    // What is further back than all that is kept was acknowledged, or forgotten, before; only a number of the future is wrong.
    if (left > HALF) return false;
    for (let oldest = this.#kept[this.#front]; oldest !== undefined && this.keptMessages > left; oldest = this.#kept[this.#front]) {
      this.#drop(oldest);
    }
    return true;
  }

  /** Whether a peer that has everything up to `seq` can be given all the rest. */
  canRepeatAfter(seq: number): boolean {
    return distance(seq, this.#sentSeq) <= this.keptMessages;
  }

  /** What is kept, oldest first; `oldestSeq` is the number of the first. Call `acknowledged` before. */
  *pending(): IterableIterator<T> {
    for (let at = this.#front; at < this.#kept.length; at++) {
      const kept = this.#kept[at];
      if (kept !== undefined) yield kept.message;
    }
  }

  #drop(oldest: Kept<T>): void {
    this.keptBytes -= oldest.message.length;
    this.#kept[this.#front++] = undefined;
    if (this.#front === this.#kept.length) {
      this.#kept = [];
      this.#front = 0;
    } else if (this.#front >= COMPACT && this.#front * 2 >= this.#kept.length) {
      this.#kept.splice(0, this.#front);
      this.#front = 0;
    }
  }

  // --- receiving ---

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
