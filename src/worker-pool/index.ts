/**
 * Work that keeps a processor busy, such as hashing, compressing or pathfinding, in threads of its own, so that the event loop
 * goes on serving sockets. Needs the package piscina: `npm install piscina`.
 *
 * @module
 * @example
 * ```ts
 * // One file for both sides: the pool loads it into its threads and calls what it exports.
 * import { isMainThread } from 'node:worker_threads';
 * import { WorkerPool } from 'portico/worker-pool';
 *
 * export function fibonacci(n: number): number {
 *   return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
 * }
 *
 * if (isMainThread) {
 *   const pool = new WorkerPool({ filename: import.meta.url, maxThreads: 2, timeoutMs: 5_000 });
 *   console.log(await pool.run<number>('fibonacci', 30));
 *   await pool.close();
 * }
 * ```
 */
export { WorkerPool, type WorkerPoolOptions, type WorkerRunOptions } from './worker-pool.ts';
