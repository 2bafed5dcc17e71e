import { describe, expect, it } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import type { PorticoError } from '../../src/base/errors.ts';
import { Wheel } from '../../src/base/wheel.ts';
import { json } from '../../src/protocol/json.ts';
import { text } from '../../src/protocol/raw.ts';
import { defineAction } from '../../src/router/action.ts';
import { type PendingCall, PendingCalls } from '../../src/router/pending-calls.ts';
import type { ActionSession } from '../../src/router/route-context.ts';
import { NO_REPLY, Router } from '../../src/router/router.ts';
import type { RouterCalls } from '../../src/router/router-calls.ts';
import { RouterClient, type RouterClientOptions } from '../../src/router/router-client.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { actionFrame } from '../helpers/action-packets.ts';
import { RouterWorld } from '../helpers/router-world.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

async function connected(
  router: Router,
  options: RouterClientOptions = {},
): Promise<{ world: RouterWorld; calls: RouterCalls; listener: RouterClient }> {
  const world = new RouterWorld();
  await world.serve(router);
  return { world, ...(await world.calls(options)) };
}

/** A server that answers nothing by itself, and the sessions that it has. */
async function mute(
  options: RouterClientOptions = {},
): Promise<{ world: RouterWorld; calls: RouterCalls; listener: RouterClient; server: ActionSession }> {
  const { world, calls, listener } = await connected(
    new Router({ unknownLimit: false }).onNotFound((context) => context.abort()),
    options,
  );
  const [server] = world.sessions;
  if (server === undefined) throw new Error('no session');
  return { world, calls, listener, server };
}

