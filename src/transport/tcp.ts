import { connect, createServer, type Server, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { PorticoError, StateError, TransportError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { parseAddress, tcpAddress, unixAddress } from './address.ts';
import type { Address, Connection } from './connection.ts';
import { canReadStatically, isStaticReadAllowed, sharedReadBuffer } from './static-read.ts';
import { socketOnStaticRead, TcpConnection } from './tcp-connection.ts';
import { TlsHandshakes } from './tls-handshakes.ts';
import { contextOptions, loadTls, type TlsSource } from './tls-options.ts';
import type { Acceptor, AcceptorSink, Transport } from './transport.ts';

/** Settings of TCP, TLS and Unix sockets. */
export interface TcpSettings {
  readonly tls: TlsSource | undefined;
  readonly handshakeTimeoutMs: number;
  readonly noDelay: boolean;
  /** Idle time before the first keep-alive probe; 0 = no probes. */
  readonly keepAliveMs: number;
  readonly backlog: number;
  /** Take IPv6 only on an IPv6 address; otherwise `:port` takes both. */
  readonly ipv6Only: boolean;
  /** Source address of a client. */
  readonly sourceAddress: string | undefined;
  readonly staticRead: boolean;
  /** How often the TLS source is looked at again; 0 = only when asked. */
  readonly tlsReloadMs: number;
}

export const TCP_DEFAULTS: TcpSettings = {
  tls: undefined,
  handshakeTimeoutMs: 10_000,
  noDelay: true,
  keepAliveMs: 30_000,
  backlog: 511,
  ipv6Only: false,
  sourceAddress: undefined,
  staticRead: true,
  tlsReloadMs: 0,
};

/**
 * A chunk counts as not taken until the kernel has it; at 1, `writableNeedDrain` is true exactly when something waits, so that
 * 'drain' always tells when nothing does, and a write that is taken at once costs no event.
 */
const HIGH_WATER_MARK = 1;

/** TCP, TLS over TCP, and Unix sockets with or without TLS. */
export class TcpTransport implements Transport {
  readonly name: string;
  readonly #settings: TcpSettings;

  constructor(settings: Partial<TcpSettings> = {}) {
    this.#settings = { ...TCP_DEFAULTS, ...settings };
    this.name = this.#settings.tls === undefined ? 'tcp' : 'tls';
  }

  async listen(address: string, sink: AcceptorSink): Promise<TcpAcceptor> {
    const target = parseAddress(address);
    const { tls, staticRead } = this.#settings;
    const handshakes = tls === undefined ? undefined : new TlsHandshakes(await loadTls(tls, true), this.#settings.handshakeTimeoutMs, sink);
    const isStatic = staticRead && (await canReadStatically());
    const acceptor = new TcpAcceptor(this.#settings, sink, handshakes, isStatic);
    await acceptor.listen(target);
    log.transport('listening on %s', acceptor.address.text);
    return acceptor;
  }

  async dial(address: string, options: { readonly signal: AbortSignal }): Promise<Connection> {
    const { signal } = options;
    const target = parseAddress(address);
    const { tls: source, noDelay, keepAliveMs, sourceAddress, staticRead } = this.#settings;
    const tls = source === undefined ? undefined : await loadTls(source, false);
    if (signal.aborted) throw abortError(signal);
    const isStatic = staticRead && isStaticReadAllowed();
    const common = {
      ...('path' in target ? { path: target.path } : { port: target.port, host: target.host ?? 'localhost' }),
      ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }),
      ...(isStatic ? { onread: { buffer: sharedReadBuffer(), callback: socketOnStaticRead } } : {}),
      noDelay,
      keepAlive: keepAliveMs > 0,
      keepAliveInitialDelay: keepAliveMs,
      allowHalfOpen: true,
      highWaterMark: HIGH_WATER_MARK,
    };
    const unixPath = 'path' in target ? target.path : undefined;
    const socket =
      tls === undefined
        ? connect(common)
        : connectTls({
            ...common,
            ...contextOptions(tls),
            rejectUnauthorized: tls.rejectUnauthorized ?? true,
            ...(tls.alpnProtocols === undefined ? {} : { ALPNProtocols: [...tls.alpnProtocols] }),
            ...serverName(tls.serverName, target),
          });
    return connected(socket, tls === undefined ? 'connect' : 'secureConnect', signal, () => {
      if (isSelfConnected(socket)) throw new TransportError('SELF_CONNECT', `dial ${address}: the client was connected to itself`);
      return new TcpConnection(socket, isStatic ? 'shared' : 'chunk', { unixPath });
    });
  }
}

function serverName(given: string | undefined, target: ReturnType<typeof parseAddress>): { servername?: string } {
  if (given !== undefined) return { servername: given };
  if (!('path' in target) && target.host === undefined) return { servername: 'localhost' };
  return {};
}

/** `make` runs as soon as the socket is ready: an error may be next, and the connection has to hear of it. */
function connected<T>(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal, make: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      signal.removeEventListener('abort', onAbort);
      socket.off(event, onReady);
      socket.off('error', onError);
      socket.off('close', onClose);
    };
    const fail = (error: unknown): void => {
      leave();
      // A late 'error' of a socket that is being given up concerns nobody.
      socket.on('error', () => {});
      socket.destroy();
      reject(error);
    };
    const onReady = (): void => {
      leave();
      try {
        resolve(make());
      } catch (thrown) {
        fail(thrown);
      }
    };
    const onError = (error: Error): void => fail(new TransportError('CONNECT_FAILED', error.message, { cause: error }));
    const onClose = (): void => fail(new TransportError('CONNECT_FAILED', 'the connection was closed before it was ready'));
    const onAbort = (): void => fail(abortError(signal));
    socket.on(event, onReady);
    socket.on('error', onError);
    socket.on('close', onClose);
    signal.addEventListener('abort', onAbort, { once: true });
  });
}

