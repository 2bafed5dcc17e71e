import { EventEmitter } from 'eventemitter3';
import { describeThrown } from './errors.ts';
import type { Logger } from './log.ts';

/** Event name → the arguments its listeners take. */
export type EventMap = Record<string, readonly unknown[]>;

/**
 * Life-cycle events (listening, reconnecting, refused, …): eventemitter3 with typed names and two guarantees it lacks. A
 * listener that throws or rejects stops neither the other listeners nor the caller, and an 'error' event that nobody listens
 * to reaches the logger. Packages never travel through an emitter.
 */
export class Emitter<Events extends EventMap> {
  readonly #emitter = new EventEmitter();
  /** The user's listener → the guarded one that stands in for it, per event. */
  readonly #guards = new Map<string, WeakMap<object, Guard>>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  on<Name extends keyof Events & string>(name: Name, listener: (...args: Events[Name]) => void): void {
    this.#emitter.on(name, this.#guard(name, listener));
  }

  once<Name extends keyof Events & string>(name: Name, listener: (...args: Events[Name]) => void): void {
    this.#emitter.once(name, this.#guard(name, listener));
  }

  off<Name extends keyof Events & string>(name: Name, listener: (...args: Events[Name]) => void): void {
    this.#emitter.off(name, this.#guard(name, listener));
  }

  emit<Name extends keyof Events & string>(name: Name, ...args: Events[Name]): void {
    if (!this.#emitter.emit(name, ...args) && name === 'error') {
      this.#logger.error(`unhandled 'error' event: ${describeThrown(args[0])}`);
    }
  }

  #guard<Name extends keyof Events & string>(name: Name, listener: (...args: Events[Name]) => unknown): Guard {
    const guards = this.#guards.get(name) ?? new WeakMap<object, Guard>();
    this.#guards.set(name, guards);
    let guard = guards.get(listener);
    if (guard === undefined) {
      const report = (thrown: unknown): void => this.#logger.error(`a listener of '${name}' failed: ${describeThrown(thrown)}`);
      guard = (...args): void => {
        try {
          const result = listener(...(args as unknown as Events[Name]));
          if (result instanceof Promise) result.catch(report);
        } catch (thrown) {
          report(thrown);
        }
      };
      guards.set(listener, guard);
    }
    return guard;
  }
}

type Guard = (...args: unknown[]) => void;
