import { CallError } from '../base/call-error.ts';
import { StateError } from '../base/errors.ts';
import { isThenable } from '../base/thenable.ts';
import { after } from '../base/wheel.ts';
import { InvalidBodyError } from '../protocol/invalid-body.ts';
import { Frame } from './command-handler.ts';
import type { CallContext, Served } from './handlers.ts';
import type { Link } from './link.ts';
import type { Peer } from './peer.ts';
import { type CallFailure, encodeJson, encodeReply, REPLY_KIND, type ReplyKind, WRAP_BYTES } from './wire.ts';

const NOTHING = new Uint8Array(0);
const MAX_CREDIT = 0xffff_ffff;

const INTERNAL: CallFailure = { code: 'INTERNAL', message: 'the handler failed' };

/** One call of a client that is being answered. */
class IncomingCall implements CallContext {
  readonly number: number;
  readonly id: number;
  readonly served: Served;
  isOver = false;
  /** Items of the stream that the caller still takes. */
  credit = 0;
  /** Will say when it can take more. */
  drainingLink: Link | undefined;
  /** Ends the wait of the stream. */
  wake: (() => void) | undefined;
  cancelDeadline: (() => void) | undefined;
  #controller: AbortController | undefined;
  #reason: unknown;

  constructor(number: number, id: number, served: Served) {
    this.number = number;
    this.id = id;
    this.served = served;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  abort(reason: Error): void {
    this.#reason ??= reason;
    this.#controller?.abort(reason);
    this.wake?.();
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** The calls of one client. They run beside each other and beside messages; they begin in order. */
export class IncomingCalls {
  readonly #peer: Peer;
  readonly #running = new Map<number, IncomingCall>();
  /** For calls that wait behind messages; as many as wait, at most. */
  readonly #earlyCredit = new Map<number, number>();

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  get size(): number {
    return this.#running.size;
  }

  begin(number: number, id: number, payload: Uint8Array): void {
    this.#begin(number, id, payload);
    this.#earlyCredit.delete(number);
  }

  #begin(number: number, id: number, payload: Uint8Array): void {
    const { hub } = this.#peer;
    if (this.#running.has(number)) {
      hub.violated(this.#peer, 'a number of a call that is open');
      return;
    }
    const served = hub.servedAs(id);
    if (served === undefined) {
      this.#fail(number, { code: 'NOT_FOUND', message: `there is no command ${id}` });
    } else if (this.#running.size >= hub.settings.maxCalls) {
      hub.counters.callsRefused++;
      this.#fail(number, { code: 'LIMITED', message: `at most ${hub.settings.maxCalls} calls at a time` });
    } else {
      this.#start(new IncomingCall(number, id, served), payload);
    }
  }

  #start(call: IncomingCall, payload: Uint8Array): void {
    const { hub, client } = this.#peer;
    const { served } = call;
    this.#running.set(call.number, call);
    call.credit = this.#earlyCredit.get(call.number) ?? 0;
    hub.counters.handled++;
    try {
      const body = served.type === undefined ? payload : served.type.body.decode(payload);
      const result = served.call(client, body, call);
      if (isThenable(result)) this.#await(call, result);
      else this.#onResult(call, result);
    } catch (thrown) {
      this.#onFailure(call, thrown);
    }
  }

  #await(call: IncomingCall, result: PromiseLike<unknown>): void {
    const { hub } = this.#peer;
    const { callTimeoutMs } = hub.settings;
    call.cancelDeadline = after(hub.wheel, callTimeoutMs, () => {
      hub.counters.callsLate++;
      this.#end(call, REPLY_KIND.ERROR, encodeJson({ code: 'TIMEOUT', message: `no answer within ${callTimeoutMs} ms` }));
      call.abort(new StateError('CALL_TIMEOUT', `the answer was not there within ${callTimeoutMs} ms`));
    });
    result.then(
      (value) => this.#onResult(call, value),
      (thrown: unknown) => this.#onFailure(call, thrown),
    );
  }

  #onResult(call: IncomingCall, value: unknown): void {
    call.cancelDeadline?.();
    if (isAsyncIterable(value)) {
      void this.#pump(call, value);
      return;
    }
    if (call.isOver) return;
    try {
      const { type } = call.served;
      this.#end(call, REPLY_KIND.RESULT, this.#encode(call, value, type?.reply?.encode.bind(type.reply)));
    } catch (thrown) {
      this.#onFailure(call, thrown);
    }
  }

