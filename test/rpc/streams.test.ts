import { describe, expect, it } from 'vitest';
import type { RpcPeer } from '../../src/rpc/rpc-peer.ts';
import type { RpcPeerOptions } from '../../src/rpc/rpc-types.ts';
import { BarePeer, peerPair } from '../helpers/rpc-world.ts';

/** Counts for ever, and says how far it came and whether it was told to stop. */
function counter(peer: RpcPeer): { made: number; isStopped: boolean } {
  const state = { made: 0, isStopped: false };
  peer.method('count', async function* (params) {
    const [limit] = params as [number];
    try {
      while (state.made < limit) yield state.made++;
    } finally {
      state.isStopped = true;
    }
  });
  return state;
}

async function collect(items: AsyncIterable<unknown>): Promise<unknown[]> {
  const list: unknown[] = [];
  for await (const item of items) list.push(item);
  return list;
}

function pair(left: RpcPeerOptions = {}, right: RpcPeerOptions = {}) {
  const both = peerPair(left, right);
  return { ...both, state: counter(both.b) };
}

describe('a stream', () => {
  it('gives all items in order, over many rounds of credit, and ends both sides', async () => {
    const { a, b, state } = pair();
    expect(await collect(a.stream('count', [100], { credit: 3 }))).toEqual(Array.from({ length: 100 }, (_, index) => index));
    expect([state.isStopped, a.pendingCalls, b.runningCalls]).toEqual([true, 0, 0]);
  });

  it('stands on the wire as the documents say', async () => {
    const peer = new BarePeer();
    counter(peer.rpc);
    peer.ask({ jsonrpc: '2.0', method: 'count', params: [3], id: 'a', stream: 2 });
    await peer.settle();
    expect(peer.received.splice(0)).toEqual([
      '{"jsonrpc":"2.0","method":"rpc.stream.item","params":["a",0]}',
      '{"jsonrpc":"2.0","method":"rpc.stream.item","params":["a",1]}',
    ]);
    peer.ask({ jsonrpc: '2.0', method: 'rpc.stream.credit', params: ['a', 2] });
    await peer.settle();
    expect(peer.received.splice(0)).toEqual([
      '{"jsonrpc":"2.0","method":"rpc.stream.item","params":["a",2]}',
      '{"jsonrpc":"2.0","result":{"$stream":3},"id":"a"}',
    ]);
    const stream = peer.rpc.stream('ticks', [1], { credit: 4 });
    expect(peer.received.splice(0)).toEqual(['{"jsonrpc":"2.0","method":"ticks","params":[1],"id":1,"stream":4}']);
    for (const item of [1, 2]) peer.ask({ jsonrpc: '2.0', method: 'rpc.stream.item', params: [1, item] });
    expect([await stream.next(), await stream.next()]).toMatchObject([{ value: 1 }, { value: 2 }]);
    expect(peer.received.splice(0)).toEqual(['{"jsonrpc":"2.0","method":"rpc.stream.credit","params":[1,2]}']);
    await stream.return();
    expect(peer.received).toEqual(['{"jsonrpc":"2.0","method":"rpc.cancel","params":[1]}']);
  });

  it('sends no more than the reader takes', async () => {
    const { a, state, clock } = pair();
    const stream = a.stream('count', [1e9], { credit: 8 });
    await clock.advance(0);
    expect(state.made).toBeLessThanOrEqual(9);
    expect(stream.bufferedItems).toBe(8);
    for (let index = 0; index < 4; index++) await stream.next();
    await clock.advance(0);
    expect(state.made).toBeLessThanOrEqual(13);
    expect(stream.bufferedItems).toBe(8);
  });

  it('that the reader leaves stops the handler, also one that waits', async () => {
    const { a, b, clock, state } = pair();
    for await (const item of a.stream('count', [1e9])) if (item === 5) break;
    await clock.advance(0);
    expect([state.isStopped, b.runningCalls, a.pendingCalls]).toEqual([true, 0, 0]);
    let isAborted = false;
    b.method('never', async function* (_params, { signal }) {
      signal.addEventListener('abort', () => {
        isAborted = true;
      });
      yield await new Promise(() => {});
    });
    const waiting = a.stream('never');
    const next = waiting.next();
    await clock.advance(0);
    await waiting.return();
    expect(await next).toEqual({ value: undefined, done: true });
    await clock.advance(0);
    expect([isAborted, b.runningCalls]).toEqual([true, 0]);
  });

  it('that fails in the middle gives what came before, then the error, without its text', async () => {
    const { a, b } = pair({}, { onError: () => {} });
    b.method('breaks', async function* () {
      yield 1;
      yield 2;
      throw new Error('secret');
    });
    const items: unknown[] = [];
    const reading = (async () => {
      for await (const item of a.stream('breaks')) items.push(item);
    })();
    await expect(reading).rejects.toMatchObject({ code: -32603, message: 'Internal error' });
    expect(items).toEqual([1, 2]);
  });

  it('is a list for a caller that asks for none, of at most maxCollectedItems', async () => {
    const { a, state } = pair({}, { maxCollectedItems: 10 });
    expect(await a.call('count', [10])).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    state.made = 0;
    await expect(a.call('count', [11])).rejects.toMatchObject({ code: -32005, data: { limit: 'items', max: 10 } });
    expect(state.isStopped).toBe(true);
  });

  it('is a list in a batch too, and bounded by bytes', async () => {
    const { a, b } = pair({}, { maxMessageBytes: 1000 });
    b.method('big', function* () {
      for (;;) yield 'x'.repeat(100);
    });
    b.method('generator', function* () {
      yield 1;
      yield 2;
    });
    expect(await a.batch([{ method: 'generator' }, { method: 'big' }])).toMatchObject([
      { value: [1, 2] },
      { reason: { code: -32005, data: { limit: 'response', max: 1000 } } },
    ]);
    expect(b.counters.overSize).toBe(1);
  });

  it('of a notification is not begun', async () => {
    const { a, clock, state } = pair();
    a.notify('count', [5]);
    await clock.advance(0);
    expect(state.made).toBe(0);
  });

  it('of a method that answers otherwise has the elements of its list, or its one value', async () => {
    const { a, b } = pair();
    b.method('list', () => [1, 2, 3]);
    b.method('value', () => ({ a: 1 }));
    expect(await collect(a.stream('list', [], { credit: 1 }))).toEqual([1, 2, 3]);
    expect(await collect(a.stream('value'))).toEqual([{ a: 1 }]);
    await expect(collect(a.stream('unknown'))).rejects.toMatchObject({ code: -32601 });
  });

  it('ends with an error when more items come than were allowed, or fewer than were sent', async () => {
    const peer = new BarePeer();
    const stream = peer.rpc.stream('x', [], { credit: 1 });
    for (const item of [1, 2, 3]) peer.ask({ jsonrpc: '2.0', method: 'rpc.stream.item', params: [1, item] });
    expect(await stream.next()).toEqual({ value: 1, done: false });
    await expect(stream.next()).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION', recoverable: true });
    expect(await stream.next()).toEqual({ value: undefined, done: true });
    expect(peer.rpc.counters.unmatched).toBe(1);
    const short = peer.rpc.stream('x');
    peer.ask({ jsonrpc: '2.0', result: { $stream: 2 }, id: 2 });
    await expect(short.next()).rejects.toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  it('has its time-out between items', async () => {
    const peer = new BarePeer();
    const stream = peer.rpc.stream('x', [], { timeoutMs: 100 });
    await peer.clock.advance(90);
    peer.ask({ jsonrpc: '2.0', method: 'rpc.stream.item', params: [1, 'a'] });
    await peer.clock.advance(90);
    expect(await stream.next()).toEqual({ value: 'a', done: false });
    const next = expect(stream.next()).rejects.toMatchObject({ code: 'CALL_TIMEOUT' });
    await peer.clock.advance(10);
    await next;
  });

  it('outlives the time-out of handlers, and ends with the peer', async () => {
    const { a, b, clock, state } = pair({}, { handlerTimeoutMs: 100 });
    const stream = a.stream('count', [1e9], { credit: 2 });
    await clock.advance(1000);
    expect(b.runningCalls).toBe(1);
    b.close();
    a.close();
    expect([await stream.next(), await stream.next()]).toMatchObject([{ value: 0 }, { value: 1 }]);
    await expect(stream.next()).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    await clock.advance(0);
    expect(state.isStopped).toBe(true);
  });
});
