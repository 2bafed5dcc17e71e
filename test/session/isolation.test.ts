import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ByteReader } from '../../src/base/byte-reader.ts';
import type { Option } from '../../src/base/option.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { type PkgContext, PkgHandler } from '../../src/codec/pkg-handler.ts';
import { type ServerOptions, withLogger } from '../../src/endpoint/options.ts';
import type { Server } from '../../src/endpoint/server.ts';
import type { EventListenerLike } from '../../src/session/event-listener.ts';
import {
  withCronPeriodMs,
  withDrainTimeoutMs,
  withHalfOpen,
  withHeartbeat,
  withListenerErrorPolicy,
  withOpenTimeoutMs,
  withWaterMarks,
} from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, LogRecorder, Recorder, settle } from '../helpers/session-recorder.ts';

type Behaviour = 'throws' | 'rejects' | 'never settles';
type Place = keyof EventListenerLike<string> | 'newSession' | 'closeCallback' | 'read' | 'write' | 'ping';

/** What user code does that has gone wrong; a promise where none is expected is part of it. */
function misbehave(how: Behaviour): Promise<never> {
  if (how === 'throws') throw new Error('user code');
  return how === 'rejects' ? Promise.reject(new Error('user code')) : new Promise(() => {});
}

const plain = new LineHandler();

/** Lines, with a fault in one half for one session. */
class FaultyLines extends PkgHandler<string> {
  victimId = 0;
  readonly #place: Place;
  readonly #how: Behaviour;

  constructor(place: Place, how: Behaviour) {
    super();
    this.#place = place;
    this.#how = how;
  }

