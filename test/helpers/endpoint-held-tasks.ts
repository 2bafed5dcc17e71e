import { setImmediate as nextTurn } from 'node:timers/promises';
import { Deferred } from './session-recorder.ts';

/** Tasks that a test holds in its hand: which have begun, how many run, and when they end. */
export class HeldTasks {
  readonly begun: string[] = [];
  running = 0;
  most = 0;
  readonly signals = new Map<string, AbortSignal>();
  readonly #ends = new Map<string, Deferred<string>>();

  task(name: string): (signal: AbortSignal) => Promise<string> {
    return async (signal) => {
      const end = new Deferred<string>();
      this.#ends.set(name, end);
      this.begun.push(name);
      this.signals.set(name, signal);
      this.running++;
      this.most = Math.max(this.most, this.running);
      try {
        return await end.promise;
      } finally {
        this.running--;
      }
    };
  }

  async end(...names: readonly string[]): Promise<void> {
    for (const name of names) this.#ends.get(name)?.resolve(name);
    await nextTurn();
  }

  async fail(name: string, error: unknown): Promise<void> {
    this.#ends.get(name)?.reject(error);
    await nextTurn();
  }
}
