import { describe, expect, it, vi } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { ListenerError, type PorticoError, StateError } from '../../src/base/errors.ts';
import { json } from '../../src/protocol/json.ts';
import { empty, raw, text } from '../../src/protocol/raw.ts';
import { defineAction } from '../../src/router/action.ts';
import type { Middleware } from '../../src/router/middleware.ts';
import { NO_REPLY, Router, type RouterOptions } from '../../src/router/router.ts';
import { withSendQueue } from '../../src/session/options.ts';
import { actionFrame } from '../helpers/action-packets.ts';
import { type ActionPeer, RouterWorld } from '../helpers/router-world.ts';
import { thrownBy } from '../helpers/thrown.ts';

async function serve(router: Router): Promise<{ world: RouterWorld; peer: ActionPeer }> {
  const world = new RouterWorld();
  await world.serve(router);
  return { world, peer: await world.peer() };
}

function refusal(action: number, code: string, message: string, data?: unknown): [number, string] {
  return [-2, JSON.stringify({ action, code, message, data })];
}

const FAILED = (action: number): [number, string] => refusal(action, 'INTERNAL', 'The request failed.');

describe('a reply', () => {
  it('is what the handler returns, or its promise brings, with the action and seq of the request', async () => {
    const router = new Router()
      .route<{ a: number }>(1, ({ body }) => ({ b: body.a + 1 }))
      .route<{ a: number }>(2, async ({ body }) => ({ b: body.a + 2 }));
    const { peer } = await serve(router);
    await peer.send(actionFrame(1, 7, { a: 1 }), actionFrame(2, 8, { a: 1 }), actionFrame(1, -9, { a: 2 }));
    expect(peer.packets).toEqual([
      [1, 7, '{"b":2}'],
      [2, 8, '{"b":3}'],
      [1, -9, '{"b":3}'],
    ]);
    expect(router.stats()).toEqual({ requests: 3, replies: 3, errorReplies: 0, unknown: 0, flooders: 0, failures: 0 });
  });

  it('is null in JSON and empty in other formats when there is nothing to say', async () => {
    const router = new Router()
      .route(1, () => undefined)
      .route(2, () => null)
      .route(defineAction(3, { reply: empty() }), () => undefined)
      .route(defineAction(4, { reply: raw() }), () => 'bytes');
    const { peer } = await serve(router);
    await peer.send(...[1, 2, 3, 4].map((action) => actionFrame(action, 1)));
    expect(peer.packets.map(([, , body]) => body)).toEqual(['null', 'null', '', 'bytes']);
  });

  it('is none for NO_REPLY and for an action without replies, also when that fails', async () => {
    const router = new Router()
      .route(1, () => NO_REPLY)
      .route(2, async () => NO_REPLY)
      .route(defineAction(3, { hasReply: false }), () => 'unheard')
      .route(defineAction(4, { hasReply: false }), () => {
        throw new Error('unheard');
      })
      .route(5, (context) => {
        context.abort();
        return 'unheard';
      });
    const { peer, world } = await serve(router);
    await peer.send(...[1, 2, 3, 4, 5].map((action) => actionFrame(action, 1)));
    expect(peer.packets).toEqual([]);
    expect(world.errors.map(({ message }) => message)).toEqual(['action 4: unheard']);
  });

  it('of a synchronous handler takes no promise', async () => {
    const router = new Router().route(1, () => 'now').route(2, async () => 'later');
    const { world } = await serve(router);
    const [session] = world.sessions;
    if (session === undefined) throw new Error('no session');
    const body = Buffer.from('1');
    expect(router.listener().onMessage(session, { action: 1, seq: 1, body })).toBeUndefined();
    expect(router.listener().onMessage(session, { action: 9, seq: 1, body })).toBeUndefined();
    await expect(router.listener().onMessage(session, { action: 2, seq: 1, body })).resolves.toBeUndefined();
  });

  it('can be sent by the handler itself, once', async () => {
    let second: unknown;
    const router = new Router().route(1, (context) => {
      context.reply('early');
      second = thrownBy(() => context.reply('again'));
      return 'late';
    });
    const { peer } = await serve(router);
    expect(await peer.ask(1, 1)).toEqual([[1, '"early"']]);
    expect(second).toMatchObject({ code: 'WRONG_STATE', message: 'action 1: expected one reply, given a second' });
    expect(router.stats().replies).toBe(1);
  });

  it('keeps the order of the requests, also when an earlier one takes longer', async () => {
    let release = (): void => {};
    const router = new Router().route(1, () => new Promise<string>((resolve) => (release = () => resolve('slow')))).route(2, () => 'fast');
    const { peer, world } = await serve(router);
    await peer.send(actionFrame(1, 1), actionFrame(2, 2));
    expect(peer.packets).toEqual([]);
    release();
    await world.clock.advance(10);
    expect(peer.packets.map(([, seq, body]) => [seq, body])).toEqual([
      [1, '"slow"'],
      [2, '"fast"'],
    ]);
  });
});

