import { StateError } from '../base/errors.ts';
import type { CloseReason } from './close-reason.ts';

/** What the end of a session still waits for. Made when somebody asks for the end or it begins: a living session has none. */
export class SessionEnd {
  readonly closed: Promise<CloseReason>;
  /** Settles when the reason is known, before running handlers are waited for. */
  readonly known: Promise<CloseReason>;
  /** Settles `closed` with the closing. */
  resolve: (closing: Promise<CloseReason>) => void = () => {};
  know: (reason: CloseReason) => void = () => {};
  /** What was still to be sent when the connection was given up. */
  unsentBytes = 0;
  /** Everything was sent. */
  finished: () => void = () => {};
  /** The connection has ended. */
  gone: () => void = () => {};
  whenHandled: () => void = () => {};

  constructor() {
    this.known = new Promise((resolve) => {
      this.know = resolve;
    });
    this.closed = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  /** No handler runs any more. */
  handled(): void {
    this.whenHandled();
  }

  untilFinished(): Promise<void> {
    return new Promise((resolve) => {
      this.finished = resolve;
    });
  }

  untilGone(): Promise<void> {
    return new Promise((resolve) => {
      this.gone = resolve;
    });
  }

  untilHandled(): Promise<void> {
    return new Promise((resolve) => {
      this.whenHandled = resolve;
    });
  }
}

export function sessionClosed(): StateError {
  return new StateError('SESSION_CLOSED', 'the session is closing or closed');
}
