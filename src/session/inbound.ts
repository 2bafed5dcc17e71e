import type { ListenerError, PeerError, PorticoError } from '../base/errors.ts';
import { StateError } from '../base/errors.ts';
import type { Wheel } from '../base/wheel.ts';
import { PackageReader, type PackageSink } from '../codec/package-reader.ts';
import type { PkgContext, PkgReader } from '../codec/pkg-handler.ts';
import type { Connection } from '../transport/connection.ts';
import type { TaskPool } from './task-pool.ts';

/** Undecoded bytes above which the socket is not read while a handler holds decoding up. */
const READ_AHEAD_BYTES = 65_536;
/** One session may hold the event loop for this long before the others get their turn. */
const SLICE_MS = 5;

/** Why decoding stands still; it goes on when no reason is left. */
export const Hold = { OPENING: 1, BUSY: 2, SLICE: 4, PAUSED: 8, DRAINING: 16, CLOSING: 32 } as const;

/** What the receiving half asks of its session. */
export interface InboundOwner<In> {
  readonly session: PkgContext;
  readonly signal: AbortSignal;
  handle(pkg: In): unknown;
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

/**
 * The receiving half of a session: bytes to packages to the handler, in order. Decoding stops in the middle of a chunk while
 * a handler's promise is pending, the program has paused, or the slice of this session is used up, and the socket is not read
 * further than 64 KiB ahead. So the order of packages and back-pressure are one mechanism.
 */
export class Inbound<In> implements PackageSink<In> {
  packagesRead = 0;
  droppedPackages = 0;
  /** When the last complete package came (or `touch` was called), by the wheel's clock. */
  lastActiveMs: number;
  /** Since when a package is incomplete; 0 = none is. */
  partialSinceMs = 0;
  /** Handlers whose promise is pending; `onOpen` is the first. */
  running = 1;
  readonly #owner: InboundOwner<In>;
  readonly #connection: Connection;
  readonly #wheel: Wheel;
  readonly #reader: PackageReader<In>;
  #concurrentMessages: number;
  #pool: TaskPool | undefined;
  #holds: number = Hold.OPENING;
  #isConnectionPaused = false;
  #turnStartMs: number;
  #onSettled: (() => void) | undefined;
  #onRejected: ((thrown: unknown) => void) | undefined;

  constructor(owner: InboundOwner<In>, connection: Connection, wheel: Wheel, settings: InboundSettings<In>) {
    this.#owner = owner;
    this.#connection = connection;
    this.#wheel = wheel;
    this.#reader = new PackageReader(settings.reader, this, settings.maxPackageBytes, owner.session);
    this.#concurrentMessages = settings.concurrentMessages;
    this.#pool = settings.taskPool;
    this.#turnStartMs = wheel.now();
    this.lastActiveMs = this.#turnStartMs;
    this.#reader.stop();
  }

  get bufferedBytes(): number {
    return this.#reader.bufferedBytes;
  }

  /** Whether a package has begun, and nothing but the peer keeps it from being completed. */
  get isWaitingForPeer(): boolean {
    return this.partialSinceMs > 0 && this.#holds === 0;
  }

  /** Nothing is left to do but to wait for bytes. */
  get isIdle(): boolean {
    return this.running === 0 && this.#holds === 0;
  }

  /** `onOpen` has settled: packages may come. */
  onOpened(): void {
    this.running--;
    this.release(Hold.OPENING);
    if (this.running === 0) this.#owner.onIdle();
  }

  configure(settings: InboundSettings<In>): void {
    this.#reader.configure(settings.reader, settings.maxPackageBytes);
    this.#concurrentMessages = settings.concurrentMessages;
    this.#pool = settings.taskPool;
  }

  onBytes(bytes: Buffer): void {
    const before = this.packagesRead;
    this.#turnStartMs = this.#wheel.now();
    this.#reader.feed(bytes);
    this.#afterDecoding(before);
  }

  // --- one package ---

