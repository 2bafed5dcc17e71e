import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { TransportError } from '../base/errors.ts';
import { FastBuffer } from '../base/fast-buffer.ts';
import { tcpAddress, unixAddress } from './address.ts';
import { BaseConnection } from './base-connection.ts';
import type { Address, TlsInfo } from './connection.ts';
import { installStaticRead } from './static-read.ts';

/** A socket knows its connection through this, so that its listeners can be shared functions instead of closures. */
const kConnection: unique symbol = Symbol('portico.connection');
type ConnectionSocket = Socket & { [kConnection]?: TcpConnection };

/** What is known of the addresses already; the socket is asked for the rest. */
interface KnownAddresses {
  readonly unixPath?: string | undefined;
  readonly local?: Address | undefined;
  readonly remote?: Address | undefined;
}

/** A TCP, TLS or Unix socket. Sockets MUST be made with `allowHalfOpen`. */
export class TcpConnection extends BaseConnection {
  readonly kind = 'stream';
  readonly raw: Socket;
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly #isTls: boolean;
  #readPath: 'static' | 'chunk';
  #tls: TlsInfo | undefined;
  #error: Error | undefined;
  #onWritten: (() => void) | undefined;
  /** Of TLS: the batch being sent, and what the operating system had taken before it. */
  #batchBytes = 0;
  #takenBefore = 0;

  /**
   * `reads`: 'shared' = the socket was made with `onread` and the shared buffer; 'install' = try to make it so; 'chunk' = leave
   * reading as it is.
   */
  constructor(socket: Socket, reads: 'shared' | 'install' | 'chunk', known: KnownAddresses) {
    super();
    this.raw = socket;
    const { unixPath, local, remote } = known;
    // Keep what can no longer be asked for after the end, which may come before `open`.
    this.localAddress = local ?? (unixPath === undefined ? tcpAddress(socket.localAddress, socket.localPort) : unixAddress(unixPath));
    this.remoteAddress = remote ?? (unixPath === undefined ? tcpAddress(socket.remoteAddress, socket.remotePort) : unixAddress(unixPath));
    this.#isTls = socket instanceof TLSSocket;
    this.#readPath = 'chunk';
    const own: ConnectionSocket = socket;
    own[kConnection] = this;
    socket.on('error', socketOnError);
    // A paused socket tells its end all the same, if no bytes come before it.
    socket.on('end', socketOnEnd);
    socket.on('close', socketOnClose);
    if (reads === 'shared' || (reads === 'install' && installStaticRead(socket, socketOnStaticRead))) this.#readPath = 'static';
    socket.pause();
    void this.tls;
  }

  get readPath(): 'static' | 'chunk' {
    return this.#readPath;
  }

  get tls(): TlsInfo | undefined {
    if (this.raw instanceof TLSSocket) this.#tls ??= tlsInfo(this.raw);
    return this.#tls;
  }

  override get stalledBytes(): number {
    const unsent = super.stalledBytes;
    if (unsent === 0) return 0;
    // Node counts a chunk until all of it is taken; libuv knows how much of it is left.
    if (!this.#isTls) return numberIn(handleOf(this.raw), 'writeQueueSize') ?? unsent;
    // What is taken is a little more than what was given, because it is encrypted.
    const left = this.#batchBytes - (takenBelowTls(this.raw) - this.#takenBefore);
    return Math.max(1, Math.min(unsent, left));
  }

  // --- down ---

  protected sendOpen(): void {
    const socket = this.raw;
    if (!this.#isTls) socket.on('drain', socketOnDrain);
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
    if (this.#isTls) {
      this.#takenBefore = takenBelowTls(socket);
      this.#batchBytes = 0;
      for (const chunk of chunks) this.#batchBytes += chunk.length;
    }
    if (last > 0) socket.cork();
    for (let index = 0; index <= last; index++) {
      const chunk = chunks[index];
      if (chunk === undefined) continue;
      if (this.#isTls && index === last) {
        this.#onWritten ??= () => this.socketDrained();
        socket.write(chunk, this.#onWritten);
      } else {
        socket.write(chunk);
      }
    }
    if (last > 0) socket.uncork();
  }

  protected unsentBytes(): number {
    return this.raw.writableLength;
  }

  /** TLS reports what it has encrypted only in the next tick. */
  protected override get sendsLater(): boolean {
    return this.#isTls;
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
    if (this.#isTls || this.remoteAddress.family === 'unix' || socket.writableEnded || socket.connecting) socket.destroy();
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
    if (this.raw.writableLength === 0) this.onSent();
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

/** The handle of libuv; Node shows what it counts nowhere else. */
function handleOf(owner: object): unknown {
  return Reflect.get(owner, '_handle');
}

function numberIn(handle: unknown, name: string): number | undefined {
  const value: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, name) : undefined;
  return typeof value === 'number' ? value : undefined;
}

/** How many encrypted bytes the operating system has taken from a TLS socket so far. */
function takenBelowTls(socket: Socket): number {
  const handle = handleOf(socket);
  const below: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, '_parent') : undefined;
  return (numberIn(below, 'bytesWritten') ?? 0) - (numberIn(below, 'writeQueueSize') ?? 0);
}

function tlsInfo(socket: TLSSocket): TlsInfo {
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
