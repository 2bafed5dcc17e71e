import { Attributes } from '../base/attributes.ts';
import { toReference } from '../base/byte-writer.ts';
import { ConfigError, type PeerError, type PorticoError, StateError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { checkMs, checkOneOf, invalid, type Option } from '../base/option.ts';
import type { Wheel } from '../base/wheel.ts';
import type { PkgContext } from '../codec/pkg-handler.ts';
import type { Address, Connection } from '../transport/connection.ts';
import { type CloseCallback, CloseCallbacks } from './close-callbacks.ts';
import { CLOSE_STATUS, type CloseCode, type CloseReason, type CloseRequest, isOwnStatus, requestForFailure } from './close-reason.ts';
import { Hold } from './inbound.ts';
import { buildSessionOptions, type SessionOptions } from './options.ts';
import { encodePackage, PendingWrite, type WriteOptions, type WriteResult, watchWrite } from './outbound.ts';
import { PackageIterator } from './package-iterator.ts';
import type { NewSession, SessionEndPoint, SessionHost } from './session-host.ts';
import { SessionLife } from './session-life.ts';
import type { SessionState } from './session-state.ts';
import { SessionStats } from './session-stats.ts';

export interface CloseOptions {
  /** How long queued bytes, a running handler and the peer's end are waited for. Default: `withDrainTimeoutMs`. */
  readonly drainTimeoutMs?: number;
  /** Default 'NORMAL'. */
  readonly code?: CloseCode;
  /** For people; a peer over WebSocket is told the first 123 bytes of it. Default: the peer is told nothing. */
  readonly reason?: string;
  /**
   * What a peer over WebSocket is given in place of the number of `code`: 3000 to 4999, or the number of a code. Other transports tell
   * nothing.
   */
  readonly status?: number;
  /** Let running handlers finish and reply before sends are refused; packages behind them are not handled. Default false. */
  readonly afterHandlers?: boolean;
}

/** Ids are never used twice in a process, over all endpoints. */
let lastId = 0;

/**
 * One connection's life: the object that a program sends on, asks, and closes. It comes as the first argument of every event.
 * All methods are safe at any time, also after the end: they then do nothing, return false, or reject with SESSION_CLOSED.
 */
export class Session<In = unknown, Out = In> implements PkgContext, AsyncIterable<In>, AsyncDisposable {
  readonly id: number = ++lastId;
  readonly #life: SessionLife<In, Out>;
  #attributes: Attributes | undefined;

  /** Made by endpoints. */
  constructor(connection: Connection, options: SessionOptions<In, Out>, host: SessionHost<In, Out>) {
    this.#life = new SessionLife(this, connection, options, host);
  }

  /** Called once, by the endpoint that made the session. */
  start(newSession: NewSession<In, Out> | undefined): Promise<boolean> {
    return this.#life.start(newSession);
  }

  // --- what it is ---

  get name(): string {
    return this.#life.options.sessionName;
  }

  get state(): SessionState {
    return this.#life.state;
  }

  /** Whether nothing can be sent any more: closing or closed. */
  get isClosed(): boolean {
    return this.#life.state === 'closing' || this.#life.state === 'closed';
  }

  /** Whether this side has finished sending: by `end`, or by closing. */
  get hasEnded(): boolean {
    return this.#life.state !== 'opening' && !this.#life.canSend;
  }

  /** Whether the peer has finished sending. */
  get hasPeerEnded(): boolean {
    return this.#life.peerEnd !== undefined;
  }

  get localAddress(): Address {
    return this.#life.connection.localAddress;
  }

  get remoteAddress(): Address {
    return this.#life.connection.remoteAddress;
  }

  get endPoint(): SessionEndPoint<In, Out> {
    return this.#life.host.endPoint;
  }

  /** The connection below, for what it knows of TLS and for its `raw` socket. Sending on it breaks the session. */
  get connection(): Connection {
    return this.#life.connection;
  }

  /** The time and the timers of its endpoint, for listeners that are made of others. */
  get wheel(): Wheel {
    return this.#life.host.wheel;
  }

  get logger(): Logger {
    return this.#life.host.logger;
  }

  /** A place for the program's own data; kept until the session is forgotten. */
  get attributes(): Attributes {
    this.#attributes ??= this.#life.connection.attributes ?? new Attributes();
    return this.#attributes;
  }

  /** When the last complete package was received, in the milliseconds of the endpoint's monotonic clock. */
  get lastActiveMs(): number {
    return this.#life.lastActiveMs;
  }

  /** The same, by the wall clock. */
  get lastActive(): Date {
    return new Date(Date.now() - (this.#life.host.wheel.now() - this.lastActiveMs));
  }

  /** Counts as activity, as a received package does. */
  touch(): void {
    this.#life.inbound?.touch();
  }

  stats(): SessionStats {
    const { inbound, connection, host, packagesWritten } = this.#life;
    return new SessionStats({
      id: this.id,
      name: this.name,
      type: host.endPoint.type,
      state: this.state,
      localAddress: connection.localAddress.text,
      remoteAddress: connection.remoteAddress.text,
      bytesRead: connection.bytesRead,
      bytesWritten: connection.bytesWritten,
      packagesRead: inbound?.packagesRead ?? 0,
      packagesWritten: packagesWritten - connection.lostPackages,
      packagesDropped: (inbound?.droppedPackages ?? 0) + connection.droppedPackages,
      writes: connection.writes,
      pendingBytes: connection.pendingBytes,
      bufferedBytes: inbound?.bufferedBytes ?? 0,
      runningHandlers: inbound?.running ?? 0,
      readPath: connection.readPath,
      roundTripMs: connection.roundTripMs,
    });
  }

  // --- setting it up ---

  /**
   * Changes this session's settings with the same options that configure an endpoint, in `newSession` or at any later time.
   * New periods count from now, a new handler or listener takes over with the next package. Throws INVALID_OPTION for
   * `withHalfOpen(true)` over WebSocket.
   */
  configure(...options: readonly Option<SessionOptions<In, Out>>[]): this {
    const built = buildSessionOptions(this.#life.options, options);
    if (built.halfOpen && this.endPoint.type.startsWith('WS')) {
      throw new ConfigError('INVALID_OPTION', 'withHalfOpen: expected false, because a WebSocket cannot half-close, given true');
    }
    this.#life.configure(built);
    return this;
  }

  /** The settings in force. */
  get settings(): SessionOptions<In, Out> {
    return this.#life.options;
  }

  // --- sending ---

  /** Bytes accepted and not yet taken by the operating system. */
  get pendingBytes(): number {
    return this.#life.connection.pendingBytes;
  }

  /** Whether the queue is at or below the high-water mark, the session open and not finished by `end`. */
  get isWritable(): boolean {
    return this.#life.canSend && this.pendingBytes <= this.#life.options.highWaterMarkBytes;
  }

  /**
   * Encodes a package and queues it; the packages of one turn leave in one write. Returns false when the queue is above the
   * high-water mark (the package is queued all the same: stop, and go on after `drained()` or `onDrain`) or when the session
   * has closed (it is not sent). Throws StateError NO_PACKAGE, ENCODED_TOO_LARGE, SEND_QUEUE_FULL (policy 'reject'),
   * WRONG_STATE before the session is open, and ListenerError ENCODE_FAILED; then nothing was queued.
   */
  send(pkg: Out): boolean {
    const life = this.#life;
    if (!life.canSend) return this.#sendTooEarly();
    this.#encode(life, pkg);
    const isBelowMark = life.connection.endPackage();
    life.onPackageSent();
    return isBelowMark;
  }

  /**
   * Sends a package and resolves when the operating system has taken all of it. Rejects as `send` throws, and with
   * SESSION_CLOSED, WRITE_TIMEOUT, ABORTED or what ended the connection. A package that was cut by a time-out closes the session, because the stream
   * is of no more use.
   */
  writePkg(pkg: Out, options: WriteOptions = {}): Promise<WriteResult> {
    return this.#write(options, (write) => {
      const life = this.#life;
      write.total = this.#encode(life, pkg);
      life.connection.endPackage(write);
      life.onPackageSent();
    });
  }

  /** Sends bytes as they are, past the PkgHandler; counts as one package, and is one message on a message transport. */
  writeBytes(bytes: Uint8Array, options: WriteOptions = {}): Promise<WriteResult> {
    return this.writeBytesArray([bytes], options);
  }

  /** Sends several byte arrays in order: one write on a stream, one message each on a message transport. */
  async writeBytesArray(list: readonly Uint8Array[], options: WriteOptions = {}): Promise<WriteResult> {
    const results = await Promise.all(list.map((bytes) => this.#write(options, (write) => this.#queueBytes(bytes, write))));
    const total = results.reduce((sum, result) => sum + result.total, 0);
    return { total, sent: total };
  }

  /** Sends bytes that were encoded for several sessions; used by broadcast. They MUST NOT be changed afterwards. */
  sendEncoded(bytes: Uint8Array, isText = false): boolean {
    const life = this.#life;
    if (!life.canSend) return this.#sendTooEarly();
    const isBelowMark = life.connection.sendShared(bytes, undefined, isText);
    life.onPackageSent();
    return isBelowMark;
  }

  /** Resolves when the queue is at or below the low-water mark; rejects with SESSION_CLOSED or ABORTED. */
  drained(signal?: AbortSignal): Promise<void> {
    return this.#life.drained(signal);
  }

  #encode(life: SessionLife<In, Out>, pkg: Out): number {
    if (pkg === undefined || pkg === null) throw new StateError('NO_PACKAGE', `send: expected a package, given ${pkg}`);
    return encodePackage(life.connection, life.writer, this, pkg, life.maxSendBytes);
  }

  #queueBytes(bytes: Uint8Array, write: PendingWrite): void {
    if (!(bytes instanceof Uint8Array)) throw new StateError('NO_PACKAGE', 'writeBytes: expected a Uint8Array');
    const { maxQueueBytes } = this.#life.options;
    if (bytes.length > maxQueueBytes) {
      throw new StateError('SEND_QUEUE_FULL', `writeBytes: expected at most ${maxQueueBytes} bytes, given ${bytes.length}`);
    }
    write.total = bytes.length;
    this.#life.connection.sendShared(toReference(bytes), write);
    this.#life.onPackageSent();
  }

  #write(options: WriteOptions, queue: (write: PendingWrite) => void): Promise<WriteResult> {
    const life = this.#life;
    const write = new PendingWrite();
    try {
      if (options.timeoutMs !== undefined) checkMs('timeoutMs', options.timeoutMs, 0);
      if (!life.canSend) throw new StateError('SESSION_CLOSED', `write: expected a session that can send, given one that is ${life.state}`);
      if (options.signal?.aborted)
        throw new StateError('ABORTED', 'write: the signal was aborted before the call', { cause: options.signal.reason });
      queue(write);
      watchWrite(write, options, life);
    } catch (thrown) {
      write.onUnsent(thrown as PorticoError);
    }
    return write.promise;
  }

  #sendTooEarly(): boolean {
    if (this.state === 'opening') throw new StateError('WRONG_STATE', 'send: expected an open session; in newSession it is still opening');
    return false;
  }

  // --- receiving ---

  /**
   * Stops handling packages, also in the middle of what was received already, and stops reading the socket, until `resume`. In
   * `newSession` it has the session open paused. A paused session waits as long as the program likes: also after the peer has
   * finished, and its idle and read time-outs stand still.
   */
  pause(): void {
    this.#life.isPausedEarly = true;
    this.#life.inbound?.hold(Hold.PAUSED);
  }

  resume(): void {
    this.#life.isPausedEarly = false;
    this.#life.inbound?.release(Hold.PAUSED);
  }

  /** Handles no further package for so long, whatever `pause` and `resume` do meanwhile. */
  delay(delayMs: number): void {
    this.#life.inbound?.delay(delayMs);
  }

  /**
   * Packages as an async iterator, in place of `onMessage`: the next package is handled when the loop asks for it. The loop
   * ends when the session closes and throws what ended it. Leaving the loop gives packages back to the listener.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<In> {
    const life = this.#life;
    if (life.iterator !== undefined) throw new StateError('WRONG_STATE', 'for await: expected one loop over a session at a time');
    const iterator: PackageIterator<In> = new PackageIterator<In>(
      () => {
        if (life.iterator === iterator) life.receiveBy(undefined);
      },
      (pkg) => (life.state === 'open' ? life.listener?.onMessage(this, pkg) : undefined),
    );
    if (this.isClosed) iterator.end(life.reason?.error);
    else life.receiveBy(iterator);
    return iterator;
  }

  // --- ending ---

  /** Aborted when the session begins to close, for work that is done on its behalf. */
  get signal(): AbortSignal {
    return this.#life.signal;
  }

  /** Settles when everything about the session is over, close callbacks included. Never rejects. A handler must not wait for it. */
  get closed(): Promise<CloseReason> {
    return this.#life.closed;
  }

  /** Finishes sending (FIN) behind what is queued; packages are still received. Later sends are refused as after a close. */
  end(): void {
    this.#life.end();
  }

  /**
   * Closes in order: what is queued is sent, a running handler may finish, then `onClose` and the close callbacks run. Resolves
   * with the reason when all that is over. Any number of calls is one close. From inside `onClose` or a close callback the
   * promise is settled already.
   *
   * While a handler of this session runs (`onOpen`, `onMessage`), it may be the one that waits: then the promise resolves as soon as
   * everything is sent and the reason is known, before `onClose`. So `await session.close()` is right in a handler; `closed` is what
   * always waits for all. With `afterHandlers` a handler must not wait for the promise.
   */
  close(options: CloseOptions = {}): Promise<CloseReason> {
    const { drainTimeoutMs, code = 'NORMAL', reason, status } = options;
    if (drainTimeoutMs !== undefined) checkMs('close drainTimeoutMs', drainTimeoutMs, 0);
    checkOneOf('close code', code, Object.keys(CLOSE_STATUS) as CloseCode[]);
    if (status !== undefined && !isOwnStatus(status))
      throw invalid('close status', 'a number from 3000 to 4999, or that of a code', status);
    const request: CloseRequest = {
      code,
      by: 'local',
      ...(reason === undefined ? { text: 'closed by this side', told: '' } : { text: reason }),
      ...(status === undefined ? {} : { status }),
      ...(drainTimeoutMs === undefined ? {} : { drainTimeoutMs }),
    };
    return options.afterHandlers === true ? this.#life.closeAfterHandlers(request) : this.#life.close(request);
  }

  /** Closes for a fault of the peer, which is told its message and status, behind what is queued. `onError` gets it before `onClose`. */
  fail(error: PeerError): Promise<CloseReason> {
    return this.#life.close(requestForFailure(error));
  }

  /** Closes at once; queued bytes are lost. With an error, `onError` gets it (as the cause of a TransportError, if it is not ours). */
  destroy(error?: Error): void {
    void this.#life.destroy(error);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close().then(() => {});
  }

  /**
   * Has a callback run when the session closes, after `onClose`, in the order of adding. The same (handler, key) pair replaces
   * the callback and keeps the place. False when the session is closing already: the callback will not run. A null or undefined
   * callback is ignored and returns false.
   */
  addCloseCallback(handler: unknown, key: unknown, callback: CloseCallback | null | undefined): boolean {
    if (typeof callback !== 'function' || this.isClosed) return false;
    this.#life.callbacks ??= new CloseCallbacks();
    this.#life.callbacks.add(handler, key, callback);
    return true;
  }

  /** Whether there was such a callback. One that is removed while the callbacks run still runs. */
  removeCloseCallback(handler: unknown, key: unknown): boolean {
    return this.#life.callbacks?.remove(handler, key) ?? false;
  }

  get closeCallbackCount(): number {
    return this.#life.callbacks?.size ?? 0;
  }

  /** As in getty's `Stat()`. */
  toString(): string {
    return this.stats().toString();
  }
}
