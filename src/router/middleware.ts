import { StateError } from '../base/errors.ts';
import { ignoreRejection, isThenable } from '../base/thenable.ts';
import type { RouteContext } from './route-context.ts';

/** Goes on to the next middleware or the handler. The promise is that of what comes behind; nothing is returned when all of it was synchronous. */
export type Next = () => void | Promise<void>;

/**
 * CONTRACT. What runs around handlers, in the order of `use`: everything before `next()` on the way in, everything behind it on the
 * way out. A middleware
 * - MUST return or await what `next()` returns when it has something to do afterwards;
 * - MUST call `next` at most once: the second call throws StateError WRONG_STATE;
 * - that does not call `next` ends the packet's way: no handler runs, and no reply follows but one that it sends itself;
 * - that throws ends it as a handler does that throws: throw a CallError to have the caller told.
 */
export type Middleware = (context: RouteContext, next: Next) => void | Promise<void>;

interface Failure {
  readonly thrown: unknown;
}

/** One packet's way through the chain. Only routers with middleware make them. */
export class Way {
  readonly #context: RouteContext;
  readonly #chain: readonly Middleware[];
  readonly #last: () => unknown;
  /** What `next` has returned and is still pending, for a middleware that forgot it. */
  #open: Set<Promise<void>> | undefined;
  /** What `next` has failed with, also when a middleware caught it. */
  #failure: Failure | undefined;

  constructor(context: RouteContext, chain: readonly Middleware[], last: () => unknown) {
    this.#context = context;
    this.#chain = chain;
    this.#last = last;
  }

  /** Runs the chain. Throws or rejects with what nobody caught, and with what was caught and neither answered nor aborted. */
  run(): void | Promise<void> {
    let result: unknown;
    try {
      result = this.#step(0);
    } catch (thrown) {
      return this.#settle({ thrown });
    }
    if (!isThenable(result)) return this.#settle();
    return Promise.resolve(result).then(
      () => this.#settle(),
      (thrown: unknown) => this.#settle({ thrown }),
    );
  }

  #step(index: number): unknown {
    const middleware = this.#chain[index];
    if (middleware === undefined) return this.#last();
    let isCalled = false;
    return middleware(this.#context, () => {
      if (isCalled) throw new StateError('WRONG_STATE', 'next: expected one call by each middleware, given a second');
      isCalled = true;
      return this.#context.isAborted ? undefined : this.#follow(index + 1);
    });
  }

  #follow(index: number): void | Promise<void> {
    let result: unknown;
    try {
      result = this.#step(index);
    } catch (thrown) {
      this.#failure = { thrown };
      throw thrown;
    }
    if (!isThenable(result)) return undefined;
    this.#open ??= new Set();
    const open = this.#open;
    const tracked: Promise<void> = Promise.resolve(result).then(
      () => void open.delete(tracked),
      (thrown: unknown) => {
        open.delete(tracked);
        this.#failure = { thrown };
        throw thrown;
      },
    );
    open.add(tracked);
    // A middleware that forgets the promise must not end the process by it.
    ignoreRejection(tracked);
    return tracked;
  }

  #settle(own?: Failure): void | Promise<void> {
    const open = this.#open;
    return open === undefined || open.size === 0 ? this.#outcome(own) : this.#settleLate(open, own);
  }

  async #settleLate(open: Set<Promise<void>>, own: Failure | undefined): Promise<void> {
    for (const pending of open) await pending.catch(() => {});
    this.#outcome(own);
  }

  #outcome(own: Failure | undefined): void {
    if (own !== undefined) throw own.thrown;
    const { isReplied, isAborted } = this.#context;
    if (this.#failure !== undefined && !isReplied && !isAborted) throw this.#failure.thrown;
  }
}
