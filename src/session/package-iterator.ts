/**
 * `for await (const pkg of session)`: hands each package to the loop and lets the session go on only when the loop asks for
 * the next one, so a slow loop holds the peer back. An adapter, not the fast path.
 */
export class PackageIterator<In> implements AsyncIterableIterator<In> {
  readonly #onReturn: () => void;
  /** A package that nobody has asked for yet, and what lets the session go on. */
  #offered: { readonly pkg: In; readonly taken: () => void } | undefined;
  #waiting: { resolve(result: IteratorResult<In>): void; reject(error: unknown): void } | undefined;
  #taken: (() => void) | undefined;
  #ended: { readonly error: unknown } | undefined;

  constructor(onReturn: () => void) {
    this.#onReturn = onReturn;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** From the session: resolves when the loop has taken the package and asks for more. */
  deliver(pkg: In): Promise<void> {
    if (this.#ended !== undefined) return Promise.resolve();
    return new Promise((taken) => {
      const waiting = this.#waiting;
      if (waiting === undefined) {
        this.#offered = { pkg, taken };
        return;
      }
      this.#waiting = undefined;
      this.#taken = taken;
      waiting.resolve({ value: pkg, done: false });
    });
  }

  /** From the session: there will be no more. With an error, the loop throws it after the package it has. */
  end(error: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error };
    this.#taken?.();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (waiting === undefined) return;
    if (error === undefined) waiting.resolve({ value: undefined, done: true });
    else waiting.reject(error);
  }

  next(): Promise<IteratorResult<In>> {
    this.#taken?.();
    this.#taken = undefined;
    const offered = this.#offered;
    if (offered !== undefined) {
      this.#offered = undefined;
      this.#taken = offered.taken;
      return Promise.resolve({ value: offered.pkg, done: false });
    }
    const ended = this.#ended;
    if (ended === undefined) {
      return new Promise((resolve, reject) => {
        this.#waiting = { resolve, reject };
      });
    }
    const { error } = ended;
    this.#ended = { error: undefined };
    return error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(error);
  }

  return(): Promise<IteratorResult<In>> {
    this.#offered?.taken();
    this.#offered = undefined;
    this.end(undefined);
    this.#onReturn();
    return Promise.resolve({ value: undefined, done: true });
  }
}
