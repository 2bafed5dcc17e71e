/**
 * Where time comes from. The core never calls `Date.now()` or `setTimeout` itself: it asks a Clock, so that tests can hold
 * time still and move it by hand (`VirtualClock` in `portico/testing`).
 */
export interface Clock {
  /** Milliseconds since some fixed moment. MUST never go backwards, whatever happens to the wall clock. */
  now(): number;
  /** Runs `callback` once, no earlier than `delayMs` from now. MUST NOT keep the process alive. Returns its cancellation. */
  after(delayMs: number, callback: () => void): () => void;
  /** Runs `callback` after the I/O that is already waiting has been handled (setImmediate). */
  yield(callback: () => void): void;
}

/** The machine's monotonic clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    timer.unref();
    return () => clearTimeout(timer);
  },
  yield(callback) {
    setImmediate(callback);
  },
};
