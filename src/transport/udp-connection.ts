import { ByteWriter } from '../base/byte-writer.ts';
import { publish } from '../base/diagnostics.ts';
import { StateError, TransportError } from '../base/errors.ts';
import { joinedPeerBytes, joinPeer, splitPeer } from '../base/peer-header.ts';
import { tcpAddress } from './address.ts';
import { BaseConnection } from './base-connection.ts';
import type { Address, SendReceipt } from './connection.ts';
import { sizeOf } from './send-queue.ts';
import type { PeerNode } from './udp-peers.ts';
import { isTooLarge, maxDatagramBytes, type UdpSender, type UdpSocket } from './udp-socket.ts';

/** A waiting datagram costs memory beside its bytes, an empty one too. */
const DATAGRAM_OVERHEAD_BYTES = 64;

/**
 * A package is encoded here and leaves at once, so that nothing has to be copied. One that is begun before that is done, by the
 * handler or because an error was told, goes the usual way.
 */
const writer = new ByteWriter();
let encoding: UdpConnection | undefined;

/** No address takes less in one datagram. */
const SURE_BYTES = 65_507;

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
export abstract class UdpConnection extends BaseConnection implements UdpSender {
  readonly kind = 'message';
  readonly tls = undefined;
  readonly readPath = 'chunk';
  readonly localAddress: Address;
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

  // --- down ---

  override beginPackage(): ByteWriter {
    if (encoding !== undefined || this.#isQueueing || !this.socket.isFree) {
      if (encoding === this) this.#inner++;
      return super.beginPackage();
    }
    encoding = this;
    writer.beginPackage();
    return writer;
  }

  override cancelPackage(): void {
    if (encoding !== this || this.#inner > 0) {
      if (encoding === this) this.#inner--;
      super.cancelPackage();
      return;
    }
    encoding = undefined;
    writer.take();
    writer.reuse();
  }

  override endPackage(receipt?: SendReceipt): boolean {
    if (encoding !== this || this.#inner > 0) {
      if (encoding === this) this.#inner--;
      return super.endPackage(receipt);
    }
    const size = writer.length;
    const { isText } = writer;
    const chunks = writer.take();
    // What was sent from inside the encoding may have changed everything.
    if (receipt === undefined && size > 0 && !this.#isQueueing && this.socket.isFree) {
      const result = this.sendNow(chunks, size);
      if (result !== 'failed') {
        if (result === 'sent') writer.reuse();
        else writer.release();
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

  override end(): void {
    if (encoding === this) {
      process.nextTick(() => this.end());
      return;
    }
    this.#isEnded = true;
    this.#isQueueing = true;
    super.end();
  }

  override abort(error?: TransportError): void {
    this.#isEnded = true;
    this.#isQueueing = true;
    super.abort(error);
  }

  /** Sends a package to the peer at once, if that can be done: see `UdpSocket.sendNow`. */
  protected abstract sendNow(chunks: readonly Uint8Array[], size: number): 'sent' | 'queued' | 'failed';

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
    this.writes--;
    this.bytesWritten -= size;
    this.droppedPackages++;
    this.onRefused(error);
    this.onNotice(error);
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

  protected sendNow(chunks: readonly Uint8Array[], size: number): 'sent' | 'queued' | 'failed' {
    this.#owner.onUsed(this);
    return size > SURE_BYTES ? 'failed' : this.socket.sendNow(this, chunks, size, this.host, this.port);
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

/** All peers of a socket: a message carries the address of its peer. See `DatagramHandler`. */
export class UdpAllPeersConnection extends UdpConnection {
  readonly remoteAddress: Address;
  readonly #owner: UdpOwner<UdpAllPeersConnection>;

  constructor(socket: UdpSocket, maxReceiveQueueBytes: number, owner: UdpOwner<UdpAllPeersConnection>) {
    super(socket, maxReceiveQueueBytes);
    this.remoteAddress = tcpAddress(socket.address.family === 'IPv6' ? '::' : '0.0.0.0', 0);
    this.#owner = owner;
  }

  receiveFrom(host: string, port: number, bytes: Buffer): void {
    this.receive(joinPeer(host, port, bytes));
  }

  protected override onBytes(bytes: Buffer): void {
    // The peer in front of a message was never on the wire.
    this.bytesRead -= joinedPeerBytes(bytes);
    super.onBytes(bytes);
  }

  /** The peer has to be taken off first. */
  protected sendNow(): 'failed' {
    return 'failed';
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    const size = sizeOf(chunks);
    const last = chunks.at(-1);
    const to = last === undefined ? undefined : splitPeer(last);
    if (last === undefined || to === undefined) {
      this.refuse(size, new StateError('NO_PEER', 'expected a package with its peer: writeBytes has none'));
      return;
    }
    const { host, port, rest } = to;
    const overhead = last.length - rest.length;
    this.bytesWritten -= overhead;
    this.sendTo([...chunks.slice(0, -1), rest], size - overhead, host, port);
  }

  protected leave(): void {
    this.#owner.onLeft(this);
  }

  protected over(): void {
    this.#owner.onOver(this);
  }
}

/** The one peer of a connected socket, which it closes in the end. */
export class UdpClientConnection extends UdpConnection {
  readonly remoteAddress: Address;
  #hasLeft = false;

  constructor(socket: UdpSocket, maxReceiveQueueBytes: number, remoteAddress: Address) {
    super(socket, maxReceiveQueueBytes);
    this.remoteAddress = remoteAddress;
    socket.open({
      onDatagram: (bytes) => this.receive(bytes),
      onSocketError: (error) => this.fail(error),
      onSocketClose: () => {
        if (!this.#hasLeft) this.lose(new TransportError('TRANSPORT_FAILED', 'the socket was closed'));
      },
    });
  }

  protected sendNow(chunks: readonly Uint8Array[], size: number): 'sent' | 'queued' | 'failed' {
    return size > SURE_BYTES ? 'failed' : this.socket.sendNow(this, chunks, size, '', 0);
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    this.sendTo(chunks, sizeOf(chunks), this.remoteAddress.host, this.remoteAddress.port);
  }

  protected leave(): void {
    this.#hasLeft = true;
    this.socket.close();
  }

  protected over(): void {}
}
