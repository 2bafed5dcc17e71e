import { StateError } from '../base/errors.ts';
import { checkMethods } from '../base/option.ts';
import { BatchReply } from './rpc-batch-reply.ts';
import type { RpcOrigin } from './rpc-context.ts';
import { Deadlines } from './rpc-deadlines.ts';
import { type ReplySink, RPC_METHOD, type RpcHost } from './rpc-host.ts';
import { IncomingCalls } from './rpc-incoming.ts';
import { checkRpcOptions, newCounters } from './rpc-limits.ts';
import { RpcMethods, type RpcProtocol } from './rpc-methods.ts';
import { OutgoingCalls } from './rpc-outgoing.ts';
import type { RpcStream } from './rpc-stream.ts';
import type {
  RpcAnswer,
  RpcArguments,
  RpcBatchCall,
  RpcCallOptions,
  RpcCounters,
  RpcFailure,
  RpcHandler,
  RpcLimits,
  RpcName,
  RpcPeerOptions,
  RpcSpec,
  RpcStreamOptions,
  RpcTransport,
} from './rpc-types.ts';
import {
  errorText,
  invalidRequest,
  limitExceeded,
  parseError,
  parseRpc,
  RPC_CODE,
  RpcError,
  type RpcMessage,
  rpcText,
} from './rpc-wire.ts';

/** Where a peer is from, and the methods that it shares with others. */
export interface RpcPeerParts<Local extends RpcSpec = RpcSpec, Remote extends RpcSpec = RpcSpec> extends RpcOrigin {
  readonly methods?: RpcMethods<Local>;
  /** Of methods that are registered on the peer itself. */
  readonly protocol?: RpcProtocol<Local>;
  /** That of the other side; only its types count. */
  readonly remote?: RpcProtocol<Remote>;
}

/**
 * One end of a JSON-RPC 2.0 conversation: it answers calls and makes them, both at once. It does no I/O and looks at no clock: text
 * comes in by `receive` and leaves by the transport's `send`.
 *
 * What the other side sends never makes a method of this class throw, nor does what handlers throw.
 *
 * @typeParam Local - the methods of this side.
 * @typeParam Remote - those of the other side.
 */
export class RpcPeer<Local extends RpcSpec = RpcSpec, Remote extends RpcSpec = RpcSpec> {
  readonly #transport: RpcTransport;
  readonly #limits: RpcLimits;
  readonly #counters: RpcCounters = newCounters();
  readonly #deadlines: Deadlines;
  readonly #shared: RpcMethods<Local> | undefined;
  readonly #protocol: RpcProtocol<Local> | undefined;
  readonly #incoming: IncomingCalls;
  readonly #outgoing: OutgoingCalls;
  readonly #single: ReplySink;
  #own: RpcMethods<Local> | undefined;
  #isClosed = false;

