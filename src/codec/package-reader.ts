import { Attributes } from '../base/attributes.ts';
import { ByteQueue } from '../base/byte-queue.ts';
import { describeThrown, ListenerError, PeerError } from '../base/errors.ts';
import { ignoreRejection } from '../base/thenable.ts';
import type { PkgContext, PkgReader } from './pkg-handler.ts';

/** Of readers that nobody uses. */
export const NO_SESSION: PkgContext = { id: 0, attributes: new Attributes() };
export const NO_HANDLER: PkgReader<unknown> = { read: () => undefined };

/** Who takes the packages: the session. */
export interface PackageSink<In> {
  /** One package. Returns false to stop decoding; `resume()` goes on behind it. */
  onPackage(pkg: In): boolean;
  /** The stream holds something wrong. Decoding goes on only after a recoverable PeerError. */
  onPackageError(error: PeerError | ListenerError): void;
}

export const NO_SINK: PackageSink<unknown> = { onPackage: () => false, onPackageError: () => {} };

/**
 * The one decode loop. It owns what no framing should repeat: the limit on a package whether it comes whole or in pieces,
 * zero progress, re-entrancy (bytes that arrive while a package is being handled), stopping in the middle of a chunk, errors
 * that leave the good packages behind them readable, and the end of the stream.
 *
 * ```
 *          +--------------- package: onPackage, true ---------------+
 *          v                                                        |
 * feed -> read -- undefined --> more bytes of the chunk? -- yes --> +
 *          |                         | no: keep the rest, wait for feed
 *          |-- package, false --> stopped -- resume --> read
 *          |-- recoverable PeerError --> onPackageError --> read
 *          '-- any other error, no progress, over the limit --> onPackageError, failed for good
 * ```
 */
export class PackageReader<In> {
  #sink: PackageSink<In>;
  #context: PkgContext;
  readonly #queue = new ByteQueue();
  #handler: PkgReader<In>;
  #maxPackageBytes: number;
  #decoding = false;
  #stopped = false;
  #failed = false;

  /** `context` is what the handler gets as its session; may be left out where there is none. */
  constructor(handler: PkgReader<In>, sink: PackageSink<In>, maxPackageBytes: number, context: PkgContext = NO_SESSION) {
    this.#handler = handler;
    this.#context = context;
    this.#sink = sink;
    this.#maxPackageBytes = maxPackageBytes === 0 ? Number.POSITIVE_INFINITY : maxPackageBytes;
  }

  /** Gives a reader without bytes to another sink. */
  reset(handler: PkgReader<In>, sink: PackageSink<In>, maxPackageBytes: number, context: PkgContext): void {
    this.#handler = handler;
    this.#context = context;
    this.#sink = sink;
    this.#maxPackageBytes = maxPackageBytes === 0 ? Number.POSITIVE_INFINITY : maxPackageBytes;
    this.#stopped = false;
  }

  /** Whether a new reader would do as well: nothing is buffered, and the handler has left nothing to remember. */
  get isPristine(): boolean {
    return !this.#decoding && !this.#failed && this.#queue.isPristine;
  }

  /** Received bytes not yet made into packages. */
  get bufferedBytes(): number {
    return this.#queue.totalLength;
  }

  /** Whether a package has begun and not ended, one that is being discarded included. */
  get isMidPackage(): boolean {
    return !this.#failed && (this.#queue.totalLength > 0 || this.#queue.discarding > 0);
  }

  /** Whether this is called from inside the sink or the handler: what is buffered is being looked at. */
  get isDecoding(): boolean {
    return this.#decoding;
  }

  /** Whether a package was refused by the sink and waits for `resume`. */
  get isStopped(): boolean {
    return this.#stopped;
  }

