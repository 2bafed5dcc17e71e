import { describe, expect, it } from 'vitest';
import { RpcMethods } from '../../src/rpc/rpc-methods.ts';
import { RpcError } from '../../src/rpc/rpc-wire.ts';
import { BarePeer } from '../helpers/rpc-world.ts';

const echo = new RpcMethods().method('echo', (params) => params).method('text', () => 'x'.repeat(600_000));

function open(options: ConstructorParameters<typeof BarePeer>[0] = {}): BarePeer {
  return new BarePeer(options, { methods: echo });
}

const codes = (answers: readonly unknown[]): unknown[] => answers.map((answer) => (answer as { error?: { code: number } }).error?.code);
const call = (params: unknown, id: unknown = 1, method: unknown = 'echo'): unknown => ({ jsonrpc: '2.0', method, params, id });
const LIMIT = (limit: string, max?: number): unknown => ({ code: -32005, message: 'Limit exceeded', data: { limit, ...(max && { max }) } });
const REFUSED = (limit: string, max: number): unknown => ({
  jsonrpc: '2.0',
  error: { code: -32600, message: 'Invalid Request', data: { limit, max } },
  id: null,
});

describe('what strangers send (D 86)', () => {
  const texts: readonly [string, string | Uint8Array, number][] = [
    ['half a message', '{"jsonrpc":"2.0","method":"echo"', -32700],
    ['a byte order mark', `\ufeff${JSON.stringify(call([1]))}`, -32700],
    ['a byte order mark in bytes', Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), Buffer.from(JSON.stringify(call([1])))]), -32700],
    ['NaN', '{"jsonrpc":"2.0","method":"echo","params":[NaN],"id":1}', -32700],
    ['a comment', '{"jsonrpc":"2.0","method":"echo","id":1}//', -32700],
    ['depth 10 000', `{"jsonrpc":"2.0","method":"echo","params":${'['.repeat(10_000)}${']'.repeat(10_000)},"id":1}`, -32600],
    ['__proto__ in the message', '{"__proto__":{"jsonrpc":"2.0","method":"echo","id":1}}', -32600],
    ['__proto__ in the params', '{"jsonrpc":"2.0","method":"echo","params":{"__proto__":{"polluted":1}},"id":1}', -32600],
    ['__proto__, escaped', '{"jsonrpc":"2.0","method":"echo","params":[{"\\u005f_proto_\\u005F" : 1}],"id":1}', -32600],
  ];

  it.each(texts)('%s is answered with an error and changes nothing', (_name, payload, code) => {
    const peer = open();
    peer.send(payload);
    expect(codes(peer.take())).toEqual([code]);
    expect(peer.rpc.counters.invalid + peer.rpc.counters.refused).toBe(1);
    expect(Object.prototype).not.toHaveProperty('polluted');
    peer.ask(call([2]));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', result: [2], id: 1 }]);
  });

  it('of members that come twice, the last one counts, also its digits', () => {
    const peer = open();
    peer.send('{"jsonrpc":"2.0","method":"x","method":"echo","id":1,"params":[1],"id":2.50}');
    peer.send('{"jsonrpc":"2.0","method":"echo","id":7,"id":"7"}');
    expect(peer.received).toEqual(['{"jsonrpc":"2.0","result":[1],"id":2.50}', '{"jsonrpc":"2.0","result":null,"id":"7"}']);
  });

  it('the word __proto__ is a value like any other', () => {
    const peer = open();
    peer.ask(call(['__proto__', { name: '__proto__' }]));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', result: ['__proto__', { name: '__proto__' }], id: 1 }]);
  });

  it('depth counts what is nested, up to the limit and not beyond', () => {
    const peer = open({ maxDepth: 4 });
    peer.send('{"jsonrpc":"2.0","method":"echo","params":[[[]]],"id":1}');
    peer.send('{"jsonrpc":"2.0","method":"echo","params":["[[[[[[","{{{{{{"],"id":2}');
    peer.send('{"jsonrpc":"2.0","method":"echo","params":[[[[]]]],"id":3}');
    expect(peer.take().map((answer) => (answer as { id: unknown }).id)).toEqual([1, 2, null]);
    expect(peer.rpc.counters.refused).toBe(1);
  });

  it('a message above maxMessageBytes is refused by its bytes, not its characters', () => {
    const peer = open({ maxMessageBytes: 100 });
    const size = (text: string): number => Buffer.byteLength(JSON.stringify(call([text])));
    const fits = 'é'.repeat(Math.floor((100 - size('')) / 2));
    peer.ask(call([fits]));
    peer.ask(call([`${fits}é`]));
    expect(codes(peer.take())).toEqual([undefined, -32600]);
    expect(peer.rpc.counters.refused).toBe(1);
  });
});

