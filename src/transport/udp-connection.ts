import { ByteWriter } from '../base/byte-writer.ts';
import { publish } from '../base/diagnostics.ts';
import { StateError, TransportError } from '../base/errors.ts';
import { BaseConnection } from './base-connection.ts';
import type { Address, ConnectionSink, SendLimits, SendReceipt } from './connection.ts';
import { sizeOf } from './send-queue.ts';
import type { PeerNode } from './udp-peers.ts';
import { isTooLarge, maxDatagramBytes, type UdpRoundSender, type UdpSocket } from './udp-socket.ts';

/** A waiting datagram costs memory beside its bytes, an empty one too. */
const DATAGRAM_OVERHEAD_BYTES = 64;

/**
 * A package is encoded here and leaves at once, so that nothing has to be copied; while datagrams are being handed out it is encoded
 * behind others and leaves with them. One that is begun before that is done, by the handler or because an error was told, goes the
 * usual way.
 */
const writer = new ByteWriter();
let encoding: UdpConnection | undefined;
/** The writer that `encoding` uses. */
let out = writer;

/** No address takes less than this in one datagram. */
function isSurelyOneDatagram(size: number): boolean {
  return size <= 65_507;
}

/** What the connections of a socket tell its owner. */
export interface UdpOwner<T> {
  /** Something was sent. */
  onUsed(connection: T): void;
  /** Nothing is sent any more, and nothing received has a use. */
  onLeft(connection: T): void;
  /** The connection is over. */
  onOver(connection: T): void;
}

/**
 * Datagrams to and from one peer, or all peers, of a UDP socket. Each is one message. Nothing on the wire tells a peer of its
 * beginning or its end: closing sends what is queued and stops listening.
 */
export abstract class UdpConnection extends BaseConnection implements UdpRoundSender {
  readonly kind = 'message';
  readonly tls = undefined;
  readonly readPath = 'chunk';
  readonly localAddress: Address;
  /** Where datagrams go; of no use to a connected socket. */
  abstract readonly host: string;
  abstract readonly port: number;
  protected readonly socket: UdpSocket;
  readonly #maxReceiveQueueBytes: number;
  /** Received while paused, and before `open`. */
  #inbox: Buffer[] | undefined;
  #inboxBytes = 0;
  #isPaused = true;
  #isDelivering = false;
  /** Whether everything goes by way of the queue, and how many packages begun that way while one is encoded at once. */
  #isQueueing = false;
  #inner = 0;
  #isPending = false;
  #pendingSize = 0;
  /** Of the datagrams that wait for the end of the round, and of those that the kernel could not take yet. */
  #queuedBytes = 0;
  #highWaterMarkBytes = 0;
  #isEnded = false;
  #isOver = false;

  constructor(socket: UdpSocket, maxReceiveQueueBytes: number) {
    super();
    this.socket = socket;
    this.localAddress = socket.address;
    this.#maxReceiveQueueBytes = maxReceiveQueueBytes;
  }

  get raw(): unknown {
    return this.socket.raw;
  }

  override get isDatagram(): boolean {
    return true;
  }

  /** The socket is not listened to any more on behalf of this connection. */
  protected abstract leave(): void;
  /** This connection is over; for the owner. */
  protected abstract over(): void;

  // --- up ---

  /** A datagram has come. It MUST be in memory that is not used again. */
  receive(bytes: Buffer): void {
    if (!this.#isPaused && !this.#isDelivering) {
      this.onBytes(bytes);
      return;
    }
    const size = bytes.length + DATAGRAM_OVERHEAD_BYTES;
    if (this.#inboxBytes + size > this.#maxReceiveQueueBytes) {
      this.droppedPackages++;
      publish('limit', () => ({ limit: 'udp-receive-queue', connection: this, bytes: bytes.length }));
      return;
    }
    this.#inbox ??= [];
    this.#inbox.push(bytes);
    this.#inboxBytes += size;
  }

  /** The system reported an error that belongs to this connection. */
  fail(error: TransportError): void {
    this.onNotice(error);
  }

  /** The socket is gone, although this connection still had a use for it. */
  lose(error: TransportError): void {
    this.#end(error);
  }

