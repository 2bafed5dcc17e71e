import { describe, expect, it } from 'vitest';
import { RpcError } from '../../src/rpc/rpc-wire.ts';
import { BarePeer, peerPair } from '../helpers/rpc-world.ts';
import { thrownBy } from '../helpers/thrown.ts';

describe('a call', () => {
  it('is sent as the specification says, and settles with the result', async () => {
    const peer = new BarePeer();
    const results = [peer.rpc.call('list', [1, 'a']), peer.rpc.call('object', { a: 1 }), peer.rpc.call('none')];
    expect(peer.rpc.notify('told', [2])).toBe(true);
    expect(peer.received).toEqual([
      '{"jsonrpc":"2.0","method":"list","params":[1,"a"],"id":1}',
      '{"jsonrpc":"2.0","method":"object","params":{"a":1},"id":2}',
      '{"jsonrpc":"2.0","method":"none","id":3}',
      '{"jsonrpc":"2.0","method":"told","params":[2]}',
    ]);
    peer.ask([3, 1, 2].map((id) => ({ jsonrpc: '2.0', result: `of ${id}`, id })));
    expect(await Promise.all(results)).toEqual(['of 1', 'of 2', 'of 3']);
    expect(peer.rpc.pendingCalls).toBe(0);
  });

  it('znet-knet scenario 47: an error of the other side rejects it with code, message and data', async () => {
    const { a, b } = peerPair();
    b.method('fail', () => {
      throw new RpcError(4001, 'Not today', { until: 'tomorrow' });
    });
    const call = a.call('fail');
    await expect(call).rejects.toBeInstanceOf(RpcError);
    await expect(call).rejects.toMatchObject({ name: 'RpcError', code: 4001, message: 'Not today', data: { until: 'tomorrow' } });
    await expect(a.call('unknown')).rejects.toMatchObject({ code: -32601, message: 'Method not found' });
  });

  it('znet-knet scenario 46: rejects at its time-out; the late answer is ignored, the next call works', async () => {
    const { a, b, clock } = peerPair();
    const aborted: unknown[] = [];
    b.method('slow', (_params, { signal }) => {
      signal.addEventListener('abort', () => aborted.push(signal.reason));
      return new Promise((resolve) => clock.after(1000, () => resolve('late')));
    });
    b.method('quick', () => 'now');
    const slow = expect(a.call('slow', [], { timeoutMs: 100 })).rejects.toMatchObject({ name: 'StateError', code: 'CALL_TIMEOUT' });
    await clock.advance(99);
    expect(a.pendingCalls).toBe(1);
    await clock.advance(1);
    await slow;
    expect(a.pendingCalls).toBe(0);
    await clock.advance(0);
    expect(aborted).toMatchObject([{ code: 'ABORTED' }]);
    expect(b.runningCalls).toBe(0);
    const next = a.call('quick');
    await clock.advance(2000);
    expect(await next).toBe('now');
    expect(a.counters.unmatched).toBe(1);
  });

  it('znet-knet scenario 45: of 1 000 at once, answered in any order, each gets its own result', async () => {
    const { a, b, clock } = peerPair({ maxPendingCalls: 1000 }, { maxRunningCalls: 1000 });
    b.method('shuffle', (params) => {
      const [number] = params as [number];
      return new Promise((resolve) => clock.after((number * 7919) % 1000, () => resolve(number)));
    });
    const calls = Array.from({ length: 1000 }, (_, index) => a.call('shuffle', [index]));
    await clock.advance(1000);
    expect(await Promise.all(calls)).toEqual(Array.from({ length: 1000 }, (_, index) => index));
  });

  it('has a default time-out, and none with 0', async () => {
    const peer = new BarePeer({ callTimeoutMs: 500 });
    const usual = expect(peer.rpc.call('x')).rejects.toMatchObject({ code: 'CALL_TIMEOUT' });
    const endless = peer.rpc.call('x', [], { timeoutMs: 0 });
    const long = expect(peer.rpc.call('x', [], { timeoutMs: 2000 })).rejects.toMatchObject({ code: 'CALL_TIMEOUT' });
    await peer.clock.advance(500);
    await usual;
    expect(peer.rpc.pendingCalls).toBe(2);
    await peer.clock.advance(1500);
    await long;
    await peer.clock.advance(1_000_000);
    expect(peer.rpc.pendingCalls).toBe(1);
    peer.ask({ jsonrpc: '2.0', result: 'at last', id: 2 });
    expect(await endless).toBe('at last');
  });

  it('sets one timer for any number of calls', async () => {
    const peer = new BarePeer();
    const calls = Array.from({ length: 500 }, (_, index) => peer.rpc.call('x', [], { timeoutMs: 1000 + index }).catch(() => 'late'));
    expect(peer.clock.pendingTimers).toBe(1);
    await peer.clock.advance(1499);
    expect(peer.clock.pendingTimers).toBe(0);
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['late']));
  });

  it('rejects with ABORTED when its signal is aborted, before or after, and tells the other side', async () => {
    const peer = new BarePeer();
    const early = AbortSignal.abort('no');
    await expect(peer.rpc.call('x', [], { signal: early })).rejects.toMatchObject({ code: 'ABORTED', cause: 'no' });
    expect(peer.received).toEqual([]);
    const controller = new AbortController();
    const call = peer.rpc.call('x', [], { signal: controller.signal });
    controller.abort('enough');
    await expect(call).rejects.toMatchObject({ code: 'ABORTED', cause: 'enough' });
    expect(peer.received.at(-1)).toBe('{"jsonrpc":"2.0","method":"rpc.cancel","params":[1]}');
    expect(peer.rpc.pendingCalls).toBe(0);
  });

  it('that the other side takes back frees its place at once, and is answered with -32002', async () => {
    const peer = new BarePeer();
    let signal: AbortSignal | undefined;
    peer.rpc.method('hang', (_params, context) => {
      ({ signal } = context);
      return new Promise(() => {});
    });
    peer.ask({ jsonrpc: '2.0', method: 'hang', id: 'a' });
    peer.ask({ jsonrpc: '2.0', method: 'hang' });
    expect(peer.rpc.runningCalls).toBe(2);
    peer.ask({ jsonrpc: '2.0', method: 'rpc.cancel', params: ['a'] });
    expect(signal?.aborted).toBe(false);
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: { code: -32002, message: 'Cancelled' }, id: 'a' }]);
    expect(peer.rpc.runningCalls).toBe(1);
  });

  it('is refused when it cannot be said: with an error at once for misuse, else as a rejection', async () => {
    const peer = new BarePeer({ maxMessageBytes: 100 });
    for (const params of [5, 'x', true, null, () => 1]) {
      expect(thrownBy(() => peer.rpc.call('x', params))).toMatchObject({ code: 'INVALID_OPTION' });
    }
    expect(thrownBy(() => peer.rpc.call('x', [], { timeoutMs: -1 }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(thrownBy(() => peer.rpc.batch([]))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(thrownBy(() => peer.rpc.batch(Array.from({ length: 51 }, () => ({ method: 'x' }))))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(thrownBy(() => peer.rpc.stream('x', [], { credit: 0 }))).toMatchObject({ code: 'INVALID_OPTION' });
    await expect(peer.rpc.call('x', [7n])).rejects.toMatchObject({ code: 'UNENCODABLE_BODY' });
    await expect(peer.rpc.call('x', ['é'.repeat(50)])).rejects.toMatchObject({ code: 'ENCODED_TOO_LARGE' });
    expect(thrownBy(() => peer.rpc.notify('x', [7n]))).toMatchObject({ code: 'UNENCODABLE_BODY' });
    peer.sendError = new Error('the wire is cut');
    await expect(peer.rpc.call('x')).rejects.toThrow('the wire is cut');
    expect(peer.rpc.pendingCalls).toBe(0);
  });
});

describe('a batch', () => {
  it('is one message; its outcomes come in the order of its calls', async () => {
    const { a, b, texts } = peerPair();
    b.method('sum', (params) => (params as number[]).reduce((total, value) => total + value, 0));
    const outcomes = await a.batch([
      { method: 'sum', params: [1, 2] },
      { method: 'sum', params: [9], isNotification: true },
      { method: 'unknown' },
      { method: 'sum', params: [3] },
    ]);
    expect(outcomes).toMatchObject([
      { status: 'fulfilled', value: 3 },
      { status: 'fulfilled', value: undefined },
      { status: 'rejected', reason: { code: -32601 } },
      { status: 'fulfilled', value: 3 },
    ]);
    expect(texts).toHaveLength(1);
    expect(b.counters.handled).toBe(3);
  });

  it('that cannot be sent has all its calls rejected; one of notifications rejects itself', async () => {
    const peer = new BarePeer();
    peer.rpc.close();
    expect(await peer.rpc.batch([{ method: 'x' }])).toMatchObject([{ status: 'rejected', reason: { code: 'SESSION_CLOSED' } }]);
    await expect(peer.rpc.batch([{ method: 'x', isNotification: true }])).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
  });
});

describe('a closed peer', () => {
  it('rejects its calls with the cause, aborts handlers, sends and handles nothing more, and stays safe', async () => {
    const peer = new BarePeer();
    let signal: AbortSignal | undefined;
    peer.rpc.method('hang', (_params, context) => {
      ({ signal } = context);
      return new Promise(() => {});
    });
    peer.ask({ jsonrpc: '2.0', method: 'hang', id: 1 });
    const calls = [peer.rpc.call('x'), peer.rpc.call('y')];
    peer.received.length = 0;
    const cause = new Error('reset');
    peer.rpc.close(cause);
    peer.rpc.close();
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'SESSION_CLOSED', cause });
    expect(signal?.aborted).toBe(true);
    await expect(peer.rpc.call('z')).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    expect(peer.rpc.notify('z')).toBe(false);
    peer.ask({ jsonrpc: '2.0', method: 'hang', id: 2 });
    peer.rpc.receiveMalformed();
    await expect(peer.rpc.stream('s').next()).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    expect([peer.received, peer.rpc.isClosed, peer.rpc.pendingCalls, peer.rpc.runningCalls]).toEqual([[], true, 0, 0]);
    expect(peer.clock.pendingTimers).toBe(0);
  });

  it('may be closed by a handler, in the middle of a batch', () => {
    const peer = new BarePeer();
    peer.rpc.method('close', (_params, context) => context.peer.close());
    peer.ask(['close', 'close', 'x'].map((method, id) => ({ jsonrpc: '2.0', method, params: {}, id })));
    expect(peer.received).toEqual([]);
  });
});

describe('options', () => {
  it.each([
    { maxBatch: 0 },
    { maxDepth: 1 },
    { maxMessageBytes: 1.5 },
    { maxBatchResponseBytes: -1 },
    { maxPendingCalls: Number.NaN },
    { maxRunningCalls: 0 },
    { maxCollectedItems: 0 },
    { callTimeoutMs: -1 },
    { handlerTimeoutMs: 2 ** 31 },
  ])('%j is refused', (options) => {
    const [name = ''] = Object.keys(options);
    expect(thrownBy(() => new BarePeer(options))).toMatchObject({ code: 'INVALID_OPTION', message: expect.stringContaining(name) });
  });

  it('an RpcError has a whole number and a text', () => {
    expect(thrownBy(() => new RpcError(1.5, 'x'))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(RpcError.invalidParams([1])).toMatchObject({ code: -32602, message: 'Invalid params', data: [1] });
  });
});
