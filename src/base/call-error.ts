import { PeerError } from './errors.ts';

/**
 * A call was answered with an error. It rejects the call; and thrown by a handler of calls it is the answer: of any other error the
 * caller learns nothing but that there was one.
 */
export class CallError extends PeerError {
  /** `NOT_FOUND`, `INVALID`, `LIMITED`, `FORBIDDEN`, `TIMEOUT`, `ABORTED`, `INTERNAL`, or a word of the application's own. */
  readonly reason: string;
  /** What else is to be known; fits JSON. */
  readonly data: unknown;

  constructor(reason: string, message: string = reason, data?: unknown) {
    super('CALL_FAILED', message, { recoverable: true });
    this.reason = reason;
    this.data = data;
  }
}
