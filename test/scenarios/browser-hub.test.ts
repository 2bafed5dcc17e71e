import { describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { createClient } from '../../src/browser/client.ts';
import { handle } from '../../src/browser/handle.ts';
import { KephasClient } from '../../src/browser/kephas-client.ts';
import { roomOf } from '../../src/browser/rooms.ts';
import { attachRpc } from '../../src/browser/rpc.ts';
import { stream } from '../../src/browser/stream.ts';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import type { CommandHubOptions } from '../../src/command/hub-options.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { json } from '../../src/protocol/json.ts';
import { defineProtocol } from '../../src/protocol/protocol.ts';
import { rpcOverCommands } from '../../src/rpc/rpc-over-commands.ts';
import { until } from '../helpers/raw-peer.ts';
import { type Scene, useScene } from '../helpers/scene.ts';

const protocol = defineProtocol({
  say: { id: 1, body: json<{ n: number }>() },
  add: { id: 2, body: json<[number, number]>(), reply: json<number>() },
  count: { id: 3, body: json<number>(), stream: json<number>() },
  title: { id: 4, body: json<null>(), reply: json<string>() },
});
type Shared = typeof protocol;

/** The sockets of the clients of one test, so that it can cut them. */
class Sockets extends WebSocket {
  static all: Sockets[] = [];

  constructor(url: string, subprotocols: string[]) {
    super(url, subprotocols);
    Sockets.all.push(this);
  }
}

async function serve<P extends Shared>(scene: Scene, options: CommandHubOptions<P>): Promise<{ hub: CommandHub<P>; url: string }> {
  const hub = new CommandHub<P>(options);
  const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
  scene.atEnd(async () => {
    await hub.close({ drainTimeoutMs: 0 });
    await server.close({ drainTimeoutMs: 0 });
  });
  await server.listen();
  return { hub, url: `ws://${server.localAddress.text}/` };
}

describe('a client of pages at a hub', () => {
  const scene = useScene();
  const webSocket = Sockets as unknown as NonNullable<Parameters<typeof createClient>[0]['webSocket']>;
  const common = { webSocket, reconnect: { minMs: 1, maxMs: 20 } } as const;

  it('znet-knet scenario 57: loses none of 100 messages when its connection is cut, and keeps its session and rooms', async () => {
    const { hub, url } = await serve(scene, { protocol, authorizeJoin: () => true });
    const client = createClient({ ...common, url, protocol });
    scene.atEnd(() => client.close({ drain: false }));
    const seen: number[] = [];
    client.on('say', ({ n }) => seen.push(n));
    const { id } = await client.connect();
    await roomOf(client, 'lobby').join();
    const peer = hub.clients.get(id);
    if (peer === undefined) throw new Error('the hub does not know the client');
    const numbers = Array.from({ length: 100 }, (_, n) => n);
    for (const n of numbers) {
      peer.send('say', { n });
      if (n === 50) Sockets.all.at(-1)?.terminate();
    }
    await until(() => seen.length === 100, '100 messages');
    expect(seen).toEqual(numbers);
    expect(client).toMatchObject({ id, recovered: true, state: 'open' });
    expect(roomOf(client, 'lobby').isJoined).toBe(true);
    expect([...hub.clients.keys()]).toEqual([id]);
  });

  it('is a new one when the server kept nothing, and joins its rooms again', async () => {
    const { hub, url } = await serve(scene, { protocol, authorizeJoin: () => true, retentionMs: 0 });
    const client = createClient({ ...common, url, protocol });
    scene.atEnd(() => client.close({ drain: false }));
    const { id } = await client.connect();
    const room = roomOf(client, 'lobby');
    await room.join({ name: 'anna' });
    const again = new Promise((resolve) => client.events.once('reconnected', resolve));
    Sockets.all.at(-1)?.terminate();
    expect(await again).toEqual({ id: expect.not.stringMatching(id), recovered: false });
    await until(() => room.members.has(client.id ?? ''), 'presence of the new client');
    expect(room.isJoined).toBe(true);
    expect([...hub.clients.keys()]).toEqual([client.id]);
  });

  it('calls, streams, answers, and stays away when it is told to', async () => {
    const { hub, url } = await serve(scene, {
      protocol,
      authenticate: ({ auth }) => auth === 'secret',
    });
    hub.handle('add', (_client, [left, right]) => left + right);
    hub.handle('count', async function* (_client: unknown, last: number) {
      for (let n = 0; n < last; n++) yield n;
    } as never);
    const client = createClient({ ...common, url, protocol, auth: () => 'secret' });
    scene.atEnd(() => client.close({ drain: false }));
    handle(client, 'title', () => 'a page');
    const { id } = await client.connect();
    expect(await client.call('add', [1, 2])).toBe(3);
    const items: number[] = [];
    for await (const item of stream(client, 'count', 100, { window: 8 })) items.push(item);
    expect(items).toHaveLength(100);
    for await (const item of stream(client, 'count', 1_000_000, { window: 8 })) if (item === 20) break;
    expect(await hub.clients.get(id)?.call('title', null)).toBe('a page');
    const stranger = createClient({ ...common, url, protocol, auth: () => 'guess' });
    await expect(stranger.connect()).rejects.toMatchObject({ code: 'CLOSED_WITH_ERROR', status: 4401 });
    const closed = new Promise((resolve) => client.events.once('close', resolve));
    hub.clients.get(id)?.close({ status: 4003, reason: 'go' });
    expect(await closed).toMatchObject({ status: 4003, reason: 'go', by: 'server' });
  });

  it('of knet works too: messages, JSON-RPC with the whole response, states and errors', async () => {
    const { hub, url } = await serve(scene, {});
    hub.on(1, (client, payload) => void client.send(1, payload));
    const rpc = rpcOverCommands(hub);
    rpc.method('add', (params) => (params as number[]).reduce((sum, one) => sum + one, 0));
    const client = new KephasClient({ url, webSocket, reconnectDelay: 1 });
    expect(client.getState()).toBe('DISCONNECTED');
    await expect(client.send(1, 'x')).rejects.toThrow('Not connected to server');
    await client.connect();
    expect([client.getState(), client.isConnected()]).toEqual(['CONNECTED', true]);
    const echoed = new Promise<string>((resolve) => client.on(1, (payload) => resolve(new TextDecoder().decode(payload))));
    await client.sendString(1, 'hello');
    expect(await echoed).toBe('hello');
    expect(() => client.on(0xffff_fffc, () => {})).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(await client.sendJSONRPC('add', [1, 2])).toEqual({ jsonrpc: '2.0', id: 1, result: 3 });
    expect(await client.sendJSONRPC('nothing', {}, 'a')).toMatchObject({ id: 'a', error: { code: -32601 } });
    rpc.method('never', () => new Promise(() => {}));
    const open = client.sendJSONRPC('never', {}).catch((error: unknown) => error);
    Sockets.all.at(-1)?.terminate();
    expect(await open).toMatchObject({ code: 'SESSION_CLOSED' });
    await until(() => client.isConnected(), 'the connection is back');
    client.disconnect();
    expect(client.getState()).toBe('CLOSED');
  });

  it('znet-knet scenario 47: a JSON-RPC error rejects with code, message and data', async () => {
    const { hub, url } = await serve(scene, {});
    const rpc = rpcOverCommands(hub);
    const client = createClient({ ...common, url });
    scene.atEnd(() => client.close({ drain: false }));
    const page = attachRpc(client, (peer) => peer.method('title', () => 'a page'));
    rpc.method('add', (params) => (params as number[]).reduce((sum, one) => sum + one, 0));
    const { id } = await client.connect();
    expect(await page.peer.call('add', [1, 2] as never)).toBe(3);
    await expect(page.peer.call('nothing', [] as never)).rejects.toMatchObject({ code: -32601, message: 'Method not found' });
    const peer = hub.clients.get(id);
    expect(peer && (await rpc.peerOf(peer).call('title'))).toBe('a page');
  });
});
