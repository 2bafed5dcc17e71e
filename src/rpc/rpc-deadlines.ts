import type { RpcTransport } from './rpc-types.ts';

/** Something that is over when its time has come. */
export interface Expiring {
  /** By the transport's clock. */
  expiresAtMs: number;
  onExpired(): void;
}

/** The time-outs of one peer on one timer, armed for the earliest: a call that ends in time costs two operations on a set. */
export class Deadlines {
  readonly #transport: RpcTransport;
  readonly #waiting = new Set<Expiring>();
  #armedForMs = Number.POSITIVE_INFINITY;
  #cancel: (() => void) | undefined;

  constructor(transport: RpcTransport) {
    this.#transport = transport;
  }

  /** `timeoutMs` 0 = never. Also to move one that is there already. */
  add(expiring: Expiring, timeoutMs: number): void {
    if (timeoutMs === 0) return;
    expiring.expiresAtMs = this.#transport.now() + timeoutMs;
    this.#waiting.add(expiring);
    if (expiring.expiresAtMs < this.#armedForMs) this.#arm(expiring.expiresAtMs);
  }

  remove(expiring: Expiring): void {
    this.#waiting.delete(expiring);
  }

  close(): void {
    this.#waiting.clear();
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #arm(atMs: number): void {
    this.#cancel?.();
    this.#armedForMs = atMs;
    this.#cancel = this.#transport.after(Math.max(0, atMs - this.#transport.now()), () => this.#fire());
  }

  #fire(): void {
    this.#cancel = undefined;
    this.#armedForMs = Number.POSITIVE_INFINITY;
    const now = this.#transport.now();
    let next = Number.POSITIVE_INFINITY;
    for (const expiring of [...this.#waiting]) {
      if (expiring.expiresAtMs > now) {
        next = Math.min(next, expiring.expiresAtMs);
      } else if (this.#waiting.delete(expiring)) {
        expiring.onExpired();
      }
    }
    if (next < this.#armedForMs) this.#arm(next);
  }
}
