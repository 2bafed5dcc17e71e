import { setMaxListeners } from 'node:events';
import { publish } from '../base/diagnostics.ts';
import { ConfigError, type PeerError, type PorticoError, StateError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { after, settledInTime, type Wheel } from '../base/wheel.ts';
import type { PkgWriter } from '../codec/pkg-handler.ts';
import type { Connection, ConnectionSink, PeerEnding } from '../transport/connection.ts';
import type { CloseCallbacks } from './close-callbacks.ts';
import { type CloseReason, type CloseRequest, noticeOf, requestForDestroy, requestForEnd, requestForFailure } from './close-reason.ts';
import { runClosing } from './closing.ts';
import { SessionWatch, type Watched } from './cron.ts';
import { DrainWaiters } from './drain-waiters.ts';
import { type EventListenerLike, overrides } from './event-listener.ts';
import { Hold, hasReader, Inbound, type InboundOwner } from './inbound.ts';
import { type Caller, callListener, listenerError, logFailure, onListenerFailure, sendPing, tellError } from './listener-calls.ts';
import type { SessionOptions } from './options.ts';
import type { PackageIterator } from './package-iterator.ts';
import { PeerEnd } from './peer-end.ts';
import type { Session } from './session.ts';
import { SessionEnd, sessionClosed } from './session-end.ts';
import type { NewSession, SessionHost } from './session-host.ts';
import { moveTo, type SessionState } from './session-state.ts';

/** The one mistake that is seen nowhere else. */
const LATE_HINT = '; does it wait for session.closed or the close of its endpoint?';

/**
 * A session from the inside: its state, what its connection, its packages and its clock report, and the one route that every
 * failure takes. `Session` is the face that programs hold.
 */
export class SessionLife<In, Out> implements ConnectionSink, InboundOwner<In, Out>, Watched, Caller<In, Out> {
  readonly session: Session<In, Out>;
  readonly connection: Connection;
  readonly host: SessionHost<In, Out>;
  options: SessionOptions<In, Out>;
  state: SessionState = 'opening';
  packagesWritten = 0;
  /** Open, and not finished by `end`. */
  canSend = false;
  /** From the options, for the sending path. */
  writer: PkgWriter<Out> | undefined;
  maxSendBytes = 0;
  stampsSent = false;
  lastSentMs: number;
  inbound: Inbound<In, Out> | undefined;
  callbacks: CloseCallbacks | undefined;
  iterator: PackageIterator<In> | undefined;
  reason: CloseReason | undefined;
  peerEnd: PeerEnd<In, Out> | undefined;
  listener: EventListenerLike<In, Out> | undefined;
  /** By `pause` in newSession, when there is nothing to hold yet. */
  isPausedEarly = false;
  #watch: SessionWatch | undefined;
  #controller: AbortController | undefined;
  #drainWaiters: DrainWaiters | undefined;
  /** Made when somebody waits for the end, or it begins. */
  #end: SessionEnd | undefined;
  #closing: Promise<CloseReason> | undefined;
  #isGone = false;

  constructor(session: Session<In, Out>, connection: Connection, options: SessionOptions<In, Out>, host: SessionHost<In, Out>) {
    this.session = session;
    this.connection = connection;
    this.options = options;
    this.host = host;
    this.lastSentMs = Math.floor(host.wheel.now());
    this.#useOptions();
  }

  // --- opening ---

  /** Runs `newSession`, then opens. Resolves with whether the session has opened; never rejects. */
  async start(newSession: NewSession<In, Out> | undefined): Promise<boolean> {
    try {
      await settledInTime(newSession?.(this.session), this.options.openTimeoutMs, this.wheel);
      if (this.state !== 'opening') return false;
      const { options } = this;
      const { writer, listener } = options;
      if (!hasReader(options) || writer === undefined || listener === undefined) {
        throw new ConfigError(
          'MISSING_OPTION',
          'expected withPkgHandler and withEventListener, for the endpoint or in newSession, given less',
        );
      }
      this.inbound = new Inbound(this, options, this.iterator ?? listener);
      this.listener = listener;
    } catch (thrown) {
      const error = thrown instanceof ConfigError ? thrown : listenerError('newSession', thrown);
      void this.close({ code: 'INTERNAL', by: 'local', text: error.message, error, isForced: true });
      return false;
    }
    this.state = moveTo(this.state, 'open');
    this.canSend = true;
    this.connection.open(this, this.options);
    if (this.isPausedEarly) this.inbound.hold(Hold.PAUSED);
    this.#applyTiming();
    this.host.onSessionOpen(this.session);
    publish('sessionOpen', () => ({ session: this.session }));
    if (log.session.enabled) log.session('open %d %s', this.session.id, this.connection.remoteAddress.text);
    void this.#callOnOpen(this.inbound);
    return true;
  }

  /** Packages wait until onOpen has settled. */
  async #callOnOpen(inbound: Inbound<In, Out>): Promise<void> {
    try {
      await this.listener?.onOpen?.(this.session);
    } catch (thrown) {
      onListenerFailure(this, 'open', thrown);
    }
    inbound.onOpened();
  }

  /** Takes changed options into use. */
  configure(options: SessionOptions<In, Out>): void {
    this.options = options;
    this.#useOptions();
    if (this.inbound === undefined || this.state !== 'open') return;
    const { listener } = options;
    if (hasReader(options) && listener !== undefined) this.inbound.configure(options, this.iterator ?? listener);
    this.listener = listener;
    this.connection.limitSending(options);
    this.#applyTiming();
  }

  /** Packages go to a loop over the session, or to the listener again. */
  receiveBy(iterator: PackageIterator<In> | undefined): void {
    this.iterator = iterator;
    this.configure(this.options);
  }

  #useOptions(): void {
    const { writer, maxPackageBytes, writerIdleMs, idleTimeoutMs } = this.options;
    this.writer = writer;
    this.maxSendBytes = maxPackageBytes === 0 ? Number.POSITIVE_INFINITY : maxPackageBytes;
    this.stampsSent = writerIdleMs + idleTimeoutMs > 0;
  }

  #applyTiming(): void {
    // What was held back before may have been handled, and have closed the session.
    if (this.state !== 'open') return;
    const { heartbeat, readerIdleMs, writerIdleMs, idleTimeoutMs } = this.options;
    const isMidway = this.waitingForPackageSinceMs >= 0 || this.stalledBytes > 0;
    if (this.hasCron || heartbeat !== undefined || readerIdleMs + writerIdleMs + idleTimeoutMs > 0 || isMidway) this.#getWatch().restart();
    else this.#watch?.restart();
  }

  #getWatch(): SessionWatch {
    this.#watch ??= new SessionWatch(this, this.host.wheel);
    return this.#watch;
  }

  // --- from the connection ---

  onBytes(bytes: Buffer, isText: boolean): void {
    this.inbound?.onBytes(bytes, isText);
  }

  onDrain(wasFull: boolean): void {
    this.#drainWaiters?.resolveAll();
    if (wasFull) callListener(this, 'drain', 'onDrain');
  }

  onBlocked(): void {
    if (this.options.writeTimeoutMs > 0 && this.state === 'open') this.#getWatch().update();
  }

  onOverflow(error: PeerError): void {
    this.onFailure(error);
  }

  onFinished(): void {
    this.#end?.finished();
  }

  onEnd(ending?: PeerEnding): void {
    if (this.inbound === undefined || this.peerEnd !== undefined) return;
    this.peerEnd = new PeerEnd(this, this.inbound, ending);
    this.peerEnd.onIdle();
  }

  onClose(error: PorticoError | undefined): void {
    this.#isGone = true;
    this.#end?.gone();
    const told = error === undefined ? this.peerEnd?.toldBefore : undefined;
    void this.close(told ?? requestForEnd(error, this.inbound?.bufferedBytes ?? 0));
  }

  // --- from the receiving half ---

  get wheel(): Wheel {
    return this.host.wheel;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      // Everything that is done for the session may depend on it.
      setMaxListeners(0, this.#controller.signal);
      if (this.#closing !== undefined) this.#controller.abort(new StateError('SESSION_CLOSED', 'the session has closed'));
    }
    return this.#controller.signal;
  }

  onHandlerFailure(thrown: unknown): void {
    onListenerFailure(this, 'message', thrown);
  }

  onFailure(error: PorticoError): void {
    void this.close(requestForFailure(error));
  }

  onNotice(error: PorticoError): void {
    tellError(this, error);
  }

  onIdle(): void {
    this.#end?.handled();
    this.peerEnd?.onIdle();
  }

  onPartial(): void {
    if (this.options.readTimeoutMs > 0) this.#getWatch().update();
  }

  // --- from the watch ---

  get timing(): SessionOptions<In, Out> {
    return this.options;
  }

  get hasCron(): boolean {
    return this.listener !== undefined && overrides(this.listener, 'onCron');
  }

  get lastActiveMs(): number {
    return this.inbound?.lastActiveMs ?? this.lastSentMs;
  }

  get waitingForPackageSinceMs(): number {
    return this.inbound?.isWaitingForPeer ? this.inbound.partialSinceMs : -1;
  }

  get deafUntilMs(): number {
    return this.inbound?.deafUntilMs ?? 0;
  }

  get stalledBytes(): number {
    return this.connection.stalledBytes;
  }

  get takenBytes(): number {
    return this.connection.bytesWritten - this.connection.stalledBytes;
  }

  onCronDue(settled: () => void): void {
    callListener(this, 'cron', 'onCron', settled);
  }

  onPingDue(): void {
    sendPing(this);
  }

  onIdleTimeout(text: string): void {
    void this.close({ code: 'IDLE', by: 'local', text });
  }

  // --- sending ---

  onPackageSent(): void {
    this.packagesWritten++;
    // The clock is read only when a time-out needs it: this runs for every package.
    if (this.stampsSent) this.lastSentMs = Math.floor(this.host.wheel.now());
  }

  end(): void {
    if (!this.canSend) return;
    this.canSend = false;
    this.connection.end();
  }

  // --- waiting ---

  get closed(): Promise<CloseReason> {
    this.#end ??= new SessionEnd();
    return this.#end.closed;
  }

  drained(signal: AbortSignal | undefined): Promise<void> {
    if (!this.canSend) return Promise.reject(sessionClosed());
    if (this.connection.pendingBytes <= this.options.lowWaterMarkBytes) return Promise.resolve();
    this.connection.isDrainExpected = true;
    this.#drainWaiters ??= new DrainWaiters();
    return this.#drainWaiters.wait(signal);
  }

  // --- closing ---

  /** Stops handling packages, and closes when the running handlers have replied. */
  closeAfterHandlers(request: CloseRequest): Promise<CloseReason> {
    const { inbound } = this;
    if (this.state !== 'open' || inbound === undefined || !inbound.isHandling) return this.close(request);
    inbound.hold(Hold.DRAINING);
    // Called by a handler that has not returned yet: only then it is known whether there is a promise to wait for.
    if (inbound.running === 0) queueMicrotask(() => void (inbound.running === 0 && this.onIdle()));
    const { closed } = this;
    const { wheel } = this.host;
    const { drainTimeoutMs = this.options.drainTimeoutMs } = request;
    const deadlineMs = wheel.now() + drainTimeoutMs;
    // What the handlers leave of the time is for the flush.
    const close = (): void => void this.close({ ...request, flushTimeoutMs: Math.max(0, deadlineMs - wheel.now()) });
    const cancel = after(wheel, drainTimeoutMs, close);
    this.#end ??= new SessionEnd();
    this.#end.whenHandled = () => {
      cancel();
      close();
    };
    return closed;
  }

  /** Begins to close, once; later calls only hurry it when they are forced. */
  close(request: CloseRequest): Promise<CloseReason> {
    if (this.#closing !== undefined) {
      if (request.isForced === true && this.#end !== undefined) this.#abort(this.#end);
      // From inside onClose or a close callback, waiting for the end would be waiting for oneself.
      return this.reason === undefined ? this.#ending(this.#closing) : Promise.resolve(this.reason);
    }
    this.state = moveTo(this.state, 'closing');
    this.canSend = false;
    this.#watch?.stop();
    this.peerEnd?.cancel();
    this.#drainWaiters?.rejectAll(sessionClosed());
    this.#end ??= new SessionEnd();
    this.#closing = this.#runClosing(request, this.#end);
    this.#end.resolve(this.#closing);
    this.#controller?.abort(request.error ?? sessionClosed());
    this.iterator?.end(request.error);
    this.iterator = undefined;
    return this.#ending(this.#closing);
  }

  /** What `close` returns: a handler of this session may be the one that waits, and it is waited for in turn. */
  #ending(closing: Promise<CloseReason>): Promise<CloseReason> {
    return this.inbound?.isHandling === true && this.#end !== undefined ? this.#end.known : closing;
  }

  destroy(error: Error | undefined): Promise<CloseReason> {
    return this.close(requestForDestroy(error));
  }

  #abort(end: SessionEnd): void {
    end.unsentBytes = Math.max(end.unsentBytes, this.connection.pendingBytes);
    this.connection.abort();
  }

  async #runClosing(request: CloseRequest, end: SessionEnd): Promise<CloseReason> {
    const { inbound, connection, host } = this;
    const { code, by, text, error, truncatedBytes = 0, drainTimeoutMs = this.options.drainTimeoutMs } = request;
    const notice = noticeOf(request);
    inbound?.stop();
    // A connection that was never opened is opened now, to see its end.
    if (inbound === undefined) connection.open(this, this.options);
    const isForced = request.isForced === true || this.#isGone;
    const reason = await runClosing({
      wheel: host.wheel,
      drainTimeoutMs,
      flushTimeoutMs: request.flushTimeoutMs ?? drainTimeoutMs,
      isForced,
      finished: isForced ? Promise.resolve() : end.untilFinished(),
      gone: this.#isGone ? Promise.resolve() : end.untilGone(),
      handled: () => (inbound === undefined || inbound.running === 0 ? Promise.resolve() : end.untilHandled()),
      sendEnd: () => connection.close(notice),
      abort: () => this.#abort(end),
      settleReason: () => {
        this.reason = { code, by, text, status: notice.status, error, truncatedBytes, unsentBytes: end.unsentBytes };
        end.know(this.reason);
        return this.reason;
      },
      notifyError: () => {
        if (error !== undefined) this.onNotice(error);
      },
      notifyClose: (settled) => (inbound !== undefined ? this.listener?.onClose?.(this.session, settled) : undefined),
      closeCallbacks: () => this.callbacks?.snapshot() ?? [],
      onCallbackFailure: (thrown) => logFailure(this, 'a close callback or onClose', thrown),
      onLate: (what) => host.logger.warn(`session ${this.session.id}: ${what} did not settle before the drain time-out${LATE_HINT}`),
    });
    this.state = moveTo(this.state, 'closed');
    host.onSessionClosed(this.session, reason);
    publish('sessionClose', () => ({ session: this.session, reason }));
    if (log.session.enabled) log.session('closed %d %s', this.session.id, reason.code);
    return reason;
  }
}