function abortError(signal: AbortSignal): PorticoError {
  return signal.reason instanceof PorticoError
    ? signal.reason
    : new StateError('ABORTED', 'dial: the signal was aborted', { cause: signal.reason });
}

/** On loopback a client can be given the very port that it dials, and TCP then connects it to itself. */
function isSelfConnected(socket: Socket): boolean {
  return socket.localPort !== undefined && socket.localPort === socket.remotePort && socket.localAddress === socket.remoteAddress;
}

/** A listening TCP or Unix socket. */
export class TcpAcceptor implements Acceptor {
  readonly raw: Server;
  readonly #settings: TcpSettings;
  readonly #sink: AcceptorSink;
  readonly #handshakes: TlsHandshakes | undefined;
  readonly #isStatic: boolean;
  #unixPath: string | undefined;
  #address: Address | undefined;
  #quietMs = 0;
  #quietTimer: NodeJS.Timeout | undefined;
  #reloads = 0;
  #lastReload = 0;
  #reloadTimer: NodeJS.Timeout | undefined;

  constructor(settings: TcpSettings, sink: AcceptorSink, handshakes: TlsHandshakes | undefined, isStatic: boolean) {
    this.#settings = settings;
    this.#sink = sink;
    this.#handshakes = handshakes;
    this.#isStatic = isStatic;
    this.raw = createServer({
      allowHalfOpen: true,
      noDelay: settings.noDelay,
      keepAlive: settings.keepAliveMs > 0,
      keepAliveInitialDelay: settings.keepAliveMs,
      highWaterMark: HIGH_WATER_MARK,
    });
    this.raw.on('connection', (socket) => this.#onSocket(socket));
  }

  get address(): Address {
    if (this.#address === undefined) throw new StateError('WRONG_STATE', 'address: expected a listening acceptor');
    return this.#address;
  }

  listen(target: ReturnType<typeof parseAddress>): Promise<void> {
    const server = this.raw;
    return new Promise((resolve, reject) => {
      const onError = (error: Error): void => reject(new TransportError('LISTEN_FAILED', `listen: ${error.message}`, { cause: error }));
      server.once('error', onError);
      const { backlog, ipv6Only } = this.#settings;
      const options =
        'path' in target
          ? { path: target.path, backlog }
          : { ...(target.host === undefined ? {} : { host: target.host }), port: target.port, ipv6Only, backlog };
      server.listen(options, () => {
        server.off('error', onError);
        server.on('error', (error) => this.#onAcceptError(error));
        const bound = server.address();
        if ('path' in target) this.#unixPath = target.path;
        this.#address =
          bound === null || typeof bound === 'string'
            ? unixAddress(this.#unixPath ?? String(bound))
            : tcpAddress(bound.address, bound.port);
        this.#watchTls();
        resolve();
      });
    });
  }

  /** Loads certificates again; the ones in use stay when that fails. Open sessions keep theirs. */
  async reloadTls(): Promise<void> {
    if (this.#handshakes === undefined || this.#settings.tls === undefined) return;
    const reload = ++this.#reloads;
    const options = await loadTls(this.#settings.tls, true);
    // A slow source may be overtaken by a later call, which knows better.
    if (reload < this.#lastReload) return;
    this.#lastReload = reload;
    this.#handshakes.use(options);
  }

  async close(): Promise<void> {
    clearInterval(this.#reloadTimer);
    clearTimeout(this.#quietTimer);
    this.#handshakes?.close();
    if (!this.raw.listening) return;
    // Sessions live on: their end is not waited for, only that of the listening socket.
    this.raw.close();
    await new Promise((resolve) => setImmediate(resolve));
  }

  #watchTls(): void {
    const { tlsReloadMs } = this.#settings;
    if (this.#handshakes === undefined || tlsReloadMs === 0) return;
    this.#reloadTimer = setInterval(() => {
      this.reloadTls().catch((error: unknown) => {
        if (error instanceof PorticoError) this.#sink.onAcceptError(error);
      });
    }, tlsReloadMs);
    this.#reloadTimer.unref();
  }

  #onSocket(socket: Socket): void {
    this.#quietMs = 0;
    const remote = this.#unixPath === undefined ? tcpAddress(socket.remoteAddress, socket.remotePort) : unixAddress(this.#unixPath);
    const refusal = this.#sink.admit(remote);
    if (refusal !== undefined) {
      log.transport('refused %s: %s', remote.text, refusal);
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    if (this.#handshakes === undefined) {
      this.#hand(socket, remote);
      return;
    }
    this.#handshakes.begin(socket, remote, (secured) => this.#hand(secured, remote));
  }

  #hand(socket: Socket, remote: Address): void {
    // Bound to one address, every connection has that as its own.
    const local = ['0.0.0.0', '::'].includes(this.address.host) ? undefined : this.address;
    this.#sink.onConnection(new TcpConnection(socket, this.#isStatic ? 'install' : 'chunk', { unixPath: this.#unixPath, local, remote }));
  }

  /**
   * The system did not hand over a connection, for want of descriptors perhaps. Node goes on accepting and may fail so again in
   * every turn of the loop: that is told ever more rarely, until a connection comes.
   */
  #onAcceptError(error: Error): void {
    if (this.#quietTimer !== undefined) return;
    this.#quietMs = Math.min(1000, this.#quietMs === 0 ? 5 : this.#quietMs * 2);
    this.#quietTimer = setTimeout(() => {
      this.#quietTimer = undefined;
    }, this.#quietMs);
    this.#quietTimer.unref();
    const text = `accept: ${error.message}; the next such failure is told after ${this.#quietMs} ms`;
    this.#sink.onAcceptError(new TransportError('ACCEPT_FAILED', text, { cause: error }));
  }
}
