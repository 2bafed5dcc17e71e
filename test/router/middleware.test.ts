import { describe, expect, it } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import type { Middleware } from '../../src/router/middleware.ts';
import { Router } from '../../src/router/router.ts';
import { actionFrame } from '../helpers/action-packets.ts';
import { type ActionPeer, RouterWorld } from '../helpers/router-world.ts';

async function serve(router: Router): Promise<{ world: RouterWorld; peer: ActionPeer }> {
  const world = new RouterWorld();
  await world.serve(router);
  return { world, peer: await world.peer() };
}

const codes = (packets: readonly [number, string][]): unknown[] =>
  packets.map(([action, body]) => (action === -2 ? (JSON.parse(body) as { code: string }).code : body));

/** Writes its name down on the way in and out. */
function noting(name: string, trail: string[]): Middleware {
  return async (_context, next) => {
    trail.push(name);
    await next();
    trail.push(`${name}-after`);
  };
}

describe('middleware', () => {
  it('runs without a promise when nothing in the chain needs one', async () => {
    const trail: string[] = [];
    let returned: unknown = 'unset';
    const router = new Router()
      .use((_context, next) => {
        trail.push('in');
        returned = next();
        trail.push('out');
      })
      .route(1, () => trail.push('handler'));
    const { peer } = await serve(router);
    expect(await peer.ask(1, 1)).toEqual([[1, '2']]);
    expect([trail, returned]).toEqual([['in', 'handler', 'out'], undefined]);
  });

  it('sees unknown actions, too', async () => {
    const trail: string[] = [];
    const { peer } = await serve(new Router().use(noting('M', trail)).onNotFound(() => void trail.push('unknown')));
    expect(codes(await peer.ask(9, 1))).toEqual(['NOT_FOUND']);
    expect(trail).toEqual(['M', 'unknown', 'M-after']);
  });

  it('that is added while a packet is on its way counts from the next one', async () => {
    const trail: string[] = [];
    const router = new Router();
    router.use((_context, next) => {
      router.use(noting('new', trail));
      return next();
    });
    router.route(1, () => null);
    const { peer } = await serve(router);
    await peer.ask(1, 1);
    expect(trail).toEqual([]);
    await peer.ask(1, 2);
    expect(trail).toEqual(['new', 'new-after']);
  });

  it('that ends the way of one packet leaves the next alone', async () => {
    const handled: number[] = [];
    const router = new Router()
      .use((context, next) => {
        if (context.seq % 2 === 0) context.abort();
        return next();
      })
      .route(1, ({ seq }) => void handled.push(seq));
    const { peer } = await serve(router);
    await peer.send(...[1, 2, 3, 4, 5].map((seq) => actionFrame(1, seq)));
    expect(handled).toEqual([1, 3, 5]);
    expect(peer.packets.map(([, seq]) => seq)).toEqual([1, 3, 5]);
  });

  it('can refuse with a CallError, and answer by itself', async () => {
    const router = new Router()
      .use((context, next) => {
        if (context.seq === 1) throw new CallError('FORBIDDEN', 'log in first');
        if (context.seq === 2) return void context.reply('from the middleware');
        return next();
      })
      .route(1, () => 'from the handler');
    const { peer } = await serve(router);
    expect(codes(await peer.ask(1, 1))).toEqual(['FORBIDDEN']);
    expect(await peer.ask(1, 2)).toEqual([[1, '"from the middleware"']]);
    expect(await peer.ask(1, 3)).toEqual([[1, '"from the handler"']]);
  });

  it('sees what the handler failed with; what it catches without answering is told all the same', async () => {
    const caught: unknown[] = [];
    const router = new Router()
      .use(async (context, next) => {
        try {
          await next();
        } catch (thrown) {
          caught.push(thrown);
          if (context.action === 2) context.reply('mended');
          if (context.action === 3) context.abort();
        }
      })
      .route(1, () => Promise.reject(new Error('late')))
      .route(2, () => {
        throw new Error('at once');
      })
      .route(3, () => {
        throw new Error('hushed');
      });
    const { peer, world } = await serve(router);
    expect(codes(await peer.ask(1, 1))).toEqual(['INTERNAL']);
    expect(codes(await peer.ask(2, 2))).toEqual(['"mended"']);
    expect(codes(await peer.ask(3, 3))).toEqual([]);
    expect(caught.map(String)).toEqual(['Error: late', 'Error: at once', 'Error: hushed']);
    expect(world.errors.map(({ message }) => message)).toEqual(['action 1: late']);
  });

  it('that forgets the promise of next neither ends the process nor loses order and failure', async () => {
    let release = (): void => {};
    const router = new Router()
      .use((_context, next) => void next())
      .use(async (_context, next) => {
        await next();
        throw new Error('on the way out');
      })
      .route(1, () => new Promise<void>((resolve) => (release = resolve)))
      .route(2, () => Promise.reject(new Error('the handler')));
    const { peer, world } = await serve(router);
    await peer.send(actionFrame(1, 1), actionFrame(2, 2));
    expect(peer.packets).toEqual([]);
    release();
    await world.clock.advance(10);
    expect(peer.packets.map(([action, seq]) => [action, seq])).toEqual([
      [1, 1],
      [-2, 2],
    ]);
    expect(world.errors.map(({ message }) => message)).toEqual(['action 2: the handler']);
  });

  it('that fails while the handler still runs holds the next packet back until it has ended', async () => {
    let release = (): void => {};
    const handled: number[] = [];
    const router = new Router()
      .use((context, next) => {
        void next();
        if (context.seq === 1) throw new Error('too soon');
      })
      .route(1, async ({ seq }) => {
        if (seq === 1) await new Promise<void>((resolve) => (release = resolve));
        handled.push(seq);
        return seq;
      });
    const { peer, world } = await serve(router);
    await peer.send(actionFrame(1, 1), actionFrame(1, 2));
    expect(handled).toEqual([]);
    release();
    await world.clock.advance(10);
    expect(handled).toEqual([1, 2]);
    expect(peer.packets.map(([action, seq, body]) => [action, seq, body])).toEqual([
      [1, 1, '1'],
      [1, 2, '2'],
    ]);
    expect(world.errors.map(({ message }) => message)).toEqual(['action 1: too soon']);
  });

  it('that calls next twice fails, and the handler runs once', async () => {
    let handled = 0;
    const router = new Router()
      .use(async (_context, next) => {
        await next();
        await next();
      })
      .route(1, () => ++handled);
    const { peer, world } = await serve(router);
    expect(await peer.ask(1, 1)).toEqual([[1, '1']]);
    expect(world.errors).toMatchObject([{ code: 'WRONG_STATE', message: 'next: expected one call by each middleware, given a second' }]);
  });

  it('cannot get round a middleware behind it by calling next twice', async () => {
    let handled = 0;
    const router = new Router()
      .use((_context, next) => {
        void next();
        void next();
      })
      .use(() => {})
      .route(1, () => ++handled);
    const { peer } = await serve(router);
    expect(codes(await peer.ask(1, 1))).toEqual(['INTERNAL']);
    expect(handled).toBe(0);
  });
});
