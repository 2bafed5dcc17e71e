import { describeThrown, StateError } from '../base/errors.ts';
import { isThenable } from '../base/thenable.ts';
import { RpcContext } from './rpc-context.ts';
import type { Expiring } from './rpc-deadlines.ts';
import type { ReplySink, RpcHost } from './rpc-host.ts';
import { iteratorOf, StreamReply } from './rpc-stream-reply.ts';
import { errorText, isLonger, limitExceeded, RPC_CODE, RpcError, type RpcMessage, resultText, toJson } from './rpc-wire.ts';

/** The calls of the other side. */
export class IncomingCalls {
  readonly #host: RpcHost;
  /** Those whose handler has not answered yet, and open streams. */
  readonly #running = new Set<RunningCall>();
  /** Those that wait, in order; together with those that run at most `maxRunningCalls`. */
  #held: HeldCall[] = [];
  #isDraining = false;

  constructor(host: RpcHost) {
    this.#host = host;
  }

  get size(): number {
    return this.#running.size + this.#held.length;
  }

  /** `sink` undefined: a notification. `credit` 0: no stream can be answered. */
  handle(message: RpcMessage, sink: ReplySink | undefined, credit: number): void {
    if (this.#held.length > 0 || this.#host.mustHold()) this.#hold({ message, sink, credit });
    else this.#handle(message, sink, credit);
  }

  #hold(call: HeldCall): void {
    if (this.#isFull(call)) return;
    this.#host.counters.held++;
    this.#held.push(call);
    this.#releaseWhenDrained();
  }

  #releaseWhenDrained(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#host.transport.drained?.().then(() => this.#release(), ignore);
  }

  /** As many as the transport takes the answers of. */
  #release(): void {
    this.#isDraining = false;
    while (this.#held.length > 0) {
      if (this.#host.transport.isFull?.() === true) {
        this.#releaseWhenDrained();
        return;
      }
      const next = this.#held.shift();
      if (next !== undefined) this.#handle(next.message, next.sink, next.credit);
    }
  }

  /** Answers a call that finds no place. */
  #isFull({ message: { idText }, sink }: HeldCall): boolean {
    const { limits, counters } = this.#host;
    if (this.size < limits.maxRunningCalls) return false;
    counters.overRunning++;
    sink?.put(errorText(limitExceeded('calls', limits.maxRunningCalls), idText), true, idText);
    return true;
  }

  #handle(message: RpcMessage, sink: ReplySink | undefined, credit: number): void {
    const { counters } = this.#host;
    const { idText } = message;
    const handler = this.#host.handlerOf(message.method);
    if (handler === undefined) {
      sink?.put(errorText(new RpcError(RPC_CODE.METHOD_NOT_FOUND, 'Method not found'), idText), true, idText);
      return;
    }
    if (this.#isFull({ message, sink, credit })) return;
    counters.handled++;
    if (sink !== undefined) counters.requests++;
    const call = new RunningCall(this.#host, this.#running, message, sink, credit);
    try {
      call.take(handler(message.params, call.context));
    } catch (thrown) {
      call.fail(thrown);
    }
  }

  /** The caller wants no more of a call. False: there is none with this id. */
  cancel(id: unknown): boolean {
    const call = this.#find(id);
    if (call === undefined) return this.#cancelHeld(id);
    call.abort(new StateError('ABORTED', 'the caller took the call back'));
    call.end(cancelled(call.idText), true);
    return true;
  }

  #cancelHeld(id: unknown): boolean {
    const at = this.#held.findIndex(({ message, sink }) => sink !== undefined && message.id === id);
    const [held] = at === -1 ? [] : this.#held.splice(at, 1);
    held?.sink?.put(cancelled(held.message.idText), true, held.message.idText);
    return held !== undefined;
  }

  /** False: there is no stream with this id. */
  credit(id: unknown, items: unknown): boolean {
    const stream = this.#find(id)?.stream;
    stream?.addCredit(items);
    return stream !== undefined;
  }

  close(error: unknown): void {
    this.#held = [];
    for (const call of [...this.#running]) {
      call.abort(error);
      call.end(undefined, true);
    }
  }

  #find(id: unknown): RunningCall | undefined {
    for (const call of this.#running) {
      if (call.id === id && call.isRequest) return call;
    }
    return undefined;
  }
}

interface HeldCall {
  readonly message: RpcMessage;
  readonly sink: ReplySink | undefined;
  readonly credit: number;
}

function cancelled(idText: string): string {
  return errorText(new RpcError(RPC_CODE.CANCELLED, 'Cancelled'), idText);
}

function ignore(): void {}

