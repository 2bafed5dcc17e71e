import { describe, expect, it } from 'vitest';
import { withLogger, withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import { TcpClient, type TcpServer } from '../../src/endpoint/tcp.ts';
import { WsClient } from '../../src/endpoint/ws.ts';
import { RpcClient } from '../../src/rpc/rpc-client.ts';
import { RpcLineHandler, RpcMessageHandler } from '../../src/rpc/rpc-framings.ts';
import { RpcListener } from '../../src/rpc/rpc-listener.ts';
import { defineRpc } from '../../src/rpc/rpc-methods.ts';
import { RpcError } from '../../src/rpc/rpc-wire.ts';
import { withEventListener, withPkgHandler, withWaterMarks } from '../../src/session/options.ts';
import { until } from '../helpers/raw-peer.ts';
import { lineWire, onlyPeer, rpcTcpServer, rpcWsServer, wsWire } from '../helpers/rpc-wires.ts';
import { useScene } from '../helpers/scene.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { thrownBy } from '../helpers/thrown.ts';

const scene = useScene();

async function tcpPair(
  listener: RpcListener,
  rpc: RpcClient = new RpcClient(),
): Promise<{ rpc: RpcClient; server: TcpServer<string>; client: TcpClient<string> }> {
  const server = await rpcTcpServer(scene, listener, new RpcLineHandler());
  const client = new TcpClient<string>(
    withServerAddress(server.localAddress.text),
    withReconnect(false),
    withPkgHandler(new RpcLineHandler()),
    withEventListener<string, string>(rpc),
  );
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  await client.connect();
  return { rpc, server, client };
}

async function wsPair(listener: RpcListener, rpc: RpcClient = new RpcClient()): Promise<RpcClient> {
  const client = new WsClient<string>(
    withServerAddress(await rpcWsServer(scene, listener)),
    withReconnect(false),
    withPkgHandler(new RpcMessageHandler()),
    withEventListener<string, string>(rpc),
  );
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  await client.connect();
  return rpc;
}

describe('JSON-RPC between our own client and server', () => {
  it.each(['TCP', 'WebSocket'])('over %s: calls, notifications, batches, streams, both ways', async (kind) => {
    const told: unknown[] = [];
    const listener = new RpcListener()
      .method('sum', (params) => (params as number[]).reduce((total, value) => total + value, 0))
      .method('note', (params) => void told.push(params))
      .method('count', async function* () {
        for (let index = 0; index < 40; index++) yield index;
      })
      .method('ask back', async (params, { peer }) => `${await peer.call('name')} ${JSON.stringify(params)}`);
    const rpc = new RpcClient();
    rpc.method('name', () => 'anna');
    if (kind === 'TCP') await tcpPair(listener, rpc);
    else await wsPair(listener, rpc);
    rpc.notify('note', [1]);
    expect(await rpc.call('sum', [1, 2, 3])).toBe(6);
    expect(told).toEqual([[1]]);
    expect(await rpc.call('ask back', { a: 'ä' })).toBe('anna {"a":"ä"}');
    expect(await rpc.batch([{ method: 'sum', params: [4] }])).toMatchObject([{ value: 4 }]);
    const items: unknown[] = [];
    for await (const item of rpc.stream('count', [], { credit: 4 })) items.push(item);
    expect(items).toHaveLength(40);
    expect([onlyPeer(listener).runningCalls, rpc.peer.pendingCalls]).toEqual([0, 0]);
  });

  it('znet-knet scenario 41: handlers that throw, reject or never resolve harm nobody', async () => {
    const errors: unknown[] = [];
    const listener = new RpcListener({ handlerTimeoutMs: 30, onError: (error, { method }) => void errors.push([method, error]) })
      .method('throws', () => {
        throw new Error('secret');
      })
      .method('rejects', () => Promise.reject(new Error('secret')))
      .method('hangs', () => new Promise(() => {}))
      .method('works', () => 'still');
    const { rpc } = await tcpPair(listener);
    const internal = { name: 'RpcError', code: -32603, message: 'Internal error' };
    await expect(rpc.call('throws')).rejects.toMatchObject(internal);
    await expect(rpc.call('rejects')).rejects.toMatchObject(internal);
    await expect(rpc.call('hangs')).rejects.toMatchObject({ code: -32001 });
    expect(await rpc.call('works')).toBe('still');
    expect(errors).toEqual([
      ['throws', new Error('secret')],
      ['rejects', new Error('secret')],
    ]);
  });

  it('znet-knet scenario 45: 1 000 concurrent calls each get their own result', async () => {
    const waiting: (() => void)[] = [];
    const listener = new RpcListener({ maxRunningCalls: 1000 }).method(
      'shuffle',
      (params) =>
        new Promise((resolve) => {
          const [number] = params as [number];
          // Every other one waits until all are there, and is answered in an order of its own.
          waiting.splice((number * 7919) % (waiting.length + 1), 0, () => resolve(number));
          if (waiting.length === 1000) for (const answer of waiting) answer();
        }),
    );
    const { rpc } = await tcpPair(listener);
    const results = await Promise.all(Array.from({ length: 1000 }, (_, index) => rpc.call('shuffle', [index])));
    expect(results).toEqual(Array.from({ length: 1000 }, (_, index) => index));
  });

  it('znet-knet scenario 46: a call rejects at its time-out, and the connection lives on', async () => {
    const world = new MemoryWorld();
    const listener = new RpcListener();
    listener.method('slow', () => new Promise((resolve) => world.clock.after(1000, () => resolve('late'))));
    listener.method('quick', () => 'now');
    await world.server(new RpcLineHandler(), listener);
    const rpc = new RpcClient();
    const connecting = world.connect(new RpcLineHandler(), rpc);
    await world.clock.advance(10);
    await connecting;
    const start = world.clock.now();
    const slow = rpc.call('slow', [], { timeoutMs: 100 }).catch((error: { code: string }) => [error.code, world.clock.now() - start]);
    await world.clock.advance(90);
    expect(rpc.peer.pendingCalls).toBe(1);
    await world.clock.advance(20);
    const [code, afterMs] = (await slow) as [string, number];
    expect([code, rpc.peer.pendingCalls]).toEqual(['CALL_TIMEOUT', 0]);
    expect(afterMs).toBeGreaterThanOrEqual(100);
    const quick = rpc.call('quick');
    await world.clock.advance(1000);
    expect(await quick).toBe('now');
  });

  it('znet-knet scenario 47: an error of a handler rejects with code, message and data', async () => {
    const listener = new RpcListener().method('fail', () => {
      throw new RpcError(4001, 'Not today', { until: 'tomorrow' });
    });
    const rpc = await wsPair(listener);
    await expect(rpc.call('fail')).rejects.toMatchObject({ code: 4001, message: 'Not today', data: { until: 'tomorrow' } });
  });

  it('znet-knet scenario 48: a cut connection rejects all five pending calls at once', async () => {
    const listener = new RpcListener().method('hang', () => new Promise(() => {}));
    const { rpc, server, client } = await tcpPair(listener);
    const calls = Array.from({ length: 5 }, () => rpc.call('hang'));
    await until(() => onlyPeer(listener).runningCalls === 5, 'five calls');
    let closedMs = 0;
    const [session] = client.sessions.values();
    session?.addCloseCallback('test', 'time', () => {
      closedMs = performance.now();
    });
    for (const theirs of server.sessions.values()) theirs.destroy();
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    await session?.closed;
    expect(performance.now() - closedMs).toBeLessThan(50);
    expect(thrownBy(() => rpc.call('hang'))).toMatchObject({ code: 'NO_SESSION' });
  });

  it('znet-knet scenario 49: a method of the client is called by the server; its going rejects the call', async () => {
    const opened: unknown[] = [];
    const closed: unknown[] = [];
    const listener = new RpcListener({
      onPeer: (peer, session) => void opened.push([peer, session.state]),
      onPeerClose: (peer, _session, { code }) => void closed.push([peer.isClosed, code]),
    });
    const { client } = await tcpPair(
      listener,
      new RpcClient().method('add', (params) => (params as number[])[0]).method('hang', () => new Promise(() => {})) as RpcClient,
    );
    await until(() => opened.length === 1, 'the session');
    const peer = onlyPeer(listener);
    expect(opened).toEqual([[peer, 'open']]);
    expect(await peer.call('add', [7])).toBe(7);
    const hanging = expect(peer.call('hang')).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    await client.close();
    await hanging;
    await until(() => closed.length === 1, 'the close');
    expect(closed).toEqual([[true, 'PEER_CLOSED']]);
    expect([...listener.peers()]).toEqual([]);
  });
});

describe('a session with JSON-RPC', () => {
  const ask = (method: string, id: number): string => JSON.stringify({ jsonrpc: '2.0', method, id });

  it('answers a message that is no text, tells its owner, and goes on', async () => {
    const errors: unknown[] = [];
    const listener = new RpcListener({ onSessionError: (_session, error) => void errors.push(error.code) }).method('ok', () => 1);
    const wire = await lineWire(scene, listener);
    wire.send(Buffer.of(0xff));
    wire.send(ask('ok', 1));
    await until(() => wire.received.length === 2, 'two answers');
    expect(wire.received.map((text) => (JSON.parse(text) as { error?: { code: number } }).error?.code)).toEqual([-32700, undefined]);
    expect(errors).toEqual(['MALFORMED_PACKAGE']);
  });

  it('reads no further calls while its answers are above the high-water mark', async () => {
    const world = new MemoryWorld();
    const listener = new RpcListener().method('big', () => 'x'.repeat(1000));
    const server = await world.server(new RpcLineHandler(), listener, [withWaterMarks(1000, 5000)]);
    const rpc = new RpcClient();
    const connecting = world.connect(new RpcLineHandler(), rpc);
    await world.clock.advance(10);
    const session = await connecting;
    session.pause();
    const calls = Array.from({ length: 500 }, () => rpc.call('big'));
    await world.clock.advance(100);
    const [theirs] = server.sessions.values();
    const handledMeanwhile = onlyPeer(listener).counters.handled;
    expect(handledMeanwhile).toBeLessThan(500);
    expect(theirs?.pendingBytes).toBeLessThan(8000);
    session.resume();
    for (let round = 0; round < 50 && rpc.peer.pendingCalls > 0; round++) await world.clock.advance(100);
    expect(new Set(await Promise.all(calls)).size).toBe(1);
  });

  it('says to the cost hook who pays, and to handlers where they are', async () => {
    const paid: unknown[] = [];
    const seen: unknown[] = [];
    const listener = new RpcListener({ cost: (units, session) => paid.push([units, session.id]) < 3 });
    listener.method('ok', (_params, { session, client }) => void seen.push([session?.id, client]));
    const wire = await wsWire(scene, listener);
    for (const id of [1, 2, 3]) wire.send(ask('ok', id));
    await until(() => wire.received.length === 3, 'three answers');
    const [[, id]] = paid as [[number, number]];
    expect(paid).toEqual([
      [1, id],
      [1, id],
      [1, id],
    ]);
    expect(seen).toEqual([
      [id, undefined],
      [id, undefined],
    ]);
    expect(wire.received[2]).toContain('-32005');
  });

  it('tells the logger of the endpoint what nobody else is told', async () => {
    const world = new MemoryWorld();
    const lines: string[] = [];
    const logger = { warn: (line: string) => void lines.push(`warn ${line}`), error: (line: string) => void lines.push(`error ${line}`) };
    const listener = new RpcListener().method('fail\n', () => {
      throw new Error('two\nlines');
    });
    await world.server(new RpcLineHandler(), listener, [withLogger(logger)]);
    const rpc = new RpcClient();
    const connecting = world.connect(new RpcLineHandler(), rpc);
    await world.clock.advance(10);
    const session = await connecting;
    const failing = rpc.call('fail\n').catch((error: RpcError) => error.message);
    void session.writeBytes(Buffer.of(0xff, 0x0a));
    await world.clock.advance(100);
    expect(await failing).toBe('Internal error');
    expect(lines).toEqual([
      expect.stringMatching(/^error session \d+: fail\\n failed: two\\nlines$/),
      expect.stringMatching(/^warn session \d+: MALFORMED_PACKAGE: /),
    ]);
  });

  it('refuses wrong options where they are given', () => {
    expect(thrownBy(() => new RpcListener({ maxBatch: 0 }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(thrownBy(() => new RpcListener({ cost: 7 as never }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(thrownBy(() => new RpcListener().method('rpc.x', () => 1))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(thrownBy(() => defineRpc({ x: { params: {} as never } }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(thrownBy(() => new RpcClient().call('x'))).toMatchObject({ code: 'NO_SESSION' });
  });
});
