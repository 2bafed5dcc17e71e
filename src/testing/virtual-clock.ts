import type { Clock } from '../base/clock.ts';
import { StateError } from '../base/errors.ts';

interface Alarm {
  readonly at: number;
  readonly callback: () => void;
}

/** More turns of yielding than this at one moment are taken for work that never ends. */
const MAX_TURNS = 10_000;

/**
 * A clock that stands still until a test moves it. Give it to `withClock`, and an hour of heartbeats takes a millisecond.
 *
 * Timers run in the order of their time, and those of the same time in the order in which they were set. Before each one, and
 * at the end, the event loop turns until promises, `process.nextTick` and what was yielded have settled.
 *
 * @example
 * ```ts
 * import { VirtualClock } from 'portico/testing';
 *
 * const clock = new VirtualClock();
 * clock.after(60_000, () => console.log('a minute later'));
 * await clock.advance(60_000);
 * ```
 */
export class VirtualClock implements Clock {
  #now: number;
  /** In the order in which they will run. */
  #alarms: Alarm[] = [];
  #yielded = 0;
  #isAdvancing = false;

  constructor(startMs = 0) {
    this.#now = startMs;
  }

  now(): number {
    return this.#now;
  }

  /** How many timers are set and have neither run nor been cancelled. */
  get pendingTimers(): number {
    return this.#alarms.length;
  }

  after(delayMs: number, callback: () => void): () => void {
    const alarm: Alarm = { at: this.#now + Math.max(0, delayMs), callback };
    let index = this.#alarms.length;
    while (index > 0 && (this.#alarms[index - 1]?.at ?? 0) > alarm.at) index--;
    this.#alarms.splice(index, 0, alarm);
    return () => {
      const at = this.#alarms.indexOf(alarm);
      if (at !== -1) this.#alarms.splice(at, 1);
    };
  }

  yield(callback: () => void): void {
    this.#yielded++;
    setImmediate(() => {
      this.#yielded--;
      callback();
    });
  }

  /** Moves time on by `ms` and runs all that is due on the way. An error thrown by a timer rejects it and leaves the time there. */
  async advance(ms: number): Promise<void> {
    if (this.#isAdvancing) throw new StateError('WRONG_STATE', 'advance: expected the call before it to have ended');
    this.#isAdvancing = true;
    const end = this.#now + ms;
    try {
      await this.#settle();
      for (let alarm = this.#alarms[0]; alarm !== undefined && alarm.at <= end; alarm = this.#alarms[0]) {
        this.#alarms.shift();
        this.#now = Math.max(this.#now, alarm.at);
        alarm.callback();
        await this.#settle();
      }
      this.#now = Math.max(this.#now, end);
      await this.#settle();
    } finally {
      this.#isAdvancing = false;
    }
  }

  /** Moves time on at once and runs nothing, as when the event loop is blocked: what is due then runs late, in `advance`. */
  block(ms: number): void {
    this.#now += ms;
  }

  /** Two turns at least: one for what waits now, one for what that began. */
  async #settle(): Promise<void> {
    let turns = 0;
    do {
      await turn();
      turns++;
    } while (turns < 2 || (this.#yielded > 0 && turns < MAX_TURNS));
  }
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