describe('ids (D 87)', () => {
  it.each(['{}', '[]', 'true', '1e400', '-1e400'])('%s is none: -32600 with null', (id) => {
    const peer = open();
    peer.send(`{"jsonrpc":"2.0","method":"echo","params":[1],"id":${id}}`);
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: { code: -32600, message: 'Invalid Request' }, id: null }]);
  });

  it.each(['1', '-0', '1.0', '1E3', '123456789012345678901234567890', '""', '"\\ud800"', '"é"', 'null'])(
    '%s comes back as it was written',
    (id) => {
      const peer = open();
      peer.send(`{"id" : ${id} ,"params":{"id":5,"x":[{"id":6}]},"jsonrpc":"2.0","method":"echo"}`);
      expect(peer.received[0]).toBe(`{"jsonrpc":"2.0","result":{"id":5,"x":[{"id":6}]},"id":${id}}`);
    },
  );

  it('an escaped name is still the id, and those of a batch stay apart', () => {
    const peer = open();
    peer.send('{"jsonrpc":"2.0","method":"echo","params":[1],"\\u0069d":1.10}');
    peer.send('[{"jsonrpc":"2.0","method":"echo","id":1.10},[{"id":3}],{"id":2.20,"jsonrpc":"2.0","method":"echo"}]');
    expect(peer.received[0]).toContain('"id":1.10}');
    expect(peer.received[1]).toBe(
      '[{"jsonrpc":"2.0","result":null,"id":1.10},{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null},{"jsonrpc":"2.0","result":null,"id":2.20}]',
    );
  });
});

