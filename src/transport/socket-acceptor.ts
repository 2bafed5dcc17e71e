import { createServer, type Server, type Socket } from 'node:net';
import { PorticoError, StateError, TransportError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { after, type Wheel, wheelOf } from '../base/wheel.ts';
import { parseAddress, tcpAddress, unixAddress } from './address.ts';
import type { Address } from './connection.ts';
import { PrefaceReads, type PrefaceResult } from './preface.ts';
import { HIGH_WATER_MARK, type SocketSettings } from './socket-settings.ts';
import { TlsHandshakes } from './tls-handshakes.ts';
import { loadTls } from './tls-options.ts';
import type { Acceptor, AcceptorSink, AdmissionRole } from './transport.ts';

/**
 * Takes a socket that was admitted and, with TLS, secured. `remote` is whom a preface names, if there was one, and `preface` all that
 * it says. Without TLS a socket with a preface is paused, what was read behind that is in front of its bytes, and it MUST be listened
 * to before the return.
 */
export type HandSocket = (socket: Socket, remote: Address, acceptor: SocketAcceptor, preface: PrefaceResult | undefined) => void;

/**
 * A listening TCP or Unix socket: admission, prefaces, TLS handshakes, reload, trouble with accepting. What is made of a socket is not
 * its business.
 *
 * ```
 * accept -> admit -> preface? -> admit whom it names -> TLS? -> hand over
 *             '-> refused  '-> lost     '-> refused       '-> lost
 * ```
 */
export class SocketAcceptor implements Acceptor {
  readonly raw: Server;
  readonly #settings: SocketSettings;
  readonly #wheel: Wheel;
  readonly #sink: AcceptorSink;
  readonly #handshakes: TlsHandshakes | undefined;
  readonly #prefaces: PrefaceReads | undefined;
  readonly #hand: HandSocket;
  #refuse: ((socket: Socket) => void) | undefined;
  #unixPath: string | undefined;
  #address: Address | undefined;
  #quietMs = 0;
  #quietUntilMs = Number.NEGATIVE_INFINITY;
  #reloads = 0;
  #lastReload = 0;
  #cancelReload: (() => void) | undefined;

  private constructor(settings: SocketSettings, sink: AcceptorSink, handshakes: TlsHandshakes | undefined, hand: HandSocket) {
    this.#settings = settings;
    this.#wheel = wheelOf(settings.clock);
    this.#sink = sink;
    this.#handshakes = handshakes;
    this.#prefaces = settings.preface === undefined ? undefined : new PrefaceReads(settings.preface, settings.clock, sink);
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
    const { tls, handshakeTimeoutMs, clock } = settings;
    const handshakes =
      tls === undefined ? undefined : new TlsHandshakes(await loadTls(tls, true), handshakeTimeoutMs, sink, wheelOf(clock));
    const acceptor = new SocketAcceptor(settings, sink, handshakes, hand);
    await acceptor.#listen(target);
    log.transport('listening on %s', acceptor.address.text);
    return acceptor;
  }

  /** Has sockets that are not admitted told so; otherwise they are closed without a word, as they are before TLS in any case. */
  tellRefused(refuse: (socket: Socket) => void): void {
    if (this.#handshakes === undefined) this.#refuse = refuse;
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
    this.#cancelReload?.();
    this.#prefaces?.close();
    this.#handshakes?.close();
    if (!this.raw.listening) return;
    // Sessions live on: their end is not waited for, only that of the listening socket.
    this.raw.close();
    await new Promise((resolve) => setImmediate(resolve));
  }

  #watchTls(): void {
    const { tlsReloadMs } = this.#settings;
    if (this.#handshakes === undefined || tlsReloadMs === 0) return;
    this.#cancelReload = after(this.#wheel, tlsReloadMs, () => {
      this.#watchTls();
      this.reloadTls().catch((error: unknown) => {
        if (error instanceof PorticoError) this.#sink.onAcceptError(error);
      });
    });
  }

  #onSocket(socket: Socket): void {
    this.#quietMs = 0;
    const remote = this.#unixPath === undefined ? tcpAddress(socket.remoteAddress, socket.remotePort) : unixAddress(this.#unixPath);
    const { preface } = this.#settings;
    const expected = preface === undefined ? 'none' : preface.expect(remote);
    if (!this.#isAdmitted(socket, remote, expected === 'none' ? 'client' : expected === 'read' ? 'proxy' : 'untrusted')) return;
    if (this.#prefaces === undefined || expected === 'none') {
      this.#secure(socket, remote, undefined);
      return;
    }
    const local = this.#unixPath === undefined ? tcpAddress(socket.localAddress, socket.localPort) : remote;
    this.#prefaces.begin(socket, remote, local, (result) => {
      const client = result.remote ?? remote;
      if (this.#isAdmitted(socket, client, 'proxied')) this.#secure(socket, client, result);
    });
  }

  /** Asks the sink; one that is refused is dropped. */
  #isAdmitted(socket: Socket, remote: Address, role: AdmissionRole): boolean {
    const refusal = this.#sink.admit(remote, role);
    if (refusal === undefined) return true;
    log.transport('refused %s: %s', remote.text, refusal);
    socket.on('error', () => {});
    if (this.#refuse === undefined) socket.destroy();
    else this.#refuse(socket);
    return false;
  }

  #secure(socket: Socket, remote: Address, preface: PrefaceResult | undefined): void {
    if (this.#handshakes === undefined) this.#hand(socket, remote, this, preface);
    else this.#handshakes.begin(socket, remote, (secured) => this.#hand(secured, remote, this, preface));
  }

  /**
   * The system did not hand over a connection, for want of descriptors perhaps. Node goes on accepting and may fail so again in
   * every turn of the loop: that is told ever more rarely, until a connection comes.
   */
  #onAcceptError(error: Error): void {
    const now = this.#wheel.now();
    if (now < this.#quietUntilMs) return;
    this.#quietMs = Math.min(1000, this.#quietMs === 0 ? 5 : this.#quietMs * 2);
    this.#quietUntilMs = now + this.#quietMs;
    const text = `accept: ${error.message}; the next such failure is told after ${this.#quietMs} ms`;
    this.#sink.onAcceptError(new TransportError('ACCEPT_FAILED', text, { cause: error }));
  }
}
