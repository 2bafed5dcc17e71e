import type { RpcOrigin } from './rpc-context.ts';
import type { Deadlines } from './rpc-deadlines.ts';
import type { RpcPeer } from './rpc-peer.ts';
import type { RpcCounters, RpcFailure, RpcHandler, RpcLimits, RpcTransport } from './rpc-types.ts';

/** What the halves of a peer share. */
export interface RpcHost {
  readonly peer: RpcPeer;
  readonly origin: RpcOrigin;
  readonly limits: RpcLimits;
  readonly counters: RpcCounters;
  readonly deadlines: Deadlines;
  readonly transport: RpcTransport;
  /** Whether calls of the other side have to wait: the transport is full, and not to read on would hold up the answers to own calls. */
  mustHold(): boolean;
  handlerOf(method: string): RpcHandler | undefined;
  /** Throws what the transport throws. */
  send(text: string): void;
  /** Never throws; false when it could not be sent. */
  trySend(text: string): boolean;
  /** Tells `onError`. Never throws. */
  report(error: unknown, failure: RpcFailure): void;
}

/** Takes the answer to one request, exactly once. */
export interface ReplySink {
  put(text: string, isError: boolean, idText: string): void;
}

/** The notifications that portico itself uses, in the range that JSON-RPC reserves for extensions. */
export const RPC_METHOD = {
  /** `[id]`: the caller wants no more of its call. */
  CANCEL: 'rpc.cancel',
  /** `[id, value]`: an item of the stream that the call asked for. */
  ITEM: 'rpc.stream.item',
  /** `[id, items]`: the caller takes so many more items. */
  CREDIT: 'rpc.stream.credit',
} as const;
