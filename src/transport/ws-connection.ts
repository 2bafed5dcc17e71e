import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Attributes } from '../base/attributes.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { publish } from '../base/diagnostics.ts';
import { PeerError, TransportError } from '../base/errors.ts';
import { BaseConnection } from './base-connection.ts';
import type { Address, CloseNotice, ConnectionSink, SendLimits, SendReceipt, TlsInfo } from './connection.ts';
import { type WriteOwner, writeDirect } from './direct-write.ts';
import { sizeOf } from './send-queue.ts';
import { handleOf, numberIn, takenBelowTls, tlsInfo, transportError } from './tcp-connection.ts';
import { beginApart, cancelApart, endApart } from './ws-encoding.ts';
import { cutReason, isSendableStatus, limitOf, wsPeerError } from './ws-errors.ts';
import { COPY_BYTES, FrameGatherer, sharedFrame } from './ws-frames.ts';
import { WsIntake, type WsIntakeOwner } from './ws-intake.ts';
import type { WsSettings } from './ws-settings.ts';
import { NO_STATUS, type WsSocket, type WsSocketOwner } from './ws-socket.ts';
import { MAX_PINGS_PER_SECOND, WsWatch } from './ws-watch.ts';

/** Pongs on their way to a peer at a time; of further pings only the last is answered, which RFC 6455 section 5.5.3 allows. */
const MAX_PONGS = 32;
const UNSUPPORTED_DATA = 1003;
const INTERNAL_ERROR = 1011;
const NORMAL = 1000;

/** What is known of a connection when its handshake is done. */
export interface WsConnectionFacts {
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly attributes: Attributes;
  readonly isServer: boolean;
}

const kConnection: unique symbol = Symbol('portico.ws-connection');
type ConnectionSocket = Socket & { [kConnection]?: WsConnection };

/**
 * A WebSocket. `ws` reads frames and does the closing handshake; frames are made here, so that all messages of a turn leave in one
 * write, unless they are compressed.
 */
export class WsConnection extends BaseConnection implements WsSocketOwner, WsIntakeOwner, WriteOwner {
  readonly kind = 'message';
  readonly raw: Socket;
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly tls: TlsInfo | undefined;
  readonly #attributes: Attributes;
  readonly #ws: WsSocket;
  readonly #settings: WsSettings;
  readonly #isServer: boolean;
  /** Undefined: messages are compressed, which is left to `ws`. */
  readonly #frames: FrameGatherer | undefined;
  readonly #watch: WsWatch;
  readonly #intake: WsIntake;
  /** Of TLS: what is being sent, and what the operating system had taken before it. */
  #batchBytes = 0;
  #takenBefore = 0;
  /** Called for all that was written, where 'drain' does not tell it. */
  readonly #onWritten: (() => void) | undefined;
  #peerStatus: number | undefined;
  #peerText = '';
  #isDeaf = false;
  #isClosedHere = false;
  #pongs = 0;
  #nextPong: Buffer | undefined;
  #error: Error | undefined;
  #closeNotice: CloseNotice | undefined;
  /** Of a write past the stream that was not taken at once. */
  #pendingBytes = 0;

  constructor(ws: WsSocket, socket: Socket, settings: WsSettings, facts: WsConnectionFacts) {
    super();
    this.#ws = ws;
    this.raw = socket;
    this.#settings = settings;
    this.#isServer = facts.isServer;
    this.localAddress = facts.localAddress;
    this.remoteAddress = facts.remoteAddress;
    this.#attributes = facts.attributes;
    this.tls = socket instanceof TLSSocket ? tlsInfo(socket) : undefined;
    this.#frames = ws.extensions === '' ? new FrameGatherer(!facts.isServer) : undefined;
    // A socket with room for more than one byte does not say 'drain' for each write that it has not taken at once.
    const tellsDrain = this.tls === undefined && this.#frames !== undefined && socket.writableHighWaterMark === 1;
    this.#onWritten = tellsDrain ? undefined : () => this.socketDrained();
    this.#watch = new WsWatch(this, settings);
    const own: ConnectionSocket = socket;
    own[kConnection] = this;
    ws.attach(this);
    socket.on('error', socketOnError);
    if (tellsDrain) socket.on('drain', socketOnDrain);
    ws.pause();
    this.#intake = new WsIntake(ws, socket, facts.isServer, this);
  }

  get readPath(): 'static' | 'chunk' {
    return this.#intake.readPath;
  }

  override get attributes(): Attributes {
    return this.#attributes;
  }

  override get roundTripMs(): number | undefined {
    return this.#watch.roundTripMs;
  }

