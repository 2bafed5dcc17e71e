import { ListenerError, PeerError, type PorticoError, StateError, TransportError } from '../base/errors.ts';
import { COMMAND_SUBPROTOCOL } from '../command/wire.ts';
import type { ClientClose, ClientEvents, ClientState, OpenInfo } from './client-events.ts';
import type { Settings } from './client-options.ts';
import { Link } from './link.ts';
import { type ReconnectPolicy, reconnectDelayMs } from './reconnect-policy.ts';

/** Told how it goes; every method may call back into the connector. */
export interface ConnectorHost {
  emit<Name extends 'state' | 'reconnecting' | 'error'>(name: Name, ...args: ClientEvents[Name]): void;
  /** The socket is open: say what is to be said first, then call `welcomed`. */
  onSocketOpen(link: Link, auth: unknown): void;
  onMessage(link: Link, data: unknown): void;
  /** `welcomed` was called; `isFirst` since `connect()`. */
  onOpen(link: Link, info: OpenInfo, isFirst: boolean): void;
  /** The connection that was open is gone. */
  onDown(close: ClientClose): void;
  /** Nothing more comes until `connect()`. */
  onOver(close: ClientClose): void;
}

/** The server wants to be shown something else. */
const UNAUTHENTICATED = 4401;

/**
 * Keeps one connection, from `connect()` until it is over: attempts, waits, and the decision whether to go on.
 *
 * ```
 * idle --connect--> connecting --welcomed--> open --lost--> reconnecting --welcomed--> open
 *                       |  ^ retried                             |
 *                       v                                        v
 *                    closed <---- closing <---- close() ------- any     (closed: also when told not to come again)
 * ```
 */
export class Connector {
  readonly #settings: Settings;
  readonly #host: ConnectorHost;
  state: ClientState = 'idle';
  #link: Link | undefined;
  /** Goes up with each attempt, so that what an older one still waits for is not taken for this one's. */
  #generation = 0;
  #cancelTimer: (() => void) | undefined;
  /** The wait for the next attempt can be cut short. */
  #isWaiting = false;
  #lastAttemptAt = 0;
  #failures = 0;
  #hasAskedAgain = false;
  #wasOpen = false;
  #info: OpenInfo | undefined;
  #lastError: PorticoError | undefined;
  /** Of those who wait; made when somebody does. */
  #ready: Promise<OpenInfo> | undefined;
  #settle: (error?: PorticoError) => void = () => {};

  constructor(settings: Settings, host: ConnectorHost) {
    this.#settings = settings;
    this.#host = host;
  }

  /** The connection that messages go through; undefined unless open. */
  get link(): Link | undefined {
    return this.state === 'open' || this.state === 'closing' ? this.#link : undefined;
  }

