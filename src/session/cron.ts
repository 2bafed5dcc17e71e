import { PeerError } from '../base/errors.ts';
import { type Wheel, WheelTimer } from '../base/wheel.ts';

/** What the watch looks at and what it may do. */
export interface Watched {
  readonly timing: Timing;
  readonly hasCron: boolean;
  readonly lastActiveMs: number;
  /** Until when this side did not listen to the peer, who is not to blame for that: now, while it does not. */
  readonly deafUntilMs: number;
  readonly lastSentMs: number;
  /** Since when a package is incomplete with nothing but the peer to blame; -1 = none is. */
  readonly waitingForPackageSinceMs: number;
  /** Bytes handed over that the peer does not take, and those that it has taken. */
  readonly stalledBytes: number;
  readonly takenBytes: number;
  /** `settled` MUST be called when onCron is done. */
  onCronDue(settled: () => void): void;
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
  #timing: Timing;
  #hasCron: boolean;
  #nextCronMs: number;
  #nextPingMs: number;
  /** Idle times do not begin before these: the times at which they were set. */
  #heardSinceMs: number;
  #sentSinceMs: number;
  #dueMs = Number.POSITIVE_INFINITY;
  #isStalled = false;
  #takenBytes = 0;
  #stalledSinceMs = 0;
  #isStopped = false;
  #isCronRunning = false;

  constructor(watched: Watched, wheel: Wheel) {
    this.#watched = watched;
    this.#wheel = wheel;
    this.#timer = new WheelTimer(this);
    const now = wheel.now();
    this.#timing = watched.timing;
    this.#hasCron = watched.hasCron;
    this.#nextCronMs = now + watched.timing.cronPeriodMs;
    this.#nextPingMs = now + (watched.timing.heartbeat?.intervalMs ?? 0);
    this.#heardSinceMs = now;
    this.#sentSinceMs = now;
  }

  /** Looks at everything again: something began that has a deadline. */
  update(): void {
    if (this.#isStopped) return;
    const now = this.#wheel.now();
    if (this.#watched.stalledBytes > 0 && !this.#isStalled) this.#noteProgress(now);
    this.#arm(now);
  }

  /** Settings were changed: what is new counts from now, and the rest goes on as before. */
  restart(): void {
    const now = this.#wheel.now();
    const { timing, hasCron } = this.#watched;
    const before = this.#timing;
    const isIdleNew = timing.idleTimeoutMs !== before.idleTimeoutMs;
    const isHeartbeatNew = timing.heartbeat !== before.heartbeat;
    if (timing.cronPeriodMs !== before.cronPeriodMs || (hasCron && !this.#hasCron)) this.#nextCronMs = now + timing.cronPeriodMs;
    if (isHeartbeatNew) this.#nextPingMs = now + (timing.heartbeat?.intervalMs ?? 0);
    if (isHeartbeatNew || isIdleNew || timing.readerIdleMs !== before.readerIdleMs) this.#heardSinceMs = now;
    if (isIdleNew || timing.writerIdleMs !== before.writerIdleMs) this.#sentSinceMs = now;
    this.#timing = timing;
    this.#hasCron = hasCron;
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
      if (!this.#isCronRunning) this.#runCron();
    }
    if (this.#isStopped) return;
    const heartbeat = this.#watched.timing.heartbeat;
    if (heartbeat !== undefined && now >= this.#nextPingMs) {
      this.#nextPingMs = now + heartbeat.intervalMs;
      this.#watched.onPingDue();
    }
  }

  #runCron(): void {
    this.#isCronRunning = true;
    this.#watched.onCronDue(() => {
      this.#isCronRunning = false;
    });
  }

  #checkPeer(now: number): void {
    const { timing, waitingForPackageSinceMs: since } = this.#watched;
    const { heartbeat, readTimeoutMs } = timing;
    if (this.#isStopped) return;
    const [heardMs, sentMs] = [this.#heardMs, this.#sentMs];
    if (heartbeat !== undefined && now - heardMs >= heartbeat.timeoutMs) {
      this.#watched.onFailure(new PeerError('HEARTBEAT_TIMEOUT', `nothing was received for ${heartbeat.timeoutMs} ms`));
    } else if (readTimeoutMs > 0 && since >= 0 && now - since >= readTimeoutMs) {
      this.#watched.onFailure(new PeerError('PACKAGE_TIMEOUT', `a package was not completed within ${readTimeoutMs} ms`));
    } else if (timing.readerIdleMs > 0 && now - heardMs >= timing.readerIdleMs) {
      this.#watched.onIdleTimeout(`no package received for ${timing.readerIdleMs} ms`);
    } else if (timing.writerIdleMs > 0 && now - sentMs >= timing.writerIdleMs) {
      this.#watched.onIdleTimeout(`nothing sent for ${timing.writerIdleMs} ms`);
    } else if (timing.idleTimeoutMs > 0 && now - Math.max(heardMs, sentMs) >= timing.idleTimeoutMs) {
      this.#watched.onIdleTimeout(`no traffic for ${timing.idleTimeoutMs} ms`);
    }
  }

  get #heardMs(): number {
    return Math.max(this.#watched.lastActiveMs, this.#watched.deafUntilMs, this.#heardSinceMs);
  }

  get #sentMs(): number {
    return Math.max(this.#watched.lastSentMs, this.#sentSinceMs);
  }

  #checkProgress(now: number): void {
    const { stalledBytes, takenBytes, timing } = this.#watched;
    if (this.#isStopped) return;
    if (stalledBytes === 0 || !this.#isStalled || takenBytes !== this.#takenBytes) {
      this.#noteProgress(now);
    } else if (timing.writeTimeoutMs > 0 && now - this.#stalledSinceMs >= timing.writeTimeoutMs) {
      this.#watched.onFailure(
        new PeerError('WRITE_TIMEOUT', `the peer took none of ${stalledBytes} waiting bytes for ${timing.writeTimeoutMs} ms`),
      );
    }
  }

  #noteProgress(now: number): void {
    this.#isStalled = this.#watched.stalledBytes > 0;
    this.#takenBytes = this.#watched.takenBytes;
    this.#stalledSinceMs = now;
  }

  /** Arms the timer for the nearest deadline, unless it is armed for one at least as near. */
  #arm(now: number): void {
    const { timing, hasCron, waitingForPackageSinceMs: since } = this.#watched;
    const { heartbeat } = timing;
    const [heardMs, sentMs] = [this.#heardMs, this.#sentMs];
    let due = hasCron ? this.#nextCronMs : Number.POSITIVE_INFINITY;
    if (heartbeat !== undefined) due = Math.min(due, this.#nextPingMs, heardMs + heartbeat.timeoutMs);
    if (timing.readTimeoutMs > 0 && since >= 0) due = Math.min(due, since + timing.readTimeoutMs);
    if (timing.readerIdleMs > 0) due = Math.min(due, heardMs + timing.readerIdleMs);
    if (timing.writerIdleMs > 0) due = Math.min(due, sentMs + timing.writerIdleMs);
    if (timing.idleTimeoutMs > 0) due = Math.min(due, Math.max(heardMs, sentMs) + timing.idleTimeoutMs);
    // Progress is sampled twice in a time-out, so a stalled peer is found out between one and one and a half of it.
    if (timing.writeTimeoutMs > 0 && this.#isStalled) due = Math.min(due, now + timing.writeTimeoutMs / 2);
    if (due >= this.#dueMs) return;
    this.#dueMs = due;
    this.#wheel.arm(this.#timer, Math.max(0, due - now));
  }
}
