import { setMaxListeners } from 'node:events';
import PQueue from 'p-queue';
import { publish } from '../base/diagnostics.ts';
import { ConfigError, describeThrown, ListenerError, PorticoError, StateError, TransportError } from '../base/errors.ts';
import { MAX_DELAY_MS, type Option } from '../base/option.ts';
import { after } from '../base/wheel.ts';
import type { CloseReason } from '../session/close-reason.ts';
import { buildSessionOptions } from '../session/options.ts';
import { Session } from '../session/session.ts';
import type { EndPointType, NewSession } from '../session/session-host.ts';
import type { Connection } from '../transport/connection.ts';
import type { Transport } from '../transport/transport.ts';
import { backoffMs } from './backoff.ts';
import { EndPoint, type EndPointEvents } from './endpoint.ts';
import { CLIENT_DEFAULTS, type ClientOptions, type PickStrategy } from './options.ts';
import { upgradeConnection } from './upgrade.ts';

/** Dials under way at a time, for all connections of a client. */
const MAX_DIALS = 16;

/** One of the connections that a client keeps open; `slot` is its number, from 0. */
export interface ReconnectInfo {
  readonly slot: number;
  /** Failures in a row so far: failed dials, and sessions that ended before they were stable (`withReconnect`). */
  readonly failures: number;
}

export interface ClientEvents<In, Out> extends EndPointEvents<In, Out> {
  /** A connection was lost or could not be made; the next attempt is `delayMs` away. */
  reconnecting: readonly [info: ReconnectInfo & { readonly delayMs: number; readonly cause: PorticoError | CloseReason }];
  /** A connection is back. */
  reconnected: readonly [info: ReconnectInfo & { readonly session: Session<In, Out> }];
  /** A connection is given up for good; the others are kept. */
  gaveUp: readonly [info: ReconnectInfo & { readonly error: PorticoError }];
}

/** A client over any transport. `TcpClient` is one over TCP; use this class with a transport of your own. */
export class Client<In = unknown, Out = In> extends EndPoint<In, Out, ClientEvents<In, Out>> {
  readonly #transport: Transport;
  readonly #clientOptions: ClientOptions<In, Out>;
  readonly #dials = new PQueue({ concurrency: MAX_DIALS });
  /** Aborted by close: ends dials and waits. */
  readonly #stop = new AbortController();
  #newSession: NewSession<In, Out> | undefined;
  #ready: Promise<void> | undefined;
  #isReady = false;
  #lastOpened: Session<In, Out> | undefined;
  #lastReason: CloseReason | undefined;
  #picks = 0;

  constructor(transport: Transport, options: ClientOptions<In, Out>, type: EndPointType) {
    super(type, options);
    if (options.serverAddress === '') throw new ConfigError('MISSING_OPTION', 'expected withServerAddress, given no server address');
    this.#transport = transport;
    this.#clientOptions = options;
    // Every connection of the pool depends on it.
    setMaxListeners(0, this.#stop.signal);
  }

  /** A client over a transport of your own. */
  static over<In, Out>(transport: Transport, ...options: readonly Option<ClientOptions<In, Out>>[]): Client<In, Out> {
    return new Client(transport, buildSessionOptions<ClientOptions<In, Out>>(CLIENT_DEFAULTS, options), 'CUSTOM');
  }

  /**
   * Opens all connections, side by side, and keeps them open from then on. Resolves with a session when all have opened; rejects
   * with RECONNECT_EXHAUSTED when one was given up first, or ENDPOINT_CLOSED. A session that the server (or `onOpen`) closes as soon as
   * it is open may be closed already: its `closed` says why, and the client goes on as `withReconnect` says. Further calls wait for the
   * same, and reject with NO_SESSION when all sessions are lost again by then.
   */
  async connect(newSession?: NewSession<In, Out>): Promise<Session<In, Out>> {
    if (this.isClosed) throw new StateError('ENDPOINT_CLOSED', 'connect: the client has closed');
    if (this.#ready === undefined) {
      this.#newSession = newSession;
      this.#ready = this.#openAll();
      // Who only wants the events need not look at the promise.
      this.#ready.catch(() => {});
    }
    const isLate = this.#isReady;
    await this.#ready;
    const session = this.#choose(this.#clientOptions.pickStrategy) ?? (isLate ? undefined : this.#lastOpened);
    if (session === undefined) throw this.#noSession('connect');
    return session;
  }

  /** What `connect` waits for: settles when all connections were open once. */
  get ready(): Promise<void> {
    return this.#ready ?? Promise.reject(new StateError('WRONG_STATE', 'ready: expected connect() before it'));
  }

  /** An open session, by the strategy. Throws NO_SESSION when there is none; `cause` is how the last one ended. */
  pick(strategy: PickStrategy = this.#clientOptions.pickStrategy): Session<In, Out> {
    const picked = this.#choose(strategy);
    if (picked === undefined) throw this.#noSession('pick');
    return picked;
  }

  #choose(strategy: PickStrategy): Session<In, Out> | undefined {
    const open = [...this.sessions.values()].filter((session) => session.state === 'open');
    const index = strategy === 'random' ? Math.floor(Math.random() * open.length) : this.#picks++ % Math.max(1, open.length);
    return strategy === 'least-pending' ? leastPending(open) : open[index];
  }

