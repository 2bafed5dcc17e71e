import { type PorticoError, StateError } from '../base/errors.ts';
import { MAX_DELAY_MS } from '../base/option.ts';
import { encodeCall, encodeCredit } from '../command/wire.ts';
import type { ClientClock } from './environment.ts';

export interface CallsHost {
  /** A part of a call that may have to wait. */
  send(frame: Uint8Array): void;
  /** Takes the message of a call back; false when it has left already. */
  unsend(frame: Uint8Array): boolean;
  sendCancel(call: number): void;
}

/** Who waits for the answers to one call. Exactly one of `onEnd` and `onError` is called, and nothing after it. */
export interface CallSink {
  onItem(payload: Uint8Array): void;
  /** Kind 0 has a payload, kind 3 none. */
  onEnd(payload: Uint8Array | undefined): void;
  onError(error: PorticoError): void;
}

export interface CallLimits {
  /** Milliseconds until the call fails with CALL_TIMEOUT. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

interface OpenCall {
  readonly sink: CallSink;
  /** The call, and what it allows a stream to send first. */
  readonly frames: readonly Uint8Array[];
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  readonly onAbort: () => void;
}

const MAX_CALL = 0xffff_ffff;

/** The calls of this side that are not answered yet. Each one settles: by its answer, its time-out, its signal or the end of the session. */
export class Calls {
  readonly #clock: ClientClock;
  readonly #host: CallsHost;
  readonly #max: number;
  readonly #open = new Map<number, OpenCall>();
  #last = 0;
  /** One timer for all: the soonest deadline that was known when it was set. */
  #wakeAt = Number.POSITIVE_INFINITY;
  #cancelWake: (() => void) | undefined;

  constructor(clock: ClientClock, max: number, host: CallsHost) {
    this.#clock = clock;
    this.#max = max;
    this.#host = host;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Sends a call. 0, and the sink has been told, when it could not begin. */
  begin(id: number, payload: Uint8Array, limits: CallLimits, sink: CallSink, credit?: number): number {
    const { signal, timeoutMs = MAX_DELAY_MS } = limits;
    const refusal = signal?.aborted
      ? aborted(signal)
      : this.#open.size >= this.#max
        ? new StateError('SEND_QUEUE_FULL', 'too many calls')
        : undefined;
    if (refusal !== undefined) {
      sink.onError(refusal);
      return 0;
    }
    do this.#last = (this.#last % MAX_CALL) + 1;
    while (this.#open.has(this.#last));
    const call = this.#last;
    const frames = [encodeCall(call, id, payload)];
    if (credit !== undefined) frames.push(encodeCredit(call, credit));
    const onAbort = (): void => this.cancel(call, aborted(signal));
    const deadline = this.#clock.now() + timeoutMs;
    this.#open.set(call, { sink, frames, deadline, signal, onAbort });
    signal?.addEventListener('abort', onAbort);
    if (timeoutMs < MAX_DELAY_MS) this.#wakeBy(deadline);
    for (const frame of frames) this.#host.send(frame);
    return call;
  }

  item(call: number, payload: Uint8Array): void {
    this.#open.get(call)?.sink.onItem(payload);
  }

  /** The last answer. An answer to a call that is over already means nothing. */
  end(call: number, payload: Uint8Array | undefined): void {
    this.#forget(call)?.sink.onEnd(payload);
  }

  fail(call: number, error: PorticoError): void {
    this.#forget(call)?.sink.onError(error);
  }

  /** The caller wants no more of it; with an error the sink is told. */
  cancel(call: number, error?: PorticoError): void {
    const open = this.#forget(call);
    if (open === undefined) return;
    if (!this.#unsend(open)) this.#host.sendCancel(call);
    if (error !== undefined) open.sink.onError(error);
  }

  /** The session of these calls is over. Those that have not left the outbox go to the next one, unless `isAll`. */
  failAll(error: PorticoError, isWaiting?: (frame: Uint8Array) => boolean): void {
    for (const [call, open] of [...this.#open]) {
      const [first] = open.frames;
      if (first !== undefined && isWaiting?.(first)) continue;
      this.#unsend(open);
      this.fail(call, error);
    }
  }

  #forget(call: number): OpenCall | undefined {
    const open = this.#open.get(call);
    if (open === undefined) return undefined;
    this.#open.delete(call);
    open.signal?.removeEventListener('abort', open.onAbort);
    if (this.#open.size === 0) {
      this.#cancelWake?.();
      this.#wakeAt = Number.POSITIVE_INFINITY;
    }
    return open;
  }

  /** False when the call itself has left already. */
  #unsend({ frames }: OpenCall): boolean {
    const [isUnsent] = frames.map((frame) => this.#host.unsend(frame));
    return isUnsent === true;
  }

  #wakeBy(deadline: number): void {
    if (deadline >= this.#wakeAt) return;
    this.#cancelWake?.();
    this.#wakeAt = deadline;
    this.#cancelWake = this.#clock.after(Math.max(0, deadline - this.#clock.now()), () => this.#wake());
  }

  #wake(): void {
    this.#wakeAt = Number.POSITIVE_INFINITY;
    const now = this.#clock.now();
    let next = this.#wakeAt;
    for (const [call, { deadline }] of [...this.#open]) {
      if (deadline <= now) this.cancel(call, new StateError('CALL_TIMEOUT', 'no answer in time'));
      else if (deadline < next) next = deadline;
    }
    if (next - now < MAX_DELAY_MS) this.#wakeBy(next);
  }
}

function aborted(signal: AbortSignal | undefined): StateError {
  return new StateError('ABORTED', 'aborted', { cause: signal?.reason });
}
