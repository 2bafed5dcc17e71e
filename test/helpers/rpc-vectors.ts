import { describe, expect, it } from 'vitest';
import { RpcMethods } from '../../src/rpc/rpc-methods.ts';
import type { RpcPeer } from '../../src/rpc/rpc-peer.ts';
import { RpcError } from '../../src/rpc/rpc-wire.ts';
import { until } from './raw-peer.ts';

/** The other end of a peer under test, by hand: it sends these payloads, and sees the texts that come. */
export interface RpcWire {
  send(payload: string | Uint8Array): void;
  readonly received: readonly string[];
  /** The peer under test. */
  readonly peer: () => RpcPeer;
}

interface Case {
  readonly send: readonly (string | Uint8Array)[];
  /** The messages expected, in this order; elements of a batch in any order. */
  readonly expect: readonly unknown[];
  /** What the raw texts must and must not contain. */
  readonly contains?: string;
  readonly lacks?: string;
}

/** The methods of the specification's examples, and those that the derived vectors need. */
export function vectorMethods(): RpcMethods {
  let release: (value: string) => void = () => {};
  return new RpcMethods()
    .method('subtract', (params) => {
      const { minuend, subtrahend } = params as { minuend: number; subtrahend: number };
      if (!Array.isArray(params)) return minuend - subtrahend;
      const [a, b] = params as number[];
      return (a ?? 0) - (b ?? 0);
    })
    .method('sum', (params) => (params as number[]).reduce((total, value) => total + value, 0))
    .method('get_data', () => ['hello', 5])
    .method('update', () => 'ignored')
    .method('notify_hello', () => 'ignored')
    .method('notify_sum', () => 'ignored')
    .method('picky', () => {
      throw RpcError.invalidParams({ expected: 'better' });
    })
    .method('throws', () => {
      throw new Error('secret text');
    })
    .method('rejects', () => Promise.reject(new Error('secret text')))
    .method('custom', () => {
      throw new RpcError(4001, 'Not today', { until: 'tomorrow' });
    })
    .method('nothing', () => undefined)
    .method('null', () => null)
    .method('echo', (params) => (params as unknown[])[0])
    .method('slow', () => {
      const { promise, resolve } = withResolvers();
      release = resolve;
      return promise;
    })
    .method('fast', () => {
      release('slow');
      return 'fast';
    })
    .method('end', () => 'of the vector');
}

function withResolvers(): { promise: Promise<string>; resolve: (value: string) => void } {
  let resolve: (value: string) => void = () => {};
  const promise = new Promise<string>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}

function call(method: string, params: unknown, id?: unknown): Record<string, unknown> {
  return { jsonrpc: '2.0', method, ...(params === undefined ? {} : { params }), ...(id === undefined ? {} : { id }) };
}

const ok = (result: unknown, id: unknown): unknown => ({ jsonrpc: '2.0', result, id });
const MESSAGES: Record<number, string> = {
  [-32700]: 'Parse error',
  [-32600]: 'Invalid Request',
  [-32601]: 'Method not found',
  [-32602]: 'Invalid params',
  [-32603]: 'Internal error',
};
const fail = (code: number, id: unknown, data?: unknown): unknown => ({
  jsonrpc: '2.0',
  error: { code, message: MESSAGES[code], ...(data === undefined ? {} : { data }) },
  id,
});
const one = (send: unknown, ...expected: readonly unknown[]): Case => ({ send: [JSON.stringify(send)], expect: expected });
const raw = (send: string | Uint8Array, ...expected: readonly unknown[]): Case => ({ send: [send], expect: expected });

const SUM = call('sum', [1, 2, 4], '1');
const SUBTRACT = call('subtract', [42, 23], '2');
const FOO_GET = call('foo.get', { name: 'myself' }, '5');
const GET_DATA = call('get_data', undefined, '9');
const HELLO = call('notify_hello', [7]);
const BOO = { foo: 'boo' };
const NULL_600 = fail(-32600, null);

