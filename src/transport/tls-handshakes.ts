import type { Socket } from 'node:net';
import { createServer, type TlsOptions as NodeTlsOptions, type Server, type TLSSocket } from 'node:tls';
import { describeThrown, PeerError } from '../base/errors.ts';
import { log } from '../base/log.ts';
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
  readonly #server: Server;
  readonly #sink: AcceptorSink;
  readonly #pending = new Map<Socket, Handshake>();

  constructor(options: TlsOptions, timeoutMs: number, sink: AcceptorSink) {
    this.#sink = sink;
    // It listens to nothing: `begin` hands it sockets that were admitted.
    this.#server = createServer({ ...serverOptions(options), handshakeTimeout: timeoutMs, allowHalfOpen: true });
    this.#addNames(options);
    this.#server.on('secureConnection', (socket) => this.#onSecure(socket));
    this.#server.on('tlsClientError', (error, socket) => this.#onFailure(error, socket));
  }

  begin(socket: Socket, remote: Address, done: (socket: TLSSocket) => void): void {
    this.#pending.set(socket, { remote, done });
    socket.on('error', (error) => this.#lose(socket, error));
    socket.on('close', () => this.#lose(socket, new Error('the peer went away during the handshake')));
    this.#server.emit('connection', socket);
  }

  /** Takes new certificates into use for handshakes to come. */
  use(options: TlsOptions): void {
    this.#server.setSecureContext(serverOptions(options));
    this.#addNames(options);
  }

  close(): void {
    for (const socket of [...this.#pending.keys()]) socket.destroy();
  }

  #addNames(options: TlsOptions): void {
    // The newest context for a name wins.
    for (const [name, own] of Object.entries(options.sni ?? {})) this.#server.addContext(name, contextOptions(own));
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
    this.#lose(raw, error);
    socket.destroy();
    raw.destroy();
  }

  #lose(raw: Socket, error: Error): void {
    const handshake = this.#pending.get(raw);
    if (handshake === undefined) return;
    this.#pending.delete(raw);
    const isLate = Reflect.get(error, 'code') === 'ERR_TLS_HANDSHAKE_TIMEOUT';
    const code = isLate ? 'HANDSHAKE_TIMEOUT' : 'HANDSHAKE_FAILED';
    if (log.tls.enabled) log.tls('%s %s: %s', handshake.remote.text, code, error.message);
    this.#sink.onConnectionLost(handshake.remote, new PeerError(code, `TLS handshake: ${describeThrown(error)}`, { cause: error }));
  }
}

function serverOptions(options: TlsOptions): NodeTlsOptions {
  const { requireClientCert = false, alpnProtocols } = options;
  return {
    ...contextOptions(options),
    requestCert: requireClientCert,
    rejectUnauthorized: requireClientCert,
    ...(alpnProtocols === undefined ? {} : { ALPNProtocols: [...alpnProtocols] }),
  };
}

/** The socket that an encrypted one was made over; Node keeps it as the parent. */
function rawSocketOf(socket: TLSSocket): Socket {
  const parent: unknown = Reflect.get(socket, '_parent');
  return parent instanceof Object ? (parent as Socket) : socket;
}
