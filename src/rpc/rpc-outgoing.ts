import { describeThrown, PeerError, StateError } from '../base/errors.ts';
import { checkInteger, checkMs, invalid } from '../base/option.ts';
import type { Expiring } from './rpc-deadlines.ts';
import { RPC_METHOD, type RpcHost } from './rpc-host.ts';
import { RpcStream } from './rpc-stream.ts';
import type { RpcBatchCall, RpcCallOptions, RpcStreamOptions } from './rpc-types.ts';
import { isLonger, MAX_CREDIT, RpcError, type RpcMessage, type RpcParams, requestText } from './rpc-wire.ts';

const DEFAULT_CREDIT = 16;

/** The calls that this side has made. */
export class OutgoingCalls {
  readonly #host: RpcHost;
  readonly #pending = new Map<number, PendingCall>();
  #lastId = 0;
  #closed: StateError | undefined;

  constructor(host: RpcHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#pending.size;
  }

  call(method: string, params: unknown, options: RpcCallOptions = {}): Promise<unknown> {
    const checked = checkCall('call', method, params, options);
    const timeoutMs = options.timeoutMs ?? this.#host.limits.callTimeoutMs;
    return new Promise((resolve, reject) => {
      const call = new PendingCall(this, method, timeoutMs, resolve, reject);
      this.#start([call], options, () => requestText(method, checked, String(call.id)));
    });
  }

  /** Settles when all have been answered; in the order of the calls, notifications with undefined. */
  batch(calls: readonly RpcBatchCall[], options: RpcCallOptions = {}): Promise<PromiseSettledResult<unknown>[]> {
    const { maxBatch, callTimeoutMs } = this.#host.limits;
    if (!Array.isArray(calls) || calls.length === 0 || calls.length > maxBatch) {
      throw invalid('batch', `a list of 1 to ${maxBatch} calls`, Array.isArray(calls) ? calls.length : calls);
    }
    for (const { method, params } of calls) checkCall('batch', method, params, options);
    const timeoutMs = options.timeoutMs ?? callTimeoutMs;
    const pending: PendingCall[] = [];
    const results = calls.map((each) =>
      each.isNotification === true
        ? Promise.resolve(undefined)
        : new Promise<unknown>((resolve, reject) => {
            const call = new PendingCall(this, each.method, timeoutMs, resolve, reject);
            pending.push(call);
          }),
    );
    const settled = Promise.allSettled(results);
    const isStarted = this.#start(pending, options, () => {
      const ids = pending.values();
      const texts = calls.map((each) => {
        const id = each.isNotification === true ? undefined : String(ids.next().value?.id);
        return requestText(each.method, each.params as RpcParams | undefined, id);
      });
      return `[${texts.join(',')}]`;
    });
    // Without a call in it there is nobody else to tell.
    return isStarted || pending.length > 0 ? settled : Promise.reject(this.#closed ?? new StateError('ABORTED', 'batch: it was not sent'));
  }

  /** The call is made at once, also when nobody iterates. */
  stream(method: string, params: unknown, options: RpcStreamOptions = {}): RpcStream {
    const checked = checkCall('stream', method, params, options);
    const { timeoutMs = 0, credit = DEFAULT_CREDIT } = options;
    checkInteger('stream credit', credit, 1, MAX_CREDIT);
    const stream: RpcStream = new RpcStream(
      credit,
      (items) => void this.#host.trySend(requestText(RPC_METHOD.CREDIT, [call.id, items], undefined)),
      (error) => this.#giveUp(call, error),
    );
    const call: PendingCall = new PendingCall(
      this,
      method,
      timeoutMs,
      (result) => stream.onResult(result),
      (error) => stream.onEnd(error),
      stream,
    );
    this.#start([call], options, () => requestText(method, checked, String(call.id), credit));
    return stream;
  }

  /** Registers the calls, sends their text; or has them fail. */
  #start(calls: readonly PendingCall[], { signal }: RpcCallOptions, textOf: () => string): boolean {
    try {
      this.#checkRoom(calls.length, signal);
      for (const call of calls) call.id = ++this.#lastId;
      const text = this.#encode(textOf);
      // Before sending: where there is no network in between, the answer comes from inside `send`.
      for (const call of calls) this.#add(call, signal);
      this.#host.send(text);
      return true;
    } catch (thrown) {
      for (const call of calls) {
        this.#forget(call);
        call.reject(thrown);
      }
      return false;
    }
  }

  #add(call: PendingCall, signal: AbortSignal | undefined): void {
    this.#pending.set(call.id, call);
    this.#host.deadlines.add(call, call.timeoutMs);
    if (signal !== undefined) call.watch(signal, () => this.#giveUp(call, aborted(signal)));
  }

  #checkRoom(count: number, signal: AbortSignal | undefined): void {
    const { limits, counters } = this.#host;
    if (this.#closed !== undefined) throw this.#closed;
    if (signal?.aborted === true) throw aborted(signal);
    if (this.#pending.size + count <= limits.maxPendingCalls) return;
    counters.overPending += count;
    throw new StateError('SEND_QUEUE_FULL', `call: expected at most ${limits.maxPendingCalls} calls without an answer`);
  }

  #encode(textOf: () => string): string {
    const { maxMessageBytes } = this.#host.limits;
    const text = encodeCall(textOf);
    if (isLonger(text, maxMessageBytes)) throw new StateError('ENCODED_TOO_LARGE', `call: expected at most ${maxMessageBytes} bytes`);
    return text;
  }

  /** Sends a notification. */
  notify(method: string, params: unknown): boolean {
    const checked = checkCall('notify', method, params, {});
    if (this.#closed !== undefined) return false;
    this.#host.send(this.#encode(() => requestText(method, checked, undefined)));
    return true;
  }

  onResponse({ id, result, error }: RpcMessage): void {
    const call = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (call === undefined) {
      this.#host.counters.unmatched++;
      // Which call it was cannot be known, so that none is failed for it.
      const isUnread = id === null && error !== undefined && this.#pending.size > 0;
      if (isUnread) this.#host.report(errorOf(error), { method: '', id: null });
      return;
    }
    this.#forget(call);
    if (error === undefined || error === null) call.resolve(result ?? null);
    else call.reject(errorOf(error));
  }

  /** False: no call waits for it. */
  onItem(id: unknown, item: unknown): boolean {
    const call = typeof id === 'number' ? this.#pending.get(id) : undefined;
    if (call?.stream === undefined) {
      this.#host.counters.unmatched++;
      return false;
    }
    this.#host.deadlines.add(call, call.timeoutMs);
    call.stream.onItem(item);
    return true;
  }

  /** Its time is over. */
  expire(call: PendingCall): void {
    this.#giveUp(call, new StateError('CALL_TIMEOUT', `${call.method}: no answer within ${call.timeoutMs} ms`));
  }

  /** Ends a call on this side and tells the other. */
  #giveUp(call: PendingCall, error: StateError | PeerError | undefined): void {
    if (!this.#forget(call)) return;
    this.#host.trySend(requestText(RPC_METHOD.CANCEL, [call.id], undefined));
    if (error !== undefined) call.reject(error);
  }

  #forget(call: PendingCall): boolean {
    call.unwatch();
    this.#host.deadlines.remove(call);
    return this.#pending.delete(call.id);
  }

  close(error: StateError): void {
    this.#closed = error;
    for (const call of [...this.#pending.values()]) {
      this.#forget(call);
      call.reject(error);
    }
  }
}

