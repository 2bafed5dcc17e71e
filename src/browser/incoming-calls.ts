import { CallError } from '../base/call-error.ts';
import type { PorticoError } from '../base/errors.ts';

/** What a handler of a call knows besides the body. */
export interface CallContext {
  /** Aborted when the server wants no answer any more, or can get none. */
  readonly signal: AbortSignal;
}

/** Takes the payload of a call and returns that of the answer, now or later. */
export type PayloadHandler = (payload: Uint8Array, context: CallContext) => Uint8Array | PromiseLike<Uint8Array>;

export interface IncomingCallsHost {
  reply(call: number, payload: Uint8Array): void;
  replyError(call: number, code: string, message: string, data?: unknown): void;
  /** A handler failed with something that the server is not told. */
  onFailure(thrown: unknown, id: number): void;
}

/** Calls of the server to this client. */
export class IncomingCalls {
  readonly #host: IncomingCallsHost;
  readonly #max: number;
  readonly #handlers = new Map<number, PayloadHandler>();
  readonly #running = new Map<number, AbortController>();

  constructor(max: number, host: IncomingCallsHost) {
    this.#max = max;
    this.#host = host;
  }

  /** One handler for each command; the later one takes over. */
  handle(id: number, handler: PayloadHandler): () => void {
    this.#handlers.set(id, handler);
    return () => {
      if (this.#handlers.get(id) === handler) this.#handlers.delete(id);
    };
  }

  receive(call: number, id: number, payload: Uint8Array): void {
    const handler = this.#handlers.get(id);
    if (handler === undefined || this.#running.size >= this.#max) {
      this.#host.replyError(call, handler === undefined ? 'NOT_FOUND' : 'LIMITED', `command ${id}`);
      return;
    }
    const controller = new AbortController();
    this.#running.set(call, controller);
    const reply = (fn: () => void): void => {
      // An answer that nobody waits for any more: the call was cancelled, and its number may be another one's now.
      if (this.#running.get(call) === controller && this.#running.delete(call)) fn();
    };
    new Promise<Uint8Array>((resolve) => resolve(handler(payload, { signal: controller.signal }))).then(
      (bytes) => reply(() => this.#host.reply(call, bytes)),
      (thrown: unknown) => reply(() => this.#fail(call, id, thrown)),
    );
  }

  cancel(call: number): void {
    const controller = this.#running.get(call);
    if (controller === undefined) return;
    this.#running.delete(call);
    this.#host.replyError(call, 'ABORTED', 'cancelled');
    controller.abort();
  }

  /** The session is over: nobody waits for the answers. */
  abortAll(error: PorticoError): void {
    const running = [...this.#running.values()];
    this.#running.clear();
    for (const controller of running) controller.abort(error);
  }

  #fail(call: number, id: number, thrown: unknown): void {
    if (thrown instanceof CallError) {
      this.#host.replyError(call, thrown.reason, thrown.message, thrown.data);
    } else {
      this.#host.replyError(call, 'INTERNAL', 'the handler failed');
      this.#host.onFailure(thrown, id);
    }
  }
}
