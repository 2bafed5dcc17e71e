import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { TaskPool, type TaskPoolOptions } from '../../src/session/task-pool.ts';
import { closeLater, rejection } from '../helpers/endpoint-fixtures.ts';
import { HeldTasks } from '../helpers/endpoint-held-tasks.ts';

function makePool(options: TaskPoolOptions = {}): TaskPool {
  return closeLater(new TaskPool(options));
}

describe('the bound on running tasks', () => {
  it('starts no more than concurrency at a time, the others in order', async () => {
    const pool = makePool({ concurrency: 3 });
    const held = new HeldTasks();
    const names = Array.from({ length: 20 }, (_, index) => `t${index}`);
    const results = Promise.all(names.map((name) => pool.run(held.task(name))));
    await nextTurn();
    expect([pool.running, pool.queued]).toEqual([3, 17]);
    for (const name of names) await held.end(name);
    expect(await results).toEqual(names);
    expect(held.begun).toEqual(names);
    expect(held.most).toBe(3);
    expect([pool.running, pool.queued]).toEqual([0, 0]);
  });

  it('returns what the task returns and rejects with what it throws, at once or later, and goes on', async () => {
    const pool = makePool({ concurrency: 1 });
    const thrown = new Error('thrown');
    const results = await Promise.allSettled([
      pool.run(() => 1),
      pool.run(() => {
        throw thrown;
      }),
      pool.run(async () => {
        await nextTurn();
        throw thrown;
      }),
      pool.run(async () => 2),
    ]);
    expect(results).toEqual([
      { status: 'fulfilled', value: 1 },
      { status: 'rejected', reason: thrown },
      { status: 'rejected', reason: thrown },
      { status: 'fulfilled', value: 2 },
    ]);
  });

  it('does not call the task inside of run', async () => {
    const pool = makePool();
    let isRunning = false;
    const done = pool.run(() => {
      isRunning = true;
    });
    expect(isRunning).toBe(false);
    await done;
    expect(isRunning).toBe(true);
  });
});

describe('the bound on waiting tasks', () => {
  it('holds for callers that wait for room too: one more is refused, and whoever waits is served', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 1, maxWaiting: 2 });
    const held = new HeldTasks();
    const names = ['runs', 'queued', 'waits', 'waits too'];
    const results = Promise.all(names.map((name) => pool.run(held.task(name))));
    expect(await rejection(pool.run(held.task('late')))).toMatchObject({
      code: 'TASK_REJECTED',
      message: expect.stringContaining('at most 2 callers'),
    });
    expect([pool.refused, pool.queued]).toEqual([1, 1]);
    for (const name of names) await held.end(name);
    expect(await results).toEqual(names);
    expect(held.begun).toEqual(names);
    expect(await pool.run(() => 'room again')).toBe('room again');
  });

  it('has one promise of room, whoever asks for it', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 0 });
    const held = new HeldTasks();
    const done = pool.run(held.task('runs'));
    const [first, second] = [pool.whenRoom(), pool.whenRoom()];
    expect(first).toBe(second);
    await nextTurn();
    await held.end('runs');
    await first;
    await done;
    expect(pool.whenRoom()).not.toBe(first);
  });

  it.each(['reject', 'drop'] as const)('refuses one task more than fits with the policy %s, and counts it', async (overflow) => {
    const pool = makePool({ concurrency: 2, maxQueue: 3, overflow });
    const held = new HeldTasks();
    const taken = ['a', 'b', 'c', 'd', 'e'].map((name) => pool.run(held.task(name)));
    expect(pool.isFull).toBe(true);
    expect(await rejection(pool.run(held.task('f')))).toMatchObject({ code: 'TASK_REJECTED', name: 'StateError' });
    expect(pool.refused).toBe(1);
    await held.end('a');
    expect(pool.isFull).toBe(false);
    const next = pool.run(held.task('g'));
    for (const name of 'bcdeg') await held.end(name);
    expect(await Promise.all([...taken, next])).toEqual(['a', 'b', 'c', 'd', 'e', 'g']);
    expect(held.begun).not.toContain('f');
    expect(pool.refused).toBe(1);
  });

  it('takes as many as can run when nothing may wait', async () => {
    const pool = makePool({ concurrency: 2, maxQueue: 0, overflow: 'reject' });
    const held = new HeldTasks();
    const taken = ['a', 'b'].map((name) => pool.run(held.task(name)));
    expect(await rejection(pool.run(held.task('c')))).toMatchObject({ code: 'TASK_REJECTED' });
    await held.end('a', 'b');
    await Promise.all(taken);
    expect(await pool.run(() => 'again')).toBe('again');
  });

  it('lets tasks wait for room in the order in which they came, and nobody overtakes them', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 1, overflow: 'wait' });
    const held = new HeldTasks();
    const results = ['a', 'b', 'c', 'd'].map((name) => pool.run(held.task(name)));
    await nextTurn();
    expect([pool.running, pool.queued]).toEqual([1, 1]);
    // The room that comes now belongs to c, whoever asks first.
    const room = held.end('a');
    results.push(pool.run(held.task('e')));
    await room;
    for (const name of 'bcde') await held.end(name);
    expect(held.begun).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(pool.refused).toBe(0);
  });

  it('lets tasks wait for a turn when nothing may wait in the queue', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 0 });
    const held = new HeldTasks();
    const results = ['a', 'b', 'c'].map((name) => pool.run(held.task(name)));
    await nextTurn();
    for (const name of 'abc') await held.end(name);
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c']);
    expect(held.most).toBe(1);
  });

  it('never holds more than it may under a storm', async () => {
    const pool = makePool({ concurrency: 4, maxQueue: 5 });
    let most = 0;
    let running = 0;
    let queued = 0;
    const work = async (): Promise<void> => {
      running++;
      most = Math.max(most, running);
      queued = Math.max(queued, pool.queued);
      await nextTurn();
      running--;
    };
    await Promise.all(Array.from({ length: 500 }, () => pool.run(work)));
    expect(most).toBe(4);
    expect(queued).toBeLessThanOrEqual(5);
  });

  it('tells when there is room', async () => {
    const pool = makePool({ concurrency: 1, maxQueue: 0 });
    const held = new HeldTasks();
    await pool.whenRoom();
    const taken = pool.run(held.task('a'));
    let hasRoom = false;
    const room = pool.whenRoom().then(() => {
      hasRoom = true;
    });
    await nextTurn();
    expect(hasRoom).toBe(false);
    await held.end('a');
    await Promise.all([taken, room]);
    expect(hasRoom).toBe(true);
  });
});

