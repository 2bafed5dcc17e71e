import { type PorticoError, StateError } from '../base/errors.ts';
import { CALL_ID, CANCEL_ID, CREDIT_ID, encodeNumbers } from '../command/wire.ts';
import type { Settings } from './client-options.ts';
import type { Sender } from './sender.ts';

export interface CallLimits {
  /** Milliseconds until the call fails with CALL_TIMEOUT. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /**
   * Whether the call goes on when the connection is lost and resumed, which runs it once all the same. False: it fails with SESSION_CLOSED as soon
   * as the loss is known, and the server may have run it. Default true.
   */
  readonly survives?: boolean | undefined;
}

/** Told of each answer to one call: items while `isLast` is false, then once the end: an error, or a payload, which streams have none of. */
export type CallSink = (error: PorticoError | undefined, payload: Uint8Array | undefined, isLast: boolean) => void;

interface OpenCall {
  readonly sink: CallSink;
  readonly survives: boolean;
  /** Stops the timer and the listener of the signal. */
  readonly release: () => void;
}

/** The calls of this side that are not answered yet. Each one settles: by its answer, its time-out, its signal or the end of the session. */
export interface Calls {
  size(): number;
  /** Sends a call and returns its number. The sink is told, perhaps at once, when it cannot begin. */
  begin(id: number, payload: Uint8Array, limits: CallLimits, sink: CallSink, credit?: number): number;
  /** An answer to a call that is over already means nothing. */
  answer: (call: number, ...answer: Parameters<CallSink>) => void;
  /** The caller wants no more of it; with an error the sink is told. */
  cancel(call: number, error?: PorticoError): void;
  /** The connection or the session of these calls is over. */
  end(error: PorticoError, isKept: (call: number, survives: boolean) => boolean): void;
}

const MAX_CALL = 0xffff_ffff;

/** `answer` sends what belongs to a call that has left; `isOver`: nothing new begins. */
export function makeCalls(
  { clock, maxCalls, isNative }: Settings,
  sender: Sender,
  isOver: () => boolean,
  answer: (frame: Uint8Array) => void,
): Calls {
  const open = new Map<number, OpenCall>();
  let last = 0;

  function forget(call: number): OpenCall | undefined {
    const one = open.get(call);
    open.delete(call);
    one?.release();
    return one;
  }

  function cancel(call: number, error?: PorticoError): void {
    const one = forget(call);
    if (!one) return;
    if (!sender.takeBack(call)) answer(encodeNumbers([CANCEL_ID, call]));
    if (error) one.sink(error, undefined, true);
  }

  return {
    size: () => open.size,
    cancel,
    begin(id, payload, { signal, survives = true, timeoutMs }, sink, credit) {
      do last = (last % MAX_CALL) + 1;
      while (open.has(last));
      const call = last;
      const abort = (): void => cancel(call, new StateError('ABORTED', 'aborted', { cause: signal?.reason }));
      const expire = (): void => cancel(call, new StateError('CALL_TIMEOUT', 'no answer in time'));
      let cancelTimer: (() => void) | undefined;
      const release = (): void => {
        cancelTimer?.();
        signal?.removeEventListener('abort', abort);
      };
      try {
        if (isOver()) throw new StateError('ENDPOINT_CLOSED', 'the client is closed');
        if (!isNative) throw new StateError('WRONG_STATE', 'not in the knet profile');
        if (open.size >= maxCalls) throw new StateError('SEND_QUEUE_FULL', 'too many calls');
        open.set(call, { sink, survives, release });
        if (signal?.aborted) abort();
        else {
          sender.give(encodeNumbers([CALL_ID, call, id], payload), 'call', call);
          if (credit !== undefined) sender.give(encodeNumbers([CREDIT_ID, call, credit]), 'credit', call);
          if (timeoutMs !== undefined) cancelTimer = clock.after(timeoutMs, expire);
          signal?.addEventListener('abort', abort);
        }
      } catch (thrown) {
        forget(call);
        // Thrown above, or by the sender for a call that is too large.
        sink(thrown as PorticoError, undefined, true);
      }
      return call;
    },
    answer(call, error, payload, isLast) {
      const one = isLast ? forget(call) : open.get(call);
      one?.sink(error, payload, isLast);
    },
    end(error, isKept) {
      for (const [call, { survives }] of [...open]) if (!isKept(call, survives)) cancel(call, error);
    },
  };
}
