import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { TaskPool, type TaskPoolOptions } from '../../src/session/task-pool.ts';
import { closeLater, rejection, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { HeldTasks } from '../helpers/endpoint-held-tasks.ts';

function makePool(options: TaskPoolOptions = {}): TaskPool {
  return closeLater(new TaskPool(options));
}

describe('a signal', () => {
  it('that is aborted already keeps the task from running', async () => {
    const pool = makePool();
    const held = new HeldTasks();
    const error = await rejection(pool.run(held.task('a'), { signal: AbortSignal.abort('reason') }));
    expect(error).toMatchObject({ code: 'ABORTED', cause: 'reason' });
    expect(held.begun).toEqual([]);
  });

  it('takes the task back right after run, before it has begun', async () => {
    const pool = makePool();
    const held = new HeldTasks();
    const controller = new AbortController();
    const result = pool.run(held.task('a'), { signal: controller.signal });
    controller.abort();
    expect(await rejection(result)).toMatchObject({ code: 'ABORTED' });
    await nextTurn();
    expect(held.begun).toEqual([]);
    expect([pool.running, pool.queued]).toEqual([0, 0]);
  });

  it('takes the task back while it waits for a turn, and its place is free', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 1, overflow: 'reject' });
    const held = new HeldTasks();
    const controller = new AbortController();
    const running = pool.run(held.task('a'));
    const waiting = pool.run(held.task('b'), { signal: controller.signal });
    controller.abort();
    expect(await rejection(waiting)).toMatchObject({ code: 'ABORTED' });
    const next = pool.run(held.task('c'));
    await held.end('a');
    await held.end('c');
    expect(await Promise.all([running, next])).toEqual(['a', 'c']);
    expect(held.begun).toEqual(['a', 'c']);
  });

  it('takes the task back while it waits for room, and the room goes to the next', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 0 });
    const held = new HeldTasks();
    const controller = new AbortController();
    const running = pool.run(held.task('a'));
    const first = pool.run(held.task('b'), { signal: controller.signal });
    const second = pool.run(held.task('c'));
    await nextTurn();
    controller.abort();
    expect(await rejection(first)).toMatchObject({ code: 'ABORTED' });
    await held.end('a');
    await held.end('c');
    expect(await Promise.all([running, second])).toEqual(['a', 'c']);
  });

  it('of a running task is passed on; the task keeps its slot until it has settled', async () => {
    const pool = makePool({ concurrency: 1 });
    const held = new HeldTasks();
    const controller = new AbortController();
    const result = pool.run(held.task('a'), { signal: controller.signal });
    const next = pool.run(held.task('b'));
    await nextTurn();
    expect(held.signals.get('a')?.aborted).toBe(false);
    controller.abort('reason');
    expect(held.signals.get('a')?.reason).toMatchObject({ code: 'ABORTED', cause: 'reason' });
    await nextTurn();
    expect(held.begun).toEqual(['a']);
    await held.end('a');
    expect(await result).toBe('a');
    await held.end('b');
    await next;
    expect(held.most).toBe(1);
  });

  it('is let go of when the task is over', async () => {
    const pool = makePool();
    const controller = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = controller.signal;
    controller.signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      listeners++;
      addEventListener.apply(controller.signal, args);
    };
    controller.signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners--;
      removeEventListener.apply(controller.signal, args);
    };
    const failing = (): Promise<never> => Promise.reject(new Error('no'));
    await Promise.allSettled([pool.run(() => 1, { signal: controller.signal }), pool.run(failing, { signal: controller.signal })]);
    expect(listeners).toBe(0);
  });
});

describe('the time-out of a task', () => {
  it('rejects, aborts the signal of the task and frees its slot exactly once', async () => {
    const clock = virtualClock();
    const pool = makePool({ concurrency: 1, timeoutMs: 100, clock });
    const held = new HeldTasks();
    const late = pool.run(held.task('late'));
    const next = pool.run(held.task('next'));
    const last = pool.run(held.task('last'));
    await nextTurn();
    await Promise.all([expect(late).rejects.toMatchObject({ code: 'TASK_TIMEOUT' }), clock.advance(110)]);
    expect(held.signals.get('late')?.reason).toMatchObject({ code: 'TASK_TIMEOUT' });
    expect(pool.timedOut).toBe(1);
    expect(held.begun).toEqual(['late', 'next']);
    // The late end frees nothing a second time.
    await held.end('late');
    expect(held.begun).toEqual(['late', 'next']);
    expect([pool.running, pool.queued]).toEqual([1, 1]);
    await held.end('next');
    await held.end('last');
    expect(await Promise.all([next, last])).toEqual(['next', 'last']);
    expect(pool.timedOut).toBe(1);
  });

  it('counts from the start of the task, not from run', async () => {
    const clock = virtualClock();
    const pool = makePool({ concurrency: 1, timeoutMs: 100, clock });
    const held = new HeldTasks();
    const results = [pool.run(held.task('a')), pool.run(held.task('b'))];
    await clock.advance(90);
    await held.end('a');
    await clock.advance(90);
    await held.end('b');
    expect(await Promise.all(results)).toEqual(['a', 'b']);
  });

  it('is forgotten when the task ends in time', async () => {
    const clock = virtualClock();
    const pool = makePool({ timeoutMs: 100, clock });
    await pool.run(() => 1);
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(1_000);
    expect(pool.timedOut).toBe(0);
  });

  it('leaves nobody alone with what the task does afterwards, a rejection included', async () => {
    const clock = virtualClock();
    const pool = makePool({ timeoutMs: 50, clock });
    const held = new HeldTasks();
    const late = pool.run(held.task('late'));
    await nextTurn();
    await Promise.all([expect(late).rejects.toMatchObject({ code: 'TASK_TIMEOUT' }), clock.advance(60)]);
    // An unhandled rejection would fail the run.
    await held.fail('late', new Error('nobody asks any more'));
    expect(pool.running).toBe(0);
  });

  it('lets the next one of the lane run', async () => {
    const clock = virtualClock();
    const pool = makePool({ timeoutMs: 50, clock });
    const held = new HeldTasks();
    const late = pool.run(held.task('late'), { key: 'k' });
    const next = pool.run(held.task('next'), { key: 'k' });
    await nextTurn();
    await Promise.all([expect(late).rejects.toMatchObject({ code: 'TASK_TIMEOUT' }), clock.advance(60)]);
    await held.end('next');
    expect(await next).toBe('next');
  });
});