  read(bytes: ByteReader, session: PkgContext): string | undefined {
    if (this.#place === 'read' && session.id === this.victimId) return misbehave(this.#how) as unknown as string;
    return plain.read(bytes);
  }

  write(text: string, session: PkgContext): Uint8Array {
    if (this.#place === 'write' && session.id === this.victimId) return misbehave(this.#how) as unknown as Uint8Array;
    return Buffer.from(`${text}\n`);
  }
}

interface Scene {
  readonly world: MemoryWorld;
  readonly server: Server<string>;
  readonly listener: Recorder<string>;
  readonly logs: LogRecorder;
  /** The session whose user code fails, and one that has nothing to do with it; both from both sides. */
  readonly victim: Session<string>;
  readonly victimClient: Session<string>;
  readonly other: Session<string>;
  readonly otherClient: Session<string>;
  readonly echoes: Recorder<string>;
  /** What the victim's listener was told and what came after, in order. */
  readonly order: string[];
}

async function stage(place: Place, how: Behaviour, ...options: Option<ServerOptions<string, string>>[]): Promise<Scene> {
  const world = new MemoryWorld({ bufferBytes: 1_000 });
  const logs = new LogRecorder();
  const handler = new FaultyLines(place, how);
  const order: string[] = [];
  const made: Session<string>[] = [];
  const victimDoes = (at: Place, session: Session<string>): void | Promise<void> => {
    if (session.id !== handler.victimId) return undefined;
    order.push(at);
    return at === place ? misbehave(how) : undefined;
  };
  const listener = new Recorder<string>({
    onOpen: (session) => victimDoes('onOpen', session),
    onMessage: (session, text) => {
      if (session.id !== handler.victimId) session.send(text);
      if (text === 'fail in onError') throw new Error('any');
      return victimDoes('onMessage', session);
    },
    onCron: (session) => victimDoes('onCron', session),
    onDrain: (session) => victimDoes('onDrain', session),
    onEnd: (session) => victimDoes('onEnd', session),
    onError: (session) => victimDoes('onError', session),
    onClose: (session) => victimDoes('onClose', session),
  });
  const timing = [withDrainTimeoutMs(1_000), withCronPeriodMs(10_000), withWaterMarks(100, 200)];
  const heartbeat = withHeartbeat<string, string>({
    intervalMs: 5_000,
    timeoutMs: 3_600_000,
    ping: (session) => victimDoes('ping', session) as unknown as string | undefined,
  });
  const all = [withLogger(logs), ...timing, ...(place === 'ping' ? [heartbeat] : []), ...options];
  const server = await world.server(handler, listener, all, (session) => {
    made.push(session);
    if (made.length > 1) return undefined;
    handler.victimId = session.id;
    session.addCloseCallback('test', 1, () => victimDoes('closeCallback', session));
    session.addCloseCallback('test', 2, () => void order.push('second closeCallback'));
    void session.closed.then(() => order.push('closed'));
    return place === 'newSession' ? misbehave(how) : undefined;
  });
  const victimClient = await world.connect(plain, new Recorder<string>());
  const echoes = new Recorder<string>();
  const otherClient = await world.connect(plain, echoes);
  await settle();
  const [victim, other] = made;
  if (victim === undefined || other === undefined) throw new Error('expected two sessions');
  return { world, server, listener, logs, victim, victimClient, other, otherClient, echoes, order };
}

/** Has the victim's user code run at this place. */
async function provoke(place: Place, { world, victim, victimClient }: Scene): Promise<void> {
  if (place === 'onMessage' || place === 'read') {
    victimClient.send('hello');
  } else if (place === 'onError') {
    victimClient.send('fail in onError');
  } else if (place === 'onCron') {
    await world.clock.advance(10_500);
  } else if (place === 'ping') {
    await world.clock.advance(5_500);
  } else if (place === 'onEnd') {
    victimClient.end();
  } else if (place === 'onDrain') {
    world.link().stall('client');
    expect(victim.send('x'.repeat(5_000))).toBe(true);
    await settle(2);
    expect(victim.send('one more')).toBe(false);
    world.link().unstall('client');
  } else if (place === 'onClose' || place === 'closeCallback') {
    void victim.close();
  }
  await settle();
}

async function expectOthersToWork({ otherClient, echoes, other }: Scene): Promise<void> {
  otherClient.send('are you there?');
  await echoes.until('message');
  expect(echoes.packages).toEqual(['are you there?']);
  expect(other.state).toBe('open');
}

/** A ping must come at once: that it is a promise is the failure, whatever becomes of it. */
const causeOf = (place: Place, how: Behaviour): object =>
  place === 'ping' && how === 'rejects'
    ? { name: 'TypeError', message: expect.stringContaining('promise') as unknown }
    : { message: 'user code' };

const unhandled: unknown[] = [];
const note = (reason: unknown): void => void unhandled.push(reason);

beforeEach(() => {
  unhandled.length = 0;
  process.on('unhandledRejection', note);
});
afterEach(async () => {
  await settle();
  process.off('unhandledRejection', note);
  expect(unhandled).toEqual([]);
});

/** Where a failure ends the session, with the phase that onError is told. */
const ending = [
  ['onOpen', 'open'],
  ['onMessage', 'message'],
  ['onCron', 'cron'],
  ['onDrain', 'drain'],
  ['onEnd', 'end'],
  ['ping', 'heartbeat'],
] as const;

describe.each(['throws', 'rejects'] as const)('user code that %s', (how) => {
  it.each(ending)('%s: onError with the phase, onClose, the close callbacks, closed, each once and in this order', async (place, phase) => {
    const scene = await stage(place, how, withHalfOpen(place === 'onEnd'));
    await provoke(place, scene);
    await scene.world.finish(scene.victim.closed);
    const begin = place === 'onOpen' ? [place] : ['onOpen', place];
    const end = ['onError', 'onClose', 'closeCallback', 'second closeCallback', 'closed'];
    expect(scene.order.filter((event) => event === place || !['onCron', 'onEnd'].includes(event))).toEqual([...begin, ...end]);
    expect(scene.listener.errors).toMatchObject([{ name: 'ListenerError', code: 'LISTENER_FAILED', phase, cause: causeOf(place, how) }]);
    expect(await scene.victim.closed).toMatchObject({ code: 'INTERNAL', by: 'local', error: scene.listener.errors[0] });
    await expectOthersToWork(scene);
    expect([...scene.server.sessions.values()]).toEqual([scene.other]);
  });

  it.each(ending.slice(1))("%s: with the policy 'continue' onError is told, and the session goes on", async (place, phase) => {
    const scene = await stage(place, how, withHalfOpen(place === 'onEnd'), withListenerErrorPolicy('continue'));
    await provoke(place, scene);
    expect(scene.listener.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase, cause: causeOf(place, how) }]);
    expect(scene.victim.state).toBe('open');
    if (place !== 'onEnd') {
      const before = scene.listener.count('message');
      scene.victimClient.send('go on');
      await scene.listener.until('message', before + 1);
    }
    expect(scene.order).not.toContain('onClose');
    await expectOthersToWork(scene);
  });

  it('newSession: the session never opens; onError, the close callbacks and closed come all the same', async () => {
    const scene = await stage('newSession', how);
    expect(scene.order).toEqual(['onError', 'closeCallback', 'second closeCallback', 'closed']);
    expect(scene.listener.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase: 'newSession', cause: { message: 'user code' } }]);
    await expectOthersToWork(scene);
    expect(scene.server.stats()).toMatchObject({ openSessions: 1, totalSessions: 2 });
  });

  it.each(['onError', 'onClose', 'closeCallback'] as const)('%s: it is logged, and the rest of the close goes on', async (place) => {
    const scene = await stage(place, how);
    await provoke(place, scene);
    await scene.world.finish(scene.victim.closed);
    const expected = place === 'onError' ? ['onError'] : [];
    expect(scene.order).toEqual(['onOpen', ...expected, 'onClose', 'closeCallback', 'second closeCallback', 'closed']);
    expect(scene.logs.errors).toHaveLength(1);
    expect(scene.logs.errors[0]).toContain(`session ${scene.victim.id}: `);
    expect(scene.logs.errors[0]).toContain('user code');
    await expectOthersToWork(scene);
  });
});

