import { checkFunction } from '../base/option.ts';
import { isThenable } from '../base/thenable.ts';

type Listener = (...args: never) => unknown;

interface Entry {
  readonly fn: (...args: readonly unknown[]) => unknown;
  readonly isOnce: boolean;
}

/**
 * Handlers by key: many for each, called in the order in which they came. What one of them throws or rejects with goes to `onFailure` and stops
 * none of the others. The types of the arguments are the business of whoever hands an instance out.
 */
export class Listeners<Key> {
  readonly #byKey = new Map<Key, Set<Entry>>();
  readonly #onFailure: (thrown: unknown, key: Key) => void;

  constructor(onFailure: (thrown: unknown, key: Key) => void) {
    this.#onFailure = onFailure;
  }

  /** Adds a handler, also the same one again; the function returned takes away this one. */
  on(key: Key, fn: Listener, isOnce = false): () => void {
    const entries = this.#byKey.get(key) ?? new Set();
    const entry: Entry = { fn: checkFunction('on', fn) as Entry['fn'], isOnce };
    this.#byKey.set(key, entries.add(entry));
    return () => this.#remove(key, entry);
  }

  once(key: Key, fn: Listener): () => void {
    return this.on(key, fn, true);
  }

  /** Takes away this handler of the key, or all of them. */
  off(key: Key, fn?: unknown): void {
    for (const entry of this.#byKey.get(key) ?? []) {
      if (fn === undefined || entry.fn === fn) this.#remove(key, entry);
    }
  }

  has(key: Key): boolean {
    return this.#byKey.has(key);
  }

  /** False when there is no handler. Handlers added meanwhile are not called, nor are those taken away meanwhile. */
  emit(key: Key, ...args: readonly unknown[]): boolean {
    const entries = this.#byKey.get(key);
    if (!entries) return false;
    for (const entry of entries.size === 1 ? entries : [...entries]) {
      if (!entries.has(entry)) continue;
      if (entry.isOnce) this.#remove(key, entry);
      try {
        const result = entry.fn(...args);
        if (isThenable(result)) result.then(undefined, (thrown: unknown) => this.#onFailure(thrown, key));
      } catch (thrown) {
        this.#onFailure(thrown, key);
      }
    }
    return true;
  }

  #remove(key: Key, entry: Entry): void {
    const entries = this.#byKey.get(key);
    if (entries?.delete(entry) && entries.size === 0) this.#byKey.delete(key);
  }
}