  /** Throws ConfigError INVALID_OPTION. */
  constructor(transport: RpcTransport, options: RpcPeerOptions = {}, parts: RpcPeerParts<Local, Remote> = {}) {
    this.#transport = checkMethods('RpcPeer transport', transport, ['send', 'now', 'after']);
    this.#limits = checkRpcOptions(options);
    this.#shared = parts.methods;
    this.#protocol = parts.protocol;
    this.#deadlines = new Deadlines(transport);
    const host: RpcHost = {
      // What handlers see of the peer knows no names of methods.
      peer: this as unknown as RpcPeer,
      origin: parts,
      limits: this.#limits,
      counters: this.#counters,
      deadlines: this.#deadlines,
      transport,
      mustHold: () => this.#outgoing.size > 0 && transport.isFull?.() === true,
      handlerOf: (method) => this.#own?.handlerOf(method) ?? this.#shared?.handlerOf(method),
      send: (text) => transport.send(text, false),
      trySend: (text) => this.#trySend(text, false),
      report: (error, failure) => this.#report(error, failure),
    };
    this.#incoming = new IncomingCalls(host);
    this.#outgoing = new OutgoingCalls(host);
    this.#single = { put: (text, isError, idText) => this.#answer(text, isError, idText) };
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Calls that wait for the other side's answer. */
  get pendingCalls(): number {
    return this.#outgoing.size;
  }

  /** Calls of the other side that run, or wait to. */
  get runningCalls(): number {
    return this.#incoming.size;
  }

  get counters(): Readonly<RpcCounters> {
    return this.#counters;
  }

  /** The transport's clock, which `context.deadlineMs` is by. */
  now(): number {
    return this.#transport.now();
  }

  // --- answering ---

  /** Registers a method of this peer alone, which hides a shared one. As `RpcMethods.method`. */
  method<Name extends RpcName<Local>>(name: Name, handler: RpcHandler<Local[Name]['params'], RpcAnswer<Local[Name]>>): this {
    this.#own ??= new RpcMethods(this.#protocol);
    this.#own.method(name, handler);
    return this;
  }

  // --- asking ---

  /**
   * Calls a method of the other side. Rejects with the RpcError that it answers with, or a StateError: CALL_TIMEOUT, ABORTED,
   * SESSION_CLOSED when the peer closes, SEND_QUEUE_FULL with `maxPendingCalls` waiting, ENCODED_TOO_LARGE, UNENCODABLE_BODY. Throws
   * ConfigError INVALID_OPTION for params that are neither a list nor an object.
   */
  call<Name extends RpcName<Remote>>(name: Name, ...args: RpcArguments<Remote[Name], RpcCallOptions>): Promise<Remote[Name]['result']> {
    return this.#outgoing.call(name, args[0], args[1]);
  }

  /** Calls a method that answers with a stream. Errors come from the iterator, as `call` rejects. */
  stream<Name extends RpcName<Remote>>(
    name: Name,
    ...args: RpcArguments<Remote[Name], RpcStreamOptions>
  ): RpcStream<Remote[Name] extends { readonly item: infer Item } ? Item : unknown> {
    return this.#outgoing.stream(name, args[0], args[1]) as RpcStream<Remote[Name] extends { readonly item: infer Item } ? Item : unknown>;
  }

  /** Tells the other side something, and asks for no answer. False: the peer has closed. Throws what the transport throws. */
  notify<Name extends RpcName<Remote>>(name: Name, ...args: RpcArguments<Remote[Name], never>): boolean {
    return this.#outgoing.notify(name, args[0]);
  }

  /**
   * Sends several calls in one message. Resolves when each is settled, with the outcomes in the same order; notifications have the
   * value undefined. One without any call rejects when it cannot be sent.
   */
  batch(calls: readonly RpcBatchCall[], options?: RpcCallOptions): Promise<PromiseSettledResult<unknown>[]> {
    return this.#outgoing.batch(calls, options);
  }

  // --- what comes ---

  /** Takes one message: text, or its bytes. Nothing after `close`. */
  receive(input: string | Uint8Array): void {
    if (this.#isClosed) return;
    const text = typeof input === 'string' ? input : rpcText(input);
    const parsed = text === undefined ? parseError() : parseRpc(text, this.#limits);
    if (parsed instanceof RpcError) this.#refuse(parsed);
    else if ('kind' in parsed) this.#receiveOne(parsed);
    else this.#receiveBatch(parsed);
  }

  /** For a binding whose framing found the message to be no text: it is answered as one that is no JSON. */
  receiveMalformed(): void {
    if (!this.#isClosed) this.#refuse(parseError());
  }

  #refuse(error: RpcError): void {
    if (error.code === RPC_CODE.INVALID_REQUEST && error.data !== undefined) this.#counters.refused++;
    else this.#counters.invalid++;
    const answer = this.#charge(1) ? error : limitExceeded('rate');
    this.#trySend(errorText(answer, 'null'), true);
  }

  #receiveOne(message: RpcMessage): void {
    if (unitsOf(message) > 0 && !this.#charge(1)) {
      if (message.kind !== 'notification') this.#trySend(errorText(limitExceeded('rate'), message.idText), true);
      return;
    }
    this.#dispatch(message, message.kind === 'request' || message.kind === 'invalid' ? this.#single : undefined, message.credit);
  }

  #receiveBatch(messages: readonly RpcMessage[]): void {
    const units = messages.reduce((sum, message) => sum + unitsOf(message), 0);
    if (units > 0 && !this.#charge(units)) {
      this.#trySend(errorText(limitExceeded('rate'), 'null'), true);
      return;
    }
    const reply = new BatchReply(
      this.#limits.maxBatchResponseBytes,
      (text) => this.#answer(text, false, 'null'),
      () => {
        this.#counters.overSize++;
      },
    );
    for (const message of messages) {
      const isAnswered = message.kind === 'request' || message.kind === 'invalid';
      this.#dispatch(message, isAnswered ? reply.element() : undefined, 0);
    }
    reply.seal();
  }

  #dispatch(message: RpcMessage, sink: ReplySink | undefined, credit: number): void {
    switch (message.kind) {
      case 'response':
        this.#outgoing.onResponse(message);
        break;
      case 'invalid':
        this.#counters.invalid++;
        sink?.put(errorText(invalidRequest(), message.idText), true, message.idText);
        break;
      case 'notification':
        if (!this.#handleOwn(message)) this.#incoming.handle(message, undefined, 0);
        break;
      case 'request':
        this.#incoming.handle(message, sink, credit);
        break;
      default:
        message.kind satisfies never;
    }
  }

  /** The notifications of streams and of cancelling. */
  #handleOwn({ method, params }: RpcMessage): boolean {
    if (!method.startsWith('rpc.')) return false;
    const [id, value] = Array.isArray(params) ? (params as readonly unknown[]) : [];
    let isKnown = false;
    if (method === RPC_METHOD.ITEM) isKnown = this.#outgoing.onItem(id, value);
    else if (method === RPC_METHOD.CREDIT) isKnown = this.#incoming.credit(id, value);
    else if (method === RPC_METHOD.CANCEL) isKnown = this.#incoming.cancel(id);
    else return false;
    // Only what goes with a call was paid for.
    if (!isKnown) this.#charge(1);
    return true;
  }

