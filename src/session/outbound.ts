import { appendEncoded, ByteWriter } from '../base/byte-writer.ts';
import { publish } from '../base/diagnostics.ts';
import { describeThrown, ListenerError, PeerError, PorticoError, StateError } from '../base/errors.ts';
import { after, type Wheel } from '../base/wheel.ts';
import type { PkgContext, PkgWriter } from '../codec/pkg-handler.ts';
import type { Connection, SendReceipt } from '../transport/connection.ts';

/** What became of a write: the bytes of the package, and how many of them the operating system has taken. */
export interface WriteResult {
  readonly total: number;
  readonly sent: number;
}

export interface WriteOptions {
  /** Reject with WRITE_TIMEOUT when the operating system has not taken the package by then. Default, as 0: no limit of its own. */
  readonly timeoutMs?: number;
  /**
   * Reject with ABORTED. A package that waits in the queue is taken back; one that is on its way is sent all the same, and so is one
   * whose signal is aborted in the turn that wrote it: it stands between the packages of that turn, which leave as one piece of memory.
   */
  readonly signal?: AbortSignal;
}

/** Encodes a package into the connection's batch; throws, with nothing sent, when that fails. Returns the encoded size. */
export function encodePackage<Out>(
  connection: Connection,
  writer: PkgWriter<Out> | undefined,
  context: PkgContext,
  pkg: Out,
  maxPackageBytes: number,
): number {
  if (writer === undefined) throw new StateError('WRONG_STATE', 'send: expected a session with a PkgHandler');
  const out = connection.beginPackage();
  try {
    const encoded = writer.write(pkg, context, out);
    if (encoded !== undefined) appendEncoded(out, encoded);
    const size = out.length;
    if (size > maxPackageBytes) throw tooLarge(context, size, maxPackageBytes);
    return size;
  } catch (thrown) {
    connection.cancelPackage();
    throw encodeError(thrown);
  }
}

let spare: ByteWriter | undefined = new ByteWriter();

/** A package encoded for any number of sessions. */
export interface EncodedPackage {
  readonly bytes: Uint8Array;
  readonly isText: boolean;
}

/** Encodes a package once, into memory of its own, for all sessions with this writer; or returns why that fails. */
export function tryToEncode<Out>(writer: PkgWriter<Out>, context: PkgContext, pkg: Out): EncodedPackage | PorticoError {
  // A PkgHandler that broadcasts from inside `write` finds the writer taken.
  const out = spare ?? new ByteWriter();
  spare = undefined;
  out.beginPackage();
  try {
    const encoded = writer.write(pkg, context, out);
    if (encoded !== undefined) appendEncoded(out, encoded);
    const size = out.length;
    const { isText } = out;
    return { bytes: Buffer.concat(out.take(), size), isText };
  } catch (thrown) {
    out.take();
    return encodeError(thrown);
  } finally {
    out.reuse();
    spare = out;
  }
}

function encodeError(thrown: unknown): PorticoError {
  if (thrown instanceof PorticoError) return thrown;
  return new ListenerError('ENCODE_FAILED', 'write', `PkgHandler.write failed: ${describeThrown(thrown)}`, { cause: thrown });
}

export function tooLarge(session: PkgContext, size: number, maxPackageBytes: number): StateError {
  const error = new StateError('ENCODED_TOO_LARGE', `expected a package of at most ${maxPackageBytes} bytes, given ${size}`);
  publish('limit', () => ({ limit: 'package', session, error }));
  return error;
}

/** Follows one write until the operating system has it: the promise that writePkg returns. */
export class PendingWrite implements SendReceipt {
  readonly promise: Promise<WriteResult>;
  total = 0;
  #resolve: (result: WriteResult) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #cancelTimer: (() => void) | undefined;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;
  #isSettled = false;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  onSent(): void {
    this.#finish();
    this.#resolve({ total: this.total, sent: this.total });
  }

  onUnsent(error: PorticoError): void {
    this.#finish();
    this.#reject(error);
  }

  /** Bounds the wait. `onLate` runs when the time is over. */
  watch(options: WriteOptions, wheel: Wheel, onLate: () => void, onAborted: () => void): void {
    if (this.#isSettled) return;
    const { timeoutMs, signal } = options;
    if (timeoutMs !== undefined && timeoutMs > 0) this.#cancelTimer = after(wheel, timeoutMs, onLate);
    if (signal !== undefined) {
      this.#signal = signal;
      this.#onAbort = onAborted;
      signal.addEventListener('abort', onAborted, { once: true });
    }
  }

  #finish(): void {
    this.#isSettled = true;
    this.#cancelTimer?.();
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

/** Ends the wait for a write at its time-out or when its signal is aborted. A package that was cut then fails the session. */
export function watchWrite(
  write: PendingWrite,
  options: WriteOptions,
  life: { readonly connection: Connection; readonly host: { readonly wheel: Wheel }; onFailure(error: PeerError): void },
): void {
  const { timeoutMs, signal } = options;
  if (timeoutMs === undefined && signal === undefined) return;
  const { connection, host } = life;
  const onLate = (): void => {
    const error = new PeerError('WRITE_TIMEOUT', `the package was not taken within ${timeoutMs} ms`);
    const isCut = !connection.unsend(write);
    write.onUnsent(error);
    if (isCut) life.onFailure(error);
  };
  const onAborted = (): void => {
    connection.unsend(write);
    write.onUnsent(new StateError('ABORTED', 'write: the signal was aborted', { cause: signal?.reason }));
  };
  write.watch(options, host.wheel, onLate, onAborted);
}
