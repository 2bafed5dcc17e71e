import type { Session } from '../session/session.ts';
import type { RpcCommandClient } from './rpc-over-commands.ts';
import type { RpcPeer } from './rpc-peer.ts';
import type { RpcId } from './rpc-wire.ts';

/** Where the messages of a peer come from; made by the binding. */
export interface RpcOrigin {
  /** When they come through a session of their own. */
  readonly session?: Session<string>;
  /** When they come by the command protocol. */
  readonly client?: RpcCommandClient;
}

/** What a handler may know of its call, beside the params. */
export class RpcContext {
  /** The other side, to call it back. */
  readonly peer: RpcPeer;
  /** undefined: it is a notification, and nobody gets the result. Numbers are rounded here as JSON.parse does. */
  readonly id: RpcId | undefined;
  readonly method: string;
  readonly #origin: RpcOrigin;
  readonly #call: { readonly deadlineMs: number };
  #controller: AbortController | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  /** Made by peers. */
  constructor(peer: RpcPeer, origin: RpcOrigin, method: string, id: RpcId | undefined, call: { readonly deadlineMs: number }) {
    this.peer = peer;
    this.id = id;
    this.method = method;
    this.#origin = origin;
    this.#call = call;
  }

  /** The session that the call came through; undefined over the command protocol and without a session. */
  get session(): Session<string> | undefined {
    return this.#origin.session;
  }

  /** The client that the call came from over the command protocol. */
  get client(): RpcCommandClient | undefined {
    return this.#origin.client;
  }

  /** When the caller is told that it took too long, by the clock of the peer; Infinity = never. */
  get deadlineMs(): number {
    return this.#call.deadlineMs;
  }

  /** Aborted when nobody waits for the result any more: too late, taken back by the caller, or the peer has closed. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }

  /** Called once, by the peer. */
  abort(reason: unknown): void {
    this.#aborted = { reason };
    this.#controller?.abort(reason);
  }
}
