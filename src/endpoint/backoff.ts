/** Parameters of the waiting time between attempts. */
export interface Backoff {
  /** Upper bound of the first wait. Default 300. */
  readonly baseMs: number;
  /** Upper bound of any wait. Default 30 000. */
  readonly maxMs: number;
  /** A number from 0 up to 1. Default Math.random; tests give their own. */
  readonly random: () => number;
}

export const BACKOFF_DEFAULTS: Backoff = { baseMs: 300, maxMs: 30_000, random: Math.random };

/**
 * Exponential back-off with full jitter: any time from 0 to `base x 2^(failures - 1)`, so that the clients of a server that went
 * down do not come back all at once.
 */
export function backoffMs(failures: number, backoff: Backoff): number {
  const bound = Math.min(backoff.maxMs, backoff.baseMs * 2 ** Math.min(Math.max(0, failures - 1), 30));
  return Math.floor(backoff.random() * bound);
}