  onSettled(error: TransportError | undefined): void {
    this.#isPending = false;
    if (this.#isOver) return;
    if (error !== undefined) this.refuse(this.#pendingSize, error);
    this.onSent();
    // Nobody may overtake what was waiting.
    this.#isQueueing = this.#isPending || this.#isEnded;
  }

  onRoundSent(size: number): void {
    this.#queuedBytes -= size;
    if (this.isDrainExpected) this.onSent();
  }

  onQueuedSettled(size: number, error: TransportError | undefined): void {
    this.#queuedBytes -= size;
    if (this.#isOver) return;
    if (error !== undefined) {
      this.#uncount(size);
      this.lostPackages++;
      this.onNotice(error);
    }
    // Somebody may wait for it to leave.
    if (!this.#isPending) this.onSent();
  }

  // --- down ---

  override open(sink: ConnectionSink, limits: SendLimits): void {
    this.#highWaterMarkBytes = limits.highWaterMarkBytes;
    super.open(sink, limits);
  }

  override limitSending(limits: SendLimits): void {
    this.#highWaterMarkBytes = limits.highWaterMarkBytes;
    super.limitSending(limits);
  }

  override get pendingBytes(): number {
    return super.pendingBytes + this.#queuedBytes;
  }

  override beginPackage(): ByteWriter {
    if (encoding !== undefined || this.#isQueueing || !this.socket.isFree) {
      if (encoding === this) this.#inner++;
      return super.beginPackage();
    }
    encoding = this;
    const round = this.hasPeer ? this.socket.round : undefined;
    if (round !== undefined) round.isEncoding = true;
    out = round === undefined ? writer : round.writer;
    out.beginPackage();
    return out;
  }

  override cancelPackage(): void {
    if (encoding !== this || this.#inner > 0) {
      if (encoding === this) this.#inner--;
      super.cancelPackage();
      return;
    }
    this.#endEncoding();
    if (out !== writer) {
      out.cancelPackage();
      return;
    }
    writer.take();
    writer.reuse();
  }

  #endEncoding(): void {
    encoding = undefined;
    const { round } = this.socket;
    if (round !== undefined) round.isEncoding = false;
  }

  override endPackage(receipt?: SendReceipt): boolean {
    if (encoding !== this || this.#inner > 0) {
      if (encoding === this) this.#inner--;
      return super.endPackage(receipt);
    }
    if (out !== writer) return this.#endInRound(receipt);
    const size = writer.length;
    const { isText } = writer;
    const chunks = writer.take();
    // What was sent from inside the encoding may have changed everything.
    if (receipt === undefined && size > 0 && this.hasPeer && isSurelyOneDatagram(size) && !this.#isQueueing && this.socket.isFree) {
      this.used();
      const result = this.socket.sendNow(this, chunks, size, this.host, this.port);
      if (result !== 'failed') {
        if (result === 'sent') writer.reuse();
        else {
          writer.release();
          this.#queuedBytes += size;
        }
        encoding = undefined;
        this.writes++;
        this.bytesWritten += size;
        return true;
      }
    }
    const bytes = Buffer.concat(chunks, size);
    writer.reuse();
    encoding = undefined;
    return this.sendShared(bytes, receipt, isText);
  }

  #endInRound(receipt: SendReceipt | undefined): boolean {
    const size = out.length;
    const { isText } = out;
    this.#endEncoding();
    const { round } = this.socket;
    // A round must not hide that the kernel takes no more.
    const isKept = receipt === undefined && size > 0 && isSurelyOneDatagram(size) && this.#queuedBytes + size <= this.#highWaterMarkBytes;
    if (round !== undefined && isKept && !this.#isQueueing && this.socket.isFree) {
      round.add(this, size);
      this.used();
      this.writes++;
      this.bytesWritten += size;
      this.#queuedBytes += size;
      if (round.isFull) this.socket.flushRound();
      return true;
    }
    return this.sendShared(this.socket.flushRound(), receipt, isText);
  }

  override end(): void {
    if (encoding === this) {
      process.nextTick(() => this.end());
      return;
    }
    this.socket.flushRound();
    this.#isEnded = true;
    this.#isQueueing = true;
    super.end();
  }

  override abort(error?: TransportError): void {
    this.#isEnded = true;
    this.#isQueueing = true;
    super.abort(error);
  }

  /** Whether there is one peer, to whom datagrams may go without more ado. */
  protected get hasPeer(): boolean {
    return true;
  }

  /** A datagram is being sent. */
  protected used(): void {}

  protected sendOpen(): void {}

  /** Hands a message to the socket; `host` and `port` are of no use to a connected one. */
  protected sendTo(chunks: readonly Uint8Array[], size: number, host: string, port: number): void {
    const max = maxDatagramBytes(host);
    if (size > max) {
      this.refuse(size, new StateError('DATAGRAM_TOO_LARGE', `expected a datagram of at most ${max} bytes, given ${size}`));
      return;
    }
    const result = this.socket.send(this, chunks, size, host, port);
    if (result === false) {
      this.#isQueueing = true;
      this.#isPending = true;
      this.#pendingSize = size;
    } else if (result !== true) {
      this.refuse(size, result);
    }
  }

  /** A message was not sent, and is counted no more. */
  protected refuse(size: number, given: StateError | TransportError): void {
    const error = isTooLarge(given) ? new StateError('DATAGRAM_TOO_LARGE', given.message, { cause: given.cause }) : given;
    this.#uncount(size);
    this.onRefused(error);
    this.onNotice(error);
  }

  #uncount(size: number): void {
    this.writes--;
    this.bytesWritten -= size;
    this.droppedPackages++;
  }

  protected unsentBytes(): number {
    // An empty datagram that waits is something, too.
    return this.#isPending ? Math.max(1, this.#pendingSize) : 0;
  }

  protected sendPause(): void {
    this.#isPaused = true;
  }

  protected sendResume(): void {
    this.#isPaused = false;
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    try {
      while (!this.#isPaused) {
        const bytes = this.#inbox?.shift();
        if (bytes === undefined) break;
        this.#inboxBytes -= bytes.length + DATAGRAM_OVERHEAD_BYTES;
        this.onBytes(bytes);
      }
    } finally {
      this.#isDelivering = false;
    }
  }

  /** No peer can be told that this side has finished. */
  protected sendEnd(): void {}

  protected sendClose(): void {
    this.leave();
    // Behind the tick in which everything sent is reported.
    process.nextTick(() => process.nextTick(() => this.#end(undefined)));
  }

  protected sendAbort(error: TransportError | undefined): void {
    this.leave();
    process.nextTick(() => this.#end(error));
  }

  #end(error: TransportError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#inbox = undefined;
    this.leave();
    this.over();
    this.onClosed(error);
  }
}

/** One peer of a socket that has many. */
export class UdpPeerConnection extends UdpConnection implements PeerNode<UdpPeerConnection> {
  readonly remoteAddress: Address;
  readonly host: string;
  readonly port: number;
  isListed = false;
  older: UdpPeerConnection | undefined = undefined;
  newer: UdpPeerConnection | undefined = undefined;
  /** Closes the session, when its place is needed for another peer. */
  onEvicted: (() => void) | undefined = undefined;
  readonly #owner: UdpOwner<UdpPeerConnection>;

  constructor(socket: UdpSocket, maxReceiveQueueBytes: number, remoteAddress: Address, owner: UdpOwner<UdpPeerConnection>) {
    super(socket, maxReceiveQueueBytes);
    this.remoteAddress = remoteAddress;
    this.host = remoteAddress.host;
    this.port = remoteAddress.port;
    this.#owner = owner;
  }

  /** Its place is needed for another peer. */
  evict(): void {
    if (this.onEvicted !== undefined) this.onEvicted();
    else this.lose(new TransportError('TRANSPORT_FAILED', 'closed as the peer used longest ago'));
  }

  protected override used(): void {
    this.#owner.onUsed(this);
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    this.#owner.onUsed(this);
    this.sendTo(chunks, sizeOf(chunks), this.host, this.port);
  }

  protected leave(): void {
    this.#owner.onLeft(this);
  }

  protected over(): void {
    this.#owner.onOver(this);
  }
}
