import type { BackplaneLimits } from './backplane.ts';

/** Messages that wait, bounded in number and bytes: the oldest ones give way. */
export class BoundedQueue<Item extends { readonly bytes: Uint8Array }> {
  readonly #limits: BackplaneLimits;
  readonly #onDropped: (item: Item) => void;
  #waiting: (Item | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  constructor(limits: BackplaneLimits, onDropped: (item: Item) => void) {
    this.#limits = limits;
    this.#onDropped = onDropped;
  }

  get length(): number {
    return this.#waiting.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The oldest one. */
  get first(): Item | undefined {
    return this.#waiting[this.#head];
  }

  push(item: Item): void {
    this.#waiting.push(item);
    this.#bytes += item.bytes.length;
    while (this.length > this.#limits.maxPendingMessages || this.#bytes > this.#limits.maxPendingBytes) {
      const dropped = this.shift();
      if (dropped !== undefined) this.#onDropped(dropped);
    }
  }

  shift(): Item | undefined {
    const item = this.#waiting[this.#head];
    if (item === undefined) return undefined;
    this.#bytes -= item.bytes.length;
    this.#waiting[this.#head++] = undefined;
    if (this.#head >= 1024 || this.#head === this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear(): void {
    this.#waiting = [];
    this.#head = 0;
    this.#bytes = 0;
  }
}
