import { checkFunction } from '../base/option.ts';
import { isThenable } from '../base/thenable.ts';

interface Entry<Args extends readonly unknown[]> {
  readonly fn: (...args: Args) => unknown;
  readonly isOnce: boolean;
}

/**
 * Handlers by key: many for each, called in the order in which they came. What one of them throws or rejects with goes to `onFailure` and stops
 * none of the others.
 */
export class Listeners<Key, Args extends readonly unknown[]> {
  readonly #byKey = new Map<Key, Set<Entry<Args>>>();
  readonly #onFailure: (thrown: unknown, key: Key) => void;

  constructor(onFailure: (thrown: unknown, key: Key) => void) {
    this.#onFailure = onFailure;
  }

  /** Adds a handler, also the same one again; the function returned takes away this one. */
  add(key: Key, fn: (...args: Args) => unknown, isOnce = false): () => void {
    checkFunction('on', fn);
    let entries = this.#byKey.get(key);
    if (entries === undefined) {
      entries = new Set();
      this.#byKey.set(key, entries);
    }
    const entry = { fn, isOnce };
    entries.add(entry);
    return () => this.#remove(key, entry);
  }

  /** Takes away this handler of the key, or all of them. */
  remove(key: Key, fn?: unknown): void {
    for (const entry of [...(this.#byKey.get(key) ?? [])]) {
      if (fn === undefined || entry.fn === fn) this.#remove(key, entry);
    }
  }

  has(key: Key): boolean {
    return this.#byKey.has(key);
  }

  /** False when there is no handler. Handlers added meanwhile are not called, nor are those taken away meanwhile. */
  emit(key: Key, ...args: Args): boolean {
    const entries = this.#byKey.get(key);
    if (entries === undefined) return false;
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

  #remove(key: Key, entry: Entry<Args>): void {
    const entries = this.#byKey.get(key);
    entries?.delete(entry);
    if (entries?.size === 0) this.#byKey.delete(key);
  }
}