describe('batches (D 88, C 48)', () => {
  const batchOf = (count: number): unknown[] => Array.from({ length: count }, (_, index) => call([index], index));

  it('50 elements are answered, 51 with one error, 280 000 too, without being parsed', () => {
    const peer = open();
    peer.ask(batchOf(50));
    expect((peer.take()[0] as unknown[]).length).toBe(50);
    peer.ask(batchOf(51));
    peer.send(`[${'{},'.repeat(279_999)}{}]`);
    expect(peer.take()).toEqual([REFUSED('batch', 50), REFUSED('batch', 50)]);
    expect(peer.rpc.counters).toMatchObject({ handled: 50, refused: 2 });
  });

  it('a batch in a batch is an invalid element', () => {
    const peer = open();
    peer.ask([[call([1])], call([2], 2), 7]);
    expect(codes(peer.take()[0] as unknown[])).toEqual([-32600, undefined, -32600]);
  });

  it('each element is charged, good or bad, and answers to own calls are free', () => {
    const charged: number[] = [];
    const peer = open({ cost: (units) => charged.push(units) > 0 });
    peer.ask([call([1]), 7, { jsonrpc: '2.0', method: 'echo' }, { jsonrpc: '2.0', result: 1, id: 9 }]);
    peer.ask(call([1]));
    peer.send('nonsense');
    peer.ask({ jsonrpc: '2.0', result: 1, id: 9 });
    peer.ask({ jsonrpc: '2.0', method: 'rpc.stream.credit', params: [1, 1] });
    expect(charged).toEqual([3, 1, 1, 1]);
  });

  it('that cannot be paid is not handled at all', () => {
    let left = 3;
    const peer = open({
      cost: (units) => {
        left -= units;
        return left >= 0;
      },
    });
    peer.ask(batchOf(3));
    peer.take();
    peer.ask(batchOf(2));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: LIMIT('rate'), id: null }]);
    peer.ask(call([1], 'mine'));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: LIMIT('rate'), id: 'mine' }]);
    peer.ask({ jsonrpc: '2.0', method: 'echo' });
    peer.send('nonsense');
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: LIMIT('rate'), id: null }]);
    expect(peer.rpc.counters).toMatchObject({ handled: 3, overRate: 5 });
  });

  it('a cost hook that fails lets nobody through and reaches onError', () => {
    const peer = open({
      cost: () => {
        throw new Error('broken');
      },
    });
    peer.ask(call([1]));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: LIMIT('rate'), id: 1 }]);
    expect(peer.errors).toEqual([new Error('broken')]);
  });

  it('the answer stays within 1 MiB: results without room give way to errors', () => {
    const peer = open();
    peer.ask([call([], 1, 'text'), call([], 2, 'text'), call(['small'], 3)]);
    const [text = ''] = peer.received;
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1_048_576);
    const [answers] = peer.take() as [{ id: number; result?: unknown; error?: unknown }[]];
    expect(answers.map(({ id, result, error }) => [id, typeof result, error])).toEqual([
      [1, 'string', undefined],
      [2, 'undefined', LIMIT('response', 1_048_576)],
      [3, 'object', undefined],
    ]);
    expect(peer.rpc.counters.overSize).toBe(1);
  });

  it('of which not even the errors fit is answered with one', () => {
    const peer = open({ maxBatchResponseBytes: 300 });
    peer.ask([call([], 'a'.repeat(200)), call([], 'b'.repeat(200))]);
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: LIMIT('response', 300), id: null }]);
  });

  it('is answered when the last of it is done, in the order of the calls', async () => {
    const peer = open();
    let release: (value: string) => void = () => {};
    peer.rpc.method('slow', () => new Promise((resolve) => (release = resolve)));
    peer.ask([call([], 1, 'slow'), call(['x'], 2)]);
    await peer.settle();
    expect(peer.received).toEqual([]);
    release('done');
    await peer.settle();
    expect(peer.take()).toEqual([
      [
        { jsonrpc: '2.0', result: 'done', id: 1 },
        { jsonrpc: '2.0', result: ['x'], id: 2 },
      ],
    ]);
  });
});