/** By number, as `specs` count them: 1 to 44. */
export const VECTORS: Readonly<Record<number, readonly Case[]>> = {
  1: [
    {
      ...raw('{"jsonrpc":"2.0","method":"subtract","params":[42,23],"id":1}', ok(19, 1)),
      contains: '{"jsonrpc":"2.0","result":19,"id":1}',
    },
  ],
  2: [one(call('subtract', [23, 42], 2), ok(-19, 2))],
  3: [one(call('subtract', { subtrahend: 23, minuend: 42 }, 3), ok(19, 3))],
  4: [one(call('subtract', { minuend: 42, subtrahend: 23 }, 4), ok(19, 4))],
  5: [one(call('update', [1, 2, 3, 4, 5]))],
  6: [one(call('foobar', undefined))],
  7: [one(call('foobar', undefined, '1'), fail(-32601, '1'))],
  8: [raw('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', fail(-32700, null))],
  9: [raw('{"jsonrpc":"2.0","method":1,"params":"bar"}', NULL_600)],
  10: [raw('[{"jsonrpc":"2.0","method":"sum","params":[1,2,4],"id":"1"},{"jsonrpc":"2.0","method"]', fail(-32700, null))],
  11: [raw('[]', NULL_600)],
  12: [raw('[1]', [NULL_600])],
  13: [raw('[1,2,3]', [NULL_600, NULL_600, NULL_600])],
  14: [one([SUM, HELLO, SUBTRACT, BOO, FOO_GET, GET_DATA], [ok(7, '1'), ok(19, '2'), NULL_600, fail(-32601, '5'), ok(['hello', 5], '9')])],
  15: [one([call('notify_sum', [1, 2, 4]), HELLO])],
  16: [one(SUM, ok(7, '1'))],
  17: [one(SUBTRACT, ok(19, '2'))],
  18: [one(GET_DATA, ok(['hello', 5], '9'))],
  19: [one(HELLO)],
  20: [one(call('notify_sum', [1, 2, 4]))],
  21: [one(BOO, NULL_600)],
  22: [one(FOO_GET, fail(-32601, '5'))],
  23: [one([SUM, SUBTRACT], [ok(7, '1'), ok(19, '2')])],
  24: [one([BOO], [NULL_600])],
  25: [one([HELLO])],
  26: [one([FOO_GET, GET_DATA], [fail(-32601, '5'), ok(['hello', 5], '9')])],
  27: [one(call('sum', [1], null), ok(1, null))],
  28: ['""', '"abc"', '0', '-7', '1.5'].map((id) => ({
    send: [`{"jsonrpc":"2.0","method":"sum","params":[1],"id":${id}}`],
    expect: [ok(1, JSON.parse(id))],
    contains: `"id":${id}}`,
  })),
  29: [
    {
      send: ['{"jsonrpc":"2.0","method":"sum","params":[1],"id":9007199254740993}'],
      expect: [ok(1, 9007199254740992)],
      contains: '"id":9007199254740993}',
    },
  ],
  30: [true, {}, []].map((id) => one(call('sum', [1], id), NULL_600)),
  31: [
    raw('{"method":"sum","params":[1]}', NULL_600),
    raw('{"jsonrpc":"1.0","method":"sum","params":[1],"id":4}', fail(-32600, 4)),
    raw('{"jsonrpc":2.0,"method":"sum","params":[1],"id":"x"}', fail(-32600, 'x')),
  ],
  32: [5, 'x', true, null].map((params) => one({ jsonrpc: '2.0', method: 'sum', params, id: 1 }, fail(-32600, 1))),
  33: [one({ jsonrpc: '2.0', params: [], id: 1 }, fail(-32600, 1)), one({ jsonrpc: '2.0', Method: 'x', id: 1 }, fail(-32600, 1))],
  34: [one(call('rpc.unknown', undefined, 1), fail(-32601, 1))],
  35: [one(call('picky', [1], 1), fail(-32602, 1, { expected: 'better' }))],
  36: ['throws', 'rejects'].map((method) => ({ ...one(call(method, undefined, 1), fail(-32603, 1)), lacks: 'secret' })),
  37: [
    one(call('custom', undefined, 1), { jsonrpc: '2.0', error: { code: 4001, message: 'Not today', data: { until: 'tomorrow' } }, id: 1 }),
  ],
  38: [
    { ...one(call('nothing', undefined, 1), ok(null, 1)), contains: '"result":null' },
    { ...one(call('null', undefined, 1), ok(null, 1)), contains: '"result":null' },
    ...[false, 0, ''].map((value) => one(call('echo', [value], 1), ok(value, 1))),
  ],
  39: [one({ ...call('sum', [1], 1), meta: { trace: 7 } }, ok(1, 1))],
  40: [
    {
      send: [JSON.stringify(call('slow', undefined, 1)), JSON.stringify(call('fast', undefined, 1))],
      expect: [ok('fast', 1), ok('slow', 1)],
    },
  ],
  41: ['throws', 'rejects', 'custom', 'picky'].map((method) => ({ ...one(call(method, undefined)), lacks: 'secret' })),
  42: ['1', '"x"', 'true', 'null'].map((payload) => raw(payload, NULL_600)),
  43: [
    raw('', fail(-32700, null)),
    raw(
      Buffer.concat([Buffer.from('{"jsonrpc":"2.0","method":"sum","params":["'), Buffer.of(0xff), Buffer.from('"],"id":1}')]),
      fail(-32700, null),
    ),
    raw('{"jsonrpc":"2.0","method":"sum","params":[1],"id":1} x', fail(-32700, null)),
    raw('['.repeat(100_000), fail(-32600, null, { limit: 'depth', max: 64 })),
  ],
  44: [raw('{"jsonrpc":"2.0","result":1,"id":"s1"}')],
};

