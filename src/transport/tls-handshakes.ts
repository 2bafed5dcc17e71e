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
import { MAX_DELAY_MS } from '../base/option.ts';
import { after, type Wheel } from '../base/wheel.ts';
import type { Address } from './connection.ts';
import { contextOptions, type TlsOptions } from './tls-options.ts';
import type { AcceptorSink } from './transport.ts';

interface Handshake {
  readonly remote: Address;
  readonly done: (socket: TLSSocket) => void;
  readonly cancelTimer: () => void;
}

/**
 * The server side of TLS handshakes: raw sockets in, encrypted ones out, each within the time limit. A session exists only
 * after the handshake, so an unfinished one costs a socket and a timer.
 */
export class TlsHandshakes {
  readonly #sink: AcceptorSink;
  readonly #timeoutMs: number;
  readonly #wheel: Wheel;
  readonly #pending = new Map<Socket, Handshake>();
  #options: TlsOptions;
  /** It listens to nothing: `begin` hands it sockets that were admitted. */
  #server: Server;

  constructor(options: TlsOptions, timeoutMs: number, sink: AcceptorSink, wheel: Wheel) {
    this.#sink = sink;
    this.#timeoutMs = timeoutMs;
    this.#wheel = wheel;
    this.#options = options;
    this.#server = this.#makeServer(options);
  }

  begin(socket: Socket, remote: Address, done: (socket: TLSSocket) => void): void {
    const cancelTimer = after(this.#wheel, this.#timeoutMs, () => this.#onLate(socket));
    this.#pending.set(socket, { remote, done, cancelTimer });
    socket.on('error', (error) => this.#lose(socket, error));
    // The encrypted socket is told of the end a little later, and may know the reason.
    socket.on('close', () => setImmediate(() => this.#lose(socket, new Error('the peer went away'))));
    // A peer that finishes in the middle of a handshake has given it up, for want of trust perhaps, and will never complete it.
    socket.allowHalfOpen = false;
    this.#server.emit('connection', socket);
    socket.allowHalfOpen = true;
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
      // Node's own timer asks the machine's clock; it cannot be left out.
      handshakeTimeout: MAX_DELAY_MS,
      ...(alpnProtocols === undefined ? {} : { ALPNProtocols: [...alpnProtocols] }),
      ...(contexts.size === 0 ? {} : { SNICallback: byName(contexts) }),
    });
    server.on('secureConnection', (socket) => this.#onSecure(socket));
    server.on('tlsClientError', (error, socket) => this.#onFailure(error, socket));
    return server;
  }

  #onSecure(socket: TLSSocket): void {
    const handshake = this.#take(rawSocketOf(socket));
    if (handshake === undefined) {
      socket.destroy();
      return;
    }
    socket.allowHalfOpen = true;
    handshake.done(socket);
  }

  #take(raw: Socket): Handshake | undefined {
    const handshake = this.#pending.get(raw);
    this.#pending.delete(raw);
    handshake?.cancelTimer();
    return handshake;
  }

  #onLate(raw: Socket): void {
    this.#lose(raw, new Error(`it was not done within ${this.#timeoutMs} ms`), 'HANDSHAKE_TIMEOUT');
    raw.destroy();
  }

  #onFailure(error: Error, socket: TLSSocket): void {
    const raw = rawSocketOf(socket);
    // Node closes the socket of a client whose certificate it refuses, and only notes why.
    const refusal: unknown = socket.authorizationError;
    this.#lose(raw, refusal ? new Error(`the certificate of the client was refused: ${describeThrown(refusal)}`) : error);
    socket.destroy();
    raw.destroy();
  }

  #lose(raw: Socket, error: Error, code: 'HANDSHAKE_FAILED' | 'HANDSHAKE_TIMEOUT' = 'HANDSHAKE_FAILED'): void {
    const handshake = this.#take(raw);
    if (handshake === undefined) return;
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
