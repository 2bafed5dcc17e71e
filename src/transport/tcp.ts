import { parseAddress } from './address.ts';
import type { Connection } from './connection.ts';
import { keepFreedMemory } from './freed-memory.ts';
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
    keepFreedMemory();
    const { staticRead } = this.#settings;
    const reads = staticRead && (await canReadStatically()) ? 'install' : 'chunk';
    return SocketAcceptor.listen(address, this.#settings, sink, (socket, remote, acceptor, preface) => {
      // Bound to one address, every connection has that as its own.
      const bound = ['0.0.0.0', '::'].includes(acceptor.address.host) ? undefined : acceptor.address;
      const local = preface?.local ?? bound;
      const { attributes } = preface ?? {};
      sink.onConnection(new TcpConnection(socket, reads, { unixPath: acceptor.unixPath, local, remote, attributes }));
    });
  }

  async dial(address: string, options: { readonly signal: AbortSignal }): Promise<Connection> {
    keepFreedMemory();
    const { staticRead, tls, dialPreface } = this.#settings;
    // Node takes no buffer for TLS over a socket that is connected already.
    const isWrapped = tls !== undefined && dialPreface !== undefined;
    const isStatic = staticRead && (isWrapped ? await canReadStatically() : isStaticReadAllowed());
    const onread = isStatic && !isWrapped ? { buffer: sharedReadBuffer(), callback: socketOnStaticRead } : undefined;
    const reads = isWrapped ? 'install' : 'shared';
    const target = parseAddress(address);
    const unixPath = 'path' in target ? target.path : undefined;
    return dialSocket(address, this.#settings, options.signal, onread, (socket) => {
      return new TcpConnection(socket, isStatic ? reads : 'chunk', { unixPath });
    });
  }
}