describe('a route', () => {
  it('is replaced by a later one, at any time', async () => {
    const router = new Router().route(1, () => 'first').route(1, () => 'second');
    const { peer } = await serve(router);
    expect(await peer.ask(1, 1)).toEqual([[1, '"second"']]);
    router.route(1, () => 'third');
    expect(await peer.ask(1, 2)).toEqual([[1, '"third"']]);
  });

  it('reads the bytes as they came, and decodes them only when asked to', async () => {
    const router = new Router().route(1, ({ bytes }) => Buffer.from(bytes).toString());
    const { peer } = await serve(router);
    expect(await peer.ask(1, 1, Buffer.from('{not json'))).toEqual([[1, '"{not json"']]);
  });

  it('with a codec of its own never sees a body that is refused', async () => {
    const handler = vi.fn(() => 'ok');
    const numbers = json({
      '~standard': {
        version: 1,
        vendor: 'test',
        validate: (value: unknown) => (typeof value === 'number' ? { value } : { issues: [{ message: 'expected a number' }] }),
      },
    });
    const { peer, world } = await serve(new Router().route(defineAction(1, { request: numbers }), handler));
    const data = { issues: [{ path: '', message: 'expected a number' }] };
    expect(await peer.ask(1, 1, 'text')).toEqual([refusal(1, 'INVALID', 'The body was refused.', data)]);
    expect(await peer.ask(1, 2, 5)).toEqual([[1, '"ok"']]);
    expect(handler).toHaveBeenCalledTimes(1);
    expect(world.errors).toMatchObject([{ code: 'INVALID_BODY' }]);
  });

  it('is told of a codec that fails in its own way as of a body that is refused', async () => {
    const codec = { ...text(), decode: (): string => JSON.parse('{') };
    const { peer, world } = await serve(new Router().route(defineAction(1, { request: codec }), () => 1));
    const data = { issues: [{ path: '', message: 'it cannot be decoded' }] };
    expect(await peer.ask(1, 1, 'text')).toEqual([refusal(1, 'INVALID', 'The body was refused.', data)]);
    expect(world.errors).toMatchObject([{ code: 'INVALID_BODY', cause: { name: 'SyntaxError' } }]);
  });

  it('without a codec for the format fails, and says so on this side only', async () => {
    const world = new RouterWorld();
    const shouts = defineAction(2, { request: { shout: text() }, reply: { shout: text() } });
    const router = new Router().route<string>(1, ({ body }) => body).route(shouts, ({ body }) => body.toUpperCase());
    await world.serve(router, { format: 'shout' });
    const peer = await world.peer();
    expect(await peer.ask(1, 1, 'hi')).toEqual([FAILED(1)]);
    expect(await peer.ask(2, 2, Buffer.from('hi'))).toEqual([[2, 'HI']]);
    expect(world.errors).toMatchObject([
      { code: 'MISSING_OPTION', message: 'action 1: expected a codec for the format "shout", given none' },
    ]);
  });

  it('does not take the names of Object.prototype for formats', async () => {
    const world = new RouterWorld();
    await world.serve(
      new Router().route(defineAction(1, { request: { json: json() } }), ({ body }) => body),
      { format: 'constructor' },
    );
    const peer = await world.peer();
    expect(await peer.ask(1, 1, 1)).toEqual([FAILED(1)]);
    expect(world.errors).toMatchObject([{ code: 'MISSING_OPTION' }]);
  });

  it.each([
    [() => new Router().route(32_768, () => 1), 'route action: expected a whole number, from -32768 to 32767, given 32768'],
    [() => new Router().route(-2, () => 1), 'route action: expected another action than that of error replies, given -2'],
    [() => new Router().route(1, 5 as unknown as () => 1), 'route handler: expected a function, given 5'],
    [() => new Router().use(5 as unknown as Middleware), 'use middleware: expected a function, given 5'],
    [() => new Router().use(...Array.from({ length: 64 }, () => () => {})), 'use: expected at most 63 middleware, given 64'],
    [() => new Router().onError(5 as unknown as () => void), 'onError: expected a function, given 5'],
    [() => new Router().onNotFound(5 as unknown as () => void), 'onNotFound: expected a function, given 5'],
    [() => new Router().listener({ format: '' }), 'listener format: expected a string of 1 to 64 bytes, given ""'],
    [() => new Router().listener({ onOpen: 5 as unknown as () => void }), 'listener onOpen: expected a function, given 5'],
    [
      () => new Router({ codecs: json() as unknown as NonNullable<RouterOptions['codecs']> }),
      'Router codecs: expected an object of codecs by format, given an object (Object)',
    ],
    [() => new Router({ errorAction: 40_000 }), 'Router errorAction: expected a whole number, from -32768 to 32767, given 40000'],
    [() => new Router({ unknownLimit: { count: 0 } }), 'Router unknownLimit count: expected a whole number, from 1 to 10000, given 0'],
    [
      () => new Router({ unknownLimit: { windowMs: 0 } }),
      'Router unknownLimit windowMs: expected a whole number, from 1 to 2147483647, given 0',
    ],
    [() => defineAction(70_000), 'defineAction action: expected a whole number, from -32768 to 32767, given 70000'],
    [
      () => defineAction(1, { request: 5 as unknown as ReturnType<typeof json> }),
      'defineAction request: expected a codec, or codecs by format, given 5',
    ],
    [
      () => defineAction(1, { reply: { json: 5 as unknown as ReturnType<typeof json> } }),
      'defineAction reply json: expected a codec, given 5',
    ],
    [() => defineAction(1, { hasReply: 1 as unknown as boolean }), 'defineAction hasReply: expected true or false, given 1'],
  ])('misuse %# throws', (call, message) => {
    expect(thrownBy(call)).toMatchObject({ code: 'INVALID_OPTION', message });
  });

  it('can be the action of error replies when those have another', async () => {
    const router = new Router({ errorAction: -3 }).route(-2, () => 'fine');
    const { peer } = await serve(router);
    expect(await peer.ask(-2, 1)).toEqual([[-2, '"fine"']]);
    expect(await peer.ask(5, 2)).toEqual([[-3, JSON.stringify({ action: 5, code: 'NOT_FOUND', message: 'There is no action 5.' })]]);
  });
});

