import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withLogger } from '../../src/endpoint/options.ts';
import { KNET_RATE_LIMIT, type RateLimitOptions } from '../../src/rate-limit/options.ts';
import { rateLimit } from '../../src/rate-limit/rate-limit.ts';
import type { RateLimiter } from '../../src/rate-limit/rate-limiter.ts';
import { EventListener, overrides } from '../../src/session/event-listener.ts';
import type { Session } from '../../src/session/session.ts';
import { propertyRuns } from '../helpers/codec-property.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { LogRecorder, Recorder } from '../helpers/session-recorder.ts';

const line = new LineHandler();

interface Limited {
  readonly world: MemoryWorld;
  /** Behind the limits. */
  readonly inner: Recorder<string>;
  readonly limiter: RateLimiter<string>;
  readonly log: LogRecorder;
  /** A client, and what it saw. */
  connect(): Promise<{ session: Session<string>; seen: Recorder<string> }>;
}

async function limited(options: RateLimitOptions<string>, hooks: ConstructorParameters<typeof Recorder<string>>[0] = {}): Promise<Limited> {
  const world = new MemoryWorld();
  const inner = new Recorder<string>(hooks);
  const limiter = rateLimit<string>(inner, options);
  const log = new LogRecorder();
  await world.server(line, limiter, [withLogger(log)]);
  const connect = async (): Promise<{ session: Session<string>; seen: Recorder<string> }> => {
    const seen = new Recorder<string>();
    const session = await world.connect(line, seen);
    await world.clock.advance(0);
    return { session, seen };
  };
  return { world, inner, limiter, log, connect };
}

/** So many lines in one chunk, given to the network at once. */
function pour(session: Session<string>, count: number, text = 'm'): void {
  for (let index = 0; index < count; index++) session.send(text);
}

