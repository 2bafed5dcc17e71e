import { describe, expect, it } from 'vitest';
import { json } from '../../src/protocol/json.ts';
import { defineProtocol } from '../../src/protocol/protocol.ts';
import { raw, text } from '../../src/protocol/raw.ts';
import { type Action, defineAction } from '../../src/router/action.ts';
import { actionsOf } from '../../src/router/actions-of.ts';
import type { RouteContext } from '../../src/router/route-context.ts';
import { NO_REPLY, Router } from '../../src/router/router.ts';
import { withSendQueue } from '../../src/session/options.ts';
import { actionFrame } from '../helpers/action-packets.ts';
import { type ActionPeer, RouterWorld } from '../helpers/router-world.ts';
import { thrownBy } from '../helpers/thrown.ts';

async function serve(router: Router): Promise<{ world: RouterWorld; peer: ActionPeer }> {
  const world = new RouterWorld();
  await world.serve(router);
  return { world, peer: await world.peer() };
}

describe('a push', () => {
  it('has seq 0, or the one that is given, and goes to one session or many', async () => {
    const world = new RouterWorld();
    const router = new Router().route<string>(1, (context) => {
      context.push(101, context.body);
      return NO_REPLY;
    });
    await world.serve(router);
    const peers = [await world.peer(), await world.peer(), await world.peer()];
    await peers[0]?.send(actionFrame(1, 5, 'hello'));
    const [first, second] = world.sessions;
    if (first === undefined || second === undefined) throw new Error('no sessions');
    expect(router.push(first, 102, { to: 'you' }, { seq: 1 })).toBe(true);
    await second.close();
    const result = router.pushAll(world.sessions, defineAction(103, { request: text() }), 'all');
    await world.clock.advance(10);
    expect(result).toEqual({ sent: 2, full: 0, refused: 1 });
    expect(peers.map(({ packets }) => packets)).toEqual([
      [
        [101, 0, '"hello"'],
        [102, 1, '{"to":"you"}'],
        [103, 0, 'all'],
      ],
      [],
      [[103, 0, 'all']],
    ]);
  });

  it('to a session of another router throws', async () => {
    const { world } = await serve(new Router());
    const [session] = world.sessions;
    if (session === undefined) throw new Error('no session');
    expect(thrownBy(() => new Router().push(session, 1, 1))).toMatchObject({ code: 'WRONG_STATE' });
  });

  it('counts sessions above their mark, and those whose queue refuses it', async () => {
    const world = new RouterWorld({ bufferBytes: 1024 });
    const router = new Router();
    await world.serve(router, {}, withSendQueue(300_000, 'reject'));
    await world.peer();
    expect(router.pushAll(world.sessions, defineAction(1, { request: raw() }), Buffer.alloc(290_000))).toEqual({
      sent: 1,
      full: 1,
      refused: 0,
    });
    expect(router.pushAll(world.sessions, defineAction(1, { request: raw() }), Buffer.alloc(290_000))).toEqual({
      sent: 0,
      full: 0,
      refused: 1,
    });
  });
});

describe('a context', () => {
  it('belongs to its packet, also when it is kept', async () => {
    const kept: RouteContext<number>[] = [];
    const router = new Router().use(({ attributes }, next) => {
      attributes.set('seen', (attributes.get('seen') ?? 0) === 0 ? 1 : 2);
      return next();
    });
    router.route<number>(1, (context) => void kept.push(context));
    const { peer } = await serve(router);
    await peer.send(...[1, 2, 3].map((seq) => actionFrame(1, seq, seq * 10)));
    expect(kept.map(({ seq, body, attributes, format, action }) => [seq, body, attributes.get('seen'), format, action])).toEqual([
      [1, 10, 1, 'json', 1],
      [2, 20, 1, 'json', 1],
      [3, 30, 1, 'json', 1],
    ]);
    expect(kept.every(({ isReplied, isAborted, signal }) => isReplied && !isAborted && !signal.aborted)).toBe(true);
    await peer.session.close();
    await peer.world.clock.advance(10);
    expect(kept[0]?.signal.aborted).toBe(true);
    expect(kept[0]?.push(1, 1)).toBe(false);
  });
});

describe('actionsOf', () => {
  const range = { minId: -32_768, maxId: 32_767 };
  const protocol = defineProtocol(
    { greet: { id: 1, body: json<{ name: string }>(), reply: text() }, note: { id: 2, body: text() } },
    range,
  );

  it('makes actions of the messages of a protocol, with their types', async () => {
    const actions = actionsOf(protocol);
    const notes: string[] = [];
    const typed: Action<{ name: string }, { name: string }, string, string> = actions.greet;
    const router = new Router()
      .route(typed, ({ body }) => `hello, ${body.name}`)
      .route(actions.note, ({ body }) => {
        notes.push(body);
        return NO_REPLY;
      });
    const world = new RouterWorld();
    await world.serve(router);
    const { calls } = await world.calls();
    expect(await world.arrived(calls.call(actions.greet, { name: 'ada' }))).toBe('hello, ada');
    calls.send(actions.note, 'a note');
    await world.clock.advance(10);
    expect(notes).toEqual(['a note']);
    expect(actions.note.hasReply).toBe(false);
    const wrong = (): void => {
      // @ts-expect-error a reply is text
      router.route(actions.greet, () => 5);
      // @ts-expect-error a request has a name
      void calls.call(actions.greet, { title: 'countess' });
      // @ts-expect-error a note is text
      router.push(calls.session, actions.note, 5);
    };
    expect(wrong).toBeTypeOf('function');
  });

  it('refuses streams and ids that are no actions', () => {
    const streams = defineProtocol({ all: { id: 1, body: text(), stream: text() } });
    expect(thrownBy(() => actionsOf(streams))).toMatchObject({ message: 'actionsOf all: expected a message or a call, given "a stream"' });
    const large = defineProtocol({ far: { id: 40_000, body: text() } });
    expect(thrownBy(() => actionsOf(large))).toMatchObject({ code: 'INVALID_OPTION' });
  });
});
