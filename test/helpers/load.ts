import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Long runs are for `npm run test:long`; everywhere else the same tests do a little of the same. */
export function amount(long: number, short: number): number {
  return process.env['PORTICO_LONG'] === '1' ? long : short;
}

/** Does `count` things, `width` at a time. */
export async function inParallel(count: number, width: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
}

/** How late the event loop was at most in 99 of 100 looks, in milliseconds. */
export async function loopLagDuring(work: () => Promise<void>): Promise<number> {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  await work();
  delay.disable();
  return delay.percentile(99) / 1e6;
}
