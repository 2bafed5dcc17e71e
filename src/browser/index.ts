/**
 * A client of the command protocol for web pages, workers and Node.js: connects, stays connected, resumes, and imports nothing of Node.
 *
 * @example
 * ```ts
 * import { createClient } from 'portico/browser';
 *
 * const client = createClient({ url: 'ws://127.0.0.1:9000/' });
 * client.on(1, (payload) => console.log(new TextDecoder().decode(payload)));
 * await client.connect();
 * client.send(1, 'hello');
 * ```
 *
 * @module
 */
export { CallError } from '../base/call-error.ts';
export { ConfigError, type ErrorCode, ListenerError, PeerError, PorticoError, StateError, TransportError } from '../base/errors.ts';
export type { CallLimits } from './calls.ts';
export {
  type BrowserClient,
  type ClientEventSource,
  type CloseOptions,
  createClient,
  type NoProtocol,
  type SendOptions,
} from './client.ts';
export type { ClientClose, ClientEvents, ClientState, DroppedMessage, OpenInfo } from './client-events.ts';
export type { ClientOptions } from './client-options.ts';
export type { ClientClock, CloseEventLike, EventSource, PageEvent, PageLike, WebSocketConstructor, WebSocketLike } from './environment.ts';
export { type CallContext, handle } from './handle.ts';
export { KephasClient, type KephasOptions, type KephasResponse, type KephasState } from './kephas-client.ts';
export type { ReconnectPolicy } from './reconnect-policy.ts';
export { onReserved, type ReservedId, sendReserved } from './reserved.ts';
export type { PresenceChange, Room } from './room.ts';
export { roomOf } from './rooms.ts';
export { type AttachRpcOptions, attachRpc, type ClientRpc } from './rpc.ts';
export type { BufferSettings } from './sender.ts';
export { type ClientStats, statsOf } from './stats.ts';
export { type StreamOptions, stream } from './stream.ts';
