import { PeerError, StateError } from '../base/errors.ts';

/** Calls of `next` that may wait for items. */
const MAX_NEXT = 1_024;

interface Waiting {
  readonly resolve: (step: IteratorResult<unknown>) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The items of a call that is answered with a stream. Iterate over it, once; leaving the loop tells the other side to stop. It sends
 * no more items ahead than the credit allows, so what waits here is bounded. A method that answers with a list gives its elements, one
 * that answers with anything else that one item.
 */
export class RpcStream<Item = unknown> implements AsyncIterableIterator<Item> {
  readonly #maxCredit: number;
  readonly #grant: (items: number) => void;
  readonly #giveUp: (error: StateError | PeerError | undefined) => void;
  #items: unknown[] = [];
  /** Of those before it, the items have been taken. */
  #front = 0;
  readonly #waiting: Waiting[] = [];
  /** What the other side may still send. */
  #credit: number;
  #received = 0;
  /** Taken since credit was last given. */
  #taken = 0;
  #ended: { error: unknown } | undefined;

  /** Made by peers. */
  constructor(credit: number, grant: (items: number) => void, giveUp: (error: StateError | PeerError | undefined) => void) {
    this.#maxCredit = credit;
    this.#credit = credit;
    this.#grant = grant;
    this.#giveUp = giveUp;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** How many items wait to be taken; the credit at most, except for those of a list. */
  get bufferedItems(): number {
    return this.#items.length - this.#front;
  }

  next(): Promise<IteratorResult<Item>> {
    // Each item was said to be one when the method was typed.
    return this.#next() as Promise<IteratorResult<Item>>;
  }

  #next(): Promise<IteratorResult<unknown>> {
    if (this.#front < this.#items.length) {
      const value = this.#takeItem();
      this.#onTaken();
      return Promise.resolve({ value, done: false });
    }
    if (this.#ended === undefined) {
      if (this.#waiting.length >= MAX_NEXT) {
        return Promise.reject(new StateError('WRONG_STATE', `next: expected at most ${MAX_NEXT} that wait`));
      }
      return new Promise((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
      });
    }
    const { error } = this.#ended;
    this.#ended = { error: undefined };
    return error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(error);
  }

  #takeItem(): unknown {
    const item = this.#items[this.#front];
    this.#items[this.#front++] = undefined;
    if (this.#front === this.#items.length) this.#dropItems();
    return item;
  }

  #dropItems(): void {
    this.#items = [];
    this.#front = 0;
  }

  return(): Promise<IteratorResult<Item>> {
    this.#dropItems();
    this.#giveUp(undefined);
    this.onEnd(undefined);
    this.#ended = { error: undefined };
    return Promise.resolve({ value: undefined, done: true });
  }

  /** From the peer: an item. */
  onItem(item: unknown): void {
    if (this.#ended !== undefined) return;
    if (this.#credit === 0) {
      this.#giveUp(new PeerError('PROTOCOL_VIOLATION', 'more items of a stream came than were allowed', { recoverable: true }));
      return;
    }
    this.#credit--;
    this.#received++;
    this.#give(item);
  }

  #give(item: unknown): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) {
      this.#items.push(item);
      return;
    }
    waiting.resolve({ value: item, done: false });
    this.#onTaken();
  }

  #onTaken(): void {
    this.#taken++;
    if (this.#ended !== undefined || this.#taken * 2 < this.#maxCredit) return;
    this.#credit += this.#taken;
    this.#grant(this.#taken);
    this.#taken = 0;
  }

  /** From the peer: the answer to the call. */
  onResult(result: unknown): void {
    const count = typeof result === 'object' && result !== null && '$stream' in result ? result.$stream : undefined;
    if (count === undefined) {
      const items: readonly unknown[] = Array.isArray(result) ? result : [result];
      this.#credit = 0;
      this.#ended = { error: undefined };
      for (const item of items) this.#give(item);
      this.onEnd(undefined);
      return;
    }
    const isWhole = count === this.#received;
    this.onEnd(isWhole ? undefined : new PeerError('PROTOCOL_VIOLATION', 'items of a stream are missing', { recoverable: true }));
  }

  /** From the peer: there will be no more. The error comes behind what waits. */
  onEnd(error: unknown): void {
    this.#ended ??= { error };
    for (const waiting of this.#waiting.splice(0)) this.#next().then(waiting.resolve, waiting.reject);
  }
}
