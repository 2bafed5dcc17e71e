import { CallError } from '../base/call-error.ts';
import { StateError } from '../base/errors.ts';
import { checkMs } from '../base/option.ts';
import { after } from '../base/wheel.ts';
import { Frame } from './command-handler.ts';
import type { Peer } from './peer.ts';
import { decodeFailure, encodeCall, encodeCancel, encodeCredit, REPLY_KIND, type ReplyKind } from './wire.ts';

export interface CallOptions {
  /** Default: `callTimeoutMs` of the hub; for a stream, none. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** What one open call wants to hear. */
interface OpenCall {
  onReply(kind: ReplyKind, payload: Uint8Array): void;
  onFailure(error: Error): void;
}

const MAX_NUMBER = 0xffff_ffff;
/** Calls of `next` that may wait for items. */
const MAX_NEXT = 1_024;
/** Items of a stream that may be on their way. */
const WINDOW = 32;

/** The calls that wait for one client. Each settles: by an answer, a time-out, its signal, or the end of the client. */
export class OutgoingCalls {
  readonly #peer: Peer;
  readonly #open = new Map<number, OpenCall>();
  #lastNumber = 0;

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  call(id: number, payload: Uint8Array, { timeoutMs = this.#peer.hub.settings.callTimeoutMs, signal }: CallOptions): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const number = this.#begin(
        {
          onReply: (kind, bytes) => {
            if (kind === REPLY_KIND.ERROR) reject(failureOf(bytes));
            else resolve(bytes);
          },
          onFailure: reject,
        },
        { timeoutMs, ...(signal === undefined ? {} : { signal }) },
      );
      this.#peer.send(Frame.ofMessage(encodeCall(number, id, payload)));
    });
  }

  stream(id: number, payload: Uint8Array, options: CallOptions): AsyncIterableIterator<Uint8Array> {
    const items = new Items(
      (count) => this.#peer.send(Frame.ofMessage(encodeCredit(number, count))),
      () => this.#cancel(number),
    );
    const number = this.#begin(items, options);
    this.#peer.send(Frame.ofMessage(encodeCall(number, id, payload)));
    this.#peer.send(Frame.ofMessage(encodeCredit(number, WINDOW)));
    return items;
  }

  /** Throws what refuses the call. */
  #begin(owner: OpenCall, { timeoutMs, signal }: CallOptions): number {
    const { hub, state } = this.#peer;
    if (timeoutMs !== undefined) checkMs('call timeoutMs', timeoutMs);
    if (state === 'over') throw new StateError('SESSION_CLOSED', 'call: expected a client that is alive');
    if (this.#peer.profile === 'knet')
      throw new StateError('WRONG_STATE', "call: expected a client that speaks the native profile; knet's has no calls");
    if (signal?.aborted === true) throw new StateError('ABORTED', 'call: the signal was aborted before the call', { cause: signal.reason });
    if (this.#open.size >= hub.settings.maxCalls) {
      hub.counters.callsRefused++;
      throw new CallError('LIMITED', `at most ${hub.settings.maxCalls} calls at a time`);
    }
    const number = this.#nextNumber();
    const fail = (error: Error): void => {
      this.#cancel(number);
      call.onFailure(error);
    };
    const cancelTimer =
      timeoutMs === undefined
        ? undefined
        : after(hub.wheel, timeoutMs, () => {
            hub.counters.callsLate++;
            fail(new StateError('CALL_TIMEOUT', `the client did not answer within ${timeoutMs} ms`));
          });
    const onAbort = (): void => fail(new StateError('ABORTED', 'call: the signal was aborted', { cause: signal?.reason }));
    const settle = (): void => {
      this.#open.delete(number);
      cancelTimer?.();
      signal?.removeEventListener('abort', onAbort);
    };
    const call: OpenCall = {
      onReply(kind, payload) {
        if (kind !== REPLY_KIND.ITEM) settle();
        owner.onReply(kind, payload);
      },
      onFailure(error) {
        settle();
        owner.onFailure(error);
      },
    };
    signal?.addEventListener('abort', onAbort, { once: true });
    this.#open.set(number, call);
    return number;
  }

  #nextNumber(): number {
    do {
      this.#lastNumber = this.#lastNumber === MAX_NUMBER ? 1 : this.#lastNumber + 1;
    } while (this.#open.has(this.#lastNumber));
    return this.#lastNumber;
  }

  /** An answer to a call that is over means nothing any more. */
  onReply(number: number, kind: ReplyKind, payload: Uint8Array): void {
    this.#open.get(number)?.onReply(kind, payload);
  }

  #cancel(number: number): void {
    if (this.#open.delete(number)) this.#peer.send(Frame.ofMessage(encodeCancel(number)));
  }

  end(reason: Error): void {
    for (const call of [...this.#open.values()]) call.onFailure(reason);
  }
}

function failureOf(payload: Uint8Array): CallError {
  const { code, message, data } = decodeFailure(payload);
  return new CallError(code, message, data);
}

/** The items of a stream that have come and were not asked for yet: as many as the window, because more are not let come. */
class Items implements AsyncIterableIterator<Uint8Array>, OpenCall {
  readonly #grant: (count: number) => void;
  readonly #cancel: () => void;
  readonly #items: Uint8Array[] = [];
  #taken = 0;
  #waiting: { resolve(result: IteratorResult<Uint8Array>): void; reject(error: Error): void }[] = [];
  #isOver = false;
  #error: Error | undefined;

  constructor(grant: (count: number) => void, cancel: () => void) {
    this.#grant = grant;
    this.#cancel = cancel;
  }

  onReply(kind: ReplyKind, payload: Uint8Array): void {
    if (kind === REPLY_KIND.ERROR) this.onFailure(failureOf(payload));
    else if (kind === REPLY_KIND.ITEM) this.#onItem(payload);
    else this.#end(kind === REPLY_KIND.RESULT ? new CallError('INVALID', 'expected a stream, given a single answer') : undefined);
  }

  #onItem(item: Uint8Array): void {
    const waiting = this.#waiting.shift();
    if (waiting !== undefined) {
      this.#count();
      waiting.resolve({ value: item, done: false });
    } else if (this.#items.length < WINDOW) {
      this.#items.push(item);
    } else {
      this.#cancel();
      this.#end(new CallError('LIMITED', 'more items came than were asked for'));
    }
  }

  onFailure(error: Error): void {
    this.#end(error);
  }

  #end(error: Error | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const [first, ...others] = this.#waiting.splice(0);
    // It is told once: who waits behind the first finds the end, as with a generator.
    if (error !== undefined && first === undefined) this.#error = error;
    if (error === undefined) first?.resolve({ value: undefined, done: true });
    else first?.reject(error);
    for (const { resolve } of others) resolve({ value: undefined, done: true });
  }

  /** Asks for more once half of the window was used. */
  #count(): void {
    this.#taken++;
    if (this.#taken < WINDOW / 2 || this.#isOver) return;
    this.#grant(this.#taken);
    this.#taken = 0;
  }

  async next(): Promise<IteratorResult<Uint8Array>> {
    const item = this.#items.shift();
    if (item !== undefined) {
      this.#count();
      return { value: item, done: false };
    }
    if (!this.#isOver) {
      if (this.#waiting.length >= MAX_NEXT) throw new StateError('WRONG_STATE', `next: expected at most ${MAX_NEXT} that wait`);
      return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    }
    const error = this.#error;
    this.#error = undefined;
    if (error !== undefined) throw error;
    return { value: undefined, done: true };
  }

  async return(): Promise<IteratorResult<Uint8Array>> {
    if (!this.#isOver) this.#cancel();
    this.#items.length = 0;
    this.#end(undefined);
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
