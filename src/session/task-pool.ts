import PQueue from 'p-queue';
import { type Clock, systemClock } from '../base/clock.ts';
import { StateError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { checkInteger, checkMs, checkOneOf } from '../base/option.ts';
import { after, wheelOf } from '../base/wheel.ts';

/** What a full pool does with one more task: lets it wait for room, refuses it, or drops and counts it. */
export type PoolOverflow = 'wait' | 'reject' | 'drop';

export interface TaskPoolOptions {
  /** Tasks running at a time. Default 16. */
  readonly concurrency?: number;
  /** Tasks waiting for a turn. Default 1024. */
  readonly maxQueue?: number;
  /**
   * Default 'wait': a session stops reading its socket until there is room. 'reject': the session closes (OVERLOAD). 'drop':
   * the package is dropped and counted.
   */
  readonly overflow?: PoolOverflow;
  /** A task that takes longer is given up: its signal is aborted, its slot freed, TASK_TIMEOUT. Default 0 = no limit. */
  readonly timeoutMs?: number;
  /** Where time comes from; for tests. */
  readonly clock?: Clock;
}

export interface RunOptions {
  /** Tasks with the same key run one after another, in order. Anything can be a key; a session's own packages need none. */
  readonly key?: unknown;
  /** Takes the task back while it waits, and is passed on to it when it runs. */
  readonly signal?: AbortSignal;
}

export type Task<T> = (signal: AbortSignal) => T | Promise<T>;

/**
 * Runs slow logic a bounded number of tasks at a time, over p-queue. It limits how many sessions are served at once; the order
 * within a session is kept by the session. The pool belongs to who made it: endpoints do not close it.
 *
 * @example
 * ```ts
 * import { TaskPool } from 'portico';
 *
 * const pool = new TaskPool({ concurrency: 8, maxQueue: 100, overflow: 'reject' });
 * const answer = await pool.run(async () => 42);
 * await pool.close();
 * ```
 */
export class TaskPool {
  readonly overflow: PoolOverflow;
  /** Tasks refused or dropped because the pool was full. */
  refused = 0;
  /** Tasks given up after `timeoutMs`. */
  timedOut = 0;
  readonly #queue: PQueue;
  readonly #maxQueue: number;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #lanes = new Map<unknown, Promise<unknown>>();
  readonly #waiting: (() => void)[] = [];
  readonly #dropOnClose = new Set<(error: StateError) => void>();
  #queued = 0;
  #isClosed = false;

  constructor(options: TaskPoolOptions = {}) {
    const { concurrency = 16, maxQueue = 1024, overflow = 'wait', timeoutMs = 0, clock = systemClock } = options;
    this.#queue = new PQueue({ concurrency: checkInteger('TaskPool concurrency', concurrency, 1, 65_536) });
    this.#maxQueue = checkInteger('TaskPool maxQueue', maxQueue, 0);
    this.overflow = checkOneOf('TaskPool overflow', overflow, ['wait', 'reject', 'drop']);
    this.#timeoutMs = checkMs('TaskPool timeoutMs', timeoutMs, 0);
    this.#clock = clock;
  }

  /** Tasks running now. */
  get running(): number {
    return this.#queue.pending;
  }

  /** Tasks waiting for a turn. */
  get queued(): number {
    return this.#queued;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether one more task would be refused or have to wait for room. */
  get isFull(): boolean {
    return this.running >= this.#queue.concurrency && this.#queued >= this.#maxQueue;
  }

  /**
   * Runs a task and returns what it returns. Rejects with what it throws, TASK_REJECTED when the pool is full ('reject',
   * 'drop'), TASK_TIMEOUT, ABORTED or POOL_CLOSED; after a rejection for one of these four reasons before its start the task
   * never runs.
   */
  async run<T>(task: Task<T>, options: RunOptions = {}): Promise<T> {
    const { key, signal } = options;
    while (this.isFull && !this.#isClosed && this.overflow === 'wait' && signal?.aborted !== true) await this.whenRoom();
    if (this.#isClosed) throw new StateError('POOL_CLOSED', 'run: the task pool is closed');
    if (signal?.aborted) throw new StateError('ABORTED', 'run: the signal was aborted before the task began', { cause: signal.reason });
    if (this.isFull) {
      this.refused++;
      throw new StateError('TASK_REJECTED', `run: expected at most ${this.#maxQueue} waiting tasks, given one more`);
    }
    if (key === undefined) return this.#enqueue(task, signal);
    return this.#inLane(key, () => this.#enqueue(task, signal));
  }

  /** Resolves when a task can be taken, or the pool has closed. */
  async whenRoom(): Promise<void> {
    if (!this.isFull || this.#isClosed) return;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  /**
   * Takes no more tasks, lets those it has finish until `drainTimeoutMs` (default 3 000) is over, then drops the waiting ones
   * (POOL_CLOSED) and aborts the signals of the running ones. Returns how many were dropped.
   */
  async close(options: { readonly drainTimeoutMs?: number } = {}): Promise<{ readonly dropped: number }> {
    this.#isClosed = true;
    this.#wakeAll();
    const { drainTimeoutMs = 3_000 } = options;
    checkMs('TaskPool close drainTimeoutMs', drainTimeoutMs, 0);
    const wheel = wheelOf(this.#clock);
    let cancel = (): void => {};
    const deadline = new Promise<void>((resolve) => {
      cancel = after(wheel, drainTimeoutMs, resolve);
    });
    await Promise.race([this.#queue.onIdle(), deadline]);
    cancel();
    const dropped = this.#dropOnClose.size;
    this.#queue.clear();
    for (const drop of this.#dropOnClose) drop(new StateError('POOL_CLOSED', 'the task pool was closed before the task was done'));
    log.pool('closed, %d tasks dropped', dropped);
    return { dropped };
  }

  /** Chains a task behind the last one of its lane; a lane without tasks is forgotten. */
  #inLane<T>(key: unknown, start: () => Promise<T>): Promise<T> {
    const before = this.#lanes.get(key) ?? Promise.resolve();
    const result = before.then(start);
    const settled = result.then(
      () => {},
      () => {},
    );
    this.#lanes.set(key, settled);
    void settled.then(() => {
      if (this.#lanes.get(key) === settled) this.#lanes.delete(key);
    });
    return result;
  }

  #enqueue<T>(task: Task<T>, signal: AbortSignal | undefined): Promise<T> {
    if (this.#isClosed) return Promise.reject(new StateError('POOL_CLOSED', 'run: the task pool is closed'));
    const controller = new AbortController();
    this.#queued++;
    return new Promise<T>((resolve, reject) => {
      let hasStarted = false;
      const leaveQueue = (): void => {
        if (hasStarted) return;
        hasStarted = true;
        this.#queued--;
        this.#wakeOne();
      };
      const giveUp = (error: StateError): void => {
        leaveQueue();
        controller.abort(error);
        finish();
        reject(error);
      };
      const onAbort = (): void => giveUp(new StateError('ABORTED', 'the signal of the task was aborted', { cause: signal?.reason }));
      let cancelTimer = (): void => {};
      let freeSlot = (): void => {};
      const finish = (): void => {
        cancelTimer();
        signal?.removeEventListener('abort', onAbort);
        this.#dropOnClose.delete(giveUp);
        freeSlot();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#dropOnClose.add(giveUp);
      void this.#queue.add(async () => {
        // Given up while it waited: leave the slot at once.
        if (hasStarted) return;
        leaveQueue();
        if (this.#timeoutMs > 0) {
          cancelTimer = after(wheelOf(this.#clock), this.#timeoutMs, () => {
            this.timedOut++;
            giveUp(new StateError('TASK_TIMEOUT', `the task was not done within ${this.#timeoutMs} ms`));
          });
        }
        // The slot is free when the task settles or is given up, whichever comes first.
        const freed = new Promise<void>((free) => {
          freeSlot = free;
        });
        const done = Promise.resolve()
          .then(() => task(controller.signal))
          .then(resolve, reject)
          .finally(finish);
        await Promise.race([done, freed]);
      });
    });
  }

  #wakeOne(): void {
    if (!this.isFull) this.#waiting.shift()?.();
  }

  #wakeAll(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}