/** One call, from the handler's start to the answer. */
export class RunningCall implements Expiring {
  expiresAtMs = 0;
  readonly context: RpcContext;
  /** Set while items of a stream are sent. */
  stream: StreamReply | undefined;
  readonly host: RpcHost;
  readonly #running: Set<RunningCall>;
  readonly #message: RpcMessage;
  readonly #sink: ReplySink | undefined;
  readonly #credit: number;
  #isOver = false;

  constructor(host: RpcHost, running: Set<RunningCall>, message: RpcMessage, sink: ReplySink | undefined, credit: number) {
    this.host = host;
    this.#running = running;
    this.#message = message;
    this.#sink = sink;
    this.#credit = credit;
    this.context = new RpcContext(host.peer, host.origin, message.method, this.id, this);
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get isRequest(): boolean {
    return this.#sink !== undefined;
  }

  get id(): RpcMessage['id'] {
    return this.#sink === undefined ? undefined : this.#message.id;
  }

  get idText(): string {
    return this.#message.idText;
  }

  /** What the handler returned. */
  take(answer: unknown): void {
    if (typeof answer !== 'object' || answer === null) {
      this.#answer(answer);
    } else if (isThenable(answer)) {
      this.#begin();
      Promise.resolve(answer).then(
        (value) => this.#settled(value),
        (thrown: unknown) => this.fail(thrown),
      );
    } else {
      const iterator = iteratorOf(answer);
      if (iterator === undefined) this.#answer(answer);
      else this.#iterate(iterator);
    }
  }

  #settled(value: unknown): void {
    try {
      const iterator = iteratorOf(value);
      if (iterator === undefined) this.#answer(value);
      else this.#iterate(iterator);
    } catch (thrown) {
      this.fail(thrown);
    }
  }

  #iterate(iterator: AsyncIterator<unknown> | Iterator<unknown>): void {
    const stream = new StreamReply(this, iterator, this.#credit);
    if (this.#isOver || !this.isRequest) {
      stream.stop();
      this.end(undefined, false);
      return;
    }
    this.#begin();
    // How long a stream may last is the caller's business; a list is awaited like any other result.
    if (this.#credit > 0) this.host.deadlines.remove(this);
    this.stream = stream;
    void stream.run();
  }

  #begin(): void {
    if (this.#isOver || this.#running.has(this)) return;
    this.#running.add(this);
    this.host.deadlines.add(this, this.host.limits.handlerTimeoutMs);
  }

  get deadlineMs(): number {
    const { handlerTimeoutMs } = this.host.limits;
    if (handlerTimeoutMs === 0) return Number.POSITIVE_INFINITY;
    if (this.expiresAtMs === 0) this.expiresAtMs = this.host.transport.now() + handlerTimeoutMs;
    return this.expiresAtMs;
  }

  onExpired(): void {
    this.host.counters.timedOut++;
    this.abort(new StateError('CALL_TIMEOUT', `${this.#message.method}: no answer within ${this.host.limits.handlerTimeoutMs} ms`));
    this.end(errorText(new RpcError(RPC_CODE.TIMEOUT, 'Timeout'), this.idText), true);
  }

  abort(reason: unknown): void {
    if (!this.#isOver) this.context.abort(reason);
  }

  /** Also when JSON cannot say what the handler returned. */
  #answer(value: unknown): void {
    if (this.#isOver) return;
    this.answerJson(this.isRequest ? toJson(value) : 'null');
  }

  answerJson(json: string): void {
    const { maxMessageBytes } = this.host.limits;
    const text = resultText(json, this.idText);
    if (!isLonger(text, maxMessageBytes)) this.end(text, false);
    else this.failBySize('response', maxMessageBytes);
  }

  failBySize(limit: string, max: number): void {
    this.host.counters.overSize++;
    this.fail(limitExceeded(limit, max));
  }

  fail(thrown: unknown): void {
    if (this.#isOver) return;
    this.end(this.#textOf(thrown), true);
  }

  #textOf(thrown: unknown): string {
    let failure = thrown;
    if (thrown instanceof RpcError) {
      try {
        return errorText(thrown, this.idText);
      } catch (unsayable) {
        failure = unsayable;
      }
    }
    const { host } = this;
    host.counters.failed++;
    host.report(failure, { method: this.#message.method, id: this.id });
    const message = host.limits.revealErrors ? describeThrown(failure) : 'Internal error';
    return errorText(new RpcError(RPC_CODE.INTERNAL_ERROR, message), this.idText);
  }

  /** Frees the place, once, and answers. undefined: nothing can be sent any more. */
  end(text: string | undefined, isError: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#running.delete(this);
    this.host.deadlines.remove(this);
    this.stream?.stop();
    if (text !== undefined) this.#sink?.put(text, isError, this.idText);
  }
}
