import type { ClientClock } from './environment.ts';

/** Finds out that a connection is dead although no close came. */
export interface Heartbeat {
  start(intervalMs: number, timeoutMs: number): void;
  stop(): void;
  /** Any message came. */
  heard(): void;
  /** The answer to the ping with this mark came. */
  pong(mark: number): void;
  /** Asks now, because there is a reason to doubt: the page was asleep, or the network changed. */
  check(): void;
  /** How long the last answer took. */
  rttMs(): number | undefined;
}

/** A timer that fires so much too late has slept: what has come meanwhile is still waiting behind it. */
const LATE_MS = 1_000;
/** An answer to a doubt is waited for no longer than this. */
const CHECK_MS = 5_000;

/**
 * After `intervalMs` without a message `ping` is told to ask, and when nothing at all comes for `timeoutMs` it is `onDead`.
 *
 * Hidden pages run timers once a minute and sleeping machines none, so a late timer proves nothing: it asks once more instead.
 */
export function makeHeartbeat(clock: ClientClock, ping: (mark: number) => void, onDead: () => void): Heartbeat {
  /** 0: stopped. */
  let intervalMs = 0;
  let timeoutMs = 0;
  let heardAt = 0;
  let askedAt = 0;
  let mark = 0;
  /** When the wait for any message is over; 0 while nobody waits. */
  let deadline = 0;
  let isSecondChance = false;
  let rttMs: number | undefined;
  let cancel: (() => void) | undefined;

  const arm = (delayMs: number): void => {
    cancel?.();
    cancel = clock.after(delayMs, onTimer);
  };
  const ask = (waitMs: number): void => {
    askedAt = clock.now();
    deadline = askedAt + waitMs;
    arm(waitMs);
    ping(++mark);
  };
  const stop = (): void => {
    cancel?.();
    deadline = intervalMs = 0;
  };
  /** How long to wait when in doubt. */
  const checkMs = (): number => Math.min(CHECK_MS, timeoutMs);

  function onTimer(): void {
    const now = clock.now();
    // No message moves the timer: the one that runs finds out when the next is due.
    const leftMs = (deadline || heardAt + intervalMs) - now;
    if (leftMs > 0) arm(leftMs);
    else if (deadline === 0) ask(timeoutMs);
    else if (leftMs < -LATE_MS && !isSecondChance) {
      isSecondChance = true;
      ask(checkMs());
    } else {
      stop();
      onDead();
    }
  }

  return {
    start(newIntervalMs, newTimeoutMs) {
      intervalMs = newIntervalMs;
      timeoutMs = newTimeoutMs;
      ask(timeoutMs);
    },
    stop,
    heard() {
      heardAt = clock.now();
      deadline = 0;
      isSecondChance = false;
    },
    pong(answered) {
      if (answered === mark) rttMs = clock.now() - askedAt;
    },
    check() {
      if (intervalMs > 0 && (deadline === 0 || deadline > clock.now() + checkMs())) ask(checkMs());
    },
    rttMs: () => rttMs,
  };
}