  #noSession(call: string): StateError {
    const reason = this.#lastReason;
    const why = reason === undefined ? '' : `; the last one ended with ${reason.code}: ${reason.text}`;
    return new StateError('NO_SESSION', `${call}: the client has no open session${why}`, reason === undefined ? {} : { cause: reason });
  }

  /** Sends on a picked session; see `Session.send`. Throws NO_SESSION when none is open. */
  send(pkg: Out): boolean {
    return this.pick().send(pkg);
  }

  protected override async stop(): Promise<void> {
    this.#stop.abort(new StateError('ENDPOINT_CLOSED', 'the client was closed'));
    // A dial that ends now puts no session up any more: every slot looks at the signal after each wait.
    await Promise.resolve();
  }

  async #openAll(): Promise<void> {
    publish('endpointOpen', () => ({ endPoint: this, address: this.#clientOptions.serverAddress }));
    const slots = Array.from({ length: this.#clientOptions.connectionNumber }, (_, slot) => slot);
    await Promise.all(slots.map((slot) => new Promise<void>((resolve, reject) => void this.#keepOpen(slot, resolve, reject))));
    this.#isReady = true;
  }

  /** One connection of the pool: dial, wait for its end, wait a little, dial again. */
  async #keepOpen(slot: number, onOpened: () => void, onGivenUp: (error: PorticoError) => void): Promise<void> {
    const { signal } = this.#stop;
    const { reconnect } = this.#clientOptions;
    let failures = 0;
    let wasOpen = false;
    while (!signal.aborted) {
      let cause: PorticoError | CloseReason;
      try {
        const session = await this.#openSession();
        const openedMs = this.wheel.now();
        if (wasOpen || failures > 0) {
          publish('reconnect', () => ({ endPoint: this, slot, failures, session }));
          this.emitter.emit('reconnected', { slot, failures, session });
        }
        wasOpen = true;
        this.#lastOpened = session;
        onOpened();
        const reason = await session.closed;
        this.#lastReason = reason;
        cause = reason;
        const hasOpenFailed = reason.error instanceof ListenerError && reason.error.phase === 'open';
        const hasFailed = hasOpenFailed || this.#wasFutile(session, reason, openedMs);
        if (!signal.aborted && !this.#shouldReconnect(reason))
          return this.#giveUp(slot, hasOpenFailed ? failures + 1 : 0, onGivenUp, reason.error ?? reason);
        failures = hasFailed ? failures + 1 : 0;
      } catch (thrown) {
        cause = thrown instanceof PorticoError ? thrown : new TransportError('CONNECT_FAILED', describeThrown(thrown), { cause: thrown });
        failures++;
      }
      if (signal.aborted) break;
      // What was set up wrongly does not heal; a certificate that cannot be read later on may.
      if (failures >= reconnect.attempts || (cause instanceof ConfigError && !wasOpen))
        return this.#giveUp(slot, failures, onGivenUp, cause);
      const delayMs = backoffMs(Math.max(1, failures), reconnect);
      this.emitter.emit('reconnecting', { slot, failures, delayMs, cause });
      await this.#sleep(delayMs);
    }
    onGivenUp(new StateError('ENDPOINT_CLOSED', 'the client was closed before the connection was open'));
  }

  /** A server that takes connections only to drop them is no better than one that takes none. */
  #wasFutile(session: Session<In, Out>, reason: CloseReason, openedMs: number): boolean {
    const { stableMs } = this.#clientOptions.reconnect;
    return reason.by !== 'local' && this.wheel.now() - openedMs < stableMs && session.stats().packagesRead === 0;
  }

  #shouldReconnect(reason: CloseReason): boolean {
    try {
      return this.#clientOptions.reconnect.shouldReconnect(reason);
    } catch (thrown) {
      this.options.logger.error(`shouldReconnect failed: ${describeThrown(thrown)}`);
      return true;
    }
  }

  #giveUp(slot: number, failures: number, onGivenUp: (error: PorticoError) => void, cause: unknown): void {
    const why = cause instanceof Error ? `: ${cause.message}` : '';
    const error = new StateError('RECONNECT_EXHAUSTED', `connection ${slot} is given up after ${failures} failure(s)${why}`, { cause });
    if (failures >= this.#clientOptions.reconnect.attempts) {
      publish('limit', () => ({ limit: 'reconnect-attempts', endPoint: this, error }));
    }
    this.emitter.emit('gaveUp', { slot, failures, error });
    onGivenUp(error);
  }

  /** Dials, and opens a session on the connection; rejects when either fails. */
  async #openSession(): Promise<Session<In, Out>> {
    const connection = await this.#dials.add(() => this.#dial());
    if (this.#stop.signal.aborted) {
      connection.abort();
      throw new StateError('ENDPOINT_CLOSED', 'the client was closed');
    }
    const session = new Session<In, Out>(connection, this.options, this.host);
    this.track(session);
    // A newSession that never settles does not outlive its session.
    const hasOpened = await Promise.race([session.start(this.#newSession), session.closed.then(() => false)]);
    if (!hasOpened) {
      const { error } = await session.closed;
      throw error ?? new TransportError('CONNECT_FAILED', 'the session was closed before it was open');
    }
    return session;
  }

  async #dial(): Promise<Connection> {
    const { serverAddress, connectTimeoutMs } = this.#clientOptions;
    const attempt = new AbortController();
    const cancelTimer = after(this.wheel, connectTimeoutMs, () => {
      attempt.abort(new TransportError('CONNECT_TIMEOUT', `dial ${serverAddress}: not connected within ${connectTimeoutMs} ms`));
    });
    const onStop = (): void => attempt.abort(this.#stop.signal.reason);
    this.#stop.signal.addEventListener('abort', onStop, { once: true });
    if (this.#stop.signal.aborted) onStop();
    try {
      const connection = await this.#transport.dial(serverAddress, { signal: attempt.signal });
      return await upgradeConnection(connection, this.options.upgrades, attempt.signal);
    } finally {
      cancelTimer();
      this.#stop.signal.removeEventListener('abort', onStop);
    }
  }

  #sleep(delayMs: number): Promise<void> {
    const { signal } = this.#stop;
    return new Promise((resolve) => {
      // A client that is waiting to come back is at work, although portico's timers let a process end.
      const awake = setInterval(() => {}, MAX_DELAY_MS);
      const wake = (): void => {
        clearInterval(awake);
        cancelTimer();
        signal.removeEventListener('abort', wake);
        resolve();
      };
      const cancelTimer = after(this.wheel, delayMs, wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

function leastPending<In, Out>(sessions: readonly Session<In, Out>[]): Session<In, Out> | undefined {
  let least: Session<In, Out> | undefined;
  for (const session of sessions) {
    if (least === undefined || session.pendingBytes < least.pendingBytes) least = session;
  }
  return least;
}
