import { availableParallelism } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { WorkerPool, type WorkerPoolOptions } from '../../src/worker-pool/index.ts';
import { closeLater, rejection, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { eventually, settle } from '../helpers/session-recorder.ts';

const filename = new URL('./worker.mjs', import.meta.url);

function makePool(options: Partial<WorkerPoolOptions> = {}): WorkerPool {
  return closeLater(new WorkerPool({ filename, maxThreads: 1, ...options }));
}

/** Tasks that wait in their threads until the test lets them go. */
class Gate {
  readonly shared = new SharedArrayBuffer(4);

  open(): void {
    const cell = new Int32Array(this.shared);
    Atomics.store(cell, 0, 1);
    Atomics.notify(cell, 0);
  }
}

describe('run', () => {
  it('calls a function of the module by name, or its default export, in a thread', async () => {
    const pool = makePool({ workerData: { given: true } });
    expect(await pool.run<number>(undefined, 21)).toBe(42);
    expect(await pool.run('later', { deep: ['value'] })).toEqual({ deep: ['value'] });
    const { threadId, workerData } = await pool.run<{ threadId: number; workerData: unknown }>('where', null);
    expect(threadId).toBeGreaterThan(0);
    expect(workerData).toEqual({ given: true });
    expect([pool.running, pool.queued, pool.refused, pool.timedOut]).toEqual([0, 0, 0, 0]);
  });

  it.each([
    ['a URL', filename],
    ['the text of a URL', filename.href],
    ['an absolute path', path.join(import.meta.dirname, 'worker.mjs')],
  ])('takes the module as %s', async (_, file) => {
    expect(await makePool({ filename: file }).run(undefined, 1)).toBe(2);
  });

  it('rejects with what the function throws or rejects with, and goes on', async () => {
    const pool = makePool();
    const expected = { name: 'RangeError', message: 'no' };
    expect(await rejection(pool.run('fail', 'no'))).toMatchObject(expected);
    expect(await rejection(pool.run('reject', 'no'))).toMatchObject(expected);
    expect(await rejection(pool.run('absent', 'no'))).toBeInstanceOf(Error);
    expect(await rejection(pool.run('unclonable', null))).toBeInstanceOf(Object);
    expect(await rejection(pool.run('later', () => {}))).toMatchObject({ name: 'DataCloneError' });
    expect(await pool.run(undefined, 1)).toBe(2);
    expect([pool.running, pool.queued]).toEqual([0, 0]);
  });

  it('moves what is in the transfer list', async () => {
    const bytes = new ArrayBuffer(1_000);
    expect(await makePool().run('take', bytes, { transferList: [bytes] })).toBe(1_000);
    expect(bytes.byteLength).toBe(0);
  });

  it('uses several threads at a time', async () => {
    const pool = makePool({ minThreads: 2, maxThreads: 2 });
    const gate = new Gate();
    const ids = Promise.all([pool.run<number>('wait', gate.shared), pool.run<number>('wait', gate.shared)]);
    expect([pool.running, pool.queued]).toEqual([2, 0]);
    gate.open();
    expect(new Set(await ids).size).toBe(2);
  });

  it('rejects when the thread ends in the middle of the task, and goes on with another', async () => {
    const pool = makePool();
    expect(await rejection(pool.run('exit', 7))).toMatchObject({ message: expect.stringContaining('7') });
    expect(await pool.run(undefined, 1)).toBe(2);
  });

  it('rejects, and does not wait for ever, when the module cannot be loaded', async () => {
    const pool = makePool({ filename: new URL('./broken-worker.mjs', import.meta.url), maxQueue: 5 });
    const results = await Promise.allSettled([pool.run(undefined, 1), pool.run(undefined, 2), pool.run(undefined, 3)]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected']);
    expect(await rejection(pool.run(undefined, 4))).toMatchObject({ message: expect.stringContaining('cannot be loaded') });
    expect([pool.running, pool.queued]).toEqual([0, 0]);
  });
});

describe('the bound of the queue', () => {
  it('refuses one task more than fits (TASK_REJECTED), and counts it', async () => {
    const pool = makePool({ maxThreads: 1, maxQueue: 2 });
    const gate = new Gate();
    const taken = [pool.run('wait', gate.shared), pool.run(undefined, 1), pool.run(undefined, 2)];
    expect([pool.running, pool.queued]).toEqual([1, 2]);
    expect(await rejection(pool.run(undefined, 3))).toMatchObject({ name: 'StateError', code: 'TASK_REJECTED' });
    expect(pool.refused).toBe(1);
    gate.open();
    expect((await Promise.all(taken)).slice(1)).toEqual([2, 4]);
    expect(await pool.run(undefined, 3)).toBe(6);
  });

  it('may be nothing', async () => {
    const pool = makePool({ maxThreads: 1, maxQueue: 0 });
    const gate = new Gate();
    const taken = pool.run('wait', gate.shared);
    expect(await rejection(pool.run(undefined, 3))).toMatchObject({ code: 'TASK_REJECTED' });
    gate.open();
    await taken;
    expect(await pool.run(undefined, 3)).toBe(6);
  });
});

describe('giving up', () => {
  it('after the time-out ends the thread, however busy it is, and the next task gets another (TASK_TIMEOUT)', async () => {
    const clock = virtualClock();
    const pool = makePool({ timeoutMs: 1_000, clock });
    const { threadId } = await pool.run<{ threadId: number }>('where', null);
    const stuck = rejection(pool.run('spin', null));
    await settle(5);
    await clock.advance(1_010);
    expect(await stuck).toMatchObject({ name: 'StateError', code: 'TASK_TIMEOUT' });
    expect([pool.timedOut, pool.running]).toEqual([1, 0]);
    const next = await pool.run<{ threadId: number }>('where', null);
    expect(next.threadId).not.toBe(threadId);
    expect(clock.pendingTimers).toBe(0);
  });

  it('by its signal: before, while it waits, and while it runs (ABORTED)', async () => {
    const pool = makePool();
    const error = { name: 'StateError', code: 'ABORTED', cause: 'reason' };
    expect(await rejection(pool.run(undefined, 1, { signal: AbortSignal.abort('reason') }))).toMatchObject(error);
    const [running, waiting] = [new AbortController(), new AbortController()];
    const stuck = rejection(pool.run('spin', null, { signal: running.signal }));
    const behind = rejection(pool.run(undefined, 1, { signal: waiting.signal }));
    const last = pool.run(undefined, 2);
    await settle(5);
    waiting.abort('reason');
    expect(await behind).toMatchObject(error);
    expect(pool.queued).toBe(1);
    running.abort('reason');
    expect(await stuck).toMatchObject(error);
    expect(await last).toBe(4);
  });

  it('right after run, before there is a thread', async () => {
    const pool = makePool();
    const controller = new AbortController();
    const aborted = rejection(pool.run('spin', null, { signal: controller.signal }));
    controller.abort();
    expect(await aborted).toMatchObject({ code: 'ABORTED' });
    expect(await pool.run(undefined, 1)).toBe(2);
  });
});

describe('close', () => {
  it('lets the tasks finish, ends the threads and takes no more (POOL_CLOSED)', async () => {
    const pool = new WorkerPool({ filename, maxThreads: 1 });
    const results = Promise.all([pool.run('later', 1), pool.run('later', 2)]);
    const closed = pool.close();
    expect(pool.isClosed).toBe(true);
    expect(await rejection(pool.run(undefined, 1))).toMatchObject({ name: 'StateError', code: 'POOL_CLOSED' });
    expect(await results).toEqual([1, 2]);
    expect(await closed).toEqual({ dropped: 0 });
    expect(await pool.close()).toEqual({ dropped: 0 });
  });

  it('gives up what is not done in time, and ends its thread', async () => {
    const clock = virtualClock();
    const pool = new WorkerPool({ filename, maxThreads: 1, clock });
    const results = [rejection(pool.run('spin', null)), rejection(pool.run(undefined, 1))];
    await settle(5);
    const closed = pool.close({ drainTimeoutMs: 500 });
    await clock.advance(510);
    expect(await closed).toEqual({ dropped: 2 });
    expect(await Promise.all(results)).toMatchObject([{ code: 'POOL_CLOSED' }, { code: 'POOL_CLOSED' }]);
    await eventually(() => !process.getActiveResourcesInfo().includes('MessagePort'), 'the threads are gone');
  });

  it('before the first task has nothing to do', async () => {
    const pool = new WorkerPool({ filename });
    expect(await rejection(pool.close({ drainTimeoutMs: -1 }))).toMatchObject({ code: 'INVALID_OPTION' });
    expect(pool.isClosed).toBe(false);
    expect(await pool.close()).toEqual({ dropped: 0 });
  });
});

describe('without piscina', () => {
  afterEach(() => {
    vi.doUnmock('piscina');
    vi.resetModules();
  });

  it('says which package to install', async () => {
    vi.resetModules();
    vi.doMock('piscina', () => {
      throw new Error("Cannot find package 'piscina'");
    });
    const { WorkerPool: Pool } = await import('../../src/worker-pool/index.ts');
    const pool = new Pool({ filename });
    const error = await rejection(pool.run(undefined, 1));
    expect(error).toMatchObject({ name: 'ConfigError', code: 'MISSING_OPTION', message: expect.stringContaining('npm install piscina') });
    expect([pool.running, await pool.close()]).toEqual([0, { dropped: 0 }]);
  });
});

describe('options of WorkerPool', () => {
  const file = path.join(import.meta.dirname, 'worker.mjs');
  it.each([
    [{}, 'WorkerPool filename: expected a file URL or an absolute path, given undefined'],
    [{ filename: './worker.mjs' }, 'WorkerPool filename: expected a file URL or an absolute path, given "./worker.mjs"'],
    [{ filename: 'https://a.b/c' }, 'WorkerPool filename: expected a file URL or an absolute path, given "https://a.b/c"'],
    [{ filename: new URL('https://a.b/c') }, 'WorkerPool filename: expected a file URL or an absolute path, given "https://a.b/c"'],
    [{ filename: '/no/such.mjs' }, 'WorkerPool filename: expected a file that exists, given "/no/such.mjs"'],
    [{ filename: pathToFileURL('/no/such.mjs') }, 'WorkerPool filename: expected a file that exists, given "/no/such.mjs"'],
    [{ filename: file, minThreads: 0 }, 'WorkerPool minThreads: expected a whole number, from 1 to 1024, given 0'],
    [{ filename: file, minThreads: 3, maxThreads: 2 }, 'WorkerPool maxThreads: expected a whole number, from 3 to 1024, given 2'],
    [{ filename: file, maxQueue: -1 }, 'WorkerPool maxQueue: expected a whole number, 0 or more, given -1'],
    [{ filename: file, timeoutMs: 0.5 }, 'WorkerPool timeoutMs: expected a whole number, from 0 to 2147483647, given 0.5'],
    [{ filename: file, idleTimeoutMs: -1 }, 'WorkerPool idleTimeoutMs: expected a whole number, from 0 to 2147483647, given -1'],
    [{ filename: file, clock: 5 }, 'WorkerPool clock: expected an object with the method(s) now, after, yield, given 5'],
  ])('refuses %j', (options, message) => {
    expect(() => new WorkerPool(options as WorkerPoolOptions)).toThrow(expect.objectContaining({ name: 'ConfigError', message }));
  });

  it('fit each other by default', () => {
    expect(() => new WorkerPool({ filename: file, minThreads: availableParallelism() + 5 })).not.toThrow();
  });
});
