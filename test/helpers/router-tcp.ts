import type { PorticoError } from '../../src/base/errors.ts';
import type { Option } from '../../src/base/option.ts';
import { type TcpServerOptions, withLocalAddress } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import type { WsServerOptions } from '../../src/endpoint/ws-options.ts';
import { type ActionPacket, ActionPacketHandler, type ActionPacketOptions } from '../../src/router/action-packet.ts';
import type { ActionSession } from '../../src/router/route-context.ts';
import type { Router } from '../../src/router/router.ts';
import type { ListenerOptions } from '../../src/router/router-listener.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { Address } from '../../src/transport/connection.ts';
import { packetsIn } from './action-packets.ts';
import { type RawPeer, until } from './raw-peer.ts';
import type { Scene } from './scene.ts';

export interface ServingOptions {
  readonly packets?: ActionPacketOptions;
  readonly listener?: ListenerOptions;
  readonly tcp?: readonly Option<TcpServerOptions<ActionPacket, ActionPacket>>[];
  readonly ws?: readonly Option<WsServerOptions<ActionPacket, ActionPacket>>[];
}

/** A router's server on a free port, and what its sessions told. */
export interface Serving<Server = TcpServer<ActionPacket>> {
  readonly server: Server;
  readonly address: Address;
  readonly sessions: ActionSession[];
  readonly errors: PorticoError[];
  readonly reasons: CloseReason[];
}

function watch(router: Router, options: ListenerOptions = {}) {
  const seen = { sessions: [] as ActionSession[], errors: [] as PorticoError[], reasons: [] as CloseReason[] };
  const listener = router.listener({
    onOpen: (session) => void seen.sessions.push(session),
    onError: (_session, error) => void seen.errors.push(error),
    onClose: (_session, reason) => void seen.reasons.push(reason),
    ...options,
  });
  return { seen, listener };
}

export async function serveTcp(scene: Scene, router: Router, options: ServingOptions = {}): Promise<Serving> {
  const { seen, listener } = watch(router, options.listener);
  const server = new TcpServer<ActionPacket>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new ActionPacketHandler(options.packets)),
    withEventListener(listener),
    ...(options.tcp ?? []),
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  return { server, address: server.localAddress, ...seen };
}

export async function serveWs(scene: Scene, router: Router, options: ServingOptions = {}): Promise<Serving<WsServer<ActionPacket>>> {
  const { seen, listener } = watch(router, options.listener);
  const server = new WsServer<ActionPacket>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new ActionPacketHandler(options.packets)),
    withEventListener(listener),
    ...(options.ws ?? []),
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  return { server, address: server.localAddress, ...seen };
}

/** Waits for so many whole packets. */
export async function packetsFrom(peer: RawPeer, count: number): Promise<[number, number, string][]> {
  await until(() => packetsIn(peer.received).length >= count || peer.isClosed || peer.hasEnded, `${count} packet(s)`);
  return packetsIn(peer.received);
}
