import { ListenerError, type PeerError, type PorticoError, StateError } from '../base/errors.ts';
import { log, oneLine } from '../base/log.ts';
import { invalid } from '../base/option.ts';
import { ignoreRejection, isThenable } from '../base/thenable.ts';
import { type Wheel, WheelTimer } from '../base/wheel.ts';
import { borrowMessageReader, MessageReader, returnMessageReader } from '../codec/message-reader.ts';
import { borrowReader, type PackageReader, type PackageSink, returnReader } from '../codec/package-reader.ts';
import type { PkgReader } from '../codec/pkg-handler.ts';
import type { Connection } from '../transport/connection.ts';
import type { EventListenerLike } from './event-listener.ts';
import type { SessionOptions } from './options.ts';
import type { Session } from './session.ts';
import type { TaskPool } from './task-pool.ts';

/** Undecoded bytes above which the socket is not read while a handler holds decoding up. */
const READ_AHEAD_BYTES = 65_536;
/** One session may hold the event loop for this long before the others get their turn. */
const SLICE_MS = 5;

/** Why decoding stands still; it goes on when no reason is left. */
export const Hold = { OPENING: 1, BUSY: 2, SLICE: 4, PAUSED: 8, DRAINING: 16, CLOSING: 32, DELAYED: 64 } as const;

/** What the receiving half asks of its session. */
export interface InboundOwner<In, Out> {
  readonly session: Session<In, Out>;
  readonly connection: Connection;
  readonly wheel: Wheel;
  readonly signal: AbortSignal;
  onHandlerFailure(thrown: unknown): void;
  /** A failure that ends the session, after what was received before it has been handled. */
  onFailure(error: PorticoError): void;
  /** A failure that the session survives. */
  onNotice(error: PorticoError): void;
  /** Nothing is left to decode, and no handler runs. */
  onIdle(): void;
  /** A package is incomplete since now. */
  onPartial(): void;
}

/** How packages are handled; may be replaced while the session lives. */
export interface InboundSettings<In> {
  readonly reader: PkgReader<In>;
  readonly maxPackageBytes: number;
  readonly concurrentMessages: number;
  readonly taskPool: TaskPool | undefined;
}

/** Whether the options say how to read. */
export function hasReader<In, Out>(options: SessionOptions<In, Out>): options is SessionOptions<In, Out> & InboundSettings<In> {
  return options.reader !== undefined;
}

/**
 * The receiving half of a session: bytes to packages to the handler, in order. Decoding stops in the middle of a chunk while
 * a handler's promise is pending, the program has paused, or the slice of this session is used up, and the socket is not read
 * further than 64 KiB ahead. So the order of packages and back-pressure are one mechanism.
 */
export class Inbound<In, Out> implements PackageSink<In> {
  packagesRead = 0;
  droppedPackages = 0;
  /** Since when a package is incomplete; -1 = none is. */
  partialSinceMs = -1;
  /** Handlers whose promise is pending; `onOpen` is the first. */
  running = 1;
  readonly #owner: InboundOwner<In, Out>;
  readonly #session: Session<In, Out>;
  #listener: EventListenerLike<In, Out>;
  /** The session's options, which it shares with others: nothing of them is copied for one session. */
  #settings: InboundSettings<In>;
  /** There only while bytes are buffered. */
  #reader: PackageReader<In> | MessageReader<In> | undefined;
  #holds: number = Hold.OPENING;
  #isConnectionPaused = false;
  #resumedMs = 0;
  #turnStartMs: number;
  #lastActiveMs: number;
  /** The clock is looked at when these bits of `packagesRead` are 0. */
  #checkMask = 63;
  /** `packagesRead` when #turnStartMs was taken. */
  #packagesBefore = 0;
  /** Made when the session is delayed for the first time. */
  #delay: WheelTimer | undefined;
  #delayedUntilMs = 0;
  /** Made once, when the first handler returns a promise. */
  #follower: { readonly onSettled: () => void; readonly onRejected: (thrown: unknown) => void } | undefined;

  constructor(owner: InboundOwner<In, Out>, settings: InboundSettings<In>, listener: EventListenerLike<In, Out>) {
    this.#owner = owner;
    this.#session = owner.session;
    this.#listener = listener;
    this.#settings = settings;
    this.#turnStartMs = this.#now();
    this.#lastActiveMs = this.#turnStartMs;
  }

  /** Whole milliseconds: a small integer takes no memory of its own in an object, a fraction does. */
  #now(): number {
    return Math.floor(this.#owner.wheel.now());
  }

  /** When the last complete package came (or `touch` was called), by the wheel's clock. */
  get lastActiveMs(): number {
    return this.packagesRead === this.#packagesBefore ? this.#lastActiveMs : this.#turnStartMs;
  }

  touch(): void {
    this.#startTurn();
    this.#lastActiveMs = this.#turnStartMs;
  }