describe('a handler that fails', () => {
  it('has its caller told INTERNAL, not why, and the hook told why', async () => {
    const seen: [number, PorticoError][] = [];
    const router = new Router()
      .route(1, () => {
        throw new Error('the password is hunter2');
      })
      .route(2, async () => {
        throw new StateError('NO_SESSION', 'ours');
      })
      .route(3, () => 10n)
      .route(4, () => Promise.reject())
      .onError(({ action }, error) => void seen.push([action, error]));
    const { peer, world } = await serve(router);
    for (const action of [1, 2, 3, 4]) expect(await peer.ask(action, action)).toEqual([FAILED(action)]);
    expect(seen).toMatchObject([
      [1, { code: 'LISTENER_FAILED', message: 'action 1: the password is hunter2', cause: { message: 'the password is hunter2' } }],
      [2, { code: 'NO_SESSION' }],
      [3, { code: 'ENCODE_FAILED', cause: { code: 'UNENCODABLE_BODY' } }],
      [4, { code: 'LISTENER_FAILED', message: 'action 4: undefined' }],
    ]);
    expect(seen[0]?.[1]).toBeInstanceOf(ListenerError);
    expect([world.errors, world.reasons, router.stats().failures]).toEqual([[], [], 4]);
  });

  it('tells its caller what a CallError says, which is no failure for the listener', async () => {
    const seen: PorticoError[] = [];
    const router = new Router().route(1, () => {
      throw new CallError('FORBIDDEN', 'not you', { who: 'ada' });
    });
    const { peer, world } = await serve(router);
    expect(await peer.ask(1, 1)).toEqual([refusal(1, 'FORBIDDEN', 'not you', { who: 'ada' })]);
    expect(world.errors).toEqual([]);
    router.onError((_context, error) => void seen.push(error));
    await peer.ask(1, 2);
    expect(seen).toMatchObject([{ code: 'CALL_FAILED', reason: 'FORBIDDEN' }]);
  });

  it('leaves out the data of a CallError that cannot be sent', async () => {
    const circular: { self?: unknown } = {};
    circular.self = circular;
    const router = new Router()
      .route(1, () => {
        throw new CallError('BUSY', 'later', circular);
      })
      .route(2, () => {
        throw new CallError('BUSY', 'later', 'x'.repeat(2_000_000));
      });
    const { peer } = await serve(router);
    expect(await peer.ask(1, 1)).toEqual([refusal(1, 'BUSY', 'later')]);
    expect(await peer.ask(2, 2)).toEqual([refusal(2, 'BUSY', 'later')]);
  });

  it('is answered by the hook when that replies, and not at all when it aborts or errors are not told', async () => {
    const fails = (): never => {
      throw new Error('no');
    };
    const replying = new Router().route(1, fails).onError((context) => void context.reply('sorry'));
    expect(await (await serve(replying)).peer.ask(1, 1)).toEqual([[1, '"sorry"']]);
    const aborting = new Router().route(1, fails).onError((context) => context.abort());
    expect(await (await serve(aborting)).peer.ask(1, 1)).toEqual([]);
    const silent = new Router({ errorAction: false }).route(1, fails);
    const { peer, world } = await serve(silent);
    expect([await peer.ask(1, 1), await peer.ask(9, 2)]).toEqual([[], []]);
    expect(world.errors).toHaveLength(1);
  });

  it('and a hook that fails or rejects harm nobody', async () => {
    const router = new Router()
      .route(1, () => {
        throw new Error('no');
      })
      .route(2, () => 'fine')
      .onError(() => {
        throw new Error('the hook');
      });
    const { peer } = await serve(router);
    expect(await peer.ask(1, 1)).toEqual([FAILED(1)]);
    router.onError((async () => {
      throw new Error('the hook');
    }) as () => void);
    expect(await peer.ask(1, 2)).toEqual([FAILED(1)]);
    expect(await peer.ask(2, 3)).toEqual([[2, '"fine"']]);
  });

  it('is told INTERNAL when its reply is too large or does not fit into the queue', async () => {
    const world = new RouterWorld();
    const repeat = new Router().route<number>(1, ({ body }) => 'x'.repeat(body));
    await world.serve(repeat, {}, withSendQueue(300_000, 'reject'));
    const peer = await world.peer();
    expect(await peer.ask(1, 1, 2_000_000)).toEqual([FAILED(1)]);
    await peer.send(actionFrame(1, 2, 290_000), actionFrame(1, 3, 290_000));
    expect(peer.packets.slice(1).map(([action, seq]) => [action, seq])).toEqual([
      [1, 2],
      [-2, 3],
    ]);
    expect(world.errors.map(({ code }) => code)).toEqual(['ENCODED_TOO_LARGE', 'SEND_QUEUE_FULL']);
  });
});