describe('the limit of a session', () => {
  it('znet-knet scenario 37: 90 a second for 30 s pass, 300 a second are closed near message 300', async () => {
    const { world, inner, connect } = await limited(KNET_RATE_LIMIT);
    const slow = await connect();
    for (let step = 0; step < 300; step++) {
      pour(slow.session, 9, 'slow');
      await world.clock.advance(100);
    }
    expect([inner.count('message'), inner.count('close')]).toEqual([2700, 0]);
    const fast = await connect();
    for (let sent = 0; inner.count('close') === 0 && sent < 600; sent += 3) {
      pour(fast.session, 3, 'fast');
      await world.clock.advance(10);
    }
    expect(inner.packages.length - 2700).toBeGreaterThanOrEqual(297);
    expect(inner.packages.length - 2700).toBeLessThanOrEqual(303);
    expect(inner.reasons).toMatchObject([{ code: 'RATE', status: 1008, text: 'Rate limit exceeded' }]);
    expect(inner.errors).toMatchObject([{ name: 'PeerError', code: 'RATE_EXCEEDED', status: 1008, message: 'Rate limit exceeded' }]);
    expect(slow.session.isClosed).toBe(false);
  });

  it('znet-knet scenario 37: disabled, 100,000 messages pass', async () => {
    const { world, inner, limiter, connect } = await limited({});
    const { session } = await connect();
    for (let chunk = 0; chunk < 100; chunk++) {
      pour(session, 1000);
      await world.clock.advance(1);
    }
    expect([inner.packages.length, limiter.stats().passed]).toEqual([100_000, 100_000]);
  });

  it('passes exactly the burst at once, and only closes the one that exceeded it', async () => {
    const { world, inner, limiter, log, connect } = await limited(KNET_RATE_LIMIT);
    const [good, bad] = [await connect(), await connect()];
    pour(bad.session, 1000, 'bad');
    pour(good.session, 200, 'good');
    await world.clock.advance(0);
    expect(inner.packages.filter((text) => text === 'bad').length).toBe(200);
    expect(inner.packages.filter((text) => text === 'good').length).toBe(200);
    expect(limiter.stats()).toMatchObject({ passed: 400, closed: 1, exceeded: { session: 1 } });
    expect([good.session.isClosed, inner.count('close')]).toEqual([false, 1]);
    const { id, remoteAddress } = await inner.session(1);
    expect(log.warnings).toEqual([`Rate limit exceeded: session ${id} (session) at ${remoteAddress.text}: limit session, policy close`]);
  });

  it('property: the same messages pass as by a naive bucket', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 100 }),
        fc.integer({ min: 1, max: 30 }),
        fc.array(fc.tuple(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 1, max: 20 })), { maxLength: 12 }),
        async (perSecond, burst, steps) => {
          const { world, inner, limiter, connect } = await limited({ perSession: { messagesPerSecond: perSecond, burst }, policy: 'drop' });
          const { session } = await connect();
          pour(session, 1);
          await world.clock.advance(0);
          // In thousandths, so that it is exact.
          let milli = (burst - 1) * 1000;
          let expected = 1;
          for (const [waitMs, count] of steps) {
            await world.clock.advance(waitMs);
            milli = Math.min(burst * 1000, milli + waitMs * perSecond);
            pour(session, count);
            await world.clock.advance(0);
            for (let index = 0; index < count; index++) {
              if (milli < 1000) continue;
              milli -= 1000;
              expected++;
            }
          }
          expect(inner.packages.length).toBe(expected);
          expect(limiter.stats().passed).toBe(expected);
          await world.finish(session.close());
        },
      ),
      propertyRuns(30, 2000),
    );
  });

  it('counts the time that passes while messages of one chunk wait for their handlers', async () => {
    const slow = (): Promise<void> => new Promise((resolve) => void world.clock.after(20, resolve));
    const { world, inner, limiter, connect } = await limited(
      { perSession: { messagesPerSecond: 100, burst: 1 }, policy: 'drop' },
      { onMessage: slow },
    );
    const { session } = await connect();
    pour(session, 50);
    await world.clock.advance(1200);
    expect([inner.packages.length, limiter.stats().dropped]).toEqual([50, 0]);
  });

  it('counts for what costOf says, and a wrong cost is a failure of the listener', async () => {
    const options: RateLimitOptions<string> = {
      perSession: { messagesPerSecond: 1, burst: 10 },
      policy: 'drop',
      costOf: (text) => Number(text),
    };
    const { world, inner, connect } = await limited(options);
    const { session } = await connect();
    for (const text of ['0', '6', '5', '4', '0', '1']) session.send(text);
    await world.clock.advance(0);
    expect(inner.packages).toEqual(['0', '6', '4', '0']);
    session.send('nonsense');
    await world.clock.advance(0);
    expect(inner.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase: 'message' }]);
    expect(inner.reasons).toMatchObject([{ code: 'INTERNAL' }]);
  });

  it('charges more for a batch', async () => {
    const { world, inner, limiter, connect } = await limited({ ...KNET_RATE_LIMIT, perSession: { messagesPerSecond: 1, burst: 10 } });
    const { session } = await connect();
    session.send('batch');
    await world.clock.advance(0);
    const peer = await inner.session();
    expect([limiter.charge(peer, 9), peer.isClosed]).toEqual([true, false]);
    expect([limiter.charge(peer, 1), peer.isClosed, limiter.charge(peer, 0)]).toEqual([false, true, false]);
    await world.clock.advance(0);
    expect(inner.reasons).toMatchObject([{ code: 'RATE' }]);
    expect(() => limiter.charge(peer, -1)).toThrow('rateLimit: expected a cost of 0 or more');
  });

  it('before authentication is another one', async () => {
    const { world, inner, limiter, connect } = await limited(
      {
        perSession: { messagesPerSecond: 1, burst: 8 },
        beforeAuth: { messagesPerSecond: 1, burst: 2, isAuthenticated: (session) => session.attributes.get('user') !== undefined },
        policy: 'drop',
      },
      { onMessage: (session, text) => void (text === 'login' && session.attributes.set('user', 'ada')) },
    );
    const { session } = await connect();
    pour(session, 3, 'guess');
    await world.clock.advance(2000);
    pour(session, 1, 'login');
    pour(session, 20, 'work');
    await world.clock.advance(0);
    const counts = ['guess', 'login', 'work'].map((text) => inner.packages.filter((pkg) => pkg === text).length);
    expect(counts).toEqual([2, 1, 8]);
    expect(limiter.stats().exceeded).toMatchObject({ 'before-auth': 1, session: 12 });
  });

  it('of bytes is paid with whole packages, overdrawn by one burst at most', async () => {
    const { world, inner, limiter, connect } = await limited({ bytes: { bytesPerSecond: 1000, burstBytes: 2000 }, policy: 'drop' });
    const { session } = await connect();
    // 1000 bytes with their line feed.
    const text = 'x'.repeat(999);
    for (let index = 0; index < 2; index++) {
      session.send(text);
      await world.clock.advance(0);
    }
    expect(inner.packages.length).toBe(2);
    for (let index = 0; index < 50; index++) session.send(text);
    await world.clock.advance(0);
    expect(inner.packages.length).toBe(2);
    expect(limiter.stats().exceeded.bytes).toBe(50);
    await world.clock.advance(2990);
    session.send(text);
    await world.clock.advance(0);
    expect(inner.packages.length).toBe(2);
    // 2000 of debt, but 1990 were paid since and 1000 more taken.
    await world.clock.advance(2020);
    session.send(text);
    await world.clock.advance(0);
    expect(inner.packages.length).toBe(3);
  });
});

