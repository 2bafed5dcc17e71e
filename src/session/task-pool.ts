import PQueue from 'p-queue';
import { type Clock, systemClock } from '../base/clock.ts';
import { publish } from '../base/diagnostics.ts';
import { StateError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { checkInteger, checkMethods, checkMs, checkOneOf } from '../base/option.ts';
import { after, wheelOf } from '../base/wheel.ts';

/** What a full pool does with one more task: lets it wait for room, refuses it, or drops and counts it. */
export type PoolOverflow = 'wait' | 'reject' | 'drop';

export interface TaskPoolOptions {
  /** Tasks running at a time. Default 16. */
  readonly concurrency?: number;
  /** Tasks waiting for a turn, beside those that run; tasks that wait for another one of their key count too. Default 1024. */
  readonly maxQueue?: number;
  /**
   * Default 'wait': a session stops reading its socket until there is room. 'reject': the session closes (OVERLOAD). 'drop':
   * the package is dropped and counted.
   */
  readonly overflow?: PoolOverflow;
  /**
   * With 'wait': callers of `run` that wait for room at a time; one more is refused with TASK_REJECTED. A session is one of them, for
   * each package that it handles at a time, and closes when it is refused (OVERLOAD). Default 65 536.
   */
  readonly maxWaiting?: number;
  /** A task that takes longer is given up: its signal is aborted, its slot freed, TASK_TIMEOUT. Default 0 = no limit. */
  readonly timeoutMs?: number;
  /** Where time comes from; for tests. */
  readonly clock?: Clock;
}

export interface RunOptions {
  /** Tasks with the same key run one after another, in order. Anything can be a key; a session's own packages need none. */
  readonly key?: unknown;
  /** Takes the task back while it waits (ABORTED), and is passed on to it when it runs: what becomes of it is its own affair then. */
  readonly signal?: AbortSignal;
}

export type Task<T> = (signal: AbortSignal) => T | Promise<T>;

/** One task on its way: waiting for room, for the one before it in its lane, for a turn; running; over. */
interface Entry {
  readonly task: Task<unknown>;
  readonly key: unknown;
  readonly signal: AbortSignal | undefined;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
  /** Set when the task begins. */
  controller: AbortController | undefined;
  /** Set when it has got a turn. */
  freeTurn: (() => void) | undefined;
  cancelTimer: (() => void) | undefined;
  onAbort: (() => void) | undefined;
  isOver: boolean;
}

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
  /** Tasks refused or dropped because the pool was full, or because too many waited for room. */
  refused = 0;
  /** Tasks given up after `timeoutMs`. */
  timedOut = 0;
  /** Hands out turns, `concurrency` at a time; whose turn it is stands in #line. */
  readonly #turns: PQueue;
  readonly #maxQueue: number;
  readonly #maxWaiting: number;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  /** Not over, and not outside either. */
  readonly #taken = new Set<Entry>();
  /** Waiting for a turn. */
  readonly #line = new Set<Entry>();
  /** Key → those who wait for the one of that key that has, or waits for, a turn. */
  readonly #lanes = new Map<unknown, Set<Entry>>();
  /** Waiting for room. */
  readonly #outside = new Set<Entry>();
  /** What `whenRoom` has promised, to any number of callers. */
  #room: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;
  readonly #idleWaiters = new Set<() => void>();
  #turnsAhead = 0;
  #running = 0;
  #isClosed = false;

  constructor(options: TaskPoolOptions = {}) {
    const { concurrency = 16, maxQueue = 1024, overflow = 'wait', maxWaiting = 65_536, timeoutMs = 0, clock = systemClock } = options;
    this.#turns = new PQueue({ concurrency: checkInteger('TaskPool concurrency', concurrency, 1, 65_536) });
    this.#maxQueue = checkInteger('TaskPool maxQueue', maxQueue, 0);
    this.overflow = checkOneOf('TaskPool overflow', overflow, ['wait', 'reject', 'drop']);
    this.#maxWaiting = checkInteger('TaskPool maxWaiting', maxWaiting, 0);
    this.#timeoutMs = checkMs('TaskPool timeoutMs', timeoutMs, 0);
    this.#clock = checkMethods('TaskPool clock', clock, ['now', 'after', 'yield']);
  }

  /** Tasks running now. */
  get running(): number {
    return this.#running;
  }

  /** Tasks waiting for a turn. */
  get queued(): number {
    return this.#taken.size - this.#running;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Whether one more task would be refused or have to wait for room. */
  get isFull(): boolean {
    return this.#taken.size >= this.#turns.concurrency + this.#maxQueue;
  }

  /**
   * Runs a task and returns what it returns. Rejects with what it throws, TASK_REJECTED when the pool is full ('reject',
   * 'drop') or too many wait for room ('wait'), TASK_TIMEOUT, ABORTED or POOL_CLOSED; after a rejection for one of these four
   * reasons before its start the task never runs.
   */
  run<T>(task: Task<T>, options: RunOptions = {}): Promise<T> {
    const { key, signal } = options;
    return new Promise<T>((resolve, reject) => {
      if (this.#isClosed) throw closedError('run: the task pool is closed');
      if (signal?.aborted) throw abortedError(signal);
      // Who waits for room is first in it.
      const hasRoom = !this.isFull && this.#outside.size === 0;
      if (!hasRoom) this.#onFull();
      const entry: Entry = {
        task,
        key,
        signal,
        resolve,
        reject,
        controller: undefined,
        freeTurn: undefined,
        cancelTimer: undefined,
        onAbort: undefined,
        isOver: false,
      };
      if (signal !== undefined) {
        entry.onAbort = () => this.#onAbort(entry, signal);
        signal.addEventListener('abort', entry.onAbort, { once: true });
      }
      if (hasRoom) this.#take(entry);
      else this.#outside.add(entry);
    });
  }

  /** Resolves when a task can be taken, or the pool has closed. */
  whenRoom(): Promise<void> {
    if (!this.isFull || this.#isClosed) return Promise.resolve();
    if (this.#room === undefined) {
      let resolve = (): void => {};
      const promise = new Promise<void>((settle) => {
        resolve = settle;
      });
      this.#room = { promise, resolve };
    }
    return this.#room.promise;
  }

  /**
   * Takes no more tasks, lets those it has finish until `drainTimeoutMs` (default 3 000) is over, then drops the waiting ones and
   * gives the running ones up, which aborts their signals (POOL_CLOSED). Returns how many never ran.
   */
  async close(options: { readonly drainTimeoutMs?: number } = {}): Promise<{ readonly dropped: number }> {
    const { drainTimeoutMs = 3_000 } = options;
    checkMs('TaskPool close drainTimeoutMs', drainTimeoutMs, 0);
    this.#isClosed = true;
    for (const entry of this.#outside) this.#giveUp(entry, closedError('run: the task pool was closed before there was room'));
    this.#tellRoom();
    await this.#idle(drainTimeoutMs);
    const left = [...this.#taken];
    const dropped = left.filter((entry) => entry.controller === undefined).length;
    for (const entry of left) this.#giveUp(entry, closedError('the task pool was closed before the task was done'));
    log.pool('closed, %d tasks dropped', dropped);
    return { dropped };
  }

  #onFull(): void {
    const isWaitAllowed = this.overflow === 'wait' && this.#outside.size < this.#maxWaiting;
    const text =
      this.overflow === 'wait'
        ? `run: expected at most ${this.#maxWaiting} callers that wait for room, given one more`
        : `run: expected at most ${this.#maxQueue} waiting tasks, given one more`;
    const error = isWaitAllowed ? undefined : new StateError('TASK_REJECTED', text);
    publish('limit', () => ({ limit: 'task-pool', pool: this, error }));
    if (log.pool.enabled) log.pool('full: %d run, %d wait, policy %s', this.running, this.queued, this.overflow);
    if (error === undefined) return;
    this.refused++;
    throw error;
  }

  #take(entry: Entry): void {
    this.#taken.add(entry);
    const lane = this.#lanes.get(entry.key);
    if (lane !== undefined) {
      lane.add(entry);
      return;
    }
    if (entry.key !== undefined) this.#lanes.set(entry.key, new Set());
    this.#lineUp(entry);
  }

  #lineUp(entry: Entry): void {
    this.#line.add(entry);
    // Those who were taken back have left their turns to the next ones.
    if (this.#turnsAhead >= this.#line.size) return;
    this.#turnsAhead++;
    void this.#turns.add(this.#onTurn);
  }

  readonly #onTurn = async (): Promise<void> => {
    this.#turnsAhead--;
    const [entry] = this.#line;
    if (entry === undefined) return;
    this.#line.delete(entry);
    this.#running++;
    const freed = new Promise<void>((free) => {
      entry.freeTurn = free;
    });
    // The caller of `run` has its promise before the task begins.
    await Promise.resolve();
    if (!entry.isOver) this.#begin(entry);
    await freed;
  };

  #begin(entry: Entry): void {
    const controller = new AbortController();
    entry.controller = controller;
    if (this.#timeoutMs > 0) {
      entry.cancelTimer = after(wheelOf(this.#clock), this.#timeoutMs, () => {
        this.timedOut++;
        this.#giveUp(entry, new StateError('TASK_TIMEOUT', `the task was not done within ${this.#timeoutMs} ms`));
      });
    }
    const result = new Promise<unknown>((resolve) => resolve(entry.task(controller.signal)));
    result.then(
      (value) => {
        this.#leave(entry);
        entry.resolve(value as never);
      },
      (thrown: unknown) => {
        this.#leave(entry);
        entry.reject(thrown);
      },
    );
  }

  #onAbort(entry: Entry, signal: AbortSignal): void {
    if (entry.controller === undefined) this.#giveUp(entry, abortedError(signal));
    else entry.controller.abort(abortedError(signal));
  }

  #giveUp(entry: Entry, error: StateError): void {
    this.#leave(entry);
    entry.controller?.abort(error);
    entry.reject(error);
  }

  /** The task is over for the pool, at the first call; its turn and its room go to others. */
  #leave(entry: Entry): void {
    if (entry.isOver) return;
    entry.isOver = true;
    entry.cancelTimer?.();
    if (entry.onAbort !== undefined) entry.signal?.removeEventListener('abort', entry.onAbort);
    this.#outside.delete(entry);
    this.#line.delete(entry);
    if (!this.#taken.delete(entry)) return;
    if (entry.freeTurn !== undefined) {
      this.#running--;
      entry.freeTurn();
    }
    this.#leaveLane(entry);
    this.#letIn();
    if (this.#taken.size === 0) this.#wake(this.#idleWaiters);
  }

  #leaveLane(entry: Entry): void {
    const lane = this.#lanes.get(entry.key);
    // It was not the first of its lane, so the first goes on.
    if (lane === undefined || lane.delete(entry)) return;
    const [next] = lane;
    if (next === undefined) {
      this.#lanes.delete(entry.key);
    } else {
      lane.delete(next);
      this.#lineUp(next);
    }
  }

  #letIn(): void {
    for (const entry of this.#outside) {
      if (this.isFull) return;
      this.#outside.delete(entry);
      this.#take(entry);
    }
    if (!this.isFull) this.#tellRoom();
  }

  #tellRoom(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }

  #idle(limitMs: number): Promise<void> {
    if (this.#taken.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        cancelTimer();
        this.#idleWaiters.delete(wake);
        resolve();
      };
      const cancelTimer = after(wheelOf(this.#clock), limitMs, wake);
      this.#idleWaiters.add(wake);
    });
  }

  #wake(waiters: Set<() => void>): void {
    for (const wake of waiters) {
      waiters.delete(wake);
      wake();
    }
  }
}

function closedError(text: string): StateError {
  return new StateError('POOL_CLOSED', text);
}

function abortedError(signal: AbortSignal): StateError {
  return new StateError('ABORTED', 'run: the signal of the task was aborted', { cause: signal.reason });
}
