import { describe, expect, it } from 'vitest';
import { RpcClient } from '../../src/rpc/rpc-client.ts';
import { RpcLineHandler } from '../../src/rpc/rpc-framings.ts';
import { RpcListener } from '../../src/rpc/rpc-listener.ts';
import { RpcPeer } from '../../src/rpc/rpc-peer.ts';
import type { RpcPeerOptions } from '../../src/rpc/rpc-types.ts';
import { withSendQueue, withWaterMarks } from '../../src/session/options.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, settle } from '../helpers/session-recorder.ts';

const CALLS = 400;
const TEXT = 'x'.repeat(20_000);

/** A peer whose connection is full when the test says so. */
class FullPeer {
  readonly sent: { readonly id?: unknown; readonly result?: unknown; readonly error?: { readonly code: number } }[] = [];
  readonly errors: unknown[] = [];
  readonly rpc: RpcPeer;
  isFull = false;
  drainWaiters: (() => void)[] = [];

  constructor(options: RpcPeerOptions = {}) {
    this.rpc = new RpcPeer(
      {
        send: (text) => void this.sent.push(JSON.parse(text) as FullPeer['sent'][number]),
        now: () => 0,
        after: () => () => {},
        isFull: () => this.isFull,
        drained: () => new Promise((resolve) => this.drainWaiters.push(resolve)),
      },
      { onError: (...args) => void this.errors.push(args), ...options },
    );
  }

  ask(id: number | undefined, method = 'echo'): void {
    this.rpc.receive(JSON.stringify({ jsonrpc: '2.0', method, params: [id ?? 0], ...(id === undefined ? {} : { id }) }));
  }

  async drain(): Promise<void> {
    this.isFull = false;
    for (const resolve of this.drainWaiters.splice(0)) resolve();
    await settle(1);
  }

  answers(): unknown[] {
    return this.sent.splice(0).map(({ id, result, error }) => [id, error?.code ?? result]);
  }
}

describe('calls that come while the connection is full, and this side waits for answers', () => {
  it('are held in order, and handled when it is not full any more', async () => {
    const peer = new FullPeer();
    const seen: unknown[] = [];
    peer.rpc.method('echo', (params) => {
      seen.push(params);
      if (seen.length === 2) peer.isFull = true;
      return params;
    });
    void peer.rpc.call('other').catch(() => {});
    peer.isFull = true;
    for (const id of [1, undefined, 3, 4]) peer.ask(id);
    peer.rpc.receive('{"jsonrpc":"2.0","method":"rpc.cancel","params":[3]}');
    expect([seen, peer.rpc.runningCalls, peer.rpc.counters.held]).toEqual([[], 3, 4]);
    expect(peer.answers()).toEqual([
      [1, undefined],
      [3, -32002],
    ]);
    expect(peer.drainWaiters).toHaveLength(1);
    await peer.drain();
    expect(seen).toEqual([[1], [0]]);
    await peer.drain();
    expect(seen).toEqual([[1], [0], [4]]);
    expect(peer.answers()).toEqual([
      [1, [1]],
      [4, [4]],
    ]);
    expect(peer.rpc.runningCalls).toBe(0);
  });

  it('beyond maxRunningCalls are answered with -32005', async () => {
    const peer = new FullPeer({ maxRunningCalls: 2 });
    peer.rpc.method('echo', (params) => params);
    void peer.rpc.call('other').catch(() => {});
    peer.answers();
    peer.isFull = true;
    for (const id of [1, 2, 3, undefined]) peer.ask(id);
    expect(peer.answers()).toEqual([[3, -32005]]);
    expect(peer.rpc.counters).toMatchObject({ held: 2, overRunning: 2, handled: 0 });
    peer.rpc.close();
    await peer.drain();
    expect([peer.answers(), peer.rpc.runningCalls]).toEqual([[], 0]);
  });

  it('are handled at once when this side waits for nothing', () => {
    const peer = new FullPeer();
    peer.rpc.method('echo', (params) => params);
    peer.isFull = true;
    peer.ask(1);
    expect(peer.answers()).toEqual([[1, [1]]]);
  });
});

