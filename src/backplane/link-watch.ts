import type { Clock } from '../base/clock.ts';
import { TransportError } from '../base/errors.ts';

/** Tells a server that has frozen, from this node's own beats that do not come back, and a process that stood still, from late ticks. */
export class LinkWatch {
  readonly #clock: Clock;
  readonly #leaseMs: number;
  readonly #beatMs: number;
  #echoAtMs = 0;
  #tickAtMs = 0;
  /** The last tick before which anything came. */
  #heardAtMs = 0;
  #hasHeard = false;

  constructor({ clock, leaseMs, beatMs }: { readonly clock: Clock; readonly leaseMs: number; readonly beatMs: number }) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
    this.#beatMs = beatMs;
  }

  restart(): void {
    this.#echoAtMs = this.#clock.now();
    this.#tickAtMs = this.#echoAtMs;
    this.#heardAtMs = this.#echoAtMs;
  }

  /** Anything came from the server. */
  onTraffic(): void {
    this.#hasHeard = true;
  }

  onEcho(): void {
    this.#echoAtMs = this.#clock.now();
  }

  /** Called with each beat. By how much it came so late that this process must have stood still; else 0. */
  tick(): number {
    const now = this.#clock.now();
    const late = now - this.#tickAtMs - this.#beatMs;
    this.#tickAtMs = now;
    if (this.#hasHeard) this.#heardAtMs = now;
    this.#hasHeard = false;
    if (late < this.#beatMs) return 0;
    this.#echoAtMs += late;
    this.#heardAtMs += late;
    return late;
  }

  /**
   * Before other nodes take this one for dead. While other things come, beats may only be waiting behind them, so they are given more
   * time; not for ever, because there may be two connections of which one is dead.
   */
  get isSilent(): boolean {
    const now = this.#clock.now();
    const limitMs = this.#leaseMs - 2 * this.#beatMs;
    return now - this.#echoAtMs > 3 * this.#leaseMs || now - Math.max(this.#echoAtMs, this.#heardAtMs) > limitMs;
  }

  silence(): TransportError {
    const ms = Math.round(this.#clock.now() - this.#echoAtMs);
    return new TransportError('BACKPLANE_FAILED', `the server of the backplane has been silent for ${ms} ms`);
  }
}
