import { type PorticoError, StateError } from '../base/errors.ts';

/** Those who wait for the send queue to come down: the promises of `drained()`. */
export class DrainWaiters {
  readonly #waiters = new Set<{ resolve(): void; reject(error: PorticoError): void }>();

  wait(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        this.#waiters.delete(waiter);
        signal?.removeEventListener('abort', onAbort);
      };
      const waiter = {
        resolve: (): void => {
          leave();
          resolve();
        },
        reject: (error: PorticoError): void => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => waiter.reject(new StateError('ABORTED', 'drained: the signal was aborted', { cause: signal?.reason }));
      this.#waiters.add(waiter);
      if (signal?.aborted) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  resolveAll(): void {
    for (const waiter of [...this.#waiters]) waiter.resolve();
  }

  rejectAll(error: PorticoError): void {
    for (const waiter of [...this.#waiters]) waiter.reject(error);
  }
}
