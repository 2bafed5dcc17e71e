import { createServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { type ServerOptions, WebSocketServer } from 'ws';
import type { Attributes } from '../base/attributes.ts';
import { type PorticoError, TransportError } from '../base/errors.ts';
import { after } from '../base/wheel.ts';
import { tcpAddress, unixAddress } from './address.ts';
import type { Address } from './connection.ts';
import type { PrefaceResult } from './preface.ts';
import { SocketAcceptor } from './socket-acceptor.ts';
import type { Acceptor, AcceptorSink } from './transport.ts';
import { WsConnection } from './ws-connection.ts';
import { deflateOptions } from './ws-deflate.ts';
import { type HandshakeHost, WsHandshake } from './ws-handshake.ts';
import { UpgradeRouter, type UpgradeTaker } from './ws-http-router.ts';
import { answer } from './ws-request.ts';
import type { WsServerSettings } from './ws-settings.ts';
import { MAX_BUFFERED_CHUNKS, NO_CLOSE_TIMEOUT_MS, payloadLimit, WsSocket } from './ws-socket.ts';

const BUSY_LINGER_MS = 500;
/** Sockets at a time, in the whole process, that are told why they are refused; further ones are closed without a word. */
const MAX_LINGERING = 64;
let lingering = 0;

/** `@types/ws` does not know of `closeTimeout`. */
type WsServerOptions = ServerOptions<typeof WsSocket> & { readonly closeTimeout: number };

/**
 * Makes WebSocket connections of sockets: of those that it accepts itself, or of the upgrades of a user's HTTP server. Admission is asked
 * before the first byte is read, as far as the sockets are its own.
 */
export class WsAcceptor implements Acceptor, HandshakeHost, UpgradeTaker {
  readonly settings: WsServerSettings;
  readonly paths: readonly string[];
  readonly #sink: AcceptorSink;
  readonly #upgrader: WebSocketServer;
  readonly #pending = new Map<Duplex, WsHandshake>();
  #sockets: SocketAcceptor | undefined;
  #router: UpgradeRouter | undefined;
  /** For `handleProtocols`, which is called while `handleUpgrade` runs. */
  #subprotocol: string | undefined;

  private constructor(settings: WsServerSettings, sink: AcceptorSink) {
    this.settings = settings;
    this.paths = settings.paths;
    this.#sink = sink;
    const options: WsServerOptions = {
      noServer: true,
      clientTracking: false,
      autoPong: false,
      perMessageDeflate: deflateOptions(settings.deflate),
      maxPayload: payloadLimit(settings.maxPackageBytes, settings.deflate !== undefined),
      maxFragments: settings.maxFragments,
      maxBufferedChunks: MAX_BUFFERED_CHUNKS,
      closeTimeout: NO_CLOSE_TIMEOUT_MS,
      WebSocket: WsSocket,
      handleProtocols: () => this.#subprotocol ?? false,
    };
    this.#upgrader = new WebSocketServer(options);
  }

  /** Listens on an address of its own. */
  static async listen(address: string, settings: WsServerSettings, sink: AcceptorSink): Promise<WsAcceptor> {
    const acceptor = new WsAcceptor(settings, sink);
    const http = acceptor.#createHttp();
    acceptor.#sockets = await SocketAcceptor.listen(address, settings, sink, (socket, remote, _sockets, preface) => {
      acceptor.#begin(socket, remote, preface);
      http.emit('connection', socket);
      // Behind a preface it is paused.
      socket.resume();
    });
    acceptor.#sockets.tellRefused((socket) => acceptor.#refuse(socket));
    return acceptor;
  }

  /** Takes the upgrades of `server`, which belongs to the user. */
  static attach(server: HttpServer | HttpsServer, settings: WsServerSettings, sink: AcceptorSink): WsAcceptor {
    const acceptor = new WsAcceptor(settings, sink);
    const router = UpgradeRouter.of(server);
    const clash = router.clashOf(acceptor);
    if (clash !== undefined) throw new TransportError('LISTEN_FAILED', `listen: another WebSocket server takes the path ${clash} already`);
    router.add(acceptor);
    acceptor.#router = router;
    return acceptor;
  }

  /** Of a user's server that does not listen yet: without host and port. */
  get address(): Address {
    if (this.#sockets !== undefined) return this.#sockets.address;
    const bound = this.settings.httpServer?.address() ?? null;
    if (typeof bound === 'string') return unixAddress(bound);
    return bound === null ? tcpAddress(undefined, undefined) : tcpAddress(bound.address, bound.port);
  }

  get raw(): unknown {
    return this.#sockets === undefined ? this.settings.httpServer : this.#sockets.raw;
  }

  async reloadTls(): Promise<void> {
    await this.#sockets?.reloadTls();
  }

  async close(): Promise<void> {
    this.#router?.remove(this);
    for (const { socket } of this.#pending.values()) socket.destroy();
    await this.#sockets?.close();
  }

  // --- upgrades of a user's server ---

  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    if (!(socket instanceof Socket)) {
      socket.destroy();
      return;
    }
    const unixPath = this.address.path;
    const remote = unixPath === undefined ? tcpAddress(socket.remoteAddress, socket.remotePort) : unixAddress(unixPath);
    if (this.#sink.admit(remote) !== undefined) {
      this.#refuse(socket);
      return;
    }
    void this.#begin(socket, remote).upgrade(request, head);
  }

  // --- of a handshake ---

  complete(handshake: WsHandshake, request: IncomingMessage, head: Buffer, attributes: Attributes, subprotocol: string | undefined): void {
    const { socket, remoteAddress } = handshake;
    this.#subprotocol = subprotocol;
    this.#upgrader.handleUpgrade(request, socket, head, (ws) => {
      if (!(ws instanceof WsSocket)) return;
      const { address } = this;
      const localAddress =
        handshake.localAddress ?? (address.path === undefined ? tcpAddress(socket.localAddress, socket.localPort) : address);
      const connection = new WsConnection(ws, socket, this.settings, { localAddress, remoteAddress, attributes, isServer: true });
      handshake.release();
      this.#pending.delete(socket);
      this.#sink.onConnection(connection);
    });
  }

  onLost({ socket, remoteAddress }: WsHandshake, error: PorticoError): void {
    this.#pending.delete(socket);
    this.#sink.onConnectionLost(remoteAddress, error);
  }

  // --- private ---

  #begin(socket: Socket, remote: Address, preface?: PrefaceResult): WsHandshake {
    const handshake = new WsHandshake(socket, remote, this, preface);
    this.#pending.set(socket, handshake);
    return handshake;
  }

  /** Tells a client that was not admitted to come again later. */
  #refuse(socket: Socket): void {
    socket.on('error', () => {});
    if (lingering >= MAX_LINGERING) {
      socket.destroy();
      return;
    }
    lingering++;
    const cancel = after(this.settings.wheel, BUSY_LINGER_MS, () => socket.destroy());
    socket.once('close', () => {
      lingering--;
      cancel();
    });
    answer(socket, { status: 503 });
    socket.resume();
  }

  /** Parses requests; it listens to nothing, and its time-outs are those of the handshakes. */
  #createHttp(): HttpServer {
    const http = createServer({ maxHeaderSize: this.settings.maxHeaderBytes, requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 });
    http.maxHeadersCount = 0;
    http.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      void this.#pending.get(socket)?.upgrade(request, head);
    });
    http.on('request', (request: IncomingMessage) => this.#pending.get(request.socket)?.refuseRequest(request));
    http.on('clientError', (error: Error, socket: Duplex) => {
      const code: unknown = Reflect.get(error, 'code');
      if (typeof code !== 'string' || !code.startsWith('HPE_')) socket.destroy();
      else this.#pending.get(socket)?.refuse({ status: code === 'HPE_HEADER_OVERFLOW' ? 431 : 400 });
    });
    return http;
  }
}
