import type { Option } from '../base/option.ts';
import { buildSessionOptions } from '../session/options.ts';
import { parseAddress } from '../transport/address.ts';
import { SocketAcceptor } from '../transport/socket-acceptor.ts';
import { TcpTransport } from '../transport/tcp.ts';
import { Client } from './client.ts';
import { TCP_CLIENT_DEFAULTS, TCP_SERVER_DEFAULTS, type TcpClientOptions, type TcpServerOptions } from './options.ts';
import { Server } from './server.ts';

/**
 * A server over TCP, TLS (`withTls`) or a Unix socket (`withLocalAddress('unix:…')`).
 *
 * @example
 * ```ts
 * import { EventListener, LineHandler, type Session, TcpServer, withEventListener, withLocalAddress, withPkgHandler } from 'portico';
 *
 * class Echo extends EventListener<string> {
 *   onMessage(session: Session<string>, line: string): void {
 *     session.send(line);
 *   }
 * }
 *
 * const server = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LineHandler()), withEventListener(new Echo()));
 * await server.listen();
 * await server.close();
 * ```
 */
export class TcpServer<In = unknown, Out = In> extends Server<In, Out> {
  constructor(...options: readonly Option<TcpServerOptions<In, Out>>[]) {
    const built = buildSessionOptions<TcpServerOptions<In, Out>>(TCP_SERVER_DEFAULTS, options);
    parseAddress(built.localAddress, 'withLocalAddress');
    super(new TcpTransport(built), built, 'TCP_SERVER');
  }

  /**
   * Loads certificates again from the TLS source and uses them for handshakes to come. Rejects with INVALID_TLS when they
   * cannot be used; the last good ones stay.
   */
  async reloadTls(): Promise<void> {
    if (this.acceptor instanceof SocketAcceptor) await this.acceptor.reloadTls();
  }
}

/** A client over TCP, TLS (`withTls`) or a Unix socket, keeping `withConnectionNumber` sessions open. */
export class TcpClient<In = unknown, Out = In> extends Client<In, Out> {
  constructor(...options: readonly Option<TcpClientOptions<In, Out>>[]) {
    const built = buildSessionOptions<TcpClientOptions<In, Out>>(TCP_CLIENT_DEFAULTS, options);
    if (built.serverAddress !== '') parseAddress(built.serverAddress, 'withServerAddress');
    super(new TcpTransport(built), built, 'TCP_CLIENT');
  }
}
