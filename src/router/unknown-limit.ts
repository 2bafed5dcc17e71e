import { checkInteger, checkMs } from '../base/option.ts';
import type { ActionSession } from './route-context.ts';

export interface UnknownLimit {
  /** 1 to 10 000. @default 20 */
  readonly count?: number;
  /** @default 10_000 */
  readonly windowMs?: number;
}

/** Counts the unknown actions of each session, by the clock of its endpoint. Costs nothing for a session without any. */
export class UnknownCounter {
  readonly count: number;
  readonly windowMs: number;
  /** When the last ones came: `count` places, used in turn. */
  readonly #timesOf = new WeakMap<ActionSession, { readonly times: Float64Array; seen: number }>();

  constructor(name: string, { count = 20, windowMs = 10_000 }: UnknownLimit) {
    this.count = checkInteger(`${name} count`, count, 1, 10_000);
    this.windowMs = checkMs(`${name} windowMs`, windowMs);
  }

  /** One more; whether that was the `count`-th within `windowMs`. */
  isTooMany(session: ActionSession): boolean {
    const entry = this.#timesOf.get(session) ?? { times: new Float64Array(this.count), seen: 0 };
    if (entry.seen === 0) this.#timesOf.set(session, entry);
    const now = session.wheel.now();
    const at = entry.seen % this.count;
    entry.times[at] = now;
    entry.seen++;
    const oldest = entry.times[entry.seen % this.count] ?? now;
    return entry.seen >= this.count && now - oldest <= this.windowMs;
  }
}