  onPackage(pkg: In): boolean {
    this.packagesRead++;
    this.lastActiveMs = this.#turnStartMs;
    if (this.#pool === undefined) {
      let result: unknown;
      try {
        result = this.#owner.handle(pkg);
      } catch (thrown) {
        this.#owner.onHandlerFailure(thrown);
      }
      if (isThenable(result)) this.#follow(result);
    } else {
      this.#runInPool(this.#pool, pkg);
    }
    if ((this.packagesRead & 63) === 0 && this.#wheel.now() - this.#turnStartMs > SLICE_MS) this.#endSlice();
    return this.#holds === 0;
  }

  onPackageError(error: PeerError | ListenerError): void {
    if (error.name === 'PeerError' && error.recoverable) this.#owner.onNotice(error);
    else this.#owner.onFailure(error);
  }

  #follow(result: PromiseLike<unknown>): void {
    this.#onSettled ??= () => this.#settled();
    this.#onRejected ??= (thrown) => {
      this.#onTaskFailure(thrown);
      this.#settled();
    };
    this.running++;
    if (this.running >= this.#concurrentMessages) this.hold(Hold.BUSY);
    result.then(this.#onSettled, this.#onRejected);
  }

  #runInPool(pool: TaskPool, pkg: In): void {
    const task = pool.run(() => this.#owner.handle(pkg), { signal: this.#owner.signal });
    this.#follow(task);
  }

  #onTaskFailure(thrown: unknown): void {
    if (this.#pool === undefined || !(thrown instanceof StateError)) {
      this.#owner.onHandlerFailure(thrown);
    } else if (thrown.code === 'TASK_REJECTED' && this.#pool.overflow === 'drop') {
      this.droppedPackages++;
    } else if (thrown.code === 'TASK_REJECTED' || thrown.code === 'POOL_CLOSED') {
      this.#owner.onFailure(thrown);
    } else if (!this.#owner.signal.aborted) {
      this.#owner.onHandlerFailure(thrown);
    }
  }

  #settled(): void {
    this.running--;
    if ((this.#holds & Hold.BUSY) !== 0) {
      // A chain of handlers that settle at once never leaves the microtask queue: look at the clock now and then.
      if ((this.packagesRead & 15) === 0 && this.#wheel.now() - this.#turnStartMs > SLICE_MS) this.#endSlice();
      this.release(Hold.BUSY);
    }
    if (this.running === 0) this.#owner.onIdle();
  }

  #endSlice(): void {
    if ((this.#holds & Hold.SLICE) !== 0) return;
    this.hold(Hold.SLICE);
    this.#wheel.clock.yield(() => {
      this.#turnStartMs = this.#wheel.now();
      this.release(Hold.SLICE);
    });
  }

  // --- standing still ---

  hold(reason: number): void {
    this.#holds |= reason;
    this.#reader.stop();
    if (reason === Hold.PAUSED) this.#pauseConnection();
  }

  release(reason: number): void {
    if ((this.#holds & reason) === 0) return;
    this.#holds &= ~reason;
    if (this.#holds !== 0) return;
    const before = this.packagesRead;
    this.#reader.resume();
    this.#afterDecoding(before);
    if (this.#holds === 0 && this.#isConnectionPaused) {
      this.#isConnectionPaused = false;
      this.#connection.resume();
    }
  }

  /** The peer has sent its last byte and everything before it was decoded: what is left is a cut package. */
  end(): number {
    this.partialSinceMs = 0;
    return this.#reader.end();
  }

  /** No further package is handled; what is buffered is dropped. */
  stop(): void {
    this.#holds |= Hold.CLOSING;
    this.partialSinceMs = 0;
    this.#reader.discard();
  }

  #afterDecoding(packagesBefore: number): void {
    if (this.#holds !== 0) {
      if (this.#reader.bufferedBytes > READ_AHEAD_BYTES) this.#pauseConnection();
      return;
    }
    if (!this.#reader.isMidPackage) {
      this.partialSinceMs = 0;
    } else if (this.partialSinceMs === 0 || this.packagesRead !== packagesBefore) {
      this.partialSinceMs = this.#turnStartMs;
      this.#owner.onPartial();
    }
    if (this.running === 0) this.#owner.onIdle();
  }

  #pauseConnection(): void {
    if (this.#isConnectionPaused) return;
    this.#isConnectionPaused = true;
    this.#connection.pause();
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
