import { publish } from '../base/diagnostics.ts';
import { describeThrown, ListenerError, type ListenerPhase, type PorticoError, StateError } from '../base/errors.ts';
import { oneLine } from '../base/log.ts';
import { ignoreRejection, isThenable } from '../base/thenable.ts';
import { type CloseReason, type CloseRequest, closeCodeOf } from './close-reason.ts';
import { type EventListenerLike, overrides } from './event-listener.ts';
import type { SessionOptions } from './options.ts';
import type { Session } from './session.ts';
import type { SessionHost } from './session-host.ts';
import type { SessionState } from './session-state.ts';

/** A session, as far as calling its user's code needs it. */
export interface Caller<In, Out> {
  readonly session: Session<In, Out>;
  readonly host: SessionHost<In, Out>;
  readonly options: SessionOptions<In, Out>;
  readonly state: SessionState;
  /** The one in force; undefined before the session has opened. */
  readonly listener: EventListenerLike<In, Out> | undefined;
  close(request: CloseRequest): Promise<CloseReason>;
}

/** Calls a method of the listener. `settled` runs when it is done, however; what it throws or rejects with goes the one route. */
export function callListener<In, Out>(
  caller: Caller<In, Out>,
  phase: ListenerPhase,
  method: 'onCron' | 'onDrain' | 'onEnd',
  settled?: () => void,
): void {
  try {
    const result: unknown = caller.listener?.[method]?.(caller.session);
    if (!isThenable(result)) {
      settled?.();
      return;
    }
    result.then(settled, (thrown: unknown) => {
      settled?.();
      onListenerFailure(caller, phase, thrown);
    });
  } catch (thrown) {
    settled?.();
    onListenerFailure(caller, phase, thrown);
  }
}

/** Sends the package that the heartbeat's `ping` returns. */
export function sendPing<In, Out>(caller: Caller<In, Out>): void {
  try {
    const pkg = caller.options.heartbeat?.ping?.(caller.session);
    if (isThenable(pkg)) {
      ignoreRejection(pkg);
      throw new TypeError('expected a package, given a promise: ping is called for a package to send at once');
    }
    if (pkg !== undefined) caller.session.send(pkg);
  } catch (thrown) {
    // Bytes enough wait for the peer already, so it has something to answer to.
    if (thrown instanceof StateError && thrown.code === 'SEND_QUEUE_FULL') return;
    onListenerFailure(caller, 'heartbeat', thrown);
  }
}

/** The route of whatever user code throws or rejects with: onError, and then the end of the session unless the policy says not. */
export function onListenerFailure<In, Out>(caller: Caller<In, Out>, phase: ListenerPhase, thrown: unknown): void {
  const isTimeout = thrown instanceof StateError && thrown.code === 'TASK_TIMEOUT';
  const error = isTimeout ? thrown : listenerError(phase, thrown);
  if (caller.state !== 'open') logFailure(caller, phase, thrown);
  else if (caller.options.listenerErrorPolicy === 'continue' && phase !== 'open') tellError(caller, error);
  else void caller.close({ code: closeCodeOf(error), by: 'local', text: error.message, error });
}

/** Calls onError, or logs the error when the listener has none. */
export function tellError<In, Out>(caller: Caller<In, Out>, error: PorticoError): void {
  const { session, host, options } = caller;
  publish('sessionError', () => ({ session, error }));
  if (error.code === 'PACKAGE_TOO_LARGE') publish('limit', () => ({ limit: 'package', session, error }));
  const listener = caller.listener ?? options.listener;
  if (listener === undefined || !overrides(listener, 'onError')) {
    host.logger.warn(`session ${session.id}: ${error.code}: ${oneLine(error.message)}`);
    return;
  }
  try {
    const result: unknown = listener.onError?.(session, error);
    if (isThenable(result)) result.then(undefined, (thrown: unknown) => logFailure(caller, 'onError', thrown));
  } catch (thrown) {
    logFailure(caller, 'onError', thrown);
  }
}

export function logFailure<In, Out>({ session, host }: Caller<In, Out>, where: string, thrown: unknown): void {
  host.logger.error(`session ${session.id}: ${where} failed: ${oneLine(describeThrown(thrown))}`);
}

export function listenerError(phase: ListenerPhase, thrown: unknown): ListenerError {
  return new ListenerError('LISTENER_FAILED', phase, `${phase}: ${describeThrown(thrown)}`, { cause: thrown });
}
