import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { Attributes } from '../base/attributes.ts';
import { TransportError } from '../base/errors.ts';
import { FastBuffer } from '../base/fast-buffer.ts';
import { tcpAddress, unixAddress } from './address.ts';
import { BaseConnection } from './base-connection.ts';
import type { Address, TlsInfo } from './connection.ts';
import { type WriteOwner, writeDirect } from './direct-write.ts';
import { sizeOf } from './send-queue.ts';
import { installStaticRead } from './static-read.ts';

/** A socket knows its connection through this, so that its listeners can be shared functions instead of closures. */
const kConnection: unique symbol = Symbol('portico.connection');
type ConnectionSocket = Socket & { [kConnection]?: TcpConnection };

/** What is known already; the socket is asked for the rest. */
interface KnownFacts {
  readonly unixPath?: string | undefined;
  readonly local?: Address | undefined;
  readonly remote?: Address | undefined;
  readonly attributes?: Attributes | undefined;
}

/** A TCP, TLS or Unix socket. Sockets MUST be made with `allowHalfOpen`. */
export class TcpConnection extends BaseConnection implements WriteOwner {
  readonly raw: Socket;
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly #attributes: Attributes | undefined;
  /** Only with TLS: most connections are without, and pay for none of it. */
  readonly #secured: Secured | undefined;
  #readPath: 'static' | 'chunk';
  #error: Error | undefined;
  /** Of a write past the stream that was not taken at once. */
  #pendingBytes = 0;

  /**
   * `reads`: 'shared' = the socket was made with `onread` and the shared buffer; 'install' = try to make it so; 'chunk' = leave
   * reading as it is.
   */
  constructor(socket: Socket, reads: 'shared' | 'install' | 'chunk', known: KnownFacts) {
    super();
    this.raw = socket;
    const { unixPath, local, remote } = known;
    // Keep what can no longer be asked for after the end, which may come before `open`.
    this.localAddress = local ?? (unixPath === undefined ? tcpAddress(socket.localAddress, socket.localPort) : unixAddress(unixPath));
    this.remoteAddress = remote ?? (unixPath === undefined ? tcpAddress(socket.remoteAddress, socket.remotePort) : unixAddress(unixPath));
    this.#attributes = known.attributes;
    this.#secured = socket instanceof TLSSocket ? new Secured(socket, this) : undefined;
    this.#readPath = 'chunk';
    const own: ConnectionSocket = socket;
    own[kConnection] = this;
    socket.on('error', socketOnError);
    // A paused socket tells its end all the same, if no bytes come before it.
    socket.on('end', socketOnEnd);
    socket.on('close', socketOnClose);
    if (reads === 'shared' || (reads === 'install' && installStaticRead(socket, socketOnStaticRead))) this.#readPath = 'static';
    socket.pause();
  }

  override get attributes(): Attributes | undefined {
    return this.#attributes;
  }

  get readPath(): 'static' | 'chunk' {
    return this.#readPath;
  }

  get kind(): 'stream' {
    return 'stream';
  }

  get tls(): TlsInfo | undefined {
    return this.#secured?.info;
  }

