import type { Attributes } from '../base/attributes.ts';
import type { PorticoError, TransportError } from '../base/errors.ts';
import type { Address, CloseNotice, ConnectionSink, PeerEnding, TlsInfo } from './connection.ts';
import { HeldInput } from './held-input.ts';

/**
 * The half of a connection that receives, with what it tells about itself and what its subclass does. `BaseConnection` adds the half that
 * sends, and the end.
 */
export abstract class ReceivingConnection {
  abstract readonly kind: 'stream' | 'message';
  abstract readonly localAddress: Address;
  abstract readonly remoteAddress: Address;
  abstract readonly tls: TlsInfo | undefined;
  abstract readonly raw: unknown;
  abstract readonly readPath: 'static' | 'chunk';

  bytesRead = 0;
  bytesWritten = 0;
  writes = 0;
  droppedPackages = 0;
  lostPackages = 0;
  isDrainExpected = false;

  get roundTripMs(): number | undefined {
    return undefined;
  }

  get isDatagram(): boolean {
    return false;
  }

  get attributes(): Attributes | undefined {
    return undefined;
  }

  protected sink: ConnectionSink | undefined;
  protected isReading = false;
  protected isPaused = true; // until `open`
  protected held: HeldInput | undefined;
  protected isClosing = false;
  protected isClosed = false;

  // --- what a subclass does ---

  protected abstract sendOpen(): void;
  /** Hands chunks to the operating system in order: one batch of a stream, or one message, perhaps as text. */
  protected abstract sendBatch(chunks: readonly Uint8Array[], isText: boolean): void;
  /** Bytes of `sendBatch` not yet taken. When it is not 0 after `sendBatch`, `onSent` MUST be called once it is. */
  protected abstract unsentBytes(): number;
  protected abstract sendPause(): void;
  protected abstract sendResume(): void;
  /** What `close` was given for the peer; `sendEnd` follows. */
  protected noteClose(_notice: CloseNotice | undefined): void {}
  /** The end of the stream, behind everything sent. */
  protected abstract sendEnd(): void;
  /** Ends the connection when both directions have ended; called after `sendEnd`. */
  protected abstract sendClose(): void;
  protected abstract sendAbort(error: TransportError | undefined): void;
  /** Whether the memory of a batch is still in use after `sendBatch` even when the network is fast (TLS). */
  protected get sendsLater(): boolean {
    return false;
  }
  /**
   * Of connections that carry messages in a stream: `sendBatch` only gathers, as the subclass may do by itself (`isGathering`,
   * `onGathered`), and `sendGathered` hands all of it over when the turn ends.
   */
  protected get gathers(): boolean {
    return false;
  }
  /** Given to `sendBatch` and not to `sendGathered` yet: never 0 when there is something. */
  protected gatheredBytes(): number {
    return 0;
  }
  protected sendGathered(): void {}

  // --- of the half that sends ---

  abstract flush(): void;
  protected abstract onClosed(error: PorticoError | undefined): void;

  // --- what a subclass reports ---

  protected onBytes(bytes: Buffer, isText = false): void {
    // More messages may come in this turn, and what is sent leaves with it.
    if (this.gathers) {
      this.#deliver(bytes, isText);
      return;
    }
    this.isReading = true;
    try {
      this.#deliver(bytes, isText);
    } finally {
      this.isReading = false;
      this.flush();
    }
  }

  #deliver(bytes: Buffer, isText: boolean): void {
    if (this.isClosing || this.isClosed) return;
    if (this.isPaused) {
      this.#hold().chunks.push({ bytes: Buffer.from(bytes), isText });
      return;
    }
    this.bytesRead += bytes.length;
    this.sink?.onBytes(bytes, isText);
  }

  protected onEnd(ending?: PeerEnding): void {
    if (this.isClosing || this.isClosed) return;
    if (this.isPaused) {
      this.#hold().hasEnd = true;
      this.#hold().ending = ending;
    } else {
      this.sink?.onEnd(ending);
    }
  }

  // --- pausing ---

  #hold(): HeldInput {
    this.held ??= new HeldInput();
    return this.held;
  }

  pause(): void {
    if (this.isPaused || this.isClosing || this.isClosed) return;
    this.isPaused = true;
    this.sendPause();
  }

  resume(): void {
    if (!this.isPaused || this.isClosing || this.isClosed) return;
    this.isPaused = false;
    const held = this.held;
    for (let next = held?.take(this.isPaused); next !== undefined; next = held?.take(this.isPaused)) this.onBytes(next.bytes, next.isText);
    if (this.isPaused || this.isClosing || this.isClosed) return;
    if (held?.takeEnd()) this.onEnd(held.ending);
    if (held?.hasClose) process.nextTick(() => this.onClosed(undefined));
    else if (!this.isPaused) this.sendResume();
    if (!held?.hasClose && !this.isPaused) this.held = undefined;
  }
}
