import type { ClientRequest, IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import type { ClientOptions } from 'ws';
import { Attributes } from '../base/attributes.ts';
import { describeThrown, PeerError, PorticoError, TransportError } from '../base/errors.ts';
import { oneLine } from '../base/log.ts';
import { parseAddress, tcpAddress, unixAddress } from './address.ts';
import type { Connection } from './connection.ts';
import { abortError, dialSocket } from './socket-dial.ts';
import { tlsInfo } from './tcp-connection.ts';
import { contextOptions, loadTls } from './tls-options.ts';
import { parseWsAddress, type WsTarget } from './ws-address.ts';
import { WsConnection } from './ws-connection.ts';
import { deflateOptions } from './ws-deflate.ts';
import { pathOf } from './ws-request.ts';
import { WS_REQUEST, type WsClientSettings } from './ws-settings.ts';
import { MAX_BUFFERED_CHUNKS, NO_CLOSE_TIMEOUT_MS, payloadLimit, WsSocket } from './ws-socket.ts';

/** What a server answered in place of a WebSocket; the `cause` of HANDSHAKE_FAILED. */
export interface WsAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
}

/** Of another origin's business: they go only where they were meant to go. */
const CREDENTIALS = new Set(['authorization', 'cookie', 'proxy-authorization']);

/** Connects, through redirects as far as they are allowed. */
export async function dialWs(address: string, settings: WsClientSettings, signal: AbortSignal): Promise<Connection> {
  let target = parseWsAddress(address);
  let headers = await untilAborted(headersOf(settings), signal);
  for (let redirects = 0; ; redirects++) {
    const result = await new Attempt(target, headers, settings, signal).result;
    if (!(result instanceof URL)) return result;
    if (redirects >= settings.maxRedirects) {
      throw new PeerError('HANDSHAKE_FAILED', `dial ${address}: expected at most ${settings.maxRedirects} redirect(s), given more`);
    }
    const next = redirectTarget(result, target);
    if (next.url.origin !== target.url.origin || next.isSecure !== target.isSecure) headers = withoutCredentials(headers);
    target = next;
  }
}

async function headersOf({ headers }: WsClientSettings): Promise<OutgoingHttpHeaders> {
  try {
    return typeof headers === 'function' ? await headers() : headers;
  } catch (thrown) {
    throw new TransportError('CONNECT_FAILED', `withHeaders: the function failed: ${describeThrown(thrown)}`, { cause: thrown });
  }
}

/** The function of the user may never settle; the dial is over all the same. */
function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(abortError(signal));
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

function withoutCredentials(headers: OutgoingHttpHeaders): OutgoingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !CREDENTIALS.has(name.toLowerCase())));
}

function redirectTarget(location: URL, from: WsTarget): WsTarget {
  const url = new URL(location);
  if (url.protocol === 'http:') url.protocol = 'ws:';
  if (url.protocol === 'https:') url.protocol = 'wss:';
  url.hash = '';
  try {
    const target = parseWsAddress(url.href);
    if (from.isSecure && !target.isSecure)
      throw new PeerError('HANDSHAKE_FAILED', 'expected a redirect that keeps TLS, given one that leaves it');
    return target;
  } catch (thrown) {
    if (thrown instanceof PeerError) throw thrown;
    throw new PeerError('HANDSHAKE_FAILED', `expected a redirect to a WebSocket, given one to ${oneLine(location.href)}`, {
      cause: thrown,
    });
  }
}

/** One request for a WebSocket. It ends with a connection, or with where it was redirected to. */
class Attempt {
  readonly result: Promise<Connection | URL>;
  readonly #target: WsTarget;
  readonly #settings: WsClientSettings;
  readonly #signal: AbortSignal;
  #ws: WsSocket | undefined;
  #response: IncomingMessage | undefined;

  constructor(target: WsTarget, headers: OutgoingHttpHeaders, settings: WsClientSettings, signal: AbortSignal) {
    this.#target = target;
    this.#settings = settings;
    this.#signal = signal;
    this.result = this.#dial(headers);
  }

