import type { Socket } from 'node:net';
import {
  createSecureContext,
  createServer,
  type TlsOptions as NodeTlsOptions,
  type SecureContext,
  type Server,
  type TLSSocket,
} from 'node:tls';
import { isDeepStrictEqual } from 'node:util';
import { describeThrown, PeerError } from '../base/errors.ts';
import { log, oneLine } from '../base/log.ts';
import type { Address } from './connection.ts';
import { contextOptions, type TlsOptions } from './tls-options.ts';
import type { AcceptorSink } from './transport.ts';

interface Handshake {
  readonly remote: Address;
  readonly done: (socket: TLSSocket) => void;
}

/**
 * The server side of TLS handshakes: raw sockets in, encrypted ones out, each within the time limit. A session exists only
 * after the handshake, so an unfinished one costs a socket and a timer.
 */
export class TlsHandshakes {
  readonly #sink: AcceptorSink;
  readonly #timeoutMs: number;
  readonly #pending = new Map<Socket, Handshake>();
  #options: TlsOptions;
  /** It listens to nothing: `begin` hands it sockets that were admitted. */
  #server: Server;

  constructor(options: TlsOptions, timeoutMs: number, sink: AcceptorSink) {
    this.#sink = sink;
    this.#timeoutMs = timeoutMs;
    this.#options = options;
    this.#server = this.#makeServer(options);
  }

  begin(socket: Socket, remote: Address, done: (socket: TLSSocket) => void): void {
    this.#pending.set(socket, { remote, done });
    socket.on('error', (error) => this.#lose(socket, error));
    // The encrypted socket is told of the end a little later, and may know the reason.
    socket.on('close', () => setImmediate(() => this.#lose(socket, new Error('the peer went away'))));
    this.#server.emit('connection', socket);
  }

  /** Takes new settings into use for handshakes to come. */
  use(options: TlsOptions): void {
    // The same again would only make clients forget the sessions that they could resume.
    if (isDeepStrictEqual(options, this.#options)) return;
    this.#server = this.#makeServer(options);
    this.#options = options;
  }

  close(): void {
    for (const socket of [...this.#pending.keys()]) socket.destroy();
  }

  #makeServer(options: TlsOptions): Server {
    const { requireClientCert = false, alpnProtocols, sni = {} } = options;
    const contexts = new Map(Object.entries(sni).map(([name, own]) => [name.toLowerCase(), createSecureContext(contextOptions(own))]));
    const server = createServer({
      ...contextOptions(options),
      requestCert: requireClientCert,
      rejectUnauthorized: requireClientCert,
      handshakeTimeout: this.#timeoutMs,
      ...(alpnProtocols === undefined ? {} : { ALPNProtocols: [...alpnProtocols] }),
      ...(contexts.size === 0 ? {} : { SNICallback: byName(contexts) }),
    });
    server.on('secureConnection', (socket) => this.#onSecure(socket));
    server.on('tlsClientError', (error, socket) => this.#onFailure(error, socket));
    return server;
  }

  #onSecure(socket: TLSSocket): void {
    const raw = rawSocketOf(socket);
    const handshake = this.#pending.get(raw);
    this.#pending.delete(raw);
    if (handshake === undefined) socket.destroy();
    else handshake.done(socket);
  }

  #onFailure(error: Error, socket: TLSSocket): void {
    const raw = rawSocketOf(socket);
    // Node closes the socket of a client whose certificate it refuses, and only notes why.
    const refusal: unknown = socket.authorizationError;
    this.#lose(raw, refusal ? new Error(`the certificate of the client was refused: ${describeThrown(refusal)}`) : error);
    socket.destroy();
    raw.destroy();
  }

  #lose(raw: Socket, error: Error): void {
    const handshake = this.#pending.get(raw);
    if (handshake === undefined) return;
    this.#pending.delete(raw);
    const isLate = Reflect.get(error, 'code') === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    const code = isLate ? 'HANDSHAKE_TIMEOUT' : 'HANDSHAKE_FAILED';
    // OpenSSL's own message ends with a file name and a line end.
    const reason: unknown = Reflect.get(error, 'reason');
    const text = oneLine(typeof reason === 'string' ? reason : describeThrown(error));
    if (log.tls.enabled) log.tls('%s %s: %s', handshake.remote.text, code, text);
    this.#sink.onConnectionLost(handshake.remote, new PeerError(code, `TLS handshake: ${text}`, { cause: error }));
  }
}

/** Finds the certificate for the name that a client asks for; undefined = the default one. */
function byName(contexts: ReadonlyMap<string, SecureContext>): NonNullable<NodeTlsOptions['SNICallback']> {
  return (serverName, found) => {
    const name = serverName.toLowerCase();
    const dot = name.indexOf('.');
    found(null, contexts.get(name) ?? (dot > 0 ? contexts.get(`*${name.slice(dot)}`) : undefined));
  };
}

/** The socket that an encrypted one was made over; Node keeps it as the parent. */
function rawSocketOf(socket: TLSSocket): Socket {
  const parent: unknown = Reflect.get(socket, '_parent');
  return parent instanceof Object ? (parent as Socket) : socket;
}
