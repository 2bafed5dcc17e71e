import { once } from 'node:events';
import WebSocket from 'ws';
import { ContentLengthHandler } from '../../src/codec/content-length.ts';
import type { PkgHandler } from '../../src/codec/pkg-handler.ts';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { RpcLineHandler, RpcMessageHandler } from '../../src/rpc/rpc-framings.ts';
import type { RpcListener } from '../../src/rpc/rpc-listener.ts';
import type { RpcMethods } from '../../src/rpc/rpc-methods.ts';
import { RPC_COMMAND_ID, RPC_ERROR_COMMAND_ID, type RpcOverCommands, rpcOverCommands } from '../../src/rpc/rpc-over-commands.ts';
import type { RpcPeer } from '../../src/rpc/rpc-peer.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { until } from './raw-peer.ts';
import type { RpcWire } from './rpc-vectors.ts';
import type { Scene } from './scene.ts';

/** The peer of the only session of a listener. */
export function onlyPeer(listener: RpcListener): RpcPeer {
  const [peer] = listener.peers();
  if (peer === undefined) throw new Error('there is no open session');
  return peer;
}

/** A WebSocket server with this listener, and the URL to reach it. */
export async function rpcWsServer(scene: Scene, listener: RpcListener): Promise<string> {
  const server = new WsServer<string>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new RpcMessageHandler()),
    withEventListener<string, string>(listener),
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  return `ws://${server.localAddress.text}/`;
}

export async function rpcTcpServer(scene: Scene, listener: RpcListener, handler: PkgHandler<string>): Promise<TcpServer<string>> {
  const server = new TcpServer<string>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(handler),
    withEventListener<string, string>(listener),
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  return server.listen();
}

/** A client on `ws` at a server of ours: text messages are text, bytes binary. */
export async function wsWire(scene: Scene, listener: RpcListener): Promise<RpcWire & { readonly socket: WebSocket }> {
  const socket = new WebSocket(await rpcWsServer(scene, listener));
  const received: string[] = [];
  socket.on('message', (data, isBinary) => void received.push(isBinary ? 'binary' : String(data)));
  scene.atEnd(() => socket.terminate());
  await once(socket, 'open');
  await until(() => [...listener.peers()].length > 0, 'the session');
  return { send: (payload) => socket.send(payload), received, peer: () => onlyPeer(listener), socket };
}

export async function lineWire(scene: Scene, listener: RpcListener): Promise<RpcWire> {
  const server = await rpcTcpServer(scene, listener, new RpcLineHandler());
  const peer = await scene.peer(server.localAddress);
  const received: string[] = [];
  let rest = '';
  peer.onBytes = (bytes) => {
    const lines = (rest + bytes.toString()).split('\n');
    rest = lines.pop() ?? '';
    received.push(...lines);
  };
  await until(() => [...listener.peers()].length > 0, 'the session');
  return {
    send: (payload) => peer.pour(Buffer.concat([Buffer.from(payload), Buffer.from('\r\n')])),
    received,
    peer: () => onlyPeer(listener),
  };
}

export async function contentLengthWire(scene: Scene, listener: RpcListener): Promise<RpcWire> {
  const server = await rpcTcpServer(scene, listener, new ContentLengthHandler());
  const peer = await scene.peer(server.localAddress);
  const received: string[] = [];
  let rest = Buffer.alloc(0);
  peer.onBytes = (bytes) => {
    rest = Buffer.concat([rest, bytes]);
    for (;;) {
      const header = /^Content-Length: (\d+)\r\n\r\n/.exec(rest.toString('latin1'));
      if (header === null) return;
      const end = header[0].length + Number(header[1]);
      if (rest.length < end) return;
      received.push(rest.toString('utf8', header[0].length, end));
      rest = rest.subarray(end);
    }
  };
  await until(() => [...listener.peers()].length > 0, 'the session');
  const send = (payload: string | Uint8Array): void => {
    const body = Buffer.from(payload);
    peer.pour(Buffer.concat([Buffer.from(`Content-Length: ${body.length}\r\n\r\n`), body]));
  };
  return { send, received, peer: () => onlyPeer(listener) };
}

/** A client of knet's kind at a hub with JSON-RPC on it. Notes the ids that messages came under. */
export async function commandWire(
  scene: Scene,
  methods: RpcMethods,
  options: { readonly errorsOn?: 'error' | 'rpc' } = {},
): Promise<RpcWire & { readonly ids: number[]; readonly socket: WebSocket; readonly rpc: RpcOverCommands; readonly hub: CommandHub }> {
  const hub = new CommandHub();
  const rpc = rpcOverCommands(hub, { methods, ...options });
  const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  const socket = new WebSocket(`ws://${server.localAddress.text}/ws`);
  scene.atEnd(() => socket.terminate());
  const received: string[] = [];
  const ids: number[] = [];
  socket.on('message', (data: Buffer) => {
    ids.push(data.readUInt32BE());
    received.push(data.toString('utf8', 4));
  });
  await once(socket, 'open');
  await until(() => hub.clients.size > 0, 'the client');
  const client = [...hub.clients.values()][0];
  if (client === undefined) throw new Error('there is no client');
  const send = (payload: string | Uint8Array): void => {
    // Calls come on ffffffff, but what comes on fffffffe is taken too.
    const id = ids.length % 2 === 0 ? RPC_COMMAND_ID : RPC_ERROR_COMMAND_ID;
    const bytes = Buffer.concat([Buffer.alloc(4), Buffer.from(payload)]);
    bytes.writeUInt32BE(id);
    socket.send(bytes);
  };
  return { send, received, ids, socket, rpc, hub, peer: () => rpc.peerOf(client) };
}
