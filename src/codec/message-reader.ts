import { type ListenerError, PeerError } from '../base/errors.ts';
import { NO_HANDLER, NO_SESSION, NO_SINK, PackageReader, type PackageSink } from './package-reader.ts';
import type { PkgContext, PkgReader } from './pkg-handler.ts';

/** A waiting message costs memory beside its bytes, an empty one too. */
const MESSAGE_OVERHEAD_BYTES = 64;

interface Message {
  readonly bytes: Buffer;
  readonly isText: boolean;
}

/**
 * The decode loop over messages: each is a stream of its own that ends with the message. So one message may hold several packages, a
 * last one may be made by `readEnd`, and what is left makes no package and never touches the next message.
 *
 * ```
 * feed(message) -> stopped, or in another message? -- yes --> waits, copied
 *                    | no
 *                    v
 *                  read .. read, readEnd -> bytes left? MALFORMED_PACKAGE, recoverable -> next waiting message
 * ```
 *
 * Datagrams stand alone: there no error of the peer ends the session.
 */
export class MessageReader<In> implements PackageSink<In> {
  #sink: PackageSink<In>;
  #context: PkgContext;
  #handler: PkgReader<In>;
  #maxPackageBytes: number;
  #isDatagram: boolean;
  #reader: PackageReader<In>;
  /** A message has begun, and not all of it was looked at. */
  #isInMessage = false;
  /** The reader has failed, and is replaced before the next message. */
  #isBroken = false;
  #waiting: Message[] = [];
  #waitingBytes = 0;

  constructor(handler: PkgReader<In>, sink: PackageSink<In>, maxPackageBytes: number, context: PkgContext, isDatagram: boolean) {
    this.#sink = sink;
    this.#context = context;
    this.#handler = handler;
    this.#maxPackageBytes = maxPackageBytes;
    this.#isDatagram = isDatagram;
    this.#reader = new PackageReader(handler, this, maxPackageBytes, context);
  }

  /** Gives a reader without messages to another sink. */
  reset(handler: PkgReader<In>, sink: PackageSink<In>, maxPackageBytes: number, context: PkgContext, isDatagram: boolean): void {
    this.#sink = sink;
    this.#context = context;
    this.#handler = handler;
    this.#maxPackageBytes = maxPackageBytes;
    this.#isDatagram = isDatagram;
    this.#reader.reset(handler, this, maxPackageBytes, context);
  }

  /** Whether a new reader would do as well. */
  get isPristine(): boolean {
    return !this.#isInMessage && !this.#isBroken && this.#waiting.length === 0 && this.#reader.isPristine;
  }

  get bufferedBytes(): number {
    return this.#reader.bufferedBytes + this.#waitingBytes;
  }

  /** A message is always whole: nothing is awaited from the peer. */
  get isMidPackage(): boolean {
    return false;
  }

  get isDecoding(): boolean {
    return this.#reader.isDecoding;
  }

  get isStopped(): boolean {
    return this.#reader.isStopped;
  }

  configure(handler: PkgReader<In>, maxPackageBytes: number): void {
    this.#handler = handler;
    this.#maxPackageBytes = maxPackageBytes;
    this.#reader.configure(handler, maxPackageBytes);
  }

  /** Decodes a message that is only lent, unless it is a datagram: its memory is not used again. */
  feed(message: Buffer, isText: boolean): void {
    if (this.#isInMessage || this.#reader.isStopped || this.#reader.isDecoding) {
      this.#waiting.push({ bytes: Buffer.from(message), isText });
      this.#waitingBytes += message.length + MESSAGE_OVERHEAD_BYTES;
      return;
    }
    this.#begin(message, isText, this.#isDatagram);
    this.#goOn();
  }

  stop(): void {
    this.#reader.stop();
  }

  resume(): void {
    this.#reader.resume();
    if (!this.#reader.isDecoding) this.#goOn();
  }

  /** The peer sends no more: nothing of a message can be missing. */
  end(): number {
    return 0;
  }

  /** Drops all messages and takes no more. */
  discard(): void {
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#reader.discard();
  }

  // --- from the reader of one message ---

  onPackage(pkg: In): boolean {
    return this.#sink.onPackage(pkg);
  }

  onPackageError(error: PeerError | ListenerError): void {
    if (this.#isDatagram && error.name === 'PeerError' && !error.recoverable) {
      this.#isBroken = true;
      this.#sink.onPackageError(new PeerError(error.code, error.message, { cause: error.cause, recoverable: true }));
    } else {
      this.#sink.onPackageError(error);
    }
  }

  #begin(bytes: Buffer, isText: boolean, isOwned: boolean): void {
    this.#isInMessage = true;
    // Elsewhere the peer may well send an empty message as a sign of life; a datagram is never dropped in silence.
    if (!this.#reader.feedMessage(bytes, isText, isOwned) && this.#isDatagram) this.#refuse('an empty one');
  }

  /** Finishes the message begun, if it can be, and reads those that wait. */
  #goOn(): void {
    while (!this.#reader.isStopped) {
      if (this.#isInMessage) this.#finish();
      if (this.#reader.isStopped) return;
      const next = this.#waiting.shift();
      if (next === undefined) return;
      this.#waitingBytes -= next.bytes.length + MESSAGE_OVERHEAD_BYTES;
      this.#begin(next.bytes, next.isText, true);
    }
  }

  #finish(): void {
    const rest = this.#reader.endMessage();
    this.#isInMessage = false;
    if (this.#isBroken) {
      this.#isBroken = false;
      this.#reader = new PackageReader(this.#handler, this, this.#maxPackageBytes, this.#context);
    }
    if (rest > 0) this.#refuse(`one with ${rest} byte(s) behind the last`);
  }

  #refuse(given: string): void {
    const text = `expected a message of whole packages, given ${given}`;
    this.#sink.onPackageError(new PeerError('MALFORMED_PACKAGE', text, { recoverable: true }));
  }
}

const spare: MessageReader<unknown>[] = [];
const MAX_SPARE = 64;

/** A reader for as long as there are messages to read; `returnMessageReader` takes it back. */
export function borrowMessageReader<In>(
  handler: PkgReader<In>,
  sink: PackageSink<In>,
  maxPackageBytes: number,
  context: PkgContext,
  isDatagram: boolean,
): MessageReader<In> {
  const reader = spare.pop() as MessageReader<In> | undefined;
  if (reader === undefined) return new MessageReader(handler, sink, maxPackageBytes, context, isDatagram);
  reader.reset(handler, sink, maxPackageBytes, context, isDatagram);
  return reader;
}

/** MUST be pristine, and not be used afterwards. */
export function returnMessageReader<In>(reader: MessageReader<In>): void {
  if (spare.length >= MAX_SPARE) return;
  const free = reader as unknown as MessageReader<unknown>;
  free.reset(NO_HANDLER, NO_SINK, 0, NO_SESSION, false);
  spare.push(free);
}
