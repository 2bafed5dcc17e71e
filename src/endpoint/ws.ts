import { ConfigError } from '../base/errors.ts';
import type { Option } from '../base/option.ts';
import { wheelOf } from '../base/wheel.ts';
import { buildSessionOptions } from '../session/options.ts';
import { parseAddress } from '../transport/address.ts';
import { WsTransport } from '../transport/ws.ts';
import { WsAcceptor } from '../transport/ws-acceptor.ts';
import { parseWsAddress } from '../transport/ws-address.ts';
import { Client } from './client.ts';
import { Server } from './server.ts';
import {
  WS_CLIENT_OPTIONS,
  WS_SERVER_OPTIONS,
  type WsClientOptions,
  type WsServerOptions,
  type WssClientOptions,
  type WssServerOptions,
} from './ws-options.ts';

/**
 * A server over WebSocket (RFC 6455): one package is one message. It listens by itself (`withLocalAddress`, TCP or a Unix socket), or
 * takes the upgrades of an HTTP server (`withHttpServer`). What a session was asked for is in `session.attributes.get(WS_REQUEST)`.
 *
 * @example
 * ```ts
 * import { EventListener, RawHandler, type Session, withEventListener, withLocalAddress, withPath, withPkgHandler, WsServer } from 'portico';
 *
 * class Echo extends EventListener<Buffer, Uint8Array> {
 *   onMessage(session: Session<Buffer, Uint8Array>, message: Buffer): void {
 *     session.send(message);
 *   }
 * }
 *
 * const server = new WsServer(
 *   withLocalAddress('127.0.0.1:0'),
 *   withPath('/echo'),
 *   withPkgHandler(new RawHandler()),
 *   withEventListener(new Echo()),
 * );
 * await server.listen();
 * await server.close();
 * ```
 */
export class WsServer<In = unknown, Out = In> extends Server<In, Out> {
  constructor(...options: readonly Option<WsServerOptions<In, Out>>[]) {
    const built = buildSessionOptions<WssServerOptions<In, Out>>(WS_SERVER_OPTIONS, options);
    if (built.tls !== undefined) throw new ConfigError('INVALID_OPTION', 'WsServer: expected no withTls, given one; WssServer takes it');
    super(serverTransport(built), built, 'WS_SERVER');
  }
}

/** A server over WebSocket and TLS: as `WsServer`, with `withTls`, or over an HTTPS server (`withHttpServer`). */
export class WssServer<In = unknown, Out = In> extends Server<In, Out> {
  constructor(...options: readonly Option<WssServerOptions<In, Out>>[]) {
    const built = buildSessionOptions<WssServerOptions<In, Out>>(WS_SERVER_OPTIONS, options);
    if (built.tls === undefined && built.httpServer === undefined) {
      throw new ConfigError('MISSING_OPTION', 'WssServer: expected withTls, or withHttpServer with an HTTPS server, given neither');
    }
    super(serverTransport(built), built, 'WSS_SERVER');
  }

  /**
   * Loads certificates again from the TLS source and uses them for handshakes to come. Rejects with INVALID_TLS when they cannot be used;
   * the last good ones stay. Those of a user's HTTPS server are its own business.
   */
  async reloadTls(): Promise<void> {
    if (this.acceptor instanceof WsAcceptor) await this.acceptor.reloadTls();
  }
}

/**
 * A client over WebSocket, keeping `withConnectionNumber` sessions open. A server that refuses is HANDSHAKE_FAILED, whose `status` is that
 * of the answer.
 *
 * @example
 * ```ts
 * import { RawHandler, withEventListener, withLocalAddress, withPkgHandler, withServerAddress, WsClient, WsServer } from 'portico';
 *
 * const server = new WsServer<Buffer, Uint8Array>(
 *   withLocalAddress('127.0.0.1:0'),
 *   withPkgHandler(new RawHandler()),
 *   withEventListener<Buffer, Uint8Array>({ onMessage: (session, message) => void session.send(message) }),
 * );
 * await server.listen();
 *
 * const client = new WsClient<Buffer, Uint8Array>(
 *   withServerAddress(`ws://${server.localAddress.text}/any/path?token=1`),
 *   withPkgHandler(new RawHandler()),
 *   withEventListener<Buffer, Uint8Array>({ onMessage: (session) => void session.close({ reason: 'thank you' }) }),
 * );
 * const session = await client.connect();
 * session.send(Buffer.from('hello'));
 * await session.closed;
 * await client.close();
 * await server.close();
 * ```
 */
export class WsClient<In = unknown, Out = In> extends Client<In, Out> {
  constructor(...options: readonly Option<WsClientOptions<In, Out>>[]) {
    const built = buildSessionOptions<WssClientOptions<In, Out>>(WS_CLIENT_OPTIONS, options);
    if (built.tls !== undefined) throw new ConfigError('INVALID_OPTION', 'WsClient: expected no withTls, given one; WssClient takes it');
    super(clientTransport(built, false), built, 'WS_CLIENT');
  }
}

/** A client over WebSocket and TLS: as `WsClient`, for `wss://` addresses. The server is verified, by default with the CAs of Node. */
export class WssClient<In = unknown, Out = In> extends Client<In, Out> {
  constructor(...options: readonly Option<WssClientOptions<In, Out>>[]) {
    const built = buildSessionOptions<WssClientOptions<In, Out>>(WS_CLIENT_OPTIONS, options);
    super(clientTransport(built, true), built, 'WSS_CLIENT');
  }
}

function serverTransport<In, Out>(built: WssServerOptions<In, Out>): WsTransport {
  refuseHalfOpen(built.halfOpen);
  if (built.httpServer === undefined) parseAddress(built.localAddress, 'withLocalAddress');
  return new WsTransport({ ...built, wheel: wheelOf(built.clock) });
}

function clientTransport<In, Out>(built: WssClientOptions<In, Out>, isSecure: boolean): WsTransport {
  refuseHalfOpen(built.halfOpen);
  if (built.serverAddress !== '' && parseWsAddress(built.serverAddress, 'withServerAddress').isSecure !== isSecure) {
    const expected = isSecure ? 'a wss:// address' : 'a ws:// address (WssClient takes wss://)';
    throw new ConfigError('INVALID_ADDRESS', `withServerAddress: expected ${expected}, given ${built.serverAddress}`);
  }
  if (typeof built.subprotocols === 'function') {
    throw new ConfigError('INVALID_OPTION', 'withSubprotocols: expected a list of names on a client, given a function');
  }
  return new WsTransport({ ...built, wheel: wheelOf(built.clock) });
}

function refuseHalfOpen(halfOpen: boolean): void {
  if (halfOpen) throw new ConfigError('INVALID_OPTION', 'withHalfOpen: expected false, because a WebSocket cannot half-close, given true');
}