describe('names of methods (D 89, C 8, C 9)', () => {
  it.each(['constructor', 'toString', '__proto__', 'hasOwnProperty', 'valueOf', 'rpc.x', '', 'Echo'])('%s is not found', (method) => {
    const peer = open();
    peer.ask(call([1], 1, method));
    expect(codes(peer.take())).toEqual([-32601]);
  });

  const noNames: readonly [unknown][] = [[{}], [[]], [null], [{ toString: 1 }], [1e9], [-1], [true]];
  it.each(noNames)('%j is no name', (method) => {
    const peer = open();
    peer.ask(call([1], 1, method));
    expect(codes(peer.take())).toEqual([-32600]);
  });

  it.each(['rpc.x', 'rpc.', ''])('%j cannot be registered', (name) => {
    expect(() => new RpcMethods().method(name, () => 1)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  it('cancelling and credit for what is not there, or is no number, does nothing', () => {
    const peer = open();
    for (const params of [[], ['splice'], [-1], [1e9, 1e9], [{ length: 1 }], { id: 1 }, undefined]) {
      for (const method of ['rpc.cancel', 'rpc.stream.credit', 'rpc.stream.item']) peer.ask({ jsonrpc: '2.0', method, params });
    }
    expect(peer.received).toEqual([]);
    peer.ask(call([1], 1, 'rpc.cancel'));
    expect(codes(peer.take())).toEqual([-32601]);
  });
});

describe('handlers that fail (D 90, C 7)', () => {
  const hostile = {
    toString() {
      throw new Error('no');
    },
  };
  const thrown: readonly [string, unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['a string', 'secret'],
    ['an object that cannot be shown', hostile],
    ['an error', new Error('secret')],
    ['a number', 7],
  ];

  it.each(thrown)('%s is -32603 for the caller, and reaches onError', async (_name, value) => {
    const peer = open();
    peer.rpc.method('throw', () => {
      throw value;
    });
    peer.rpc.method('reject', () => Promise.reject(value));
    peer.ask(call([], 1, 'throw'));
    peer.ask(call([], 2, 'reject'));
    await peer.settle();
    expect(peer.received.join()).not.toContain('secret');
    expect(peer.take()).toEqual([1, 2].map((id) => ({ jsonrpc: '2.0', error: { code: -32603, message: 'Internal error' }, id })));
    expect(peer.errors).toEqual([value, value]);
    expect(peer.rpc.counters.failed).toBe(2);
    expect(peer.rpc.runningCalls).toBe(0);
  });

  it('nothing happens to the process without onError, or with one that throws itself', async () => {
    for (const onError of [
      undefined,
      () => {
        throw new Error('again');
      },
    ]) {
      const peer = new BarePeer(onError === undefined ? { onError: () => {} } : { onError }, { methods: echo });
      peer.rpc.method('reject', () => Promise.reject(new Error('x')));
      peer.ask(call([], 1, 'reject'));
      await peer.settle();
      expect(codes(peer.take())).toEqual([-32603]);
    }
  });

  it('their text is told in development, when asked for', () => {
    const peer = open({ revealErrors: true });
    peer.rpc.method('throw', () => {
      throw new Error('line 7');
    });
    peer.ask(call([], 1, 'throw'));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: { code: -32603, message: 'line 7' }, id: 1 }]);
  });

  it('what JSON cannot say is an internal error: a result, the data of an error', () => {
    const peer = open();
    peer.rpc.method('big', () => 7n);
    peer.rpc.method('data', () => {
      throw new RpcError(1, 'x', 7n);
    });
    peer.rpc.method('function', () => () => {});
    for (const method of ['big', 'data', 'function']) peer.ask(call([], method, method));
    expect(codes(peer.take())).toEqual([-32603, -32603, undefined]);
    expect(peer.errors).toHaveLength(2);
  });

  it('a promise that settles twice, or throws when asked for its then, is answered once', async () => {
    const peer = open();
    peer.rpc.method('twice', () => ({
      // biome-ignore lint/suspicious/noThenProperty: a promise of a stranger
      then(resolve: (value: number) => void, reject: (error: Error) => void) {
        resolve(1);
        reject(new Error('x'));
        resolve(2);
      },
    }));
    peer.rpc.method('trap', () => Object.defineProperty({}, 'then', { get: () => hostile.toString() }));
    peer.ask(call([], 1, 'twice'));
    peer.ask(call([], 2, 'trap'));
    await peer.settle();
    expect(peer.take().sort((a, b) => (a as { id: number }).id - (b as { id: number }).id)).toEqual([
      { jsonrpc: '2.0', result: 1, id: 1 },
      { jsonrpc: '2.0', error: { code: -32603, message: 'Internal error' }, id: 2 },
    ]);
  });

  it('one that hangs is answered for at its deadline; its place is freed once and its late result ignored', async () => {
    const peer = open({ handlerTimeoutMs: 1000, maxRunningCalls: 1 });
    let release: (value: string) => void = () => {};
    let signal: AbortSignal | undefined;
    peer.rpc.method('hang', (_params, context) => {
      expect(context.deadlineMs).toBe(peer.clock.now() + 1000);
      signal = context.signal;
      return new Promise((resolve) => (release = resolve));
    });
    peer.ask(call([], 1, 'hang'));
    peer.ask(call([], 2, 'hang'));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: LIMIT('calls', 1), id: 2 }]);
    peer.ask({ jsonrpc: '2.0', method: 'hang' });
    expect(peer.rpc.counters.overRunning).toBe(2);
    await peer.clock.advance(999);
    expect(peer.received).toEqual([]);
    await peer.clock.advance(1);
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: { code: -32001, message: 'Timeout' }, id: 1 }]);
    expect(signal?.reason).toMatchObject({ code: 'CALL_TIMEOUT' });
    expect([peer.rpc.runningCalls, peer.rpc.counters.timedOut]).toEqual([0, 1]);
    release('late');
    await peer.settle();
    expect(peer.received).toEqual([]);
    peer.ask({ jsonrpc: '2.0', method: 'hang' });
    expect(peer.rpc.runningCalls).toBe(1);
    await peer.clock.advance(1000);
    expect([peer.rpc.runningCalls, peer.received]).toEqual([0, []]);
  });

  it('a result above maxMessageBytes, or too large for the transport, is an error', async () => {
    const peer = open({ maxMessageBytes: 500_000 });
    peer.ask(call([], 1, 'text'));
    expect(peer.take()).toEqual([{ jsonrpc: '2.0', error: LIMIT('response', 500_000), id: 1 }]);
    expect(peer.rpc.counters.overSize).toBe(1);
  });
});