  /** One look at the clock for all packages of a turn. */
  #startTurn(): void {
    this.#lastActiveMs = this.lastActiveMs;
    this.#packagesBefore = this.packagesRead;
    this.#turnStartMs = this.#now();
  }

  get bufferedBytes(): number {
    return this.#reader === undefined ? 0 : this.#reader.bufferedBytes;
  }

  /** Whether a package has begun, and nothing but the peer keeps it from being completed. */
  get isWaitingForPeer(): boolean {
    return this.partialSinceMs >= 0 && this.#holds === 0;
  }

  /** Whether the program itself holds decoding up. */
  get isPaused(): boolean {
    return (this.#holds & (Hold.PAUSED | Hold.DELAYED)) !== 0;
  }

  /** Until when the peer was held back, and so could not be heard: now, while it is. */
  get deafUntilMs(): number {
    return this.#holds === 0 ? this.#resumedMs : this.#now();
  }

  /** Nothing is left to do but to wait for bytes. */
  get isIdle(): boolean {
    return this.#holds === 0 && !this.isHandling;
  }

  /** Whether a handler has been called and not returned yet, or its promise is pending. */
  get isHandling(): boolean {
    return this.running > 0 || this.#reader?.isDecoding === true;
  }

  /** `onOpen` has settled: packages may come. */
  onOpened(): void {
    this.running--;
    this.release(Hold.OPENING);
    if (this.running === 0) this.#owner.onIdle();
  }

  configure(settings: InboundSettings<In>, listener: EventListenerLike<In, Out>): void {
    this.#listener = listener;
    this.#settings = settings;
    this.#reader?.configure(settings.reader, settings.maxPackageBytes);
    if (this.running < this.#settings.concurrentMessages) this.release(Hold.BUSY);
    else if ((this.#holds & Hold.OPENING) === 0) this.hold(Hold.BUSY);
  }

  onBytes(bytes: Buffer, isText: boolean): void {
    if ((this.#holds & Hold.CLOSING) !== 0) return;
    const before = this.packagesRead;
    this.#startTurn();
    this.#getReader().feed(bytes, isText);
    this.#afterDecoding(before);
  }

  #getReader(): PackageReader<In> | MessageReader<In> {
    if (this.#reader === undefined) {
      const { reader, maxPackageBytes } = this.#settings;
      const { kind, isDatagram } = this.#owner.connection;
      this.#reader =
        kind === 'stream'
          ? borrowReader(reader, this, maxPackageBytes, this.#session)
          : borrowMessageReader(reader, this, maxPackageBytes, this.#session, isDatagram);
      if (this.#holds !== 0) this.#reader.stop();
    }
    return this.#reader;
  }

  // --- one package ---

  onPackage(pkg: In): boolean {
    this.packagesRead++;
    // A handler that returns promises does so from the start: to look at every package would cost more than it tells.
    if (this.packagesRead === 1 && pkg instanceof Promise) return this.#refusePromise(pkg);
    const pool = this.#settings.taskPool;
    if (pool !== undefined) {
      this.#runInPool(pool, pkg);
    } else {
      try {
        const result: unknown = this.#listener.onMessage(this.#session, pkg);
        if (result !== undefined) this.#followIfPending(result);
      } catch (thrown) {
        this.#owner.onHandlerFailure(thrown);
      }
    }
    if ((this.packagesRead & this.#checkMask) === 0) this.#checkSlice();
    return this.#holds === 0;
  }

  #refusePromise(pkg: Promise<unknown>): false {
    this.packagesRead = 0;
    ignoreRejection(pkg);
    const text = 'PkgHandler.read returned a promise: expected a package, made synchronously';
    this.#owner.onFailure(new ListenerError('PROMISE_RETURNED', 'read', text));
    return false;
  }

  onPackageError(error: PeerError | ListenerError): void {
    if (log.codec.enabled) log.codec('session %d: %s: %s', this.#session.id, error.code, oneLine(error.message));
    if (error.name === 'PeerError' && error.recoverable) this.#owner.onNotice(error);
    else this.#owner.onFailure(error);
  }

  #followIfPending(result: unknown): void {
    if (isThenable(result)) this.#follow(result);
  }

  #follow(result: PromiseLike<unknown>): void {
    this.#follower ??= {
      onSettled: () => this.#settled(),
      onRejected: (thrown) => {
        this.#owner.onHandlerFailure(thrown);
        this.#settled();
      },
    };
    this.#countRunning();
    result.then(this.#follower.onSettled, this.#follower.onRejected);
  }

  #countRunning(): void {
    this.running++;
    if (this.running >= this.#settings.concurrentMessages) this.hold(Hold.BUSY);
  }

  #runInPool(pool: TaskPool, pkg: In): void {
    this.#countRunning();
    void pool
      .run(() => this.#handleInPool(pkg), { signal: this.#owner.signal })
      .catch((thrown: unknown) => this.#onPoolFailure(pool, thrown))
      .then(() => this.#settled());
  }

  /** What the handler throws is its own failure, also when it comes from another pool. */
  async #handleInPool(pkg: In): Promise<void> {
    try {
      await this.#listener.onMessage(this.#session, pkg);
    } catch (thrown) {
      this.#owner.onHandlerFailure(thrown);
    }
  }

  #onPoolFailure(pool: TaskPool, thrown: unknown): void {
    if (!(thrown instanceof StateError)) {
      this.#owner.onHandlerFailure(thrown);
    } else if (thrown.code === 'TASK_REJECTED' && pool.overflow === 'drop') {
      this.droppedPackages++;
    } else if (thrown.code === 'TASK_REJECTED' || thrown.code === 'POOL_CLOSED') {
      this.#owner.onFailure(thrown);
    } else if (!this.#owner.signal.aborted) {
      this.#owner.onHandlerFailure(thrown);
    }
  }

  #settled(): void {
    this.running--;
    if ((this.#holds & Hold.BUSY) !== 0 && this.running < this.#settings.concurrentMessages) {
      // A chain of handlers that settle at once never leaves the microtask queue: look at the clock now and then.
      if ((this.packagesRead & 15) === 0) this.#checkSlice();
      this.release(Hold.BUSY);
    }
    if (this.running === 0) this.#owner.onIdle();
  }

  #checkSlice(): void {
    const elapsedMs = this.#now() - this.#turnStartMs;
    // Looking at the clock costs as much as half a small package: often only where packages take long.
    this.#checkMask = elapsedMs * 64 > this.packagesRead - this.#packagesBefore ? 0 : 63;
    if (elapsedMs <= SLICE_MS || (this.#holds & Hold.SLICE) !== 0) return;
    this.hold(Hold.SLICE);
    this.#owner.wheel.clock.yield(() => {
      this.#startTurn();
      this.release(Hold.SLICE);
    });
  }

  // --- standing still ---

  hold(reason: number): void {
    this.#holds |= reason;
    this.#reader?.stop();
    if (reason === Hold.PAUSED) this.#pauseConnection();
  }

  release(reason: number): void {
    if ((this.#holds & reason) === 0) return;
    this.#holds &= ~reason;
    if (this.#holds !== 0) return;
    const before = this.packagesRead;
    this.#reader?.resume();
    this.#afterDecoding(before, true);
    if (this.#holds === 0 && this.#isConnectionPaused) {
      this.#isConnectionPaused = false;
      this.#resumedMs = this.#now();
      this.#owner.connection.resume();
    }
  }

  /** Stands still for so long, or longer when a delay before this one ends later. */
  delay(delayMs: number): void {
    if (!(delayMs >= 0)) throw invalid('delay', 'milliseconds, 0 or more', delayMs);
    if ((this.#holds & Hold.CLOSING) !== 0) return;
    const untilMs = Math.ceil(this.#owner.wheel.now() + delayMs);
    this.#delay ??= new WheelTimer({ onTimer: () => this.release(Hold.DELAYED) });
    if (this.#delay.isArmed && untilMs <= this.#delayedUntilMs) return;
    this.#delayedUntilMs = untilMs;
    this.#owner.wheel.arm(this.#delay, delayMs);
    this.hold(Hold.DELAYED);
  }

  /** The peer has sent its last byte and everything before it was decoded: what is left is a cut package. */
  end(): number {
    this.partialSinceMs = -1;
    return this.#reader === undefined ? 0 : this.#reader.end();
  }

  /** No further package is handled; what is buffered is dropped. */
  stop(): void {
    this.#holds |= Hold.CLOSING;
    this.#delay?.cancel();
    this.partialSinceMs = -1;
    this.#reader?.discard();
  }

  /** `isLate`: what was decoded had come before, so that its time is not that of the turn. */
  #afterDecoding(packagesBefore: number, isLate = false): void {
    const reader = this.#reader;
    const isPristine = reader === undefined || reader.isPristine;
    if (isPristine && reader !== undefined) {
      this.#reader = undefined;
      if (reader instanceof MessageReader) returnMessageReader(reader);
      else returnReader(reader);
    }
    if (this.#holds !== 0) {
      if (this.bufferedBytes > READ_AHEAD_BYTES) this.#pauseConnection();
      return;
    }
    if (isPristine || !reader.isMidPackage) {
      this.partialSinceMs = -1;
    } else if (this.partialSinceMs < 0 || this.packagesRead !== packagesBefore) {
      this.partialSinceMs = isLate ? this.#now() : this.#turnStartMs;
      this.#owner.onPartial();
    }
    if (this.running === 0) this.#owner.onIdle();
  }

  #pauseConnection(): void {
    if (this.#isConnectionPaused) return;
    this.#isConnectionPaused = true;
    this.#owner.connection.pause();
  }
}
