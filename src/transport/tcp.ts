import { parseAddress } from './address.ts';
import type { Connection } from './connection.ts';
import { SocketAcceptor } from './socket-acceptor.ts';
import { dialSocket } from './socket-dial.ts';
import { SOCKET_DEFAULTS, type SocketSettings } from './socket-settings.ts';
import { canReadStatically, isStaticReadAllowed, sharedReadBuffer } from './static-read.ts';
import { socketOnStaticRead, TcpConnection } from './tcp-connection.ts';
import type { AcceptorSink, Transport } from './transport.ts';

/** Settings of TCP, TLS and Unix sockets. */
export interface TcpSettings extends SocketSettings {
  readonly staticRead: boolean;
}

export const TCP_DEFAULTS: TcpSettings = { ...SOCKET_DEFAULTS, staticRead: true };

/** TCP, TLS over TCP, and Unix sockets with or without TLS. */
export class TcpTransport implements Transport {
  readonly name: string;
  readonly #settings: TcpSettings;

  constructor(settings: Partial<TcpSettings> = {}) {
    this.#settings = { ...TCP_DEFAULTS, ...settings };
    this.name = this.#settings.tls === undefined ? 'tcp' : 'tls';
  }

  async listen(address: string, sink: AcceptorSink): Promise<SocketAcceptor> {
    const { staticRead } = this.#settings;
    const reads = staticRead && (await canReadStatically()) ? 'install' : 'chunk';
    return SocketAcceptor.listen(address, this.#settings, sink, (socket, remote, acceptor) => {
      // Bound to one address, every connection has that as its own.
      const local = ['0.0.0.0', '::'].includes(acceptor.address.host) ? undefined : acceptor.address;
      sink.onConnection(new TcpConnection(socket, reads, { unixPath: acceptor.unixPath, local, remote }));
    });
  }

  async dial(address: string, options: { readonly signal: AbortSignal }): Promise<Connection> {
    const isStatic = this.#settings.staticRead && isStaticReadAllowed();
    const onread = isStatic ? { buffer: sharedReadBuffer(), callback: socketOnStaticRead } : undefined;
    const target = parseAddress(address);
    const unixPath = 'path' in target ? target.path : undefined;
    return dialSocket(address, this.#settings, options.signal, onread, (socket) => {
      return new TcpConnection(socket, isStatic ? 'shared' : 'chunk', { unixPath });
    });
  }
}
