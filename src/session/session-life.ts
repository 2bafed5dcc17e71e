import { publish } from '../base/diagnostics.ts';
import {
  ConfigError,
  describeThrown,
  ListenerError,
  type ListenerPhase,
  PeerError,
  PorticoError,
  StateError,
  TransportError,
} from '../base/errors.ts';
import { log, oneLine } from '../base/log.ts';
import { after } from '../base/wheel.ts';
import type { Connection, ConnectionSink } from '../transport/connection.ts';
import type { CloseCallbacks } from './close-callbacks.ts';
import { CLOSE_STATUS, type CloseCode, type CloseReason, closeCodeOf } from './close-reason.ts';
import { runClosing } from './closing.ts';
import { SessionWatch, type Watched } from './cron.ts';
import { DrainWaiters } from './drain-waiters.ts';
import { type EventListenerLike, overrides } from './event-listener.ts';
import { Hold, Inbound, type InboundOwner } from './inbound.ts';
import type { SessionOptions } from './options.ts';
import type { PendingWrite, WriteOptions } from './outbound.ts';
import type { PackageIterator } from './package-iterator.ts';
import type { Session } from './session.ts';
import type { NewSession, SessionHost } from './session-host.ts';
import { moveTo, type SessionState } from './session-state.ts';

/** Why and how a session is to be closed. */
export interface CloseRequest {
  readonly code: CloseCode;
  readonly by: CloseReason['by'];
  readonly text: string;
  readonly error?: PorticoError;
  /** Nothing is flushed. */
  readonly isForced?: boolean;
  readonly drainTimeoutMs?: number;
  readonly truncatedBytes?: number;
}

/**
 * A session from the inside: its state, what its connection, its packages and its clock report, and the one route that every
 * failure takes. `Session` is the face that programs hold.
 */
export class SessionLife<In, Out> implements ConnectionSink, InboundOwner<In>, Watched {
  readonly session: Session<In, Out>;
  readonly connection: Connection;
  readonly host: SessionHost<In, Out>;
  options: SessionOptions<In, Out>;
  state: SessionState = 'opening';
  packagesWritten = 0;
  lastSentMs: number;
  inbound: Inbound<In> | undefined;
  callbacks: CloseCallbacks | undefined;
  iterator: PackageIterator<In> | undefined;
  reason: CloseReason | undefined;
  hasPeerEnded = false;
  #listener: EventListenerLike<In, Out> | undefined;
  #watch: SessionWatch | undefined;
  #controller: AbortController | undefined;
  #drainWaiters: DrainWaiters | undefined;
  #closed: Promise<CloseReason> | undefined;
  #resolveClosed: ((reason: CloseReason | PromiseLike<CloseReason>) => void) | undefined;
  #closing: Promise<CloseReason> | undefined;
  #resolveGone: (() => void) | undefined;
  #resolveFinished: (() => void) | undefined;
  #resolveHandled: (() => void) | undefined;
  #cancelEndTimer: (() => void) | undefined;
  #closeWhenHandled: (() => void) | undefined;
  #wasOpened = false;
  #isEndDecoded = false;
  #isGone = false;
  #isCronRunning = false;

  constructor(session: Session<In, Out>, connection: Connection, options: SessionOptions<In, Out>, host: SessionHost<In, Out>) {
    this.session = session;
    this.connection = connection;
    this.options = options;
    this.host = host;
    this.lastSentMs = host.wheel.now();
  }

  // --- opening ---

  /** Runs `newSession`, then opens. Resolves with whether the session has opened; never rejects. */
  async start(newSession: NewSession<In, Out> | undefined): Promise<boolean> {
    try {
      await newSession?.(this.session);
      if (this.state !== 'opening') return false;
      const { reader, writer, listener } = this.options;
      if (reader === undefined || writer === undefined || listener === undefined) {
        throw new ConfigError(
          'MISSING_OPTION',
          'expected withPkgHandler and withEventListener, for the endpoint or in newSession, given less',
        );
      }
      this.inbound = new Inbound(this, this.connection, this.host.wheel, { ...this.options, reader });
      this.#listener = listener;
    } catch (thrown) {
      const error = thrown instanceof ConfigError ? thrown : listenerError('newSession', thrown);
      void this.close({ code: 'INTERNAL', by: 'local', text: error.message, error, isForced: true });
      return false;
    }
    this.state = moveTo(this.state, 'open');
    this.#wasOpened = true;
    this.connection.open(this, this.options);
    this.#applyTiming();
    this.host.onSessionOpen(this.session);
    publish('sessionOpen', () => ({ session: this.session }));
    if (log.session.enabled) log.session('open %d %s', this.session.id, this.connection.remoteAddress.text);
    void this.#callOnOpen(this.inbound);
    return true;
  }