describe('tasks with a key', () => {
  it('run one after another in order, beside those with other keys', async () => {
    const pool = makePool({ concurrency: 8 });
    const held = new HeldTasks();
    const key = {};
    const results = [pool.run(held.task('a1'), { key }), pool.run(held.task('a2'), { key }), pool.run(held.task('b1'), { key: {} })];
    results.push(pool.run(held.task('n1'), { key: Number.NaN }), pool.run(held.task('n2'), { key: Number.NaN }));
    await nextTurn();
    expect(held.begun).toEqual(['a1', 'b1', 'n1']);
    await held.end('a1', 'b1');
    expect(held.begun).toEqual(['a1', 'b1', 'n1', 'a2']);
    await held.end('a2', 'n1');
    await held.end('n2');
    expect(await Promise.all(results)).toEqual(['a1', 'a2', 'b1', 'n1', 'n2']);
  });

  it('go on behind one that fails', async () => {
    const pool = makePool();
    const held = new HeldTasks();
    const first = pool.run(held.task('a'), { key: 'k' });
    const second = pool.run(held.task('b'), { key: 'k' });
    await nextTurn();
    await Promise.all([expect(first).rejects.toThrow('no'), held.fail('a', new Error('no'))]);
    await held.end('b');
    expect(await second).toBe('b');
  });

  it('count for the bound while they wait for each other', async () => {
    const pool = makePool({ concurrency: 2, maxQueue: 2, overflow: 'reject' });
    const held = new HeldTasks();
    const results = ['a', 'b', 'c', 'd'].map((name) => pool.run(held.task(name), { key: 'k' }));
    await nextTurn();
    expect([pool.running, pool.queued, pool.isFull]).toEqual([1, 3, true]);
    expect(await rejection(pool.run(held.task('e'), { key: 'k' }))).toMatchObject({ code: 'TASK_REJECTED' });
    for (const name of 'abcd') await held.end(name);
    expect(await Promise.all(results)).toEqual(['a', 'b', 'c', 'd']);
    expect(held.most).toBe(1);
  });

  it('are taken back at once while they wait for each other, and the next one goes on', async () => {
    const pool = makePool();
    const held = new HeldTasks();
    const controller = new AbortController();
    const results = [
      pool.run(held.task('a'), { key: 'k' }),
      pool.run(held.task('b'), { key: 'k', signal: controller.signal }),
      pool.run(held.task('c'), { key: 'k' }),
    ];
    await nextTurn();
    controller.abort('reason');
    expect(await rejection(results[1] ?? Promise.resolve())).toMatchObject({ code: 'ABORTED', cause: 'reason' });
    expect(pool.queued).toBe(1);
    await held.end('a');
    await held.end('c');
    expect(held.begun).toEqual(['a', 'c']);
    await Promise.all([results[0], results[2]]);
  });

  it('keep their order also when they have to wait for room', async () => {
    const pool = makePool({ concurrency: 2, maxQueue: 1 });
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 40 }, (_, index) =>
        pool.run(
          async () => {
            for (let turns = index % 3; turns > 0; turns--) await nextTurn();
            order.push(index);
          },
          { key: 'k' },
        ),
      ),
    );
    expect(order).toEqual(Array.from({ length: 40 }, (_, index) => index));
  });
});
