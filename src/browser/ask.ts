import { checkMs } from '../base/option.ts';
import type { CallLimits } from './calls.ts';
import type { ClientCore } from './client-core.ts';

/** A call with one answer. */
export function ask({ calls, settings }: ClientCore, id: number, payload: Uint8Array, limits: CallLimits = {}): Promise<Uint8Array> {
  const { timeoutMs = settings.callTimeoutMs } = limits;
  checkMs('timeoutMs', timeoutMs);
  return new Promise((resolve, reject) => {
    calls.begin(id, payload, { ...limits, timeoutMs }, (error, answer, isLast) => {
      if (error) reject(error);
      else if (isLast) resolve(answer ?? new Uint8Array(0));
    });
  });
}
