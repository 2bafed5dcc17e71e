import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ResourceLimits, TransferListItem } from 'node:worker_threads';
import { type Clock, systemClock } from '../base/clock.ts';
import { publish } from '../base/diagnostics.ts';
import { ConfigError, describeThrown, StateError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { checkInteger, checkMethods, checkMs, invalid } from '../base/option.ts';
import { after, wheelOf } from '../base/wheel.ts';

export interface WorkerPoolOptions {
  /** The module that the threads load: a file URL such as `new URL('./work.js', import.meta.url)`, or an absolute path. */
  readonly filename: string | URL;
  /** Threads kept when there is nothing to do. Default 1. */
  readonly minThreads?: number;
  /** Default: one for each processor. */
  readonly maxThreads?: number;
  /** Tasks waiting for a thread; one more is refused (TASK_REJECTED). Default 1024. */
  readonly maxQueue?: number;
  /**
   * A task that is not done so long after `run`, waiting included, is given up (TASK_TIMEOUT): the thread that runs it is ended,
   * for nothing else stops a busy one. Default 0 = no limit.
   */
  readonly timeoutMs?: number;
  /** A thread above `minThreads` ends after so long without work. Default 1 000. */
  readonly idleTimeoutMs?: number;
  /** What the module finds as `workerData` of piscina. */
  readonly workerData?: unknown;
  /** Memory of each thread, as for `node:worker_threads`. */
  readonly resourceLimits?: ResourceLimits;
  /** Where time comes from; for tests. */
  readonly clock?: Clock;
}

export interface WorkerRunOptions {
  /** Takes the task back (ABORTED), and ends the thread that runs it. */
  readonly signal?: AbortSignal;
  /** What is moved to the thread instead of being copied. */
  readonly transferList?: readonly TransferListItem[];
}

/** The part of piscina that is used here. Its own types fail under `exactOptionalPropertyTypes`, which users may want. */
interface Piscina {
  readonly threads: readonly unknown[];
  run(task: unknown, options: { signal: AbortSignal; transferList: readonly TransferListItem[]; name?: string }): Promise<unknown>;
  destroy(): Promise<void>;
  on(name: 'error', listener: (error: unknown) => void): unknown;
}

type PiscinaClass = new (options: PiscinaSettings) => Piscina;

interface PiscinaSettings {
  readonly filename: string;
  readonly minThreads: number;
  readonly maxThreads: number;
  readonly idleTimeout: number;
  readonly workerData?: unknown;
  readonly resourceLimits?: ResourceLimits;
}

/** A task under way. */
interface Job {
  /** Rejects its promise, and ends its thread if it has one. */
  giveUp(error: unknown): void;
}

/**
 * Runs functions of one module in threads, over piscina: a bounded number of threads, and a bounded queue in front of them.
 * What a function returns or throws is copied back. The pool belongs to who made it: endpoints do not close it.
 */
export class WorkerPool {
  /** Tasks refused because the pool was full. */
  refused = 0;
  /** Tasks given up after `timeoutMs`. */
  timedOut = 0;
  readonly #settings: PiscinaSettings;
  readonly #maxThreads: number;
  readonly #maxQueue: number;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #jobs = new Set<Job>();
  readonly #idleWaiters = new Set<() => void>();
  #piscina: Promise<Piscina> | undefined;
  #isClosed = false;

  constructor(options: WorkerPoolOptions) {
    const { filename, minThreads = 1, maxThreads = Math.max(minThreads, availableParallelism()), maxQueue = 1024 } = options;
    const { timeoutMs = 0, idleTimeoutMs = 1_000, workerData, resourceLimits, clock = systemClock } = options;
    checkInteger('WorkerPool minThreads', minThreads, 1, 1_024);
    this.#maxThreads = checkInteger('WorkerPool maxThreads', maxThreads, minThreads, 1_024);
    this.#maxQueue = checkInteger('WorkerPool maxQueue', maxQueue, 0);
    this.#timeoutMs = checkMs('WorkerPool timeoutMs', timeoutMs, 0);
    this.#clock = checkMethods('WorkerPool clock', clock, ['now', 'after', 'yield']);
    this.#settings = {
      filename: checkFile(filename),
      minThreads,
      maxThreads,
      idleTimeout: checkMs('WorkerPool idleTimeoutMs', idleTimeoutMs, 0),
      ...(workerData === undefined ? {} : { workerData }),
      ...(resourceLimits === undefined ? {} : { resourceLimits }),
    };
  }

  /** Tasks that have, or are about to have, a thread. */
  get running(): number {
    return Math.min(this.#jobs.size, this.#maxThreads);
  }

  /** Tasks waiting for a thread. */
  get queued(): number {
    return this.#jobs.size - this.running;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Calls the function that the module exports under this name (its default export without a name) with the value, in a thread.
   * Rejects with what it throws, TASK_REJECTED, TASK_TIMEOUT, ABORTED or POOL_CLOSED; with ConfigError MISSING_OPTION when
   * piscina is not installed; and with the error of the thread when that ends before the task does.
   */
  run<T>(name: string | undefined, value: unknown, options: WorkerRunOptions = {}): Promise<T> {
    const { signal, transferList = [] } = options;
    return new Promise<T>((resolve, reject) => {
      if (this.#isClosed) throw new StateError('POOL_CLOSED', 'run: the worker pool is closed');
      if (signal?.aborted) throw abortedError(signal);
      if (this.#jobs.size >= this.#maxThreads + this.#maxQueue) throw this.#onFull();

      const controller = new AbortController();
      const leave = (): boolean => {
        if (!this.#jobs.delete(job)) return false;
        cancelTimer();
        signal?.removeEventListener('abort', onAbort);
        if (this.#jobs.size === 0) for (const wake of this.#idleWaiters) wake();
        return true;
      };
      const job: Job = {
        giveUp(error) {
          if (!leave()) return;
          reject(error);
          controller.abort(error);
        },
      };
      const onAbort = (): void => job.giveUp(abortedError(signal));
      const cancelTimer = this.#startTimer(job);
      this.#jobs.add(job);
      signal?.addEventListener('abort', onAbort, { once: true });
      this.#start()
        .then((piscina) => piscina.run(value, { signal: controller.signal, transferList, ...(name === undefined ? {} : { name }) }))
        .then(
          (result) => {
            if (leave()) resolve(result as T);
          },
          (thrown: unknown) => {
            if (leave()) reject(thrown);
          },
        );
    });
  }

  /**
   * Takes no more tasks, lets those it has finish until `drainTimeoutMs` (default 3 000) is over, gives the others up
   * (POOL_CLOSED) and ends the threads. Returns how many were given up.
   */
  async close(options: { readonly drainTimeoutMs?: number } = {}): Promise<{ readonly dropped: number }> {
    const { drainTimeoutMs = 3_000 } = options;
    checkMs('WorkerPool close drainTimeoutMs', drainTimeoutMs, 0);
    this.#isClosed = true;
    await this.#idle(drainTimeoutMs);
    const left = [...this.#jobs];
    for (const job of left) job.giveUp(new StateError('POOL_CLOSED', 'the worker pool was closed before the task was done'));
    const piscina = await this.#piscina?.catch(() => undefined);
    await piscina?.destroy();
    log.pool('worker pool closed, %d tasks given up', left.length);
    return { dropped: left.length };
  }

  /** Threads are made for the first task. */
  #start(): Promise<Piscina> {
    this.#piscina ??= loadPiscina().then((Pool) => {
      const piscina = new Pool(this.#settings);
      piscina.on('error', (error: unknown) => {
        log.pool('worker thread: %s', describeThrown(error));
        // Threads that cannot load the module are not replaced: nobody is left to do the work.
        if (piscina.threads.length === 0) for (const job of this.#jobs) job.giveUp(error);
      });
      return piscina;
    });
    return this.#piscina;
  }

  #startTimer(job: Job): () => void {
    if (this.#timeoutMs === 0) return () => {};
    return after(wheelOf(this.#clock), this.#timeoutMs, () => {
      this.timedOut++;
      job.giveUp(new StateError('TASK_TIMEOUT', `the task was not done within ${this.#timeoutMs} ms`));
    });
  }

  #onFull(): StateError {
    this.refused++;
    const error = new StateError('TASK_REJECTED', `run: expected at most ${this.#maxQueue} waiting tasks, given one more`);
    publish('limit', () => ({ limit: 'worker-pool', pool: this, error }));
    return error;
  }

  #idle(limitMs: number): Promise<void> {
    if (this.#jobs.size === 0) return Promise.resolve();
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
}

async function loadPiscina(): Promise<PiscinaClass> {
  // Not a literal, so that nobody who does without this package needs its types.
  const name: string = 'piscina';
  try {
    const loaded: { readonly Piscina: PiscinaClass } = await import(name);
    return loaded.Piscina;
  } catch (thrown) {
    const text = `WorkerPool: expected the package piscina, given none that can be loaded (npm install piscina): ${describeThrown(thrown)}`;
    throw new ConfigError('MISSING_OPTION', text, { cause: thrown });
  }
}

function checkFile(filename: string | URL): string {
  const isUrl = filename instanceof URL || (typeof filename === 'string' && filename.startsWith('file:'));
  let file = '';
  try {
    file = isUrl ? fileURLToPath(filename) : filename;
  } catch {
    // Another kind of URL.
  }
  if (typeof file !== 'string' || !path.isAbsolute(file)) {
    throw invalid('WorkerPool filename', 'a file URL or an absolute path', filename instanceof URL ? filename.href : filename);
  }
  if (!existsSync(file)) throw invalid('WorkerPool filename', 'a file that exists', file);
  return file;
}

function abortedError(signal: AbortSignal | undefined): StateError {
  return new StateError('ABORTED', 'run: the signal of the task was aborted', { cause: signal?.reason });
}