describe('user code that never settles', () => {
  it.each(['onOpen', 'onMessage', 'onCron', 'onDrain', 'onEnd'] as const)(
    '%s: it holds up its own session alone, and a close by the drain time-out at most',
    async (place) => {
      const scene = await stage(place, 'never settles', withHalfOpen(place === 'onEnd'));
      await provoke(place, scene);
      expect(scene.victim.state).toBe('open');
      expect(scene.order).toContain(place);
      await expectOthersToWork(scene);
      const start = scene.world.clock.now();
      let tookMs = 0;
      const closed = scene.victim.close().then(() => {
        tookMs = scene.world.clock.now() - start;
      });
      await scene.world.finish(closed);
      expect(tookMs).toBeLessThanOrEqual(1_020);
      expect(scene.order.slice(-4)).toEqual(['onClose', 'closeCallback', 'second closeCallback', 'closed']);
      expect(scene.listener.errors).toEqual([]);
    },
  );

  it('newSession: the session is closed at the open time-out, and what comes later changes nothing', async () => {
    for (const late of ['resolve', 'reject'] as const) {
      const world = new MemoryWorld();
      const gate = new Deferred();
      const listener = new Recorder<string>();
      const server = await world.server(plain, listener, [withOpenTimeoutMs(5_000)], () => gate.promise);
      const client = await world.connect(plain, new Recorder<string>());
      await world.clock.advance(4_900);
      expect([server.stats().totalSessions, listener.events]).toEqual([1, []]);
      await world.clock.advance(200);
      expect(listener.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase: 'newSession' }]);
      gate[late](new Error('too late') as never);
      await settle();
      expect(listener.events).toEqual(['error']);
      expect(server.sessions.size).toBe(0);
      expect((await client.closed).code).toBe('RESET');
    }
  });

  it('newSession: the session does not open, and is closed with its endpoint', async () => {
    const scene = await stage('newSession', 'never settles');
    expect(scene.victim.state).toBe('opening');
    await expectOthersToWork(scene);
    await scene.world.finish(scene.server.close());
    expect(scene.order).toEqual(['closeCallback', 'second closeCallback', 'closed']);
  });

  it.each(['onError', 'onClose', 'closeCallback'] as const)('%s: the rest of the close goes on', async (place) => {
    const scene = await stage(place, 'never settles');
    await provoke(place, scene);
    await scene.world.finish(scene.victim.closed);
    expect(scene.order.slice(-4)).toEqual(['onClose', 'closeCallback', 'second closeCallback', 'closed']);
    expect(scene.order.filter((event) => event === place)).toHaveLength(1);
    await expectOthersToWork(scene);
  });
});

describe.each(['throws', 'rejects', 'never settles'] as const)('a PkgHandler that %s', (how) => {
  it('in read: the session closes in order, and no other is touched', async () => {
    const scene = await stage('read', how);
    await provoke('read', scene);
    await scene.world.finish(scene.victim.closed);
    expect(scene.order).toEqual(['onOpen', 'onError', 'onClose', 'closeCallback', 'second closeCallback', 'closed']);
    const expected = how === 'throws' ? { code: 'MALFORMED_PACKAGE', cause: { message: 'user code' } } : { code: 'NO_PROGRESS' };
    expect(scene.listener.errors).toMatchObject([expected]);
    await expectOthersToWork(scene);
  });

  it('in write: the caller gets the error, nothing is sent, and the session lives', async () => {
    const scene = await stage('write', how);
    const failure = { name: 'ListenerError', code: 'ENCODE_FAILED', phase: 'write' };
    expect(() => scene.victim.send('no')).toThrow(expect.objectContaining(failure));
    await expect(scene.victim.writePkg('no')).rejects.toMatchObject(failure);
    await settle();
    expect(scene.victim.stats()).toMatchObject({ state: 'open', bytesWritten: 0, packagesWritten: 0, pendingBytes: 0 });
    expect(scene.listener.errors).toEqual([]);
    scene.victimClient.send('hello');
    await scene.listener.until('message');
    await expectOthersToWork(scene);
  });
});

describe('a ping that returns a promise', () => {
  it('is no package: the session closes, and nothing is sent', async () => {
    const scene = await stage('ping', 'never settles');
    await provoke('ping', scene);
    await scene.world.finish(scene.victim.closed);
    expect(scene.listener.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase: 'heartbeat' }]);
    expect(scene.victim.stats().bytesWritten).toBe(0);
    await expectOthersToWork(scene);
  });
});