describe('an unknown action', () => {
  it('is told NOT_FOUND, after the hook was called once', async () => {
    const seen: number[] = [];
    const { peer } = await serve(new Router().onNotFound(({ action }) => void seen.push(action)));
    expect(await peer.ask(77, 3)).toEqual([refusal(77, 'NOT_FOUND', 'There is no action 77.')]);
    expect(seen).toEqual([77]);
  });

  it('is answered by the hook when that replies, and fails when that fails', async () => {
    const router = new Router().onNotFound(async (context) => {
      if (context.action === 1) throw new Error('no');
      context.reply('instead');
    });
    const { peer } = await serve(router);
    expect(await peer.ask(5, 1)).toEqual([[5, '"instead"']]);
    expect(await peer.ask(1, 2)).toEqual([FAILED(1)]);
  });

  it('is not answered when it is that of error replies, so that two routers do not answer each other for ever', async () => {
    const router = new Router({ unknownLimit: false }).use((_context, next) => next());
    const { peer } = await serve(router);
    expect(await peer.ask(-2, 1, { action: 5, code: 'NOT_FOUND', message: '' })).toEqual([]);
    expect(router.stats()).toMatchObject({ unknown: 1, errorReplies: 0 });
  });

  it('20 times within 10 s closes the session (RATE), after the answer', async () => {
    const router = new Router().route(1, () => 'fine');
    const { peer, world } = await serve(router);
    for (let seq = 1; seq <= 19; seq++) await peer.send(actionFrame(9, seq));
    await world.clock.advance(10_000);
    for (let seq = 20; seq <= 38; seq++) await peer.send(actionFrame(9, seq));
    expect(await peer.ask(1, 39)).toEqual([[1, '"fine"']]);
    expect(world.reasons).toEqual([]);
    expect(await peer.ask(9, 40)).toEqual([refusal(9, 'LIMITED', 'Too many unknown actions.')]);
    expect(world.errors).toMatchObject([{ code: 'RATE_EXCEEDED', message: '20 unknown actions within 10000 ms' }]);
    expect(world.reasons).toMatchObject([{ code: 'RATE', by: 'peer', status: 4429 }]);
    expect(router.stats()).toMatchObject({ unknown: 39, errorReplies: 39, flooders: 1 });
  });

  it('is counted for each session by itself, and not at all when the limit is off', async () => {
    const world = new RouterWorld();
    await world.serve(new Router({ unknownLimit: { count: 2, windowMs: 1000 } }));
    const [first, second] = [await world.peer(), await world.peer()];
    await first.send(actionFrame(9, 1));
    await second.send(actionFrame(9, 1));
    expect(world.reasons).toEqual([]);
    await second.send(actionFrame(9, 2));
    expect(world.reasons).toHaveLength(1);
    const free = await serve(new Router({ unknownLimit: false }));
    await free.peer.send(...Array.from({ length: 500 }, () => actionFrame(9, 1)));
    expect([free.peer.packets.length, free.world.reasons]).toEqual([500, []]);
  });
});
