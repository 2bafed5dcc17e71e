import { wheelOf } from '../base/wheel.ts';
import type { Connection } from './connection.ts';
import { keepFreedMemory } from './freed-memory.ts';
import { canReadStatically } from './static-read.ts';
import type { AcceptorSink, Transport } from './transport.ts';
import { WsAcceptor } from './ws-acceptor.ts';
import { dialWs } from './ws-dial.ts';
import { WS_CLIENT_DEFAULTS, WS_SERVER_DEFAULTS, type WsClientSettings, type WsServerSettings } from './ws-settings.ts';

const MAX_PACKAGE_BYTES = 1_048_576;

/** WebSocket over TCP, TLS and Unix sockets. Addresses to listen on are those of TCP; `dial` also takes them, for the path `/`. */
export class WsTransport implements Transport {
  readonly name: string;
  readonly #server: WsServerSettings;
  readonly #client: WsClientSettings;

  constructor(settings: Partial<WsServerSettings & WsClientSettings> = {}) {
    const wheel = wheelOf(settings.clock);
    this.#server = { ...WS_SERVER_DEFAULTS, wheel, maxPackageBytes: MAX_PACKAGE_BYTES, ...settings };
    this.#client = { ...WS_CLIENT_DEFAULTS, wheel, maxPackageBytes: MAX_PACKAGE_BYTES, ...settings };
    this.name = settings.tls === undefined ? 'ws' : 'wss';
  }

  async listen(address: string, sink: AcceptorSink): Promise<WsAcceptor> {
    keepFreedMemory();
    await canReadStatically();
    const { httpServer } = this.#server;
    return httpServer === undefined ? WsAcceptor.listen(address, this.#server, sink) : WsAcceptor.attach(httpServer, this.#server, sink);
  }

  async dial(address: string, options: { readonly signal: AbortSignal }): Promise<Connection> {
    keepFreedMemory();
    await canReadStatically();
    const isUrl = /^wss?(?:\+unix)?:/.test(address);
    const plain = address.startsWith('unix:') ? `${this.name}+${address}` : `${this.name}://${address}/`;
    return dialWs(isUrl ? address : plain, this.#client, options.signal);
  }
}