describe('closing a pool', () => {
  it('lets what it has finish, lanes included, and takes no more', async () => {
    const pool = makePool({ concurrency: 1 });
    const held = new HeldTasks();
    const results = [pool.run(held.task('a')), pool.run(held.task('k1'), { key: 'k' }), pool.run(held.task('k2'), { key: 'k' })];
    await nextTurn();
    let report: object | undefined;
    const closing = pool.close().then((result) => {
      report = result;
    });
    expect(pool.isClosed).toBe(true);
    expect(await rejection(pool.run(held.task('no')))).toMatchObject({ code: 'POOL_CLOSED' });
    await held.end('a');
    await held.end('k1');
    expect(report).toBeUndefined();
    await held.end('k2');
    await closing;
    expect(report).toEqual({ dropped: 0 });
    expect(await Promise.all(results)).toEqual(['a', 'k1', 'k2']);
    expect(held.begun).toEqual(['a', 'k1', 'k2']);
  });

  it('drops what waits and aborts what runs when the time is over, and says how many never ran', async () => {
    const clock = virtualClock();
    const pool = makePool({ concurrency: 1, clock });
    const held = new HeldTasks();
    const results = [pool.run(held.task('a')), pool.run(held.task('b')), pool.run(held.task('c'), { key: 'k' })];
    results.push(pool.run(held.task('d'), { key: 'k' }));
    const settled = Promise.allSettled(results);
    await nextTurn();
    const closing = pool.close({ drainTimeoutMs: 200 });
    await clock.advance(190);
    expect(held.signals.get('a')?.aborted).toBe(false);
    await clock.advance(10);
    expect(await closing).toEqual({ dropped: 3 });
    expect(held.signals.get('a')?.reason).toMatchObject({ code: 'POOL_CLOSED' });
    expect((await settled).map((result) => result.status === 'rejected' && result.reason.code)).toEqual(Array(4).fill('POOL_CLOSED'));
    await held.end('a');
    expect(held.begun).toEqual(['a']);
    expect([pool.running, pool.queued]).toEqual([0, 0]);
  });

  it('refuses those who wait for room at once', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 0 });
    const held = new HeldTasks();
    const running = pool.run(held.task('a'));
    const waiting = pool.run(held.task('b'));
    const room = pool.whenRoom();
    await nextTurn();
    const closing = pool.close();
    expect(await rejection(waiting)).toMatchObject({ code: 'POOL_CLOSED' });
    await room;
    await held.end('a');
    expect(await running).toBe('a');
    await closing;
    expect(held.begun).toEqual(['a']);
  });

  it('may be called again, and before anything ran', async () => {
    const pool = new TaskPool();
    expect(await Promise.all([pool.close(), pool.close()])).toEqual([{ dropped: 0 }, { dropped: 0 }]);
    expect(await pool.close()).toEqual({ dropped: 0 });
    await pool.whenRoom();
  });

  it('does nothing when it is told a time that is none', async () => {
    const pool = makePool();
    expect(await rejection(pool.close({ drainTimeoutMs: -1 }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(pool.isClosed).toBe(false);
    expect(await pool.run(() => 1)).toBe(1);
  });

  it('leaves no timer behind', async () => {
    const clock = virtualClock();
    const pool = new TaskPool({ clock });
    await pool.run(() => 1);
    await pool.close();
    expect(clock.pendingTimers).toBe(0);
  });
});

describe('options of TaskPool', () => {
  it.each([
    [{ concurrency: 0 }, 'TaskPool concurrency: expected a whole number, from 1 to 65536, given 0'],
    [{ concurrency: 1.5 }, 'TaskPool concurrency: expected a whole number, from 1 to 65536, given 1.5'],
    [{ maxQueue: -1 }, 'TaskPool maxQueue: expected a whole number, 0 or more, given -1'],
    [{ maxQueue: Number.POSITIVE_INFINITY }, 'TaskPool maxQueue: expected a whole number, 0 or more, given Infinity'],
    [{ overflow: 'block' }, 'TaskPool overflow: expected one of wait, reject, drop, given "block"'],
    [{ timeoutMs: -5 }, 'TaskPool timeoutMs: expected a whole number, from 0 to 2147483647, given -5'],
    [{ clock: {} }, 'TaskPool clock: expected an object with the method(s) now, after, yield, given an object (Object)'],
  ])('refuses %j', (options, message) => {
    expect(() => new TaskPool(options as TaskPoolOptions)).toThrow(expect.objectContaining({ name: 'ConfigError', message }));
  });
});
