import { after, type Wheel } from '../base/wheel.ts';
import type { CloseCallback } from './close-callbacks.ts';
import type { CloseReason } from './close-reason.ts';

/** What the closing of a session needs from it. */
export interface ClosingSteps {
  readonly wheel: Wheel;
  /** Bounds the flush and the running handlers. 0 = wait for nothing. */
  readonly flushTimeoutMs: number;
  /** Bounds each promise of user code after that. */
  readonly drainTimeoutMs: number;
  /** The connection is of no more use: nothing can be flushed. */
  readonly isForced: boolean;
  /** Everything was sent, the end of the stream included. */
  readonly finished: Promise<void>;
  /** The connection has ended. */
  readonly gone: Promise<void>;
  /** No handler of this session runs any more. */
  handled(): Promise<void>;
  sendEnd(): void;
  abort(): void;
  /** Everything was sent, or is given up: from here on the reason is fixed, and who called `close` from a handler has it. */
  settleReason(): CloseReason;
  notifyError(): void;
  notifyClose(reason: CloseReason): unknown;
  closeCallbacks(): readonly CloseCallback[];
  onCallbackFailure(thrown: unknown): void;
  /** User code that did not settle in time is left behind. */
  onLate(what: string): void;
}

/**
 * The one way a session ends, whatever ended it:
 *
 * ```
 * flush or time out > reason > running handlers or time out > onError (if there was an error) > onClose > close callbacks, in order > socket gone
 * ```
 *
 * Resolves when the last step is done. Never rejects.
 */
export async function runClosing(steps: ClosingSteps): Promise<CloseReason> {
  const deadline = startDeadline(steps.wheel, steps.flushTimeoutMs);
  if (steps.isForced) {
    steps.abort();
    // A handler that closed its session is known to run only when it has returned its promise.
    await undefined;
  } else {
    steps.sendEnd();
    const inTime = await Promise.race([steps.finished.then(yes), steps.gone.then(yes), deadline.passed]);
    if (!inTime) steps.abort();
  }
  const reason = steps.settleReason();
  const handledInTime = await Promise.race([steps.handled().then(yes), deadline.passed]);
  if (!handledInTime) steps.onLate('a handler');

  steps.notifyError();
  await settleWithin(steps, 'onClose', () => steps.notifyClose(reason));
  for (const callback of steps.closeCallbacks()) await settleWithin(steps, 'a close callback', callback);

  const goneInTime = await Promise.race([steps.gone.then(yes), deadline.passed]);
  deadline.cancel();
  if (!goneInTime) {
    steps.abort();
    await steps.gone;
  }
  return reason;
}

/** Calls user code and waits for its promise, but not for longer than the drain time-out. */
async function settleWithin(steps: ClosingSteps, what: string, call: () => unknown): Promise<void> {
  try {
    const result = call();
    if (!(result instanceof Object && 'then' in result)) return;
    const deadline = startDeadline(steps.wheel, steps.drainTimeoutMs);
    const inTime = await Promise.race([Promise.resolve(result).then(yes), deadline.passed]);
    deadline.cancel();
    if (!inTime) {
      steps.onLate(what);
      // A rejection that comes too late for the order is still reported.
      Promise.resolve(result).catch((thrown: unknown) => steps.onCallbackFailure(thrown));
    }
  } catch (thrown) {
    steps.onCallbackFailure(thrown);
  }
}

function yes(): boolean {
  return true;
}

/** `passed` resolves with false when the time is over. */
function startDeadline(wheel: Wheel, delayMs: number): { passed: Promise<boolean>; cancel: () => void } {
  let cancel = (): void => {};
  const passed = new Promise<boolean>((resolve) => {
    cancel = after(wheel, delayMs, () => resolve(false));
  });
  return { passed, cancel };
}
