import type { PorticoError } from '../../src/base/errors.ts';
import type { Option } from '../../src/base/option.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress, withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import { WsClient, WsServer } from '../../src/endpoint/ws.ts';
import type { WsClientOptions, WsServerOptions } from '../../src/endpoint/ws-options.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { NewSession } from '../../src/session/session-host.ts';
import type { Address } from '../../src/transport/connection.ts';
import { until } from './raw-peer.ts';
import { type BytesSession, type Scene, useScene, Watch } from './scene.ts';
import { type RequestOptions, upgradeRequest, WsPeer } from './ws-peer.ts';

export type WsServerOption = Option<WsServerOptions<Buffer, Uint8Array>>;
export type WsClientOption = Option<WsClientOptions<Buffer, Uint8Array>>;

/** A server that echoes, and what it saw. */
export interface WsEcho {
  readonly server: WsServer<Buffer, Uint8Array>;
  readonly watch: Watch;
  readonly address: Address;
  readonly url: string;
  /** 'connectionLost' events. */
  readonly lost: PorticoError[];
  readonly refused: string[];
}

/** WebSocket endpoints and raw peers of one test. */
export class WsScene {
  readonly scene: Scene;

  constructor(scene: Scene) {
    this.scene = scene;
  }

  async server(...options: readonly WsServerOption[]): Promise<WsEcho> {
    return this.serverWith(undefined, ...options);
  }

  async serverWith(newSession: NewSession<Buffer, Uint8Array> | undefined, ...options: readonly WsServerOption[]): Promise<WsEcho> {
    const watch = new Watch(true);
    const server = new WsServer<Buffer, Uint8Array>(
      withLocalAddress('127.0.0.1:0'),
      withPkgHandler(new RawHandler()),
      withEventListener<Buffer, Uint8Array>(watch),
      ...options,
    );
    const lost: PorticoError[] = [];
    const refused: string[] = [];
    server.on('connectionLost', (_address, error) => void lost.push(error));
    server.on('refused', (_address, why) => void refused.push(why));
    this.scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
    await server.listen(newSession);
    const address = server.localAddress;
    return { server, watch, address, url: `ws://${address.text}/`, lost, refused };
  }

  newClient(url: string, ...options: readonly WsClientOption[]): { client: WsClient<Buffer, Uint8Array>; watch: Watch } {
    const watch = new Watch(false);
    const client = new WsClient<Buffer, Uint8Array>(
      withServerAddress(url),
      withReconnect(false),
      withPkgHandler(new RawHandler()),
      withEventListener<Buffer, Uint8Array>(watch),
      ...options,
    );
    this.scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
    return { client, watch };
  }

  async client(url: string, ...options: readonly WsClientOption[]): Promise<{ session: BytesSession; watch: Watch }> {
    const { client, watch } = this.newClient(url, ...options);
    return { session: await client.connect(), watch };
  }

  /** A raw peer that has sent nothing. */
  async connected(target: { readonly address: Address }): Promise<WsPeer> {
    return new WsPeer(await this.scene.peer(target.address));
  }

  /** A raw peer that has sent a request. */
  async asked(target: { readonly address: Address }, url?: string, options?: RequestOptions): Promise<WsPeer> {
    const peer = await this.connected(target);
    peer.pour(upgradeRequest(url, options));
    return peer;
  }

  /** A raw peer whose WebSocket is open. */
  async peer(target: { readonly address: Address }, url?: string, options?: RequestOptions): Promise<WsPeer> {
    const peer = await this.asked(target, url, options);
    await until(() => peer.status === 101 || peer.raw.isClosed, 'the upgrade');
    if (peer.status !== 101) throw new Error(`the upgrade was answered: ${peer.head}`);
    return peer;
  }
}

/** For each test of the file; a test that leaves a socket behind fails. */
export function useWsScene(): WsScene {
  return new WsScene(useScene());
}
