import type { DroppedMessage } from './client-events.ts';
import type { ClientClock } from './environment.ts';

/** What the client does with messages that cannot leave now. */
export interface BufferSettings {
  /** At most so many messages. 0: off, each is dropped at once. Default 256. */
  readonly messages: number;
  /** At most so many bytes, ids included. Default 1 MiB. */
  readonly bytes: number;
  /** Messages older than this are dropped instead of sent. Default 120 000. */
  readonly ageMs: number;
  /** Which message goes when it is full; `reject`: `send` throws SEND_QUEUE_FULL. Default `drop-oldest`. */
  readonly policy: 'drop-oldest' | 'drop-newest' | 'reject';
}

/** One message that waits. */
export interface Waiting {
  readonly frame: Uint8Array;
  /**
   * `message`: what users send; the settings hold for these. `call`: bounded by the number of open calls. `answer`: belongs to a call of this
   * session and goes with it.
   */
  readonly kind: 'message' | 'call' | 'answer';
  readonly at: number;
}

/** Messages in order, until there is a connection that takes them. */
export class Outbox {
  readonly #settings: BufferSettings;
  readonly #clock: ClientClock;
  readonly #onDropped: (frame: Uint8Array, reason: DroppedMessage['reason']) => void;
  #waiting: Waiting[] = [];
  #messages = 0;
  #messageBytes = 0;
  /** Of all kinds. */
  bytes = 0;

  constructor(settings: BufferSettings, clock: ClientClock, onDropped: (frame: Uint8Array, reason: DroppedMessage['reason']) => void) {
    this.#settings = settings;
    this.#clock = clock;
    this.#onDropped = onDropped;
  }

  get size(): number {
    return this.#waiting.length;
  }

  /** False when it was not taken. What the policy drops is told to `onDropped`, be it this one; what it rejects is not. */
  add(frame: Uint8Array, kind: Waiting['kind']): boolean {
    if (kind === 'message' && !this.#makeRoom(frame)) return false;
    const waiting = { frame, kind, at: this.#clock.now() };
    this.#count(waiting, 1);
    this.#waiting.push(waiting);
    return true;
  }

  /** The oldest message that is not too old, which leaves the box. */
  take(): Waiting | undefined {
    this.#dropOld();
    const first = this.#waiting.shift();
    if (first !== undefined) this.#count(first, -1);
    return first;
  }

  has(frame: Uint8Array): boolean {
    return this.#waiting.some((waiting) => waiting.frame === frame);
  }

  /** Takes out a message that nobody wants to send any more; false when it has left already. */
  remove(frame: Uint8Array): boolean {
    return this.#removeAll((waiting) => waiting.frame === frame) > 0;
  }

  /** The session that these answers belong to is over. */
  removeAnswers(): void {
    this.#removeAll(({ kind }) => kind === 'answer');
  }

  clear(reason: DroppedMessage['reason']): void {
    this.#removeAll(() => true, reason);
  }

  #makeRoom(frame: Uint8Array): boolean {
    const { messages, bytes, policy } = this.#settings;
    this.#dropOld();
    const isFull = (): boolean => this.#messages >= messages || this.#messageBytes + frame.length > bytes;
    if (policy === 'drop-oldest' && frame.length <= bytes) {
      while (isFull() && this.#messages > 0) this.#dropOldest('full');
    }
    if (!isFull()) return true;
    if (policy !== 'reject') this.#onDropped(frame, messages === 0 ? 'offline' : 'full');
    return false;
  }

  #dropOld(): void {
    const oldest = this.#clock.now() - this.#settings.ageMs;
    if ((this.#waiting[0]?.at ?? oldest) < oldest) this.#removeAll(({ kind, at }) => kind === 'message' && at < oldest, 'age');
  }

  #dropOldest(reason: DroppedMessage['reason']): void {
    let isFirst = true;
    this.#removeAll(({ kind }) => {
      const isIt = isFirst && kind === 'message';
      if (isIt) isFirst = false;
      return isIt;
    }, reason);
  }

  #removeAll(isIt: (waiting: Waiting) => boolean, reason?: DroppedMessage['reason']): number {
    const all = this.#waiting;
    const removed = new Set(all.filter(isIt));
    this.#waiting = all.filter((waiting) => !removed.has(waiting));
    for (const waiting of removed) {
      this.#count(waiting, -1);
      if (reason !== undefined && waiting.kind === 'message') this.#onDropped(waiting.frame, reason);
    }
    return removed.size;
  }

  #count({ frame: { length }, kind }: Waiting, sign: 1 | -1): void {
    this.bytes += sign * length;
    if (kind !== 'message') return;
    this.#messages += sign;
    this.#messageBytes += sign * length;
  }
}
