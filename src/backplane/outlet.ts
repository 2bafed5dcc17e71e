import type { BackplaneGap, BackplaneLimits } from './backplane.ts';
import type { Bus } from './bus.ts';
import type { BackplaneCounters } from './counters.ts';
import { isOfUser } from './frame.ts';
import { OutQueue } from './out-queue.ts';

/** Where frames leave: at once when the bus takes them, else in their order when it does again. */
export class Outlet {
  /** Whether there is a server to send to. */
  isUp = false;
  readonly #bus: Bus;
  readonly #queue: OutQueue;
  readonly #counters: BackplaneCounters;
  readonly #onGap: (gap: BackplaneGap) => void;
  #overflow = 0;
  #isClosed = false;

  constructor(bus: Bus, limits: BackplaneLimits, counters: BackplaneCounters, onGap: (gap: BackplaneGap) => void) {
    this.#bus = bus;
    this.#queue = new OutQueue(limits);
    this.#counters = counters;
    this.#onGap = onGap;
  }

  get isEmpty(): boolean {
    return this.#queue.isEmpty;
  }

  get pendingBytes(): number {
    return this.#queue.bytes;
  }

  send(topic: string, frame: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.isUp && this.#queue.isEmpty && this.#take(topic, frame)) return;
    const dropped = this.#queue.push(topic, frame);
    this.#overflow += dropped;
    this.#counters.dropped += dropped;
  }

  flush(): void {
    this.#queue.flush((topic, frame) => this.#take(topic, frame));
    if (this.#overflow === 0 || !this.#queue.isEmpty) return;
    const count = this.#overflow;
    this.#overflow = 0;
    this.#onGap({ reason: 'overflow', count });
  }

  close(): void {
    this.isUp = false;
    this.#isClosed = true;
    this.#queue.clear();
  }

  #take(topic: string, frame: Uint8Array): boolean {
    if (!this.#bus.publish(topic, frame)) return false;
    if (isOfUser(frame)) this.#counters.published++;
    return true;
  }
}