  /** Takes effect from the next package on. 0 = no limit. */
  configure(handler: PkgReader<In>, maxPackageBytes: number): void {
    this.#maxPackageBytes = maxPackageBytes === 0 ? Number.POSITIVE_INFINITY : maxPackageBytes;
    if (handler === this.#handler) return;
    this.#handler = handler;
    // What the handler before it had examined, needed or remembered means nothing to this one.
    this.#queue.examined = 0;
    this.#queue.state = 0;
    this.#queue.need(0);
  }

  /** Decodes a chunk that is only lent: nothing refers to it after the return. */
  feed(chunk: Buffer, _isText?: boolean): void {
    if (this.#failed) return;
    this.#queue.offer(chunk);
    // Nested in a handler, or stopped: the bytes wait behind the others.
    if (this.#decoding || this.#stopped) this.#queue.retain();
    else this.#decode();
  }

  /**
   * Decodes what is there of a message, lent unless its memory `isOwned`; `endMessage` MUST follow, once the reader is not stopped.
   * False: the message is empty, and that is no package.
   */
  feedMessage(message: Buffer, isText: boolean, isOwned = false): boolean {
    this.#queue.isOwned = isOwned;
    this.#queue.isMessage = true;
    this.#queue.isText = isText;
    if (message.length === 0) return this.#failed || this.#readEmpty();
    this.feed(message);
    return true;
  }

  /** The end of a message: makes a last package of the rest, if there is one, and returns how many bytes of it no package has. */
  endMessage(): number {
    const rest = this.end();
    this.#queue.clear();
    this.#queue.forget();
    return rest;
  }

  /** A message without bytes may be a package, although nothing is consumed for it. */
  #readEmpty(): boolean {
    let pkg: In | undefined;
    this.#decoding = true;
    try {
      pkg = this.#handler.read(this.#queue, this.#context);
      if (pkg !== undefined && !this.#sink.onPackage(pkg)) this.#stopped = true;
      return pkg !== undefined;
    } catch (thrown) {
      this.#onThrown(thrown, 0);
      return true;
    } finally {
      this.#decoding = false;
    }
  }

  /** Stops as if a package had been refused. */
  stop(): void {
    this.#stopped = true;
  }

  /** Goes on after a stop. */
  resume(): void {
    this.#stopped = false;
    if (!this.#failed && !this.#decoding) this.#decode();
  }

  /**
   * The peer sends no more. Returns how many bytes are left that make no package, 1 when they were dropped as they came. MUST
   * NOT be called while stopped.
   */
  end(): number {
    this.#readEnd();
    if (this.#failed) return 0;
    return this.#queue.discarding > 0 ? 1 : this.#queue.totalLength;
  }

  #readEnd(): void {
    const queue = this.#queue;
    const before = queue.consumed;
    if (this.#failed || queue.length === 0) return;
    let pkg: In | undefined;
    try {
      pkg = this.#handler.readEnd?.(queue, this.#context);
    } catch (thrown) {
      this.#onThrown(thrown, queue.consumed - before);
      return;
    }
    const consumed = queue.consumed - before;
    if (pkg === undefined) return;
    if (consumed === 0 || consumed > this.#maxPackageBytes) this.#refuse(consumed, pkg);
    else this.#sink.onPackage(pkg);
  }

  /** Drops all bytes and takes no more. */
  discard(): void {
    this.#failed = true;
    this.#queue.clear();
  }

  /** One turn of the loop is the whole receiving path of a small package: no call here that it does not need. */
  #decode(): void {
    const queue = this.#queue;
    const context = this.#context;
    const sink = this.#sink;
    this.#decoding = true;
    try {
      // After a failure there is nothing left to read.
      while (!this.#stopped && (queue.isReadable || queue.pullReadable())) {
        const before = queue.consumed;
        let pkg: In | undefined;
        try {
          pkg = this.#handler.read(queue, context);
        } catch (thrown) {
          if (this.#onThrown(thrown, queue.consumed - before)) continue;
          break;
        }
        const consumed = queue.consumed - before;
        if (pkg !== undefined && consumed > 0 && consumed <= this.#maxPackageBytes) {
          if (!sink.onPackage(pkg)) this.#stopped = true;
        } else if (this.#isOver(pkg, consumed)) {
          break;
        }
      }
    } finally {
      this.#decoding = false;
      queue.retain();
    }
  }

  /** No package, or one that must not be delivered: whether the loop ends here. */
  #isOver(pkg: In | undefined, consumed: number): boolean {
    const queue = this.#queue;
    const max = this.#maxPackageBytes;
    if (pkg !== undefined) {
      this.#refuse(consumed, pkg);
      return true;
    }
    // A handler that consumed something may not have seen the rest yet, but what it needs of it counts at once.
    const size = Math.max(queue.needed, consumed > 0 ? 0 : queue.length);
    if (size > max) this.#fail(tooLarge(size, max));
    return consumed === 0 && !queue.pull();
  }

  #refuse(consumed: number, pkg: In): void {
    ignoreRejection(pkg);
    if (consumed > 0) this.#fail(tooLarge(consumed, this.#maxPackageBytes));
    else this.#fail(new ListenerError('NO_PROGRESS', 'read', 'PkgHandler.read returned a package without consuming a byte'));
  }

  #onThrown(thrown: unknown, consumed: number): boolean {
    if (thrown instanceof PeerError && thrown.recoverable && consumed > 0) {
      this.#sink.onPackageError(thrown);
      return true;
    }
    if (thrown instanceof PeerError || thrown instanceof ListenerError) {
      this.#fail(thrown);
    } else {
      this.#fail(new PeerError('MALFORMED_PACKAGE', `the PkgHandler could not decode: ${describeThrown(thrown)}`, { cause: thrown }));
    }
    return false;
  }

  #fail(error: PeerError | ListenerError): void {
    this.discard();
    this.#sink.onPackageError(error);
  }
}

function tooLarge(size: number, max: number): PeerError {
  return new PeerError('PACKAGE_TOO_LARGE', `expected a package of at most ${max} bytes, given ${size} or more`);
}

/** Readers that nobody uses. Most sessions are idle most of the time, and an idle one needs none. */
const spare: PackageReader<unknown>[] = [];
const MAX_SPARE = 64;

/** A reader for as long as there are bytes to read; `returnReader` takes it back. */
export function borrowReader<In>(
  handler: PkgReader<In>,
  sink: PackageSink<In>,
  maxPackageBytes: number,
  context: PkgContext,
): PackageReader<In> {
  const reader = spare.pop() as PackageReader<In> | undefined;
  if (reader === undefined) return new PackageReader(handler, sink, maxPackageBytes, context);
  reader.reset(handler, sink, maxPackageBytes, context);
  return reader;
}

/** MUST be pristine, and not be used afterwards. */
export function returnReader<In>(reader: PackageReader<In>): void {
  if (spare.length >= MAX_SPARE) return;
  const free = reader as unknown as PackageReader<unknown>;
  free.reset(NO_HANDLER, NO_SINK, 0, NO_SESSION);
  spare.push(free);
}
