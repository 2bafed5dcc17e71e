import { PeerError } from '../base/errors.ts';
import { type Wheel, WheelTimer } from '../base/wheel.ts';

/** What the watch looks at and what it may do. */
export interface Watched {
  readonly timing: Timing;
  readonly hasCron: boolean;
  readonly lastActiveMs: number;
  readonly lastSentMs: number;
  /** Since when a package is incomplete with nothing but the peer to blame; 0 = none is. */
  readonly waitingForPackageSinceMs: number;
  readonly stalledBytes: number;
  onCronDue(): void;
  onPingDue(): void;
  onIdleTimeout(text: string): void;
  onFailure(error: PeerError): void;
}

/** The periods of a session; 0 = off. */
export interface Timing {
  readonly cronPeriodMs: number;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly readerIdleMs: number;
  readonly writerIdleMs: number;
  readonly idleTimeoutMs: number;
  readonly heartbeat: { readonly intervalMs: number; readonly timeoutMs: number } | undefined;
}

/**
 * Everything about a session that depends on time, on one timer of the wheel: onCron, idle time-outs, heartbeat, packages that
 * are not completed and sends that make no progress. Traffic only stamps a time; the timer looks at the stamps when it is due
 * and arms itself for what is next, so a busy session costs no timer work at all.
 */
export class SessionWatch {
  readonly #watched: Watched;
  readonly #wheel: Wheel;
  readonly #timer: WheelTimer;
  #nextCronMs: number;
  #nextPingMs: number;
  #dueMs = Number.POSITIVE_INFINITY;
  #stalledBytes = 0;
  #stalledSinceMs = 0;
  #isStopped = false;

  constructor(watched: Watched, wheel: Wheel) {
    this.#watched = watched;
    this.#wheel = wheel;
    this.#timer = new WheelTimer(this);
    const now = wheel.now();
    this.#nextCronMs = now + watched.timing.cronPeriodMs;
    this.#nextPingMs = now + (watched.timing.heartbeat?.intervalMs ?? 0);
  }

  /** Looks at everything again: something began that has a deadline. */
  update(): void {
    if (this.#isStopped) return;
    const now = this.#wheel.now();
    if (this.#watched.stalledBytes > 0 && this.#stalledBytes === 0) this.#noteProgress(now);
    this.#arm(now);
  }

  /** Periods were changed: those that repeat begin anew. */
  restart(): void {
    const now = this.#wheel.now();
    this.#nextCronMs = now + this.#watched.timing.cronPeriodMs;
    this.#nextPingMs = now + (this.#watched.timing.heartbeat?.intervalMs ?? 0);
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.update();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer.cancel();
  }

  onTimer(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
    const now = this.#wheel.now();
    this.#checkCron(now);
    this.#checkPeer(now);
    this.#checkProgress(now);
    if (!this.#isStopped) this.#arm(now);
  }

  #checkCron(now: number): void {
    const { timing, hasCron } = this.#watched;
    if (hasCron && now >= this.#nextCronMs) {
      // Fixed rate: what was missed is skipped, not caught up.
      const missed = Math.floor((now - this.#nextCronMs) / timing.cronPeriodMs);
      this.#nextCronMs += (missed + 1) * timing.cronPeriodMs;
      this.#watched.onCronDue();
    }
    const heartbeat = this.#watched.timing.heartbeat;
    if (heartbeat !== undefined && now >= this.#nextPingMs) {
      this.#nextPingMs = now + heartbeat.intervalMs;
      this.#watched.onPingDue();
    }
  }

  #checkPeer(now: number): void {
    const { timing, lastActiveMs, lastSentMs, waitingForPackageSinceMs: since } = this.#watched;
    const { heartbeat, readTimeoutMs } = timing;
    if (this.#isStopped) return;
    if (heartbeat !== undefined && now - lastActiveMs >= heartbeat.timeoutMs) {
      this.#watched.onFailure(new PeerError('HEARTBEAT_TIMEOUT', `nothing was received for ${heartbeat.timeoutMs} ms`));
    } else if (readTimeoutMs > 0 && since > 0 && now - since >= readTimeoutMs) {
      this.#watched.onFailure(new PeerError('PACKAGE_TIMEOUT', `a package was not completed within ${readTimeoutMs} ms`));
    } else if (timing.readerIdleMs > 0 && now - lastActiveMs >= timing.readerIdleMs) {
      this.#watched.onIdleTimeout(`no package received for ${timing.readerIdleMs} ms`);
    } else if (timing.writerIdleMs > 0 && now - lastSentMs >= timing.writerIdleMs) {
      this.#watched.onIdleTimeout(`nothing sent for ${timing.writerIdleMs} ms`);
    } else if (timing.idleTimeoutMs > 0 && now - Math.max(lastActiveMs, lastSentMs) >= timing.idleTimeoutMs) {
      this.#watched.onIdleTimeout(`no traffic for ${timing.idleTimeoutMs} ms`);
    }
  }

  #checkProgress(now: number): void {
    const { stalledBytes, timing } = this.#watched;
    if (this.#isStopped) return;
    if (stalledBytes === 0 || stalledBytes !== this.#stalledBytes) {
      this.#noteProgress(now);
    } else if (timing.writeTimeoutMs > 0 && now - this.#stalledSinceMs >= timing.writeTimeoutMs) {
      this.#watched.onFailure(
        new PeerError('WRITE_TIMEOUT', `the peer took none of ${stalledBytes} waiting bytes for ${timing.writeTimeoutMs} ms`),
      );
    }
  }

  #noteProgress(now: number): void {
    this.#stalledBytes = this.#watched.stalledBytes;
    this.#stalledSinceMs = now;
  }

  /** Arms the timer for the nearest deadline, unless it is armed for one at least as near. */
  #arm(now: number): void {
    const { timing, hasCron, lastActiveMs, lastSentMs, waitingForPackageSinceMs: since } = this.#watched;
    const { heartbeat } = timing;
    let due = hasCron ? this.#nextCronMs : Number.POSITIVE_INFINITY;
    if (heartbeat !== undefined) due = Math.min(due, this.#nextPingMs, lastActiveMs + heartbeat.timeoutMs);
    if (timing.readTimeoutMs > 0 && since > 0) due = Math.min(due, since + timing.readTimeoutMs);
    if (timing.readerIdleMs > 0) due = Math.min(due, lastActiveMs + timing.readerIdleMs);
    if (timing.writerIdleMs > 0) due = Math.min(due, lastSentMs + timing.writerIdleMs);
    if (timing.idleTimeoutMs > 0) due = Math.min(due, Math.max(lastActiveMs, lastSentMs) + timing.idleTimeoutMs);
    // Progress is sampled twice in a time-out, so a stalled peer is found out between one and one and a half of it.
    if (timing.writeTimeoutMs > 0 && this.#stalledBytes > 0) due = Math.min(due, now + timing.writeTimeoutMs / 2);
    if (due >= this.#dueMs) return;
    this.#dueMs = due;
    this.#wheel.arm(this.#timer, Math.max(0, due - now));
  }
}
