import type { PorticoError } from '../base/errors.ts';
import type { CloseReason } from './close-reason.ts';
import type { Session } from './session.ts';

/**
 * CONTRACT. The events of a session, as a plain object may provide them. One listener object serves all sessions of an
 * endpoint. For each session
 * - `onOpen` comes first and once, `onClose` last and once; `onClose` comes if and only if `onOpen` was called;
 * - packages come in order, the next one after the promise of the one before has settled (`withConcurrentMessages` gives
 *   that up), and none before `onOpen` has settled or after `close()` was called;
 * - whatever a method throws or rejects with reaches `onError` as a ListenerError and, unless the policy is 'continue',
 *   closes this session; no other session and not the process is touched;
 * - a method that never settles holds up its own session only, and a closing session for `drainTimeoutMs` at most.
 */
export interface EventListenerLike<In, Out = In> {
  /** The session is open: TLS is done, `newSession` has returned. Packages wait until the promise settles. */
  onOpen?(session: Session<In, Out>): void | Promise<void>;
  /** One package. A returned promise holds back the next one, which is back-pressure on the peer. */
  onMessage(session: Session<In, Out>, pkg: In): void | Promise<void>;
  /** Every `cronPeriodMs`. Never overlaps itself; periods missed meanwhile are skipped. */
  onCron?(session: Session<In, Out>): void | Promise<void>;
  /** `send` returned false before, and the queue has now come down to the low-water mark. */
  onDrain?(session: Session<In, Out>): void | Promise<void>;
  /** The peer has finished sending. Called only with `withHalfOpen(true)`; the session stays open until it is closed here. */
  onEnd?(session: Session<In, Out>): void | Promise<void>;
  /** Something failed. Called before `onClose` when the failure ends the session. */
  onError?(session: Session<In, Out>, error: PorticoError): void;
  /** The session has ended; `reason` says how. Nothing can be sent any more, ids, addresses and attributes can be read. */
  onClose?(session: Session<In, Out>, reason: CloseReason): void | Promise<void>;
}

/**
 * The receiving half of a program: subclass it and override what you need.
 *
 * @example
 * ```ts
 * import { EventListener, type Session } from 'portico';
 *
 * class Echo extends EventListener<string> {
 *   onMessage(session: Session<string>, line: string): void {
 *     session.send(line);
 *   }
 * }
 * ```
 */
export abstract class EventListener<In, Out = In> implements EventListenerLike<In, Out> {
  onOpen(_session: Session<In, Out>): void | Promise<void> {}
  abstract onMessage(session: Session<In, Out>, pkg: In): void | Promise<void>;
  onCron(_session: Session<In, Out>): void | Promise<void> {}
  onDrain(_session: Session<In, Out>): void | Promise<void> {}
  onEnd(_session: Session<In, Out>): void | Promise<void> {}
  onError(_session: Session<In, Out>, _error: PorticoError): void {}
  onClose(_session: Session<In, Out>, _reason: CloseReason): void | Promise<void> {}
}

/** Whether the listener does something of its own in a method, so that work for a method left empty can be spared. */
export function overrides<In, Out>(listener: EventListenerLike<In, Out>, method: keyof EventListenerLike<In, Out>): boolean {
  return listener[method] !== undefined && listener[method] !== (EventListener.prototype as EventListenerLike<In, Out>)[method];
}
