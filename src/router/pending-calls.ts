import { StateError } from '../base/errors.ts';
import { type Wheel, WheelTimer } from '../base/wheel.ts';

/** What becomes of a call; exactly one of the two is called, once. */
export interface CallOutcome {
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

/** One call that waits for its reply. */
export class PendingCall {
  readonly action: number;
  readonly seq: number;
  readonly decode: (body: Uint8Array) => unknown;
  readonly #calls: PendingCalls;
  readonly #outcome: CallOutcome;
  readonly #timer: WheelTimer;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;

  constructor(calls: PendingCalls, action: number, seq: number, request: CallRequest, outcome: CallOutcome) {
    this.action = action;
    this.seq = seq;
    this.decode = request.decode;
    this.#calls = calls;
    this.#outcome = outcome;
    const { signal, timeoutMs } = request;
    this.#timer = new WheelTimer({
      onTimer: () => this.reject(new StateError('CALL_TIMEOUT', `action ${action}: no reply within ${timeoutMs} ms`)),
    });
    calls.wheel.arm(this.#timer, timeoutMs);
    if (signal === undefined) return;
    this.#signal = signal;
    this.#onAbort = () => this.reject(new StateError('ABORTED', `action ${action}: the signal was aborted`, { cause: signal.reason }));
    signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  resolve(value: unknown): void {
    this.#end();
    this.#outcome.resolve(value);
  }

  reject(error: unknown): void {
    this.#end();
    this.#outcome.reject(error);
  }

  #end(): void {
    this.#calls.forget(this);
    this.#timer.cancel();
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort);
  }
}

export interface CallRequest {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
  decode(body: Uint8Array): unknown;
}

/**
 * The open calls of one session, by seq. Seqs are given out in turn, from 1 to 32 767 and on from -32 768, so that one comes again as
 * late as can be; 0 is left to packets that ask for nothing.
 */
export class PendingCalls {
  readonly wheel: Wheel;
  readonly #maxPending: number;
  readonly #calls = new Map<number, PendingCall>();
  #lastSeq = 0;

  constructor(wheel: Wheel, maxPending: number) {
    this.wheel = wheel;
    this.#maxPending = maxPending;
  }

  get size(): number {
    return this.#calls.size;
  }

  /** Throws StateError TOO_MANY_CALLS. */
  add(action: number, request: CallRequest, outcome: CallOutcome): PendingCall {
    if (this.#calls.size >= this.#maxPending) {
      throw new StateError('TOO_MANY_CALLS', `call: expected at most ${this.#maxPending} open calls, given one more`);
    }
    const call = new PendingCall(this, action, this.#freeSeq(), request, outcome);
    this.#calls.set(call.seq, call);
    return call;
  }

  find(seq: number): PendingCall | undefined {
    return this.#calls.get(seq);
  }

  /** Called by the call when it has ended. */
  forget(call: PendingCall): void {
    if (this.#calls.get(call.seq) === call) this.#calls.delete(call.seq);
  }

  rejectAll(error: unknown): void {
    for (const call of [...this.#calls.values()]) call.reject(error);
  }

  /** There is one: fewer calls are open than there are seqs. */
  #freeSeq(): number {
    do {
      this.#lastSeq = this.#lastSeq === 32_767 ? -32_768 : this.#lastSeq + 1;
    } while (this.#lastSeq === 0 || this.#calls.has(this.#lastSeq));
    return this.#lastSeq;
  }
}