describe('responses (D 91)', () => {
  it('to nobody are dropped and counted: unknown, late, repeated, malformed', async () => {
    const peer = open();
    const result = peer.rpc.call('x', [], { timeoutMs: 10 });
    const late = expect(result).rejects.toMatchObject({ code: 'CALL_TIMEOUT' });
    await peer.clock.advance(10);
    await late;
    peer.received.length = 0;
    for (const id of [1, 99, '1', null, 1.5, true, {}, -1]) peer.ask({ jsonrpc: '2.0', result: 1, id });
    peer.ask({ jsonrpc: '2.0', error: { code: 1, message: 'x' }, id: null });
    peer.ask({ result: 1 });
    expect(peer.received).toEqual([]);
    expect(peer.rpc.counters.unmatched).toBe(10);
    const second = peer.rpc.call('x');
    peer.ask({ jsonrpc: '2.0', result: 'once', id: 2 });
    peer.ask({ jsonrpc: '2.0', result: 'twice', id: 2 });
    expect(await second).toBe('once');
    expect(peer.rpc.counters.unmatched).toBe(11);
  });

  it.each([[7], ['text'], [[]], [{}], [{ code: 'x' }], [{ code: 1.5 }]])(
    'an error that is none (%j) rejects with MALFORMED_PACKAGE',
    async (error) => {
      const peer = open();
      const result = peer.rpc.call('x');
      peer.ask({ jsonrpc: '2.0', error, id: 1 });
      await expect(result).rejects.toMatchObject({ code: 'MALFORMED_PACKAGE', recoverable: true });
    },
  );

  it('no more calls wait than maxPendingCalls', async () => {
    const peer = open({ maxPendingCalls: 2 });
    const [first, second] = [peer.rpc.call('x'), peer.rpc.call('x')];
    await expect(peer.rpc.call('x')).rejects.toMatchObject({ code: 'SEND_QUEUE_FULL' });
    expect([peer.rpc.pendingCalls, peer.rpc.counters.overPending]).toEqual([2, 1]);
    peer.ask({ jsonrpc: '2.0', result: 1, id: 1 });
    expect(await first).toBe(1);
    const third = peer.rpc.call('x');
    peer.rpc.close();
    for (const result of [second, third]) await expect(result).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
  });
});