  #encode(call: IncomingCall, value: unknown, encode: ((value: unknown) => Uint8Array) | undefined): Uint8Array {
    const bytes: unknown = encode === undefined ? (value ?? NOTHING) : encode(value);
    if (!(bytes instanceof Uint8Array)) throw new TypeError('expected bytes as the answer to a command without a type');
    this.#peer.hub.checkPayload(call.id, bytes, WRAP_BYTES.REPLY);
    return bytes;
  }

  /** Sends the items as far as the caller takes them. */
  async #pump(call: IncomingCall, items: AsyncIterable<unknown>): Promise<void> {
    const { type } = call.served;
    const encode = type?.stream?.encode.bind(type.stream);
    try {
      const iterator = items[Symbol.asyncIterator]();
      while (await this.#mayGoOn(call)) {
        const next = await iterator.next();
        if (call.isOver) break;
        if (next.done === true) {
          this.#end(call, REPLY_KIND.END, NOTHING);
          return;
        }
        call.credit--;
        this.#reply(call.number, REPLY_KIND.ITEM, this.#encode(call, next.value, encode));
      }
      await iterator.return?.();
    } catch (thrown) {
      this.#onFailure(call, thrown);
    }
  }

  async #mayGoOn(call: IncomingCall): Promise<boolean> {
    while (!call.isOver && !(call.credit > 0 && this.#peer.canStream)) {
      this.#wakeWhenDrained(call);
      await new Promise<void>((resolve) => {
        call.wake = resolve;
      });
    }
    return !call.isOver;
  }

  /** Nothing tells that a queue has come down unless it is asked to; once is enough, however often credit comes meanwhile. */
  #wakeWhenDrained(call: IncomingCall): void {
    const { link } = this.#peer;
    if (link === undefined || link.isWritable || call.drainingLink === link) return;
    call.drainingLink = link;
    const onDrained = (): void => {
      if (call.drainingLink === link) call.drainingLink = undefined;
      call.wake?.();
    };
    link.session.drained().then(onDrained, ignore);
  }

  #onFailure(call: IncomingCall, thrown: unknown): void {
    call.cancelDeadline?.();
    if (thrown instanceof InvalidBodyError) {
      this.#peer.hub.counters.invalidBodies++;
      this.#end(call, REPLY_KIND.ERROR, encodeJson({ code: 'INVALID', message: thrown.message, data: { issues: thrown.issues } }));
    } else if (thrown instanceof CallError) {
      this.#end(call, REPLY_KIND.ERROR, this.#failureOf(call, thrown));
    } else {
      // What comes after the end is the way in which a handler minds its signal.
      if (!call.isOver) this.#peer.hub.report(thrown, this.#peer, call.id);
      this.#end(call, REPLY_KIND.ERROR, encodeJson(INTERNAL));
    }
  }

  #failureOf(call: IncomingCall, { reason, message, data }: CallError): Uint8Array {
    try {
      const bytes = encodeJson({ code: reason, message, ...(data === undefined ? {} : { data }) });
      this.#peer.hub.checkPayload(call.id, bytes, WRAP_BYTES.REPLY);
      return bytes;
    } catch (thrown) {
      this.#peer.hub.report(thrown, this.#peer, call.id);
      return encodeJson({ code: reason, message: '' });
    }
  }

  credit(number: number, items: number): void {
    const call = this.#running.get(number);
    if (call === undefined) return;
    call.credit = Math.min(call.credit + items, MAX_CREDIT);
    call.wake?.();
  }

  creditEarly(number: number, items: number): void {
    this.#earlyCredit.set(number, Math.min((this.#earlyCredit.get(number) ?? 0) + items, MAX_CREDIT));
  }

  cancel(number: number): void {
    const call = this.#running.get(number);
    if (call === undefined) return;
    this.#end(call, REPLY_KIND.ERROR, encodeJson({ code: 'ABORTED', message: 'the caller has cancelled' }));
    call.abort(new StateError('ABORTED', 'the caller has cancelled'));
  }

  replyAborted(number: number): void {
    this.#earlyCredit.delete(number);
    this.#fail(number, { code: 'ABORTED', message: 'the caller has cancelled' });
  }

  wake(): void {
    for (const call of this.#running.values()) call.wake?.();
  }

  /** The client is over: nobody waits for answers. */
  end(reason: Error): void {
    const calls = [...this.#running.values()];
    this.#running.clear();
    this.#earlyCredit.clear();
    for (const call of calls) {
      call.isOver = true;
      call.cancelDeadline?.();
      call.abort(reason);
    }
  }

  #fail(number: number, failure: CallFailure): void {
    this.#reply(number, REPLY_KIND.ERROR, encodeJson(failure));
  }

  #end(call: IncomingCall, kind: ReplyKind, payload: Uint8Array): void {
    if (call.isOver) return;
    call.isOver = true;
    call.cancelDeadline?.();
    this.#running.delete(call.number);
    this.#reply(call.number, kind, payload);
    if (!this.#peer.isBusy) this.#peer.hub.onIdle();
  }

  #reply(number: number, kind: ReplyKind, payload: Uint8Array): void {
    this.#peer.send(Frame.ofMessage(encodeReply(number, kind, payload)));
  }
}

function ignore(): void {}