describe('limits that sessions share', () => {
  it('one for an endpoint', async () => {
    const { world, inner, limiter, connect } = await limited({ perEndpoint: { messagesPerSecond: 1, burst: 7 }, policy: 'drop' });
    for (const { session } of [await connect(), await connect()]) pour(session, 5);
    await world.clock.advance(0);
    expect([inner.packages.length, limiter.stats().exceeded.endpoint]).toEqual([7, 3]);
  });

  it('a message that one limit refuses costs nothing of the others', async () => {
    const { world, inner, connect } = await limited({
      perSession: { messagesPerSecond: 1, burst: 3 },
      perEndpoint: { messagesPerSecond: 1, burst: 7 },
      policy: 'drop',
    });
    const clients = [await connect(), await connect(), await connect()];
    for (const { session } of clients) {
      pour(session, 100);
      await world.clock.advance(0);
    }
    expect(inner.packages.length).toBe(7);
  });
});

describe('policies', () => {
  it('delay: everything is handled in order, at the rate, and the peer feels it', async () => {
    const { world, inner, limiter, connect } = await limited({ perSession: { messagesPerSecond: 100, burst: 10 }, policy: 'delay' });
    const { session } = await connect();
    for (let index = 0; index < 100; index++) session.send(String(index));
    await world.clock.advance(0);
    expect(inner.packages.length).toBe(11);
    await world.clock.advance(500);
    expect(inner.packages.length).toBeGreaterThanOrEqual(59);
    expect(inner.packages.length).toBeLessThanOrEqual(61);
    await world.clock.advance(500);
    expect(inner.packages).toEqual(Array.from({ length: 100 }, (_, index) => String(index)));
    expect(limiter.stats()).toMatchObject({ passed: 100, dropped: 0, closed: 0 });
    expect((await inner.session()).isClosed).toBe(false);
  });

  it('delay: a limit that sessions share holds for all of them together, each in its turn', async () => {
    const { world, inner, connect } = await limited({ perEndpoint: { messagesPerSecond: 100, burst: 10 }, policy: 'delay' });
    const names = Array.from({ length: 50 }, (_, index) => String(index));
    for (const name of names) pour((await connect()).session, 100, name);
    await world.clock.advance(0);
    // The burst, and then one of each session: that one is delayed.
    expect(inner.packages.length).toBeLessThanOrEqual(10 + 50);
    await world.clock.advance(10_000);
    expect(inner.packages.length).toBeGreaterThanOrEqual(1000);
    expect(inner.packages.length).toBeLessThanOrEqual(10 + 1000 + 50);
    const counts = names.map((name) => inner.packages.filter((text) => text === name).length);
    expect(Math.min(...counts.slice(1))).toBeGreaterThanOrEqual(Math.max(...counts.slice(1)) - 2);
  });

  it('delay: one message that costs more than a burst delays for a burst', async () => {
    const { world, inner, connect } = await limited({
      perSession: { messagesPerSecond: 10, burst: 5 },
      policy: 'delay',
      costOf: (text) => (text === 'dear' ? Number.POSITIVE_INFINITY : 1),
    });
    const { session } = await connect();
    for (const text of ['dear', 'a', 'b']) session.send(text);
    await world.clock.advance(490);
    expect(inner.packages).toEqual(['dear']);
    await world.clock.advance(20);
    expect(inner.packages).toEqual(['dear', 'a']);
  });

  it('delay: what the program pauses stays paused, and what is delayed stays delayed when it resumes', async () => {
    const { world, inner, connect } = await limited({ perSession: { messagesPerSecond: 10, burst: 1 }, policy: 'delay' });
    const { session } = await connect();
    const peer = await inner.session();
    pour(session, 5);
    await world.clock.advance(0);
    expect(inner.packages.length).toBe(2);
    peer.pause();
    peer.resume();
    await world.clock.advance(0);
    expect(inner.packages.length).toBe(2);
    peer.pause();
    await world.clock.advance(1000);
    expect(inner.packages.length).toBe(2);
    peer.resume();
    await world.clock.advance(0);
    expect(inner.packages.length).toBeGreaterThanOrEqual(3);
  });

  it('delay: a session that closes meanwhile leaves no timer behind', async () => {
    const { world, inner, connect } = await limited({ perSession: { messagesPerSecond: 0.001, burst: 1 }, policy: 'delay' });
    const { session } = await connect();
    pour(session, 3);
    await world.clock.advance(0);
    const peer = await inner.session();
    await world.finish(peer.close());
    expect([inner.count('close'), inner.packages.length, world.clock.pendingTimers]).toEqual([1, 2, 0]);
    peer.delay(10);
    expect(world.clock.pendingTimers).toBe(0);
  });

  it('reject: the program answers, and the session lives', async () => {
    const { world, inner, limiter, connect } = await limited({
      perSession: { messagesPerSecond: 1, burst: 2 },
      policy: 'reject',
      onExceeded: (session, text, { limit, policy }) => void session.send(`${text}: ${limit} ${policy}`),
    });
    const { session, seen } = await connect();
    for (const text of ['a', 'b', 'c', 'd']) session.send(text);
    await world.clock.advance(0);
    expect([inner.packages, seen.packages]).toEqual([
      ['a', 'b'],
      ['c: session reject', 'd: session reject'],
    ]);
    expect(limiter.stats()).toMatchObject({ rejected: 2, passed: 2 });
  });

  it('reject: a callback that throws or rejects is a failure of the listener', async () => {
    for (const onExceeded of [
      (): void => {
        throw new Error('oops');
      },
      (): Promise<void> => Promise.reject(new Error('oops')),
    ]) {
      const { world, inner, connect } = await limited({ perSession: { messagesPerSecond: 1, burst: 1 }, policy: 'reject', onExceeded });
      const { session } = await connect();
      pour(session, 2);
      await world.clock.advance(0);
      expect(inner.errors).toMatchObject([{ code: 'LISTENER_FAILED', message: 'message: oops' }]);
    }
  });

  it('close: happens also when the callback throws, and the peer gets what the callback sent', async () => {
    const { world, inner, connect } = await limited({
      ...KNET_RATE_LIMIT,
      perSession: { messagesPerSecond: 1, burst: 1 },
      onExceeded(session) {
        session.send('too fast');
        throw new Error('oops');
      },
    });
    const { session, seen } = await connect();
    pour(session, 2);
    await world.clock.advance(0);
    expect(seen.packages).toEqual(['too fast']);
    expect(inner.reasons).toMatchObject([{ code: 'RATE', error: { code: 'RATE_EXCEEDED' } }]);
  });

  it('is told on the limit channel, and in one log line for a session', async () => {
    const told: unknown[] = [];
    const listen = (message: unknown): void => void told.push(message);
    subscribe('portico:limit', listen);
    onTestFinished(() => void unsubscribe('portico:limit', listen));
    const { world, inner, log, connect } = await limited({ perSession: { messagesPerSecond: 1, burst: 1 }, policy: 'drop' });
    const { session } = await connect();
    pour(session, 3);
    await world.clock.advance(0);
    const event = { limit: 'rate', scope: 'session', policy: 'drop', session: await inner.session() };
    expect(told).toEqual([event, event]);
    expect(log.warnings.length).toBe(1);
  });
});

describe('the listener behind the limits', () => {
  it('gets every other event, and methods that it does not have are not there', async () => {
    const { world, inner, connect } = await limited(KNET_RATE_LIMIT);
    const { session } = await connect();
    await world.clock.advance(61_000);
    await world.finish(session.close());
    expect(inner.events).toEqual(['open', 'cron', 'close']);

    class OnlyMessages extends EventListener<string> {
      onMessage(): void {}
    }
    for (const listener of [new OnlyMessages(), { onMessage: () => {} }]) {
      const limiter = rateLimit<string>(listener, KNET_RATE_LIMIT);
      const methods = ['onOpen', 'onCron', 'onDrain', 'onEnd', 'onError', 'onClose'] as const;
      expect(methods.filter((method) => overrides(limiter, method))).toEqual([]);
    }
  });

  it('may be async, and what it rejects with goes its way', async () => {
    const { world, inner, connect } = await limited(KNET_RATE_LIMIT, { onMessage: () => Promise.reject(new Error('late')) });
    const { session } = await connect();
    session.send('x');
    await world.clock.advance(0);
    expect(inner.errors).toMatchObject([{ code: 'LISTENER_FAILED', message: 'message: late' }]);
  });
});
