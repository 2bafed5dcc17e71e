import type { StandardSchemaV1 } from '@standard-schema/spec';
import { type } from 'arktype';
import * as v from 'valibot';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { z } from 'zod';
import { RpcClient } from '../../src/rpc/rpc-client.ts';
import { RpcListener } from '../../src/rpc/rpc-listener.ts';
import { defineRpc, RpcMethods } from '../../src/rpc/rpc-methods.ts';
import { RpcPeer } from '../../src/rpc/rpc-peer.ts';
import { BarePeer } from '../helpers/rpc-world.ts';

type Calculator = {
  subtract: { params: [number, number]; result: number };
  now: { params: undefined; result: string };
  ticks: { params: { count: number }; item: number };
};

describe('methods with types', () => {
  const transport = { send: () => {}, now: () => 0, after: () => () => {} };

  it('infer params, results and items on both sides', async () => {
    const calculator = defineRpc<Calculator>();
    new RpcMethods(calculator)
      .method('subtract', ([a, b]) => a - b)
      .method('ticks', async function* ({ count }) {
        yield count;
      });
    const listener = new RpcListener({ protocol: calculator });
    listener.method('subtract', async (params) => {
      expectTypeOf(params).toEqualTypeOf<[number, number]>();
      return params[0];
    });
    // @ts-expect-error: not a method
    listener.method('nope', () => 1);
    // @ts-expect-error: not the result
    listener.method('subtract', () => 'text');
    const peer = new RpcPeer(transport, {}, { remote: calculator });
    expectTypeOf(() => peer.call('subtract', [1, 2])).returns.toEqualTypeOf<Promise<number>>();
    expectTypeOf(() => peer.call('now')).returns.toEqualTypeOf<Promise<string>>();
    expectTypeOf(() => peer.stream('ticks', { count: 1 }).next()).returns.toEqualTypeOf<Promise<IteratorResult<number>>>();
    const client = new RpcClient({ remote: calculator });
    expectTypeOf(() => client.call('subtract', [1, 2])).returns.toEqualTypeOf<Promise<number>>();
    // @ts-expect-error: params are missing
    void (() => peer.call('subtract'));
    // @ts-expect-error: params of another type
    void (() => peer.call('subtract', ['a', 'b']));
    const calls = peer.batch([{ method: 'subtract', params: [1, 2] }]);
    peer.close();
    expect((await calls)[0]?.status).toBe('rejected');
  });

  it('without types take and give anything', () => {
    const peer = new RpcPeer(transport);
    peer.method('any', (params) => params);
    expectTypeOf(() => peer.call('any', [1])).returns.toEqualTypeOf<Promise<unknown>>();
    peer.close();
  });
});

type Greeting = StandardSchemaV1<{ name: string; count?: number | undefined }, { name: string; count: number }>;
const greetings: readonly [string, Greeting][] = [
  ['zod', z.object({ name: z.string(), count: z.number().default(1) })],
  ['valibot', v.object({ name: v.string(), count: v.optional(v.number(), 1) })],
  ['arktype', type({ name: 'string', count: 'number = 1' })],
];

describe.each(greetings)('params with a schema of %s', (_name, schema) => {
  const protocol = defineRpc({ greet: { params: schema, result: z.string() } });

  it('are checked, and filled in', () => {
    const methods = new RpcMethods(protocol).method('greet', ({ name, count }) => name.repeat(count));
    const peer = new BarePeer({}, { methods: methods as unknown as RpcMethods });
    const ask = (params: unknown): void => peer.ask({ jsonrpc: '2.0', method: 'greet', params, id: 1 });
    ask({ name: 'a' });
    ask({ name: 'a', count: 3 });
    ask({ name: 7 });
    ask(undefined);
    const [first, second, third, fourth] = peer.take();
    expect([first, second]).toMatchObject([{ result: 'a' }, { result: 'aaa' }]);
    const issues = [{ path: 'name', message: expect.any(String) }];
    expect(third).toMatchObject({ error: { code: -32602, message: 'Invalid params', data: { issues } }, id: 1 });
    expect(fourth).toMatchObject({ error: { code: -32602 } });
    expect(peer.errors).toEqual([]);
  });

  it('are those that the caller gives, before they are filled in', () => {
    const peer = new RpcPeer({ send: () => {}, now: () => 0, after: () => () => {} }, {}, { remote: protocol });
    void peer.call('greet', { name: 'a' }).catch(() => {});
    // @ts-expect-error: a name is text
    void peer.call('greet', { name: 1 }).catch(() => {});
    peer.close();
  });
});

describe('a schema that needs a promise', () => {
  it.each([
    ['zod', z.unknown().refine(async () => true)],
    [
      'valibot',
      v.pipeAsync(
        v.unknown(),
        v.checkAsync(async () => true),
      ),
    ],
  ])('always is refused when it is defined (%s)', (_name, params) => {
    expect(() => defineRpc({ slow: { params } })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message: expect.stringMatching(/^defineRpc slow\.params: .*synchronously/) }),
    );
  });

  it('only for what is valid so far is an internal error, which onError is told', () => {
    const protocol = defineRpc({ slow: { params: z.array(z.number()).refine(async () => true) } });
    const methods = new RpcMethods(protocol).method('slow', () => undefined);
    const peer = new BarePeer({}, { methods: methods as unknown as RpcMethods });
    peer.ask({ jsonrpc: '2.0', method: 'slow', params: [], id: 1 });
    expect(peer.take()).toMatchObject([{ error: { code: -32603 } }]);
    expect(peer.errors).toMatchObject([{ code: 'INVALID_OPTION' }]);
  });
});
