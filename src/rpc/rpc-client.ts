import { StateError } from '../base/errors.ts';
import type { CloseReason } from '../session/close-reason.ts';
import type { Session } from '../session/session.ts';
import { RpcListener } from './rpc-listener.ts';
import type { RpcPeer } from './rpc-peer.ts';
import type { RpcStream } from './rpc-stream.ts';
import type { RpcArguments, RpcBatchCall, RpcCallOptions, RpcName, RpcSpec, RpcStreamOptions } from './rpc-types.ts';

/**
 * The listener of a client that calls: give it to a TcpClient or WsClient, connect, and call. Calls go through the session that has
 * opened last; when that one ends its calls reject, and later ones go through the next. It answers calls of the server too.
 *
 * Without an open session `call`, `batch`, `stream` and `notify` throw StateError NO_SESSION.
 *
 * @typeParam Remote - the methods of the server.
 * @typeParam Local - those of the client.
 */
export class RpcClient<Remote extends RpcSpec = RpcSpec, Local extends RpcSpec = RpcSpec> extends RpcListener<Local, Remote> {
  #peer: RpcPeer<Local, Remote> | undefined;

  /** The peer that calls go through. Throws StateError NO_SESSION. */
  get peer(): RpcPeer<Local, Remote> {
    if (this.#peer === undefined) throw new StateError('NO_SESSION', 'expected a client with an open session');
    return this.#peer;
  }

  call<Name extends RpcName<Remote>>(name: Name, ...args: RpcArguments<Remote[Name], RpcCallOptions>): Promise<Remote[Name]['result']> {
    return this.peer.call(name, ...args);
  }

  stream<Name extends RpcName<Remote>>(
    name: Name,
    ...args: RpcArguments<Remote[Name], RpcStreamOptions>
  ): RpcStream<Remote[Name] extends { readonly item: infer Item } ? Item : unknown> {
    return this.peer.stream(name, ...args);
  }

  notify<Name extends RpcName<Remote>>(name: Name, ...args: RpcArguments<Remote[Name], never>): boolean {
    return this.peer.notify(name, ...args);
  }

  batch(calls: readonly RpcBatchCall[], options?: RpcCallOptions): Promise<PromiseSettledResult<unknown>[]> {
    return this.peer.batch(calls, options);
  }

  override onOpen(session: Session<string>): void | Promise<void> {
    const opened = super.onOpen(session);
    this.#peer = this.peerOf(session);
    return opened;
  }

  override onClose(session: Session<string>, reason: CloseReason): void | Promise<void> {
    const closed = super.onClose(session, reason);
    if (this.#peer?.isClosed === true) this.#peer = [...this.peers()].at(-1);
    return closed;
  }
}
