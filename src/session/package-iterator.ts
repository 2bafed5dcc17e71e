/**
 * `for await (const pkg of session)`: stands in for the listener's `onMessage`, hands each package to the loop and lets the
 * session go on only when the loop asks for the next one, so a slow loop holds the peer back. An adapter, not the fast path.
 */
export class PackageIterator<In> implements AsyncIterableIterator<In> {
  readonly #onReturn: () => void;
  readonly #giveBack: (pkg: In) => unknown;
  /** Packages that nobody has asked for yet, and what lets the session go on; as many as it handles at a time. */
  readonly #offered: { readonly pkg: In; readonly taken: (result?: unknown) => void }[] = [];
  /** Those who have asked for a package that is not there yet. */
  readonly #waiting: { resolve(result: IteratorResult<In>): void; reject(error: unknown): void }[] = [];
  /** Lets the session go on behind the package that the loop has in hand. */
  #taken: (() => void) | undefined;
  #ended: { readonly error: unknown } | undefined;

  /** `onReturn`: the loop was left. `giveBack` gets the packages that had been offered to it by then. */
  constructor(onReturn: () => void, giveBack: (pkg: In) => unknown) {
    this.#onReturn = onReturn;
    this.#giveBack = giveBack;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** From the session: resolves when the loop has taken the package and asks for more. */
  onMessage(_session: unknown, pkg: In): void | Promise<void> {
    if (this.#ended !== undefined) return;
    return new Promise((resolve) => {
      const taken = resolve as (result?: unknown) => void;
      const waiting = this.#waiting.shift();
      if (waiting === undefined) {
        this.#offered.push({ pkg, taken });
        return;
      }
      waiting.resolve({ value: pkg, done: false });
      // Whoever else waits has asked for more already.
      if (this.#waiting.length > 0) taken();
      else this.#taken = taken;
    });
  }

  /** From the session: there will be no more. With an error, the loop throws it after the packages that it was offered. */
  end(error: unknown): void {
    if (this.#ended !== undefined) return;
    this.#ended = { error };
    this.#taken?.();
    for (const { taken } of this.#offered) taken();
    for (const waiting of this.#waiting.splice(0)) {
      this.#next().then(waiting.resolve, waiting.reject);
    }
  }

  next(): Promise<IteratorResult<In>> {
    this.#taken?.();
    this.#taken = undefined;
    return this.#next();
  }

  return(): Promise<IteratorResult<In>> {
    const left = this.#ended === undefined ? this.#offered.splice(0) : [];
    this.#offered.length = 0;
    this.end(undefined);
    this.#ended = { error: undefined };
    this.#onReturn();
    for (const { pkg, taken } of left) taken(new Promise((resolve) => resolve(this.#giveBack(pkg))));
    return Promise.resolve({ value: undefined, done: true });
  }

  #next(): Promise<IteratorResult<In>> {
    const offered = this.#offered.shift();
    if (offered !== undefined) {
      this.#taken = offered.taken;
      return Promise.resolve({ value: offered.pkg, done: false });
    }
    const ended = this.#ended;
    if (ended === undefined) {
      return new Promise((resolve, reject) => {
        this.#waiting.push({ resolve, reject });
      });
    }
    const { error } = ended;
    this.#ended = { error: undefined };
    return error === undefined ? Promise.resolve({ value: undefined, done: true }) : Promise.reject(error);
  }
}