  async #dial(headers: OutgoingHttpHeaders): Promise<Connection | URL> {
    const { proxyAgent, subprotocols } = this.#settings;
    const { url } = this.#target;
    const transportOptions = proxyAgent === undefined ? await this.#connected() : await this.#throughProxy();
    const { maxPackageBytes, maxFragments, deflate } = this.#settings;
    const options: ClientOptions & { readonly closeTimeout: number } = {
      ...transportOptions,
      // The types of `ws` want plain strings; Node takes numbers and lists too.
      headers: headers as Record<string, string>,
      followRedirects: false,
      autoPong: false,
      perMessageDeflate: deflateOptions(deflate),
      maxPayload: payloadLimit(maxPackageBytes, deflate !== undefined),
      maxFragments,
      maxBufferedChunks: MAX_BUFFERED_CHUNKS,
      closeTimeout: NO_CLOSE_TIMEOUT_MS,
    };
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        this.#signal.removeEventListener('abort', onAbort);
        reject(error);
        this.#ws?.terminate();
      };
      const onAbort = (): void => fail(abortError(this.#signal));
      try {
        const ws = new WsSocket(url, typeof subprotocols === 'function' ? [] : [...subprotocols], options);
        this.#ws = ws;
        this.#signal.addEventListener('abort', onAbort, { once: true });
        ws.on('error', (error) => fail(this.#failure(error)));
        if (this.#signal.aborted) onAbort();
        ws.on('upgrade', (response) => {
          this.#response = response;
        });
        ws.on('unexpected-response', (request, response) => {
          this.#signal.removeEventListener('abort', onAbort);
          this.#refused(request, response, resolve, reject);
        });
        ws.once('open', () => {
          this.#signal.removeEventListener('abort', onAbort);
          ws.removeAllListeners('error');
          resolve(this.#open(ws));
        });
      } catch (thrown) {
        fail(new PeerError('HANDSHAKE_FAILED', `dial ${url.href}: ${describeThrown(thrown)}`, { cause: thrown }));
      }
    });
  }

  /** A socket that is connected already, through TLS if need be, so that its failures are those of any other dial. */
  async #connected(): Promise<ClientOptions> {
    const { isSecure, socketAddress } = this.#target;
    const settings = { ...this.#settings, tls: isSecure ? (this.#settings.tls ?? {}) : undefined };
    const socket = await dialSocket(socketAddress, settings, this.#signal, undefined, (connected) => connected);
    // An error may be next, and nobody listens before the request is made.
    socket.on('error', () => {});
    return { createConnection: () => socket };
  }

  async #throughProxy(): Promise<ClientOptions> {
    const { proxyAgent, tls } = this.#settings;
    if (!this.#target.isSecure) return proxyAgent === undefined ? {} : { agent: proxyAgent };
    const options = await loadTls(tls ?? {}, false);
    return {
      ...(proxyAgent === undefined ? {} : { agent: proxyAgent }),
      ...contextOptions(options),
      rejectUnauthorized: options.rejectUnauthorized ?? true,
      ...(options.serverName === undefined ? {} : { servername: options.serverName }),
    };
  }

  #open(ws: WsSocket): Connection {
    const response = this.#response;
    const socket = response?.socket;
    if (response === undefined || !(socket instanceof Socket)) {
      ws.terminate();
      throw new TransportError('CONNECT_FAILED', 'expected a socket below the WebSocket, given another stream');
    }
    const { url, socketAddress } = this.#target;
    const target = parseAddress(socketAddress);
    const isUnix = 'path' in target;
    const remoteAddress = isUnix ? unixAddress(target.path) : tcpAddress(socket.remoteAddress, socket.remotePort);
    const localAddress = isUnix ? remoteAddress : tcpAddress(socket.localAddress, socket.localPort);
    const { subprotocols } = this.#settings;
    const attributes = new Attributes().set(WS_REQUEST, {
      url: `${url.pathname}${url.search}`,
      path: pathOf(url.pathname),
      query: new URLSearchParams(url.search),
      headers: response.headers,
      remoteAddress,
      tls: socket instanceof TLSSocket ? tlsInfo(socket) : undefined,
      subprotocols: typeof subprotocols === 'function' ? [] : subprotocols,
      subprotocol: ws.protocol,
    });
    return new WsConnection(ws, socket, this.#settings, { localAddress, remoteAddress, attributes, isServer: false });
  }

  #refused(request: ClientRequest, response: IncomingMessage, resolve: (to: URL) => void, reject: (error: unknown) => void): void {
    const { statusCode = 0, statusMessage = '', headers } = response;
    const { location } = headers;
    const isRedirect = statusCode >= 300 && statusCode < 400 && location !== undefined;
    request.destroy();
    this.#ws?.removeAllListeners('error');
    this.#ws?.on('error', () => {});
    this.#ws?.terminate();
    if (isRedirect && this.#settings.maxRedirects > 0) {
      const base = new URL(this.#target.url);
      try {
        resolve(new URL(location, base));
        return;
      } catch {
        // Falls through: a status like any other.
      }
    }
    const cause: WsAnswer = { status: statusCode, headers };
    const text = `the server answered the WebSocket handshake with status ${statusCode} ${oneLine(statusMessage)}`;
    reject(new PeerError('HANDSHAKE_FAILED', text.trimEnd(), { cause, status: statusCode }));
  }

  /** What `ws` itself finds wrong has no code; what the network does has one. */
  #failure(error: Error): PorticoError {
    if (error instanceof PorticoError) return error;
    const code: unknown = Reflect.get(error, 'code');
    const isOfNetwork = typeof code === 'string' && !code.startsWith('HPE_') && !code.startsWith('WS_');
    if (isOfNetwork) return new TransportError('CONNECT_FAILED', error.message, { cause: error });
    return new PeerError('HANDSHAKE_FAILED', `the WebSocket handshake failed: ${error.message}`, { cause: error });
  }
}
