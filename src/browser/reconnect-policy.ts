import type { ClientClose } from './client-events.ts';

/** How long to wait between attempts, and when to stop. */
export interface ReconnectPolicy {
  /** Upper bound of the first wait. Default 500. */
  readonly minMs: number;
  /** Upper bound of any wait. Default 30 000. */
  readonly maxMs: number;
  /** `full`: any time from 0 to the bound, so that the clients of a server that went down do not come back all at once. Default `full`. */
  readonly jitter: 'full' | 'none';
  /** Failed attempts in a row after which the client gives up. Default Infinity. */
  readonly attempts: number;
  /** Instead of the above: the wait before the attempt with this number, 1 for the first after a failure. */
  readonly delay?: ((attempt: number, close: ClientClose) => number) | undefined;
}

/** No server, and no mistake in `delay`, keeps clients away for longer than this: 10 minutes. */
const MAX_HINT_MS = 600_000;

/** Doubles from `minMs` to `maxMs`; a hint of the server comes first and gets jitter on top, because all clients were told the same. */
export function reconnectDelayMs(attempt: number, close: ClientClose, policy: ReconnectPolicy, random: () => number): number {
  const { delay, minMs, maxMs, jitter } = policy;
  if (close.retryAfterMs !== undefined) return Math.min(close.retryAfterMs, MAX_HINT_MS) + Math.floor(random() * minMs);
  if (delay !== undefined) {
    const chosen = delay(attempt, close);
    return chosen > 0 ? Math.min(chosen, MAX_HINT_MS) : 0;
  }
  const bound = Math.min(maxMs, minMs * 2 ** Math.min(attempt - 1, 30));
  return jitter === 'full' ? Math.floor(random() * bound) : bound;
}

/** The statuses after which a client does not come again by itself: 4000 to 4499, except time-outs (4408) and limits (4429). */
export function isFatalByDefault(status: number): boolean {
  return status >= 4000 && status <= 4499 && status !== 4408 && status !== 4429;
}