  override get stalledBytes(): number {
    const unsent = super.stalledBytes;
    if (unsent === 0) return 0;
    // Node counts a chunk until all of it is taken; libuv knows how much of it is left.
    if (this.#secured === undefined) return numberIn(handleOf(this.raw), 'writeQueueSize') ?? unsent;
    return Math.max(1, Math.min(unsent, this.#secured.leftBytes()));
  }

  // --- down ---

  protected sendOpen(): void {
    const socket = this.raw;
    if (this.#secured === undefined) socket.on('drain', socketOnDrain);
    if (socket.destroyed) {
      // 'close' may have come before anybody listened.
      process.nextTick(() => this.socketClosed());
      return;
    }
    if (this.#readPath === 'chunk') {
      // A paused stream stays paused when it gets a listener.
      socket.on('data', socketOnData);
      return;
    }
    // Bytes that came before the shared buffer was in place.
    const early: Buffer | null = socket.read();
    if (early !== null) this.onBytes(early);
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    const socket = this.raw;
    const last = chunks.length - 1;
    const secured = this.#secured;
    if (secured === undefined) {
      const result = writeDirect(socket, chunks, this);
      if (result === 'pending') this.#pendingBytes = sizeOf(chunks);
      if (result !== 'refused') return;
    }
    secured?.begin(chunks);
    if (last > 0) socket.cork();
    for (let index = 0; index <= last; index++) {
      const chunk = chunks[index];
      if (chunk === undefined) continue;
      if (secured !== undefined && index === last) socket.write(chunk, secured.onWritten);
      else socket.write(chunk);
    }
    if (last > 0) socket.uncork();
  }

  protected unsentBytes(): number {
    return this.raw.writableLength + this.#pendingBytes;
  }

  /** TLS reports what it has encrypted only in the next tick. */
  protected override get sendsLater(): boolean {
    return this.#secured !== undefined;
  }

  protected sendPause(): void {
    this.raw.pause();
  }

  protected sendResume(): void {
    this.raw.resume();
  }

  protected sendEnd(): void {
    this.raw.end();
  }

  protected sendClose(): void {
    // The socket destroys itself when both directions have ended.
  }

  protected sendAbort(error: TransportError | undefined): void {
    this.#error ??= error;
    const socket = this.raw;
    // Once the end of the stream is out, a reset would only endanger what the peer has not read yet.
    if (this.#secured !== undefined || this.remoteAddress.family === 'unix' || socket.writableEnded || socket.connecting) socket.destroy();
    else socket.resetAndDestroy();
  }

  // --- up, from the shared listeners ---

  socketBytes(bytes: Buffer): void {
    this.onBytes(bytes);
  }

  socketEnded(): void {
    this.onEnd();
  }

  socketDrained(): void {
    if (this.unsentBytes() === 0) this.onSent();
  }

  onWriteTaken(): void {
    this.#pendingBytes = 0;
    this.socketDrained();
  }

  socketFailed(error: Error): void {
    this.#error ??= error;
    // Node leaves a TLS socket open after an error in the stream of records.
    this.raw.destroy();
  }

  socketClosed(): void {
    this.onClosed(this.#error === undefined ? undefined : transportError(this.#error));
  }
}

/** What a connection has to know of its TLS socket. */
class Secured {
  readonly info: TlsInfo;
  /** TLS tells when a write was taken only to the write itself. */
  readonly onWritten: () => void;
  readonly #socket: Socket;
  /** The batch being sent, and what the operating system had taken before it. */
  #batchBytes = 0;
  #takenBefore = 0;

  constructor(socket: TLSSocket, connection: TcpConnection) {
    this.#socket = socket;
    // Later the socket may have been closed, and know it no more.
    this.info = tlsInfo(socket);
    this.onWritten = () => connection.socketDrained();
  }

  begin(chunks: readonly Uint8Array[]): void {
    this.#takenBefore = takenBelowTls(this.#socket);
    this.#batchBytes = sizeOf(chunks);
  }

  /** What is taken is a little more than what was given, because it is encrypted. */
  leftBytes(): number {
    return this.#batchBytes - (takenBelowTls(this.#socket) - this.#takenBefore);
  }
}

/** The handle of libuv; Node shows what it counts nowhere else. */
export function handleOf(owner: object): unknown {
  return Reflect.get(owner, '_handle');
}

export function numberIn(handle: unknown, name: string): number | undefined {
  const value: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, name) : undefined;
  return typeof value === 'number' ? value : undefined;
}

/** How many encrypted bytes the operating system has taken from a TLS socket so far. */
export function takenBelowTls(socket: Socket): number {
  const handle = handleOf(socket);
  const below: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, '_parent') : undefined;
  return (numberIn(below, 'bytesWritten') ?? 0) - (numberIn(below, 'writeQueueSize') ?? 0);
}

export function tlsInfo(socket: TLSSocket): TlsInfo {
  const peer = socket.getPeerCertificate();
  const serverName: unknown = Reflect.get(socket, 'servername');
  return {
    protocol: socket.getProtocol(),
    cipher: socket.getCipher()?.name ?? '',
    serverName: typeof serverName === 'string' ? serverName : undefined,
    alpnProtocol: socket.alpnProtocol || undefined,
    authorized: socket.authorized,
    peerSubject: peer?.subject === undefined ? undefined : [peer.subject.CN].flat()[0],
    peerFingerprint256: peer?.fingerprint256,
  };
}

/** A system error as a TransportError. */
export function transportError(error: Error): TransportError {
  if (error instanceof TransportError) return error;
  const code: unknown = Reflect.get(error, 'code');
  const isReset = code === 'ECONNRESET' || code === 'EPIPE' || code === 'ECONNABORTED';
  return new TransportError(isReset ? 'CONNECTION_RESET' : 'TRANSPORT_FAILED', error.message, { cause: error });
}

function socketOnStaticRead(this: ConnectionSocket, byteCount: number, buffer: Uint8Array): boolean {
  this[kConnection]?.socketBytes(new FastBuffer(buffer.buffer, buffer.byteOffset, byteCount));
  return true;
}

/** For `net.connect({ onread })`. */
export { socketOnStaticRead };

function socketOnData(this: ConnectionSocket, bytes: Buffer): void {
  this[kConnection]?.socketBytes(bytes);
}

function socketOnEnd(this: ConnectionSocket): void {
  this[kConnection]?.socketEnded();
}

function socketOnDrain(this: ConnectionSocket): void {
  this[kConnection]?.socketDrained();
}

function socketOnError(this: ConnectionSocket, error: Error): void {
  this[kConnection]?.socketFailed(error);
}

function socketOnClose(this: ConnectionSocket): void {
  this[kConnection]?.socketClosed();
}
