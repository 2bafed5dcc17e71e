/** Runs once when the session has closed. A returned promise is awaited before the next callback runs. */
export type CloseCallback = () => void | Promise<void>;

/**
 * Callbacks to run when a session closes, kept in the order in which they were added and named by the pair (handler, key).
 * Pairs are compared as Map keys are: objects by identity, NaN equals NaN, 1 is not '1'. Any value will do for either half.
 */
export class CloseCallbacks {
  /** handler → key → its entry; the order stands in the set. */
  readonly #byHandler = new Map<unknown, Map<unknown, { callback: CloseCallback }>>();
  readonly #inOrder = new Set<{ callback: CloseCallback }>();

  get size(): number {
    return this.#inOrder.size;
  }

  /** Adds a callback at the end, or replaces that of the same pair in its place. */
  add(handler: unknown, key: unknown, callback: CloseCallback): void {
    const byKey = this.#byHandler.get(handler) ?? new Map<unknown, { callback: CloseCallback }>();
    this.#byHandler.set(handler, byKey);
    const existing = byKey.get(key);
    if (existing !== undefined) {
      existing.callback = callback;
      return;
    }
    const entry = { callback };
    byKey.set(key, entry);
    this.#inOrder.add(entry);
  }

  /** Whether there was one to remove. */
  remove(handler: unknown, key: unknown): boolean {
    const byKey = this.#byHandler.get(handler);
    const entry = byKey?.get(key);
    if (byKey === undefined || entry === undefined) return false;
    byKey.delete(key);
    if (byKey.size === 0) this.#byHandler.delete(handler);
    return this.#inOrder.delete(entry);
  }

  /** The callbacks as they stand now; later changes do not touch the list. */
  snapshot(): readonly CloseCallback[] {
    return Array.from(this.#inOrder, (entry) => entry.callback);
  }
}
