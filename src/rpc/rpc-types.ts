import type { validate } from '../protocol/json.ts';
import type { RpcContext } from './rpc-context.ts';
import type { RpcId } from './rpc-wire.ts';

/** One method: what it takes, what it answers, or of what it answers a stream. */
export interface RpcSignature {
  /** What the handler gets, and the caller gives. */
  readonly params?: unknown;
  /** What the caller gives, when a schema makes something else of it. */
  readonly sentParams?: unknown;
  readonly result?: unknown;
  /** Of a stream. */
  readonly item?: unknown;
}

/** The methods of one side by their names. A type alias, not an interface, so that its members are known to be all. */
export type RpcSpec = Readonly<Record<string, RpcSignature>>;

/** Validates params: a schema of any library that speaks Standard Schema, such as zod, valibot or arktype. */
export type RpcSchema = Parameters<typeof validate>[0];

/** The names of the methods. */
export type RpcName<Spec extends RpcSpec> = keyof Spec & string;

type Sent<Signature extends RpcSignature> = Signature extends { readonly sentParams: infer Params } ? Params : Signature['params'];

/** What `call` and `notify` take behind the method's name. */
export type RpcArguments<Signature extends RpcSignature, Options> =
  undefined extends Sent<Signature> ? [params?: Sent<Signature>, options?: Options] : [params: Sent<Signature>, options?: Options];

/** What a handler may return: the result or a promise of it, or something to iterate over. */
export type RpcAnswer<Signature extends RpcSignature> = Signature extends { readonly item: infer Item }
  ? AsyncIterable<Item> | Iterator<Item> | PromiseLike<AsyncIterable<Item> | Iterator<Item>>
  : Signature['result'] | PromiseLike<Signature['result']>;

/**
 * CONTRACT. The code behind a method. A handler
 * - MAY throw or reject with an RpcError, which the caller gets as it is; anything else becomes -32603 "Internal error";
 * - SHOULD stop when `context.signal` is aborted: nobody waits for its result any more;
 * - runs beside other calls of the same peer as soon as it waits for something. Its result is sent when it is there.
 */
export type RpcHandler<Params = unknown, Answer = unknown> = (params: Params, context: RpcContext) => Answer;

/** One call of a batch. */
export interface RpcBatchCall {
  readonly method: string;
  readonly params?: unknown;
  /** Nothing is answered. Default false. */
  readonly isNotification?: boolean;
}

export interface RpcCallOptions {
  /** Reject with CALL_TIMEOUT when no answer has come by then. Default: `callTimeoutMs` of the peer; 0 = no limit. */
  readonly timeoutMs?: number;
  /** Reject with ABORTED, and tell the other side. */
  readonly signal?: AbortSignal;
}

export interface RpcStreamOptions extends RpcCallOptions {
  /** Reject with CALL_TIMEOUT when neither an item nor the end has come for this long. Default 0 = no limit. */
  readonly timeoutMs?: number;
  /** How many items may be on their way or wait here at most. Default 16; 1 to 65 536. */
  readonly credit?: number;
}

/** What a peer needs of the world. `rpcTransport` in a session, or your own: the core does no I/O. */
export interface RpcTransport {
  /**
   * Sends one text. `isError`: it is a single error response, which some bindings send elsewhere. MAY throw; a call that was to be
   * sent rejects with it.
   */
  send(text: string, isError: boolean): void;
  /** Milliseconds since some fixed moment; MUST NOT go backwards. */
  now(): number;
  /** Runs `callback` once, no earlier than `delayMs` from now. Returns its cancellation. */
  after(delayMs: number, callback: () => void): () => void;
  /** Whether so much waits to be sent that calls of the other side should wait; goes with `drained`. Default: never. */
  isFull?(): boolean;
  /** Resolves when it is no longer full; rejects when nothing can be sent any more. */
  drained?(): Promise<void>;
}

/** Where user code was when it failed, for `onError`. */
export interface RpcFailure {
  readonly method: string;
  /** undefined: a notification. null, with an empty method: what the other side could not read. */
  readonly id: RpcId | undefined;
}

export interface RpcPeerOptions {
  /** Elements of a batch, both ways. A larger one is answered with one -32600. Default 50. */
  readonly maxBatch?: number;
  /** Objects and lists within each other in a message; a deeper one is answered with -32600. Default 64. */
  readonly maxDepth?: number;
  /** Bytes of one message, both ways. A larger one is answered with -32600; a larger result becomes -32005. Default 1 048 576. */
  readonly maxMessageBytes?: number;
  /** Bytes of the answer to a batch; results that do not fit become -32005. Default 1 048 576. */
  readonly maxBatchResponseBytes?: number;
  /** Calls that wait for the other side's answer. A further one rejects with SEND_QUEUE_FULL. Default 1 024. */
  readonly maxPendingCalls?: number;
  /**
   * Calls of the other side that run at a time, or wait because the connection is full. A further one is answered with -32005, a
   * notification is dropped. Default 256.
   */
  readonly maxRunningCalls?: number;
  /** Items of a stream for a caller that wants a list; more become -32005. Default 10 000. */
  readonly maxCollectedItems?: number;
  /** For calls without a time-out of their own. Default 30 000; 0 = none. */
  readonly callTimeoutMs?: number;
  /** A handler that has not answered by then is answered for with -32001, and its signal aborted. Default 30 000; 0 = none. */
  readonly handlerTimeoutMs?: number;
  /**
   * Charges a rate limit with the requests and notifications of one message, valid or not; answers to calls cost nothing. False: none
   * of them is handled, the answer is one -32005. Default: free of charge.
   */
  readonly cost?: (units: number) => boolean;
  /** Send the text of what handlers throw to the caller. For development only. Default false. */
  readonly revealErrors?: boolean;
  /**
   * Told what handlers threw that is no RpcError, results that JSON cannot say, and errors of the other side with the id null: it could
   * not read something that was sent to it, perhaps a call that waits. Default: nobody.
   */
  readonly onError?: (error: unknown, failure: RpcFailure) => void;
}

/** What a peer has counted. */
export interface RpcCounters {
  /** Requests and notifications that reached a handler. */
  handled: number;
  /** Those of them that asked for an answer. */
  requests: number;
  /** Requests and notifications that had to wait, because the connection was full. */
  held: number;
  /** Messages and elements that were no valid request. */
  invalid: number;
  /** Messages above `maxMessageBytes`, `maxDepth` or `maxBatch`. */
  refused: number;
  /** Requests and notifications refused by `cost`. */
  overRate: number;
  /** Requests refused and notifications dropped because of `maxRunningCalls`. */
  overRunning: number;
  /** Results above a limit of bytes or items. */
  overSize: number;
  /** Own calls refused because of `maxPendingCalls`. */
  overPending: number;
  /** Handlers that were answered for. */
  timedOut: number;
  /** Responses to no call that waits: late, repeated or made up. */
  unmatched: number;
  /** Handlers that threw something else than an RpcError. */
  failed: number;
}

export type RpcLimits = Required<Omit<RpcPeerOptions, 'cost' | 'onError'>> & Pick<RpcPeerOptions, 'cost' | 'onError'>;
