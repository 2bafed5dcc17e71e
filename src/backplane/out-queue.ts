import type { BackplaneLimits } from './backplane.ts';

interface Waiting {
  readonly topic: string;
  readonly bytes: Uint8Array;
}

/** What waits to be sent, bounded in messages and bytes: the oldest ones are dropped. */
export class OutQueue {
  readonly #limits: BackplaneLimits;
  #waiting: (Waiting | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  constructor(limits: BackplaneLimits) {
    this.#limits = limits;
  }

  get isEmpty(): boolean {
    return this.#head === this.#waiting.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** How many had to be dropped for it. */
  push(topic: string, bytes: Uint8Array): number {
    this.#waiting.push({ topic, bytes });
    this.#bytes += bytes.length;
    let dropped = 0;
    while (this.#waiting.length - this.#head > this.#limits.maxPendingMessages || this.#bytes > this.#limits.maxPendingBytes) {
      this.#shift();
      dropped++;
    }
    return dropped;
  }

  /** Hands over until it is refused. How many were taken. */
  flush(take: (topic: string, bytes: Uint8Array) => boolean): number {
    let taken = 0;
    for (let next = this.#waiting[this.#head]; next !== undefined; next = this.#waiting[this.#head]) {
      if (!take(next.topic, next.bytes)) break;
      this.#shift();
      taken++;
    }
    return taken;
  }

  clear(): void {
    this.#waiting = [];
    this.#head = 0;
    this.#bytes = 0;
  }

  #shift(): void {
    this.#bytes -= this.#waiting[this.#head]?.bytes.length ?? 0;
    this.#waiting[this.#head++] = undefined;
    if (this.#head < 1024 && this.#head < this.#waiting.length) return;
    this.#waiting = this.#waiting.slice(this.#head);
    this.#head = 0;
  }
}