const END = '{"jsonrpc":"2.0","method":"end","id":"end"}';
const ENDED = '{"jsonrpc":"2.0","result":"of the vector","id":"end"}';

/** A test for each vector. `open` gives a new wire to a peer with `vectorMethods`. */
export function vectorTests(open: () => Promise<RpcWire>): void {
  it('has all 44 vectors', () => {
    expect(Object.keys(VECTORS).map(Number)).toEqual(Array.from({ length: 44 }, (_, index) => index + 1));
  });

  describe.each(Object.entries(VECTORS))('V%s', (number, cases) => {
    it(`V${number}`, async () => {
      const wire = await open();
      for (const { send, expect: expected, contains, lacks } of cases) {
        const before = wire.received.length;
        for (const payload of send) wire.send(payload);
        await until(() => wire.received.length >= before + expected.length, `V${number}: ${expected.length} answer(s)`);
        wire.send(END);
        await until(() => wire.received.at(-1) === ENDED, `V${number}: the end, not ${wire.received.slice(before).join(' ')}`);
        const texts = wire.received.slice(before, -1);
        expect(texts.map((text) => unordered(JSON.parse(text)))).toEqual(expected.map(unordered));
        if (contains !== undefined) expect(texts.join('\n')).toContain(contains);
        if (lacks !== undefined) expect(texts.join('\n')).not.toContain(lacks);
      }
      if (number === '34') expect(() => wire.peer().method('rpc.x', () => 1)).toThrow('rpc.');
      if (number === '44') await settlesOwnCall(wire);
    });
  });
}

/** The second half of V44: the response to a call of the peer under test settles it. */
async function settlesOwnCall(wire: RpcWire): Promise<void> {
  const before = wire.received.length;
  const result = wire.peer().call('whoAreYou', [1]);
  await until(() => wire.received.length > before, 'a call from the peer');
  const request = JSON.parse(wire.received.at(-1) ?? '') as { id: unknown };
  expect(request).toMatchObject({ jsonrpc: '2.0', method: 'whoAreYou', params: [1] });
  wire.send(JSON.stringify({ jsonrpc: '2.0', result: 'a test', id: request.id }));
  expect(await result).toBe('a test');
}

/** The answers of a batch may come in any order. */
function unordered(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  return value.map((element) => JSON.stringify(sorted(element))).sort();
}

function sorted(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