it('two sides that flood each other with large calls and answers both get all of them, and nobody waits for time to pass', async () => {
  const world = new MemoryWorld();
  const options = { maxRunningCalls: CALLS };
  const listener = new RpcListener(options).method('echo', (params) => params);
  const limits = [withWaterMarks(1_000, 5_000), withSendQueue(100_000_000)];
  await world.server(new RpcLineHandler(), listener, limits);
  const client = new RpcClient(options);
  client.method('echo', (params) => params);
  await world.connect(new RpcLineHandler(), client, ...limits);
  await eventually(() => [...listener.peers()].length === 1, 'the server has the session');
  const [there] = listener.peers();
  const flood = (peer: { call(method: string, params: unknown): Promise<unknown> } | undefined): Promise<unknown>[] =>
    Array.from({ length: CALLS }, (_, n) => peer?.call('echo', [n, TEXT]) ?? Promise.reject(new Error('no peer')));
  let settled = 0;
  const all = [...flood(client), ...flood(there)].map((call) => call.finally(() => settled++));
  await eventually(() => settled === 2 * CALLS, 'all answers');
  const results = (await Promise.all(all)) as [number, string][];
  expect(results.map(([n]) => n)).toEqual([...Array(2).keys()].flatMap(() => [...Array(CALLS).keys()]));
});

it('an error with the id null settles no call, but is reported and counted', () => {
  const peer = new FullPeer();
  const error = '{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}';
  peer.rpc.receive(error);
  expect(peer.errors).toEqual([]);
  void peer.rpc.call('other').catch(() => {});
  peer.rpc.receive(error);
  expect(peer.errors).toEqual([[expect.objectContaining({ code: -32700, message: 'Parse error' }), { method: '', id: null }]]);
  expect([peer.rpc.pendingCalls, peer.rpc.counters.unmatched]).toEqual([1, 2]);
});

it('cancelling and credit are free for calls that run, and cost one unit each for others', () => {
  let cost = 0;
  const peer = new FullPeer({
    cost: (units) => {
      cost += units;
      return true;
    },
  });
  peer.rpc.method('echo', () => new Promise(() => {}));
  peer.ask(1);
  peer.rpc.receive('{"jsonrpc":"2.0","method":"rpc.cancel","params":[1]}');
  expect(cost).toBe(1);
  for (const method of ['cancel', 'stream.credit', 'stream.item']) {
    peer.rpc.receive(`{"jsonrpc":"2.0","method":"rpc.${method}","params":[1,1]}`);
  }
  expect(cost).toBe(4);
});

it('next called many times at once gets the items in order, then the end; too many that wait are refused', async () => {
  const peer = new FullPeer();
  const stream = peer.rpc.stream('numbers');
  const waiting = Promise.allSettled(Array.from({ length: 1_025 }, () => stream.next()));
  for (const n of [1, 2, 3]) peer.rpc.receive(`{"jsonrpc":"2.0","method":"rpc.stream.item","params":[1,${n}]}`);
  peer.rpc.receive('{"jsonrpc":"2.0","error":{"code":7,"message":"broken"},"id":1}');
  const results = await waiting;
  expect(results.slice(0, 3).map((result) => (result.status === 'fulfilled' ? result.value : result))).toEqual([
    { value: 1, done: false },
    { value: 2, done: false },
    { value: 3, done: false },
  ]);
  expect(results[3]).toMatchObject({ status: 'rejected', reason: { code: 7 } });
  expect(results.slice(4, 1_024)).toEqual(Array(1_020).fill({ status: 'fulfilled', value: { value: undefined, done: true } }));
  expect(results[1_024]).toMatchObject({ status: 'rejected', reason: { code: 'WRONG_STATE' } });
});

it('a list as long as a message may be is taken item by item in a time that grows with its length', async () => {
  const peer = new FullPeer();
  const stream = peer.rpc.stream('numbers');
  const count = 200_000;
  peer.rpc.receive(`{"jsonrpc":"2.0","result":[${Array(count).fill(0).join(',')}],"id":1}`);
  expect(stream.bufferedItems).toBe(count);
  let taken = 0;
  for await (const _item of stream) taken++;
  expect([taken, stream.bufferedItems]).toEqual([count, 0]);
});
