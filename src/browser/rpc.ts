import { COMMAND_ID, encodeText } from '../command/wire.ts';
import type { Protocol } from '../protocol/protocol.ts';
import { RpcPeer } from '../rpc/rpc-peer.ts';
import type { BrowserClient } from './client.ts';
import { type ClientClock, pageClock } from './environment.ts';
import { onReserved, sendReserved } from './reserved.ts';

type PeerOptions = ConstructorParameters<typeof RpcPeer>[1];

export interface AttachRpcOptions {
  /** Limits and time-outs of the peer. */
  readonly peer?: PeerOptions;
  /** Default: that of the page. */
  readonly clock?: ClientClock;
}

/** JSON-RPC 2.0 on a client. */
export interface ClientRpc {
  /** The present one: `rpc.peer.call('subtract', [42, 23])`. Another one after a session is lost; do not keep it. */
  readonly peer: RpcPeer;
  /** Fails what is open and takes JSON-RPC off the client. */
  close(): void;
}

/**
 * JSON-RPC 2.0 over the two reserved ids, in both directions and in both profiles. Calls survive a connection that is resumed, and fail with SESSION_CLOSED
 * when the session is lost. Bundlers leave it out where it is not used.
 *
 * @param setUp - registers this side's methods, on the peer and on each that follows it.
 *
 * @example
 * ```ts
 * import { attachRpc, createClient } from 'portico/browser';
 *
 * const client = createClient({ url: 'wss://example.org/', profile: 'knet' });
 * const rpc = attachRpc(client, (peer) => peer.method('title', () => 'a page'));
 * await client.connect();
 * console.log(await rpc.peer.call('subtract', [42, 23]));
 * ```
 */
export function attachRpc<P extends Protocol>(
  client: BrowserClient<P>,
  setUp: (peer: RpcPeer) => unknown = () => {},
  { peer: options = {}, clock = pageClock }: AttachRpcOptions = {},
): ClientRpc {
  const newPeer = (): RpcPeer => {
    const peer = new RpcPeer(
      {
        send: (text, isError) => void sendReserved(client, isError ? COMMAND_ID.RPC_ERROR : COMMAND_ID.RPC, encodeText(text)),
        now: () => clock.now(),
        after: (delayMs, callback) => clock.after(delayMs, callback),
      },
      options,
    );
    setUp(peer);
    return peer;
  };
  let current = newPeer();
  const renew = (): void => {
    const old = current;
    current = newPeer();
    old.close();
  };
  const undo = [
    onReserved(client, COMMAND_ID.RPC, (payload) => current.receive(payload)),
    onReserved(client, COMMAND_ID.RPC_ERROR, (payload) => current.receive(payload)),
    // In the knet profile nothing is resumed.
    client.events.on('reconnecting', () => client.id === '' && renew()),
    client.events.on('reconnected', ({ recovered }) => client.id !== '' && !recovered && renew()),
    client.events.on('close', renew),
  ];
  return {
    get peer() {
      return current;
    },
    close() {
      for (const fn of undo.splice(0)) fn();
      current.close();
    },
  };
}