  /** Settles when it is open next, or over. */
  get ready(): Promise<OpenInfo> {
    if (this.state === 'open' && this.#info !== undefined) return Promise.resolve(this.#info);
    if (this.state === 'closed') return quiet(Promise.reject(this.#lastError));
    this.#ready ??= quiet(
      new Promise((resolve, reject) => {
        this.#settle = (error) => {
          this.#ready = undefined;
          if (error !== undefined) reject(error);
          else if (this.#info !== undefined) resolve(this.#info);
        };
      }),
    );
    return this.#ready;
  }

  connect(): Promise<OpenInfo> {
    if (this.state === 'idle' || this.state === 'closed' || this.state === 'closing') {
      if (this.state === 'closing') this.#finish(closeOf('client', 'connect'));
      this.#failures = 0;
      this.#hasAskedAgain = false;
      this.#wasOpen = false;
      this.#to('connecting');
      const { ready } = this;
      void this.#attempt();
      return ready;
    }
    return this.ready;
  }

  /** The native WELCOME has come, or the profile has none. */
  welcomed(link: Link, info: OpenInfo): void {
    if (link !== this.#link) return;
    this.#stopTimer();
    link.openedAt = this.#settings.clock.now();
    this.#info = info;
    const isFirst = !this.#wasOpen;
    this.#wasOpen = true;
    this.#to('open');
    this.#settle();
    this.#host.onOpen(link, info, isFirst);
  }

  /** Gives the connection up: it is dead, or the server breaks the protocol. */
  abandon(status: number, reason: string, error: PorticoError | undefined, isDead = false): void {
    const link = this.#link;
    if (link === undefined) return;
    link.drop(status, reason, isDead);
    this.#lost(closeOf('network', reason, error));
  }

  /** There is a reason to believe that it would work now. A server that named a time is not asked before. */
  hurry(): void {
    if (!this.#isWaiting || this.#settings.clock.now() - this.#lastAttemptAt < (this.#settings.reconnect?.minMs ?? 0)) return;
    void this.#attempt();
  }

  /** No more attempts. An open connection stays until `shut`, but no longer than `timeoutMs`; without one it is over at once. */
  beginClosing(timeoutMs: number): void {
    if (this.state !== 'open') {
      this.#finish(CLOSED);
      return;
    }
    this.#to('closing');
    this.#stopTimer();
    this.#cancelTimer = this.#settings.clock.after(timeoutMs, () => this.#finish(closeOf('client', 'timeout')));
  }

  /** While closing: closes the socket in order; it is over when the close event comes. */
  shut(status: number, reason: string): void {
    if (this.state === 'closing') this.#link?.close(status, reason);
  }

  // --- attempts ---

  async #attempt(): Promise<void> {
    const { url, auth, webSocket, profile, connectTimeoutMs, clock } = this.#settings;
    const generation = ++this.#generation;
    this.#stopTimer();
    this.#lastAttemptAt = clock.now();
    this.#cancelTimer = clock.after(connectTimeoutMs, () => {
      this.#failed(new TransportError('CONNECT_TIMEOUT', 'no connection in time'));
    });
    try {
      const [address, shown] = await Promise.all([url(), profile === 'native' ? auth?.() : undefined]);
      if (generation !== this.#generation) return;
      const link = new Link(this.#linkOwner(shown), webSocket, address, profile === 'native' ? [COMMAND_SUBPROTOCOL] : []);
      this.#link = link;
    } catch (cause) {
      if (generation === this.#generation) this.#failed(new TransportError('CONNECT_FAILED', 'no attempt', { cause }));
    }
  }

  #linkOwner(auth: unknown): ConstructorParameters<typeof Link>[0] {
    return {
      onLinkOpen: (link) => this.#host.onSocketOpen(link, auth),
      onLinkMessage: (link, data) => this.#host.onMessage(link, data),
      onLinkClose: (link, status, reason, wasClean) => {
        link.detach();
        const by = wasClean ? (this.state === 'closing' ? 'client' : 'server') : 'network';
        this.#lost({ status, reason, wasClean, by, ...link.goodbye });
      },
    };
  }

  #failed(error: PorticoError): void {
    // Not 1000, which would tell the server that the client leaves for good.
    this.#link?.drop(4408, '', true);
    this.#lost(closeOf('network', error.message, error));
  }

  /** The attempt or the connection is over; `#link` says nothing any more. */
  #lost(close: ClientClose): void {
    const link = this.#link;
    this.#link = undefined;
    this.#generation++;
    this.#stopTimer();
    if (close.error !== undefined) this.#host.emit('error', close.error);
    if (this.state === 'closing') {
      this.#finish(close);
      return;
    }
    const { clock, minUptimeMs, reconnect, retryFirstConnect } = this.#settings;
    if (link?.openedAt !== undefined && clock.now() - link.openedAt >= minUptimeMs) {
      this.#failures = 0;
      this.#hasAskedAgain = false;
    }
    const isWorthIt = this.#wasOpen || retryFirstConnect;
    const delayMs = isWorthIt && reconnect !== undefined ? this.#nextDelayMs(close, reconnect) : undefined;
    const generation = this.#generation;
    const wasOpen = this.state === 'open';
    if (wasOpen && delayMs !== undefined) this.#to('reconnecting');
    if (wasOpen) this.#host.onDown(close);
    // A listener may have closed or connected meanwhile.
    if (generation !== this.#generation) return;
    if (delayMs === undefined) {
      this.#finish(close);
      return;
    }
    this.#isWaiting = close.retryAfterMs === undefined;
    this.#cancelTimer = clock.after(delayMs, () => void this.#attempt());
    this.#host.emit('reconnecting', { attempt: this.#failures, delayMs, close });
  }

  /** Undefined: do not come again. */
  #nextDelayMs(close: ClientClose, policy: ReconnectPolicy): number | undefined {
    const { auth, isFatal, shouldReconnect, random } = this.#settings;
    if (++this.#failures > policy.attempts) return undefined;
    try {
      const verdict = shouldReconnect?.(close);
      if (verdict === undefined && close.status === UNAUTHENTICATED && auth !== undefined && !this.#hasAskedAgain) {
        this.#hasAskedAgain = true;
        return 0;
      }
      const isOver = verdict === undefined ? (close.isFatal ?? isFatal(close.status)) : !verdict;
      return isOver ? undefined : reconnectDelayMs(this.#failures, close, policy, random);
    } catch (cause) {
      this.#host.emit('error', new ListenerError('LISTENER_FAILED', 'close', 'an option threw', { cause }));
      return policy.maxMs;
    }
  }

  #finish(close: ClientClose): void {
    this.#link?.drop(1000, close.reason);
    this.#link = undefined;
    this.#generation++;
    this.#stopTimer();
    if (this.state === 'closed') return;
    this.#lastError = overError(close, this.#failures > (this.#settings.reconnect?.attempts ?? Number.POSITIVE_INFINITY));
    this.#to('closed');
    this.#settle(this.#lastError);
    this.#host.onOver({ ...close, error: close.by === 'client' ? close.error : this.#lastError });
  }

  #stopTimer(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#isWaiting = false;
  }

  #to(state: ClientState): void {
    const before = this.state;
    this.state = state;
    if (state !== before) this.#host.emit('state', state, before);
  }
}

/** Before there was anything to close. */
export const CLOSED: ClientClose = { status: 1000, reason: '', wasClean: true, by: 'client' };

function closeOf(by: ClientClose['by'], reason: string, error?: PorticoError): ClientClose {
  return { status: 1006, reason, wasClean: false, by, error };
}

/** The 'close' event tells it too: a promise that nobody looks at MUST NOT end the process. */
function quiet<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => {});
  return promise;
}

function overError({ by, status, reason, error }: ClientClose, isExhausted: boolean): PorticoError {
  if (by === 'client') return new StateError('ENDPOINT_CLOSED', 'the client is closed');
  if (isExhausted) return new StateError('RECONNECT_EXHAUSTED', 'no attempt is left', { cause: error });
  return error ?? new PeerError('CLOSED_WITH_ERROR', `closed with ${status} ${reason}`, { status });
}
