import type { ClientClock } from './environment.ts';

export interface HeartbeatHost {
  /** Sends a PING with this mark. */
  ping(mark: number): void;
  /** Nothing came in answer. */
  onDead(): void;
}

/** A timer that fires so much too late has slept: what has come meanwhile is still waiting behind it. */
const LATE_MS = 1_000;
/** An answer to a doubt is waited for no longer than this. */
const CHECK_MS = 5_000;

/**
 * Finds out that a connection is dead although no close came. After `intervalMs` without a message it asks, and when nothing at all comes for
 * `timeoutMs` it gives up.
 *
 * Hidden pages run timers once a minute and sleeping machines none, so a late timer proves nothing: it asks once more instead.
 */
export class Heartbeat {
  readonly #clock: ClientClock;
  readonly #host: HeartbeatHost;
  /** 0: stopped. */
  #intervalMs = 0;
  #timeoutMs = 0;
  #heardAt = 0;
  #cancel: (() => void) | undefined;
  /** When the wait for any message is over; undefined while nobody waits. */
  #deadline: number | undefined;
  #isSecondChance = false;
  #mark = 0;
  #askedAt = 0;
  /** How long the last answer took. */
  rttMs: number | undefined;

  constructor(clock: ClientClock, host: HeartbeatHost) {
    this.#clock = clock;
    this.#host = host;
  }

  start(intervalMs: number, timeoutMs: number): void {
    this.stop();
    this.#intervalMs = intervalMs;
    this.#timeoutMs = timeoutMs;
    this.#ask(timeoutMs);
  }

  stop(): void {
    this.#cancel?.();
    this.#cancel = undefined;
    this.#deadline = undefined;
    this.#intervalMs = 0;
  }

  /** Any message came. No timer is moved: the one that runs finds out. */
  heard(): void {
    this.#heardAt = this.#clock.now();
    this.#deadline = undefined;
    this.#isSecondChance = false;
  }

  pong(mark: number): void {
    if (mark === this.#mark) this.rttMs = this.#clock.now() - this.#askedAt;
  }

  /** Asks now, because there is a reason to doubt: the page was asleep, or the network changed. */
  check(): void {
    const timeoutMs = Math.min(CHECK_MS, this.#timeoutMs);
    const isSoon = this.#deadline !== undefined && this.#deadline <= this.#clock.now() + timeoutMs;
    if (this.#intervalMs > 0 && !isSoon) this.#ask(timeoutMs);
  }

  #ask(timeoutMs: number): void {
    this.#askedAt = this.#clock.now();
    this.#deadline = this.#askedAt + timeoutMs;
    this.#mark = (this.#mark + 1) >>> 0;
    this.#arm(timeoutMs);
    this.#host.ping(this.#mark);
  }

  #arm(delayMs: number): void {
    this.#cancel?.();
    this.#cancel = this.#clock.after(delayMs, () => this.#onTimer());
  }

  #onTimer(): void {
    const now = this.#clock.now();
    if (this.#deadline === undefined) {
      const leftMs = this.#heardAt + this.#intervalMs - now;
      if (leftMs > 0) this.#arm(leftMs);
      else this.#ask(this.#timeoutMs);
    } else if (now < this.#deadline) {
      this.#arm(this.#deadline - now);
    } else if (now - this.#deadline > LATE_MS && !this.#isSecondChance) {
      this.#isSecondChance = true;
      this.#ask(Math.min(CHECK_MS, this.#timeoutMs));
    } else {
      this.stop();
      this.#host.onDead();
    }
  }
}
