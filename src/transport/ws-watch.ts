import { PeerError } from '../base/errors.ts';
import { WheelTimer } from '../base/wheel.ts';
import type { WsSettings } from './ws-settings.ts';

/** An honest peer sends a ping every few seconds. */
export const MAX_PINGS_PER_SECOND = 100;

/** What the watch may do. */
export interface WsWatched {
  sendPing(payload: Buffer): void;
  fail(error: PeerError): void;
}

const SECOND_MS = 1000;
const NEVER = -1;
const POLICY_VIOLATION = 1008;

/**
 * What depends on time in a WebSocket, on one timer of the wheel: pings, the peer that does not answer them, and messages that are not
 * completed. Traffic only stamps a time.
 */
export class WsWatch {
  /** False while this side does not read: the peer cannot be heard then. */
  isListening = true;
  roundTripMs: number | undefined;
  readonly #watched: WsWatched;
  readonly #settings: WsSettings;
  readonly #timer: WheelTimer;
  #midSinceMs = NEVER;
  #nextPingMs = Number.POSITIVE_INFINITY;
  #pingSentMs = 0;
  #pingId = 0;
  #isAwaited = false;
  #wasHeard = false;
  #misses = 0;
  #pingsSinceMs = 0;
  #pings = 0;
  #isStopped = false;

  constructor(watched: WsWatched, settings: WsSettings) {
    this.#watched = watched;
    this.#settings = settings;
    this.#timer = new WheelTimer(this);
  }

  start(): void {
    const { ping, wheel } = this.#settings;
    if (ping !== undefined) this.#nextPingMs = wheel.now() + ping.periodMs;
    this.#arm(wheel.now());
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer.cancel();
  }

  /** A message is complete; the next one may have begun. */
  onMessage(): void {
    this.#midSinceMs = NEVER;
  }

  onBytes(isMidMessage: boolean): void {
    this.#wasHeard = true;
    if (this.#settings.messageTimeoutMs === 0) return;
    if (!isMidMessage) {
      this.#midSinceMs = NEVER;
    } else if (this.#midSinceMs === NEVER) {
      const now = this.#settings.wheel.now();
      this.#midSinceMs = now;
      this.#arm(now);
    }
  }

  /** Counts a ping of the peer; false when there are too many. */
  allowPing(): boolean {
    const now = this.#settings.wheel.now();
    if (now - this.#pingsSinceMs >= SECOND_MS) {
      this.#pingsSinceMs = now;
      this.#pings = 0;
    }
    return ++this.#pings <= MAX_PINGS_PER_SECOND;
  }

  onPong(payload: Buffer): void {
    if (!this.#isAwaited || payload.length !== 4 || payload.readUInt32BE(0) !== this.#pingId) return;
    this.#isAwaited = false;
    this.roundTripMs = this.#settings.wheel.now() - this.#pingSentMs;
  }

  onTimer(): void {
    if (this.#isStopped) return;
    const now = this.#settings.wheel.now();
    const { messageTimeoutMs } = this.#settings;
    if (this.#midSinceMs !== NEVER && !this.isListening) this.#midSinceMs = now;
    if (this.#midSinceMs !== NEVER && now - this.#midSinceMs >= messageTimeoutMs) {
      const text = `a message was not completed within ${messageTimeoutMs} ms`;
      this.#watched.fail(new PeerError('PACKAGE_TIMEOUT', text, { status: POLICY_VIOLATION }));
      return;
    }
    if (now >= this.#nextPingMs) this.#ping(now);
    this.#arm(now);
  }

  #ping(now: number): void {
    const { ping } = this.#settings;
    if (ping === undefined) return;
    this.#misses = this.isListening && !this.#wasHeard && this.#isAwaited ? this.#misses + 1 : 0;
    if (this.#misses >= ping.misses) {
      const text = `nothing was heard for ${ping.misses} pings, one every ${ping.periodMs} ms`;
      this.#nextPingMs = Number.POSITIVE_INFINITY;
      this.#watched.fail(new PeerError('HEARTBEAT_TIMEOUT', text));
      return;
    }
    this.#nextPingMs = now + ping.periodMs;
    this.#wasHeard = false;
    this.#isAwaited = true;
    this.#pingSentMs = now;
    this.#pingId = (this.#pingId + 1) >>> 0;
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32BE(this.#pingId);
    this.#watched.sendPing(payload);
  }

  #arm(now: number): void {
    if (this.#isStopped) return;
    const { messageTimeoutMs, wheel } = this.#settings;
    const due = this.#midSinceMs === NEVER ? this.#nextPingMs : Math.min(this.#nextPingMs, this.#midSinceMs + messageTimeoutMs);
    if (due < Number.POSITIVE_INFINITY) wheel.arm(this.#timer, Math.max(0, due - now));
  }
}