  /** A hook that fails lets nobody through. */
  #charge(units: number): boolean {
    const { cost } = this.#limits;
    if (cost === undefined) return true;
    let isPaid = false;
    try {
      isPaid = cost(units) !== false;
    } catch (thrown) {
      this.#report(thrown, { method: '', id: undefined });
    }
    if (!isPaid) this.#counters.overRate += units;
    return isPaid;
  }

  // --- what leaves ---

  /** A result that the transport finds too large gives way to an error, which is not. */
  #answer(text: string, isError: boolean, idText: string): void {
    if (this.#isClosed) return;
    try {
      this.#transport.send(text, isError);
    } catch (thrown) {
      if (thrown instanceof StateError && thrown.code === 'ENCODED_TOO_LARGE') {
        this.#counters.overSize++;
        this.#trySend(errorText(limitExceeded('response'), idText), true);
      } else {
        this.#report(thrown, { method: '', id: undefined });
      }
    }
  }

  #trySend(text: string, isError: boolean): boolean {
    if (this.#isClosed) return false;
    try {
      this.#transport.send(text, isError);
      return true;
    } catch (thrown) {
      this.#report(thrown, { method: '', id: undefined });
      return false;
    }
  }

  #report(error: unknown, failure: RpcFailure): void {
    try {
      this.#limits.onError?.(error, failure);
    } catch {
      // There is nobody left to tell.
    }
  }

  /**
   * Ends the conversation: own calls reject with SESSION_CLOSED (`error` is its cause), the signals of running handlers are aborted, and
   * nothing is sent or handled any more. Further calls of it do nothing.
   */
  close(error?: unknown): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const reason = new StateError('SESSION_CLOSED', 'the JSON-RPC peer is closed', error === undefined ? undefined : { cause: error });
    this.#incoming.close(reason);
    this.#outgoing.close(reason);
    this.#deadlines.close();
  }
}

/** What a message costs: nothing for answers, nor for what keeps calls going that were paid for. */
function unitsOf({ kind, method }: RpcMessage): number {
  if (kind === 'response') return 0;
  const isOwn = kind === 'notification' && (method === RPC_METHOD.ITEM || method === RPC_METHOD.CREDIT || method === RPC_METHOD.CANCEL);
  return isOwn ? 0 : 1;
}
