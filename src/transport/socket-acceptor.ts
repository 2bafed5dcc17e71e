import { createServer, type Server, type Socket } from 'node:net';
import { PorticoError, StateError, TransportError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { parseAddress, tcpAddress, unixAddress } from './address.ts';
import type { Address } from './connection.ts';
import { HIGH_WATER_MARK, type SocketSettings } from './socket-settings.ts';
import { TlsHandshakes } from './tls-handshakes.ts';
import { loadTls } from './tls-options.ts';
import type { Acceptor, AcceptorSink } from './transport.ts';

/** Takes a socket that was admitted and, with TLS, secured. */
export type HandSocket = (socket: Socket, remote: Address, acceptor: SocketAcceptor) => void;

/** A listening TCP or Unix socket: admission, TLS handshakes, reload, trouble with accepting. What is made of a socket is not its business. */
export class SocketAcceptor implements Acceptor {
  readonly raw: Server;
  readonly #settings: SocketSettings;
  readonly #sink: AcceptorSink;
  readonly #handshakes: TlsHandshakes | undefined;
  readonly #hand: HandSocket;
  #unixPath: string | undefined;
  #address: Address | undefined;
  #quietMs = 0;
  #quietTimer: NodeJS.Timeout | undefined;
  #reloads = 0;
  #lastReload = 0;
  #reloadTimer: NodeJS.Timeout | undefined;

  private constructor(settings: SocketSettings, sink: AcceptorSink, handshakes: TlsHandshakes | undefined, hand: HandSocket) {
    this.#settings = settings;
    this.#sink = sink;
    this.#handshakes = handshakes;
    this.#hand = hand;
    this.raw = createServer({
      allowHalfOpen: true,
      noDelay: settings.noDelay,
      keepAlive: settings.keepAliveMs > 0,
      keepAliveInitialDelay: settings.keepAliveMs,
      highWaterMark: HIGH_WATER_MARK,
    });
    this.raw.on('connection', (socket) => this.#onSocket(socket));
  }

  /** Listens; rejects with LISTEN_FAILED, INVALID_ADDRESS or INVALID_TLS. */
  static async listen(address: string, settings: SocketSettings, sink: AcceptorSink, hand: HandSocket): Promise<SocketAcceptor> {
    const target = parseAddress(address);
    const { tls, handshakeTimeoutMs } = settings;
    const handshakes = tls === undefined ? undefined : new TlsHandshakes(await loadTls(tls, true), handshakeTimeoutMs, sink);
    const acceptor = new SocketAcceptor(settings, sink, handshakes, hand);
    await acceptor.#listen(target);
    log.transport('listening on %s', acceptor.address.text);
    return acceptor;
  }

  /** Of a Unix socket: where it is. */
  get unixPath(): string | undefined {
    return this.#unixPath;
  }

  get address(): Address {
    if (this.#address === undefined) throw new StateError('WRONG_STATE', 'address: expected a listening acceptor');
    return this.#address;
  }

  #listen(target: ReturnType<typeof parseAddress>): Promise<void> {
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
      this.#hand(socket, remote, this);
      return;
    }
    this.#handshakes.begin(socket, remote, (secured) => this.#hand(secured, remote, this));
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