describe('a call', () => {
  it('resolves with the reply, in the types of the action', async () => {
    const double = defineAction(1, { request: json<{ n: number }>(), reply: json<{ n: number }>() });
    const { world, calls } = await connected(new Router().route(double, ({ body }) => ({ n: body.n * 2 })).route(2, () => 'plain'));
    const answer: Promise<{ n: number }> = calls.call(double, { n: 21 });
    const plain: Promise<string> = calls.call<string>(2);
    expect(calls.pendingCalls).toBe(2);
    expect(await world.arrived(Promise.all([answer, plain]))).toEqual([{ n: 42 }, 'plain']);
    expect(calls.pendingCalls).toBe(0);
  });

  it('gets its own reply when a thousand are open, whatever order they come back in', async () => {
    const { world, calls, server } = await mute();
    const results = Array.from({ length: 1000 }, (_, index) => calls.call<number>(index % 7));
    const replies = Array.from({ length: 1000 }, (_, index) => index);
    // A fixed shuffle: 617 and 1000 have no common divisor.
    for (const index of replies.map((_, at) => (at * 617) % 1000)) {
      server.send({ action: index % 7, seq: index + 1, body: Buffer.from(String(index)) });
    }
    expect(await world.arrived(Promise.all(results))).toEqual(replies);
  });

  it('rejects with what the server says', async () => {
    const router = new Router().route(1, () => {
      throw new CallError('FORBIDDEN', 'not you', { who: 'ada' });
    });
    const { world, calls } = await connected(router);
    const error = await world.arrived(rejectionOf(calls.call(1)));
    expect(error).toBeInstanceOf(CallError);
    expect(error).toMatchObject({ code: 'CALL_FAILED', reason: 'FORBIDDEN', message: 'not you', data: { who: 'ada' } });
    expect(await world.arrived(rejectionOf(calls.call(9)))).toMatchObject({ reason: 'NOT_FOUND', message: 'There is no action 9.' });
  });

  it('rejects at its time-out; the late reply goes nowhere and the next call works', async () => {
    const { world, calls, server, listener } = await mute();
    const late = rejectionOf(calls.call(1, undefined, { timeoutMs: 100 }));
    await world.clock.advance(99);
    expect(calls.pendingCalls).toBe(1);
    await world.clock.advance(11);
    expect(await late).toMatchObject({ name: 'StateError', code: 'CALL_TIMEOUT', message: 'action 1: no reply within 100 ms' });
    const next = calls.call(1);
    server.send({ action: 1, seq: 1, body: Buffer.from('"late"') });
    server.send({ action: 1, seq: 2, body: Buffer.from('"mine"') });
    expect(await world.arrived(next)).toBe('mine');
    expect([calls.pendingCalls, listener.unhandledPackets]).toEqual([0, 1]);
  });

  it('has the time-out of the client when it has none, 30 s by default', async () => {
    const { world, calls } = await mute();
    const late = rejectionOf(calls.call(1));
    await world.clock.advance(29_900);
    expect(calls.pendingCalls).toBe(1);
    await world.clock.advance(200);
    expect(await late).toMatchObject({ code: 'CALL_TIMEOUT' });
  });

  it('rejects when its signal is aborted, before or while it waits', async () => {
    const { world, calls } = await mute();
    const controller = new AbortController();
    const waiting = rejectionOf(calls.call(1, undefined, { signal: controller.signal }));
    await world.clock.advance(10);
    controller.abort(new Error('enough'));
    expect(await waiting).toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } });
    expect(await rejectionOf(calls.call(1, undefined, { signal: controller.signal }))).toMatchObject({ code: 'ABORTED' });
    expect(calls.pendingCalls).toBe(0);
  });

  it('is refused when as many as allowed are open', async () => {
    const { world, calls, server } = await mute({ maxPendingCalls: 3 });
    const open = [1, 2, 3].map(() => calls.call(1));
    const error = await rejectionOf(calls.call(1));
    expect(error).toMatchObject({ code: 'TOO_MANY_CALLS', message: 'call: expected at most 3 open calls, given one more' });
    server.send({ action: 1, seq: 2, body: Buffer.from('2') });
    expect(await world.arrived(open[1] ?? Promise.reject())).toBe(2);
    const again = calls.call(1);
    for (const seq of [1, 3, 4]) server.send({ action: 1, seq, body: Buffer.from(String(seq)) });
    expect(await world.arrived(Promise.all([...open, again]))).toEqual([1, 2, 3, 4]);
  });

  it('that cannot be encoded, or has bad options, rejects and sends nothing', async () => {
    const { world, calls } = await mute();
    expect(await rejectionOf(calls.call(1, 10n))).toMatchObject({ code: 'UNENCODABLE_BODY' });
    expect(await rejectionOf(calls.call(1, 1, { timeoutMs: 0 }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await rejectionOf(calls.call(70_000))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(await rejectionOf(calls.call(defineAction(1, { request: text() }), 'x'.repeat(1_100_000)))).toMatchObject({
      code: 'ENCODED_TOO_LARGE',
    });
    await world.clock.advance(10);
    expect([calls.pendingCalls, calls.session.stats().packagesWritten]).toEqual([0, 0]);
  });

  it('rejects when its reply is refused by the codec', async () => {
    const { world, calls, server } = await mute();
    const [reply, refusal, nonsense] = [rejectionOf(calls.call(1)), rejectionOf(calls.call(1)), rejectionOf(calls.call(1))];
    server.send({ action: 1, seq: 1, body: Buffer.from('{') });
    server.send({ action: -2, seq: 2, body: Buffer.from('{}') });
    server.send({ action: -2, seq: 3, body: Buffer.from('5') });
    expect(await world.arrived(reply)).toMatchObject({ code: 'INVALID_BODY' });
    for (const call of [refusal, nonsense]) {
      expect(await call).toMatchObject({ code: 'INVALID_BODY', message: 'invalid json body: it is no error reply' });
    }
  });

  it('is not mistaken for one of another action with the same seq', async () => {
    const { world, calls, server, listener } = await mute();
    const pushed: unknown[] = [];
    listener.onPush(101, (body) => void pushed.push(body));
    const call = calls.call(2);
    server.send({ action: 101, seq: 1, body: Buffer.from('"push"') });
    server.send({ action: -2, seq: 1, body: Buffer.from('{"action":7,"code":"NOT_FOUND","message":"another"}') });
    server.send({ action: 2, seq: 1, body: Buffer.from('"reply"') });
    expect(await world.arrived(call)).toBe('reply');
    expect(pushed).toEqual(['push']);
  });
});

describe('seqs', () => {
  it('go round over all of int16 but 0, past those that are open', () => {
    const calls = new PendingCalls(new Wheel(new VirtualClock()), 65_000);
    const request = { timeoutMs: 1000, signal: undefined, decode: () => undefined };
    const outcome = { resolve: () => {}, reject: () => {} };
    const take = (): PendingCall => calls.add(1, request, outcome);
    const open = take();
    const seqs = Array.from({ length: 65_534 }, () => {
      const call = take();
      call.resolve(undefined);
      return call.seq;
    });
    expect([seqs[0], seqs[32_765], seqs[32_766], seqs.at(-1)]).toEqual([2, 32_767, -32_768, -1]);
    expect(new Set(seqs).size).toBe(65_534);
    expect([open.seq, take().seq, calls.size]).toEqual([1, 2, 2]);
  });
});

describe('the end of a session', () => {
  it.each([
    ['is cut', (world: RouterWorld) => world.link().cut()],
    ['is closed by this side', (_world: RouterWorld, session: ActionSession) => void session.close()],
    ['is closed by the server', (_world: RouterWorld, _session: ActionSession, server: ActionSession) => void server.close()],
  ])('that %s rejects its five open calls, and those made after it', async (_name, end) => {
    const { world, calls, server } = await mute();
    const open = [1, 2, 3, 4, 5].map((action) => rejectionOf(calls.call(action)));
    await world.clock.advance(10);
    end(world, calls.session, server);
    await world.clock.advance(40);
    for (const call of open) expect(await call).toMatchObject({ name: 'StateError', code: 'SESSION_CLOSED' });
    expect(await rejectionOf(calls.call(1))).toMatchObject({ code: 'SESSION_CLOSED' });
    expect([calls.pendingCalls, calls.send(1, 1)]).toEqual([0, false]);
    expect(await rejectionOf(new RouterClient().of(calls.session).call(1))).toMatchObject({ code: 'SESSION_CLOSED' });
  });

  it('of sending rejects calls that cannot be sent any more', async () => {
    const { world, calls } = await mute();
    calls.session.end();
    expect(await rejectionOf(calls.call(1))).toMatchObject({ code: 'SESSION_CLOSED' });
    await world.clock.advance(10);
  });
});

describe('a push', () => {
  it('goes to all handlers of its action, until they are removed', async () => {
    const { world, listener, server } = await mute();
    const seen: string[] = [];
    const news = defineAction(101, { request: text() });
    const remove = listener.onPush(news, (body) => void seen.push(`first ${body}`));
    listener.onPush<string>(102, (body, session, { seq }) => void seen.push(`json ${body} ${session.isClosed} ${seq}`));
    listener.onPush(news, (body) => void seen.push(`second ${body}`));
    server.send({ action: 101, seq: 0, body: Buffer.from('one') });
    server.send({ action: 102, seq: 9, body: Buffer.from('"two"') });
    await world.clock.advance(10);
    remove();
    remove();
    server.send({ action: 101, seq: 0, body: Buffer.from('three') });
    server.send({ action: 103, seq: 0, body: Buffer.from('nobody') });
    await world.clock.advance(10);
    expect(seen).toEqual(['first one', 'second one', 'json two false 9', 'second three']);
    expect(listener.unhandledPackets).toBe(1);
  });

  it('waits for the promises of the handlers of the one before', async () => {
    const { world, listener, server } = await mute();
    const seen: string[] = [];
    const release: (() => void)[] = [];
    for (const name of ['a', 'b']) {
      listener.onPush<number>(1, async (body) => {
        await new Promise<void>((resolve) => release.push(resolve));
        seen.push(`${name}${body}`);
      });
    }
    for (const body of ['1', '2']) server.send({ action: 1, seq: 0, body: Buffer.from(body) });
    await world.clock.advance(10);
    expect(release).toHaveLength(2);
    release.shift()?.();
    await world.clock.advance(10);
    expect([seen, release.length]).toEqual([['a1'], 1]);
    release.shift()?.();
    await world.clock.advance(10);
    expect([seen, release.length]).toEqual([['a1', 'b1'], 2]);
    for (const each of release) each();
    await world.clock.advance(10);
  });

  it('whose body is refused or whose handler fails goes to onError and harms nobody', async () => {
    const errors: PorticoError[] = [];
    const { world, listener, server } = await mute({ onError: (_session, error) => void errors.push(error) });
    const seen: unknown[] = [];
    listener.onPush(1, () => {
      throw new Error('first');
    });
    listener.onPush(1, () => Promise.reject(new Error('second')));
    listener.onPush(1, (body) => void seen.push(body));
    server.send({ action: 1, seq: 0, body: Buffer.from('{') });
    server.send({ action: 1, seq: 0, body: Buffer.from('5') });
    await world.clock.advance(10);
    expect(seen).toEqual([5]);
    expect(errors.map(({ code, message }) => `${code} ${message}`)).toEqual([
      'INVALID_BODY invalid json body: it is not JSON',
      'INVALID_BODY invalid json body: it is not JSON',
      'INVALID_BODY invalid json body: it is not JSON',
      'LISTENER_FAILED push 1: first',
      'LISTENER_FAILED push 1: second',
    ]);
    expect(server.isClosed).toBe(false);
  });

  it('without an onError, or with one that fails, harms nobody either', async () => {
    for (const options of [
      {},
      {
        onError: () => {
          throw new Error('onError');
        },
      },
    ]) {
      const { world, listener, server } = await mute(options);
      listener.onPush(1, () => {
        throw new Error('first');
      });
      server.send({ action: 1, seq: 0, body: Buffer.from('5') });
      await world.clock.advance(10);
      expect(server.isClosed).toBe(false);
    }
  });

  it('has at most 100 handlers for an action', () => {
    const listener = new RouterClient();
    for (let count = 0; count < 100; count++) listener.onPush(1, () => {});
    expect(thrownBy(() => listener.onPush(1, () => {}))).toMatchObject({
      code: 'INVALID_OPTION',
      message: 'onPush handlers of an action: expected a whole number, from 1 to 100, given 101',
    });
  });
});

describe('send', () => {
  it('asks for nothing, with seq 0', async () => {
    const seen: unknown[] = [];
    const note = defineAction(5, { request: text(), hasReply: false });
    const router = new Router()
      .route(note, ({ body, seq }) => {
        seen.push([body, seq]);
        return NO_REPLY;
      })
      .route(6, () => 'unasked');
    const { world, calls, listener } = await connected(router);
    expect([calls.send(note, 'hello'), calls.send(6, null)]).toEqual([true, true]);
    await world.clock.advance(10);
    expect(seen).toEqual([['hello', 0]]);
    expect(listener.unhandledPackets).toBe(1);
  });
});

describe('a client', () => {
  it.each([
    [{ callTimeoutMs: 0 }, 'RouterClient callTimeoutMs: expected a whole number, from 1 to 2147483647, given 0'],
    [{ maxPendingCalls: 65_536 }, 'RouterClient maxPendingCalls: expected a whole number, from 1 to 65000, given 65536'],
    [{ errorAction: 1.5 }, 'RouterClient errorAction: expected a whole number, from -32768 to 32767, given 1.5'],
    [{ format: '' }, 'RouterClient format: expected a string of 1 to 64 bytes, given ""'],
  ])('refuses %j', (options, message) => {
    expect(thrownBy(() => new RouterClient(options))).toMatchObject({ code: 'INVALID_OPTION', message });
  });

  it('hands the events of its sessions on', async () => {
    const trail: string[] = [];
    const world = new RouterWorld();
    await world.serve(new Router());
    const { calls } = await world.calls({
      onOpen: () => void trail.push('open'),
      onEnd: () => void trail.push('end'),
      onDrain: () => void trail.push('drain'),
      onCron: () => void trail.push('cron'),
      onClose: (_session, { code }) => void trail.push(code),
    });
    await world.clock.advance(60_000);
    await world.arrived(Promise.resolve(calls.session.close()));
    expect(trail).toEqual(['open', 'cron', 'NORMAL']);
  });

  it('works over messages as over streams', async () => {
    const world = new RouterWorld({ kind: 'message' });
    await world.serve(new Router().route<string>(1, ({ body }) => body.toUpperCase()));
    const { calls } = await world.calls();
    expect(await world.arrived(calls.call(1, 'text'))).toBe('TEXT');
    // 4 bytes of head and 6 of JSON.
    expect(calls.session.stats().bytesWritten).toBe(10);
    expect(actionFrame(1, 1, 'text')).toHaveLength(14);
  });
});