/** A call that waits for its answer. */
export class PendingCall implements Expiring {
  id = 0;
  expiresAtMs = 0;
  readonly method: string;
  readonly timeoutMs: number;
  readonly stream: RpcStream | undefined;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly #owner: OutgoingCalls;
  #signal: AbortSignal | undefined;
  #onAbort: (() => void) | undefined;

  constructor(
    owner: OutgoingCalls,
    method: string,
    timeoutMs: number,
    resolve: (result: unknown) => void,
    reject: (error: unknown) => void,
    stream?: RpcStream,
  ) {
    this.#owner = owner;
    this.method = method;
    this.timeoutMs = timeoutMs;
    this.resolve = resolve;
    this.reject = reject;
    this.stream = stream;
  }

  watch(signal: AbortSignal, onAbort: () => void): void {
    this.#signal = signal;
    this.#onAbort = onAbort;
    signal.addEventListener('abort', onAbort, { once: true });
  }

  unwatch(): void {
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  onExpired(): void {
    this.#owner.expire(this);
  }
}

function checkCall(where: string, method: string, params: unknown, { timeoutMs, signal }: RpcCallOptions): RpcParams | undefined {
  if (typeof method !== 'string') throw invalid(`${where} method`, 'a string', method);
  if (params !== undefined && (typeof params !== 'object' || params === null)) {
    throw invalid(`${where} params`, 'a list, an object or nothing', params);
  }
  if (timeoutMs !== undefined) checkMs(`${where} timeoutMs`, timeoutMs, 0);
  if (signal !== undefined && !(signal instanceof AbortSignal)) throw invalid(`${where} signal`, 'an AbortSignal', signal);
  return params as RpcParams | undefined;
}

function encodeCall(textOf: () => string): string {
  try {
    return textOf();
  } catch (thrown) {
    throw new StateError('UNENCODABLE_BODY', `call: ${describeThrown(thrown).slice(0, 200)}`, { cause: thrown });
  }
}

function aborted(signal: AbortSignal): StateError {
  return new StateError('ABORTED', 'call: the signal was aborted', { cause: signal.reason });
}

function errorOf(error: unknown): RpcError | PeerError {
  const { code, message, data } = (typeof error === 'object' && error !== null ? error : {}) as Readonly<Record<string, unknown>>;
  if (Number.isSafeInteger(code)) return new RpcError(code as number, typeof message === 'string' ? message : '', data);
  return new PeerError('MALFORMED_PACKAGE', 'expected an error with a code, given none', { recoverable: true });
}