  override get stalledBytes(): number {
    const unsent = super.stalledBytes;
    if (unsent === 0) return 0;
    if (this.#frames === undefined) return unsent;
    // As for TCP: libuv knows how much of a large write is left.
    if (this.tls === undefined) return numberIn(handleOf(this.raw), 'writeQueueSize') ?? unsent;
    const left = this.#batchBytes - (takenBelowTls(this.raw) - this.#takenBefore);
    return Math.max(1, Math.min(unsent, left));
  }

  // --- sending ---

  protected override get gathers(): boolean {
    return this.#frames !== undefined;
  }

  protected override gatheredBytes(): number {
    return this.#frames === undefined ? 0 : this.#frames.bytes;
  }

  override beginPackage(): ByteWriter {
    const writer = this.#frames === undefined ? super.beginPackage() : beginApart();
    writer.isText = this.#settings.messageType === 'text';
    return writer;
  }

  override cancelPackage(): void {
    if (this.#frames === undefined) {
      super.cancelPackage();
      return;
    }
    const writer = cancelApart();
    writer?.cancelPackage();
    writer?.reuse();
  }

  override endPackage(receipt?: SendReceipt): boolean {
    const frames = this.#frames;
    if (frames === undefined) return super.endPackage(receipt);
    const writer = endApart();
    const size = writer.length;
    const { isText } = writer;
    if (this.isGathering && size <= COPY_BYTES) {
      frames.add(writer.take(), size, isText);
      writer.reuse();
    } else {
      const chunks = writer.takeCopies();
      const [only] = chunks;
      if (!this.isGathering) return super.sendShared(chunks.length === 1 && only ? only : Buffer.concat(chunks, size), receipt, isText);
      frames.add(chunks, size, isText);
    }
    this.bytesWritten += size;
    return this.onGathered(receipt);
  }

  override sendShared(bytes: Uint8Array, receipt?: SendReceipt, isText = false): boolean {
    const asText = isText || this.#settings.messageType === 'text';
    const frames = this.#frames;
    if (receipt !== undefined || frames === undefined || !frames.canShare || !this.isGathering)
      return super.sendShared(bytes, receipt, asText);
    frames.append(sharedFrame(bytes, asText));
    this.bytesWritten += bytes.length;
    return this.onGathered();
  }

  protected sendBatch(chunks: readonly Uint8Array[], isText: boolean): void {
    const [only] = chunks;
    if (this.#frames !== undefined) {
      this.#frames.add(chunks, sizeOf(chunks), isText);
      return;
    }
    if (this.raw.writableEnded) return;
    this.#beginBatch(sizeOf(chunks));
    const message = chunks.length === 1 && only ? only : Buffer.concat(chunks);
    this.#ws.send(message, { binary: !isText, compress: true }, this.#onWritten);
  }

  protected override sendGathered(): void {
    const frames = this.#frames;
    const socket = this.raw;
    if (frames === undefined) return;
    const { bytes } = frames;
    const chunks = frames.take(this.#onWritten !== undefined);
    if (this.#onWritten === undefined) {
      const result = writeDirect(socket, chunks, this);
      if (result === 'pending') this.#pendingBytes = bytes;
      if (result !== 'refused') {
        frames.release(result === 'taken');
        return;
      }
    }
    if (socket.writableEnded || socket.destroyed) {
      frames.release(true);
      return;
    }
    const last = chunks.length - 1;
    this.#beginBatch(bytes);
    if (last > 0) socket.cork();
    for (let index = 0; index < last; index++) socket.write(chunks[index] as Uint8Array);
    socket.write(chunks[last] as Uint8Array, this.#onWritten);
    if (last > 0) socket.uncork();
    frames.release(socket.writableLength === 0);
  }

  #beginBatch(bytes: number): void {
    if (this.tls === undefined) return;
    this.#takenBefore = takenBelowTls(this.raw);
    this.#batchBytes = bytes;
  }

  protected unsentBytes(): number {
    return this.#frames === undefined ? this.#ws.bufferedAmount : this.raw.writableLength + this.#pendingBytes;
  }

  onWriteTaken(): void {
    this.#pendingBytes = 0;
    this.socketDrained();
  }

  /** Everything that was written has been taken, perhaps. */
  socketDrained(): void {
    if (this.unsentBytes() === 0) this.onSent();
  }

  // --- receiving ---

  override open(sink: ConnectionSink, limits: SendLimits): void {
    this.#limitMessages(limits);
    super.open(sink, limits);
  }

  override limitSending(limits: SendLimits): void {
    this.#limitMessages(limits);
    super.limitSending(limits);
  }

  #limitMessages({ maxPackageBytes }: SendLimits): void {
    if (maxPackageBytes !== undefined) this.#intake.limit(maxPackageBytes);
  }

  protected sendOpen(): void {
    this.#watch.start();
    this.#intake.begin();
  }

  protected sendPause(): void {
    this.#ws.pause();
    this.#watch.isListening = false;
  }

  protected sendResume(): void {
    this.#watch.isListening = true;
    this.#ws.resume();
  }

  onWsMessage(data: Buffer, isBinary: boolean): void {
    this.#watch.onMessage();
    if (this.#isDeaf) return;
    const { textPolicy } = this.#settings;
    if (isBinary || textPolicy === 'binary') this.onBytes(data, false);
    else if (textPolicy === 'text') this.onBytes(data, true);
    else this.fail(new PeerError('PROTOCOL_VIOLATION', 'expected binary messages, given text', { status: UNSUPPORTED_DATA }));
  }

  onWsBytes(isMidMessage: boolean): void {
    this.#watch.onBytes(isMidMessage);
  }

  /** What the peer sends is of no more use. */
  fail(error: PeerError): void {
    if (this.#isDeaf) return;
    this.#isDeaf = true;
    const limit = limitOf(error);
    if (limit !== undefined) publish('limit', () => ({ limit, connection: this, error }));
    this.onEnd({ error });
  }

  // --- ping and pong ---

  sendPing(payload: Buffer): void {
    if (this.#ws.readyState === this.#ws.OPEN) this.#ws.ping(payload, undefined, this.#onWritten);
  }

  onWsPong(data: Buffer): void {
    this.#watch.onPong(data);
  }

  onWsPing(data: Buffer): void {
    if (this.#isDeaf || this.#isClosedHere) return;
    if (!this.#watch.allowPing()) {
      const error = new PeerError('RATE_EXCEEDED', `expected at most ${MAX_PINGS_PER_SECOND} pings a second, given more`);
      this.fail(error);
    } else if (this.#pongs < MAX_PONGS) {
      this.#sendPong(data);
    } else {
      this.#nextPong = Buffer.from(data);
    }
  }

  #sendPong(data: Buffer): void {
    if (this.#ws.readyState !== this.#ws.OPEN) return;
    this.#pongs++;
    this.#ws.pong(data, undefined, () => {
      this.#pongs--;
      const next = this.#nextPong;
      this.#nextPong = undefined;
      if (next !== undefined) this.#sendPong(next);
      if (this.#onWritten !== undefined) this.socketDrained();
    });
  }

  // --- ending ---

  onWsConclude(status: number, text: string): void {
    this.#peerStatus = status;
    this.#peerText = text;
    if (!this.#isDeaf) this.onEnd({ notice: { status, text } });
    this.#isDeaf = true;
    if (this.#isClosedHere) this.#hangUp();
  }

  /** Both close frames have gone their way: a server ends the connection at once (RFC 6455 section 7.1.1), a client waits for that. */
  #hangUp(): void {
    if (this.#isServer) this.raw.destroySoon();
  }

  onWsError(error: Error, status: number | undefined): void {
    if (status === undefined) {
      // Not of the receiver: a message could not be compressed.
      this.abort(new TransportError('TRANSPORT_FAILED', error.message, { cause: error }));
      return;
    }
    this.fail(wsPeerError(error, status));
  }

  onWsClose(): void {
    this.#watch.stop();
    this.#frames?.clear();
    const isInOrder = this.#ws.hasConcluded || this.#isClosedHere;
    const vanished = isInOrder ? undefined : new TransportError('CONNECTION_RESET', 'the peer went away without a close frame');
    this.onClosed(this.#error === undefined ? vanished : transportError(this.#error));
  }

  socketFailed(error: Error): void {
    this.#error ??= error;
  }

  protected override noteClose(notice: CloseNotice | undefined): void {
    this.#closeNotice = notice;
  }

  protected sendEnd(): void {
    const ws = this.#ws;
    this.#isClosedHere = true;
    if (ws.readyState !== ws.OPEN) return;
    if (this.#peerStatus !== undefined) {
      // The answer to a close frame is the same frame.
      ws.sendClose(this.#peerStatus === NO_STATUS ? undefined : this.#peerStatus, this.#peerText);
      this.#hangUp();
      return;
    }
    const { status, text } = this.#closeNotice ?? { status: NORMAL, text: '' };
    ws.sendClose(isSendableStatus(status) ? status : INTERNAL_ERROR, cutReason(text));
  }

  /** `ws` ends the socket when both close frames have gone their way. */
  protected sendClose(): void {}

  protected sendAbort(error: TransportError | undefined): void {
    this.#error ??= error;
    this.#isClosedHere = true;
    this.#frames?.clear();
    const socket = this.raw;
    if (this.tls !== undefined || this.remoteAddress.family === 'unix' || socket.writableEnded) socket.destroy();
    else socket.resetAndDestroy();
  }
}

function socketOnDrain(this: ConnectionSocket): void {
  this[kConnection]?.socketDrained();
}

function socketOnError(this: ConnectionSocket, error: Error): void {
  this[kConnection]?.socketFailed(error);
}
