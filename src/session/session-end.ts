import { StateError } from '../base/errors.ts';
import type { CloseReason } from './close-reason.ts';

/** What the end of a session still waits for. Made when somebody asks for the end or it begins: a living session has none. */
export class SessionEnd {
  readonly closed: Promise<CloseReason>;
  /** Settles `closed` with the closing. */
  resolve: (closing: Promise<CloseReason>) => void = () => {};
  /** Everything was sent. */
  finished: () => void = () => {};
  /** The connection has ended. */
  gone: () => void = () => {};
  whenHandled: () => void = () => {};

  constructor() {
    this.closed = new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  /** No handler runs any more. */
  handled(): void {
    this.whenHandled();
  }
}

export function sessionClosed(): StateError {
  return new StateError('SESSION_CLOSED', 'the session is closing or closed');
}