  /** Packages wait until onOpen has settled. */
  async #callOnOpen(inbound: Inbound<In>): Promise<void> {
    try {
      await this.#listener?.onOpen?.(this.session);
    } catch (thrown) {
      this.#onListenerFailure('open', thrown);
    }
    inbound.onOpened();
  }

  /** Takes changed options into use. */
  configure(options: SessionOptions<In, Out>): void {
    const before = this.options;
    this.options = options;
    if (this.inbound === undefined || this.state !== 'open') return;
    const { reader, listener } = options;
    if (reader !== undefined) this.inbound.configure({ ...options, reader });
    this.#listener = listener;
    this.connection.limitSending(options);
    const periods = ['cronPeriodMs', 'heartbeat', 'readerIdleMs', 'writerIdleMs', 'idleTimeoutMs'] as const;
    if (listener !== before.listener || periods.some((period) => options[period] !== before[period])) this.#applyTiming();
  }

  #applyTiming(): void {
    const { heartbeat, readerIdleMs, writerIdleMs, idleTimeoutMs } = this.options;
    if (this.hasCron || heartbeat !== undefined || readerIdleMs + writerIdleMs + idleTimeoutMs > 0) this.#getWatch().restart();
    else this.#watch?.restart();
  }

  #getWatch(): SessionWatch {
    this.#watch ??= new SessionWatch(this, this.host.wheel);
    return this.#watch;
  }

  // --- from the connection ---

  onBytes(bytes: Buffer): void {
    this.inbound?.onBytes(bytes);
  }

  onDrain(): void {
    this.#drainWaiters?.resolveAll();
    this.#callListener('drain', 'onDrain');
  }

  onBlocked(): void {
    if (this.options.writeTimeoutMs > 0 && this.state === 'open') this.#getWatch().update();
  }

  onOverflow(error: PeerError): void {
    this.onFailure(error);
  }

  onFinished(): void {
    this.#resolveFinished?.();
  }

  onEnd(): void {
    this.hasPeerEnded = true;
    this.#boundEnd();
    this.onIdle();
  }

  onClose(error: PorticoError | undefined): void {
    this.#isGone = true;
    this.#resolveGone?.();
    if (error === undefined) void this.close({ code: 'PEER_CLOSED', by: 'peer', text: 'the connection has ended', isForced: true });
    else
      void this.close({
        code: closeCodeOf(error),
        by: 'network',
        text: error.message,
        error,
        isForced: true,
        truncatedBytes: this.inbound?.bufferedBytes ?? 0,
      });
  }

  // --- from the receiving half ---

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#closing !== undefined) this.#controller.abort(new StateError('SESSION_CLOSED', 'the session has closed'));
    }
    return this.#controller.signal;
  }

  handle(pkg: In): unknown {
    if (this.state !== 'open') return undefined;
    return this.#listener?.onMessage(this.session, pkg);
  }

  onHandlerFailure(thrown: unknown): void {
    this.#onListenerFailure('message', thrown);
  }

  onFailure(error: PorticoError): void {
    // A peer that takes no bytes cannot be flushed to.
    const isForced = error.code === 'SLOW_READER' || error.code === 'WRITE_TIMEOUT';
    const text = error.message;
    void this.close({ code: closeCodeOf(error), by: error.name === 'PeerError' ? 'peer' : 'local', text, error, isForced });
  }

  onNotice(error: PorticoError): void {
    publish('sessionError', () => ({ session: this.session, error }));
    const listener = this.#listener ?? this.options.listener;
    if (listener === undefined || !overrides(listener, 'onError')) {
      this.host.logger.warn(`session ${this.session.id}: ${error.code}: ${oneLine(error.message)}`);
      return;
    }
    try {
      listener.onError?.(this.session, error);
    } catch (thrown) {
      this.#logFailure('onError', thrown);
    }
  }

  onIdle(): void {
    this.#resolveHandled?.();
    this.#closeWhenHandled?.();
    const inbound = this.inbound;
    if (!this.hasPeerEnded || this.state !== 'open' || inbound === undefined || !inbound.isIdle) return;
    let truncatedBytes = 0;
    if (!this.#isEndDecoded) {
      this.#isEndDecoded = true;
      truncatedBytes = inbound.end();
      // A last package was made of the rest, and its handler is still at it.
      if (!inbound.isIdle && truncatedBytes === 0) return;
    }
    if (truncatedBytes > 0) {
      void this.close({ code: 'TRUNCATED', by: 'peer', text: 'the peer finished in the middle of a package', truncatedBytes });
    } else if (!this.options.halfOpen) {
      void this.close({ code: 'PEER_CLOSED', by: 'peer', text: 'the peer finished' });
    } else {
      this.#cancelEndTimer?.();
      this.#callListener('end', 'onEnd');
    }
  }

  onPartial(): void {
    if (this.options.readTimeoutMs > 0) this.#getWatch().update();
  }

  /** Handlers still running when the peer has finished may take the drain time-out each, not for ever. */
  #boundEnd(): void {
    const handledBefore = this.inbound?.packagesRead;
    this.#cancelEndTimer = after(this.host.wheel, Math.max(1, this.options.drainTimeoutMs), () => {
      if (this.state !== 'open' || (this.options.halfOpen && this.#isEndDecoded)) return;
      if (this.inbound?.packagesRead !== handledBefore) this.#boundEnd();
      else void this.close({ code: 'PEER_CLOSED', by: 'peer', text: 'the peer finished, and a handler did not in time' });
    });
  }

  // --- from the watch ---

  get timing(): SessionOptions<In, Out> {
    return this.options;
  }

  get hasCron(): boolean {
    return this.#listener !== undefined && overrides(this.#listener, 'onCron');
  }

  get lastActiveMs(): number {
    return this.inbound?.lastActiveMs ?? this.lastSentMs;
  }

  get waitingForPackageSinceMs(): number {
    return this.inbound?.isWaitingForPeer ? this.inbound.partialSinceMs : 0;
  }

  get stalledBytes(): number {
    return this.connection.stalledBytes;
  }

  onCronDue(): void {
    if (this.#isCronRunning || this.state !== 'open') return;
    this.#isCronRunning = true;
    this.#callListener('cron', 'onCron', () => {
      this.#isCronRunning = false;
    });
  }

  onPingDue(): void {
    try {
      const pkg = this.options.heartbeat?.ping?.(this.session);
      if (pkg !== undefined) this.session.send(pkg);
    } catch (thrown) {
      this.#onListenerFailure('heartbeat', thrown);
    }
  }

  onIdleTimeout(text: string): void {
    void this.close({ code: 'IDLE', by: 'local', text });
  }

  // --- failures of user code ---

  #callListener(phase: ListenerPhase, method: 'onCron' | 'onDrain' | 'onEnd', settled?: () => void): void {
    try {
      const result = this.#listener?.[method]?.(this.session);
      if (result === undefined) settled?.();
      else
        result.then(settled, (thrown: unknown) => {
          settled?.();
          this.#onListenerFailure(phase, thrown);
        });
    } catch (thrown) {
      settled?.();
      this.#onListenerFailure(phase, thrown);
    }
  }

  #onListenerFailure(phase: ListenerPhase, thrown: unknown): void {
    const isTimeout = thrown instanceof StateError && thrown.code === 'TASK_TIMEOUT';
    const error = isTimeout ? thrown : listenerError(phase, thrown);
    if (this.state !== 'open') this.#logFailure(phase, thrown);
    else if (this.options.listenerErrorPolicy === 'continue' && phase !== 'open') this.onNotice(error);
    else void this.close({ code: closeCodeOf(error), by: 'local', text: error.message, error });
  }

  #logFailure(where: string, thrown: unknown): void {
    this.host.logger.error(`session ${this.session.id}: ${where} failed: ${oneLine(describeThrown(thrown))}`);
  }

  // --- sending ---

  /** The clock is read only when a time-out needs it: this runs for every package sent. */
  stampSent(): void {
    if (this.options.writerIdleMs + this.options.idleTimeoutMs > 0) this.lastSentMs = this.host.wheel.now();
  }

  watchWrite(write: PendingWrite, options: WriteOptions): void {
    if (options.timeoutMs === undefined && options.signal === undefined) return;
    const { connection } = this;
    const onLate = (): void => {
      const error = new PeerError('WRITE_TIMEOUT', `the package was not taken within ${options.timeoutMs} ms`);
      const isCut = !connection.unsend(write);
      write.onUnsent(error);
      if (isCut) this.onFailure(error);
    };
    const onAborted = (): void => {
      connection.unsend(write);
      write.onUnsent(new StateError('ABORTED', 'write: the signal was aborted', { cause: options.signal?.reason }));
    };
    write.watch(options, this.host.wheel, onLate, onAborted);
  }

  // --- waiting ---

  get closed(): Promise<CloseReason> {
    this.#closed ??= new Promise((resolve) => {
      this.#resolveClosed = resolve;
      if (this.#closing !== undefined) resolve(this.#closing);
    });
    return this.#closed;
  }

  drained(signal: AbortSignal | undefined): Promise<void> {
    if (this.state !== 'open') return Promise.reject(closedError());
    if (this.connection.pendingBytes <= this.options.lowWaterMarkBytes) return Promise.resolve();
    this.#drainWaiters ??= new DrainWaiters();
    return this.#drainWaiters.wait(signal);
  }

  // --- closing ---

  /** Stops handling packages, and closes when the running handlers have replied. */
  closeAfterHandlers(request: CloseRequest): Promise<CloseReason> {
    if (this.state !== 'open' || this.inbound === undefined || this.inbound.running === 0) return this.close(request);
    this.inbound.hold(Hold.DRAINING);
    const { closed } = this;
    const cancel = after(this.host.wheel, request.drainTimeoutMs ?? this.options.drainTimeoutMs, () => void this.close(request));
    this.#closeWhenHandled = () => {
      cancel();
      void this.close(request);
    };
    return closed;
  }

  /** Begins to close, once; later calls only hurry it when they are forced. */
  close(request: CloseRequest): Promise<CloseReason> {
    if (this.#closing !== undefined) {
      if (request.isForced === true) this.connection.abort();
      // From inside onClose or a close callback, waiting for the end would be waiting for oneself.
      return this.reason === undefined ? this.#closing : Promise.resolve(this.reason);
    }
    this.state = moveTo(this.state, 'closing');
    this.#watch?.stop();
    this.#cancelEndTimer?.();
    this.#drainWaiters?.rejectAll(closedError());
    this.#closing = this.#runClosing(request);
    this.#controller?.abort(request.error ?? closedError());
    this.iterator?.end(request.error);
    this.#resolveClosed?.(this.#closing);
    return this.#closing;
  }

  destroy(error: Error | undefined): Promise<CloseReason> {
    if (error === undefined) return this.close({ code: 'NORMAL', by: 'local', text: 'destroyed by this side', isForced: true });
    const cause = error instanceof PorticoError ? error : new TransportError('TRANSPORT_FAILED', describeThrown(error), { cause: error });
    return this.close({ code: closeCodeOf(cause), by: 'local', text: cause.message, error: cause, isForced: true });
  }

  async #runClosing(request: CloseRequest): Promise<CloseReason> {
    const { inbound, connection, host } = this;
    const { code, by, text, error, truncatedBytes = 0 } = request;
    let unsentBytes = 0;
    inbound?.stop();
    // A connection that was never opened is opened now, to see its end.
    if (!this.#wasOpened) connection.open(this, this.options);
    const wait = (isOver: boolean, store: (resolve: () => void) => void): Promise<void> =>
      isOver ? Promise.resolve() : new Promise(store);
    const isForced = request.isForced === true || this.#isGone;
    const reason = await runClosing({
      wheel: host.wheel,
      drainTimeoutMs: request.drainTimeoutMs ?? this.options.drainTimeoutMs,
      isForced,
      finished: wait(isForced, (resolve) => {
        this.#resolveFinished = resolve;
      }),
      gone: wait(this.#isGone, (resolve) => {
        this.#resolveGone = resolve;
      }),
      handled: wait(inbound === undefined || inbound.running === 0, (resolve) => {
        this.#resolveHandled = resolve;
      }),
      sendEnd: () => connection.close(),
      abort: () => {
        unsentBytes = Math.max(unsentBytes, connection.pendingBytes);
        connection.abort();
      },
      settleReason: () => {
        this.reason = { code, by, text, status: CLOSE_STATUS[code], error, truncatedBytes, unsentBytes };
        return this.reason;
      },
      notifyError: () => {
        if (error !== undefined) this.onNotice(error);
      },
      notifyClose: (settled) => (this.#wasOpened ? this.#listener?.onClose?.(this.session, settled) : undefined),
      closeCallbacks: () => this.callbacks?.snapshot() ?? [],
      onCallbackFailure: (thrown) => this.#logFailure('a close callback or onClose', thrown),
      onLate: (what) => host.logger.warn(`session ${this.session.id}: ${what} did not settle before the drain time-out`),
    });
    this.state = moveTo(this.state, 'closed');
    host.onSessionClosed(this.session, reason);
    publish('sessionClose', () => ({ session: this.session, reason }));
    if (log.session.enabled) log.session('closed %d %s', this.session.id, reason.code);
    return reason;
  }
}

function listenerError(phase: ListenerPhase, thrown: unknown): ListenerError {
  return new ListenerError('LISTENER_FAILED', phase, `${phase}: ${describeThrown(thrown)}`, { cause: thrown });
}

function closedError(): StateError {
  return new StateError('SESSION_CLOSED', 'the session is closing or closed');
}
