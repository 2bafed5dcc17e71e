/**
 * Packets with an action and a seq, routed to handlers: what znet is, on portico's sessions, byte for byte on the wire.
 *
 * @example
 * ```ts
 * import { TcpServer, withEventListener, withLocalAddress, withPkgHandler } from 'portico';
 * import { ActionPacketHandler, Router } from 'portico/router';
 *
 * const router = new Router();
 * router.route<{ name: string }>(1, ({ body }) => ({ greeting: `hello, ${body.name}` }));
 * const server = new TcpServer(
 *   withLocalAddress('127.0.0.1:8081'),
 *   withPkgHandler(new ActionPacketHandler()),
 *   withEventListener(router.listener()),
 * );
 * await server.listen();
 * ```
 *
 * @module
 */

export { CallError } from '../base/call-error.ts';
export { type Action, type ActionOptions, type CodecChoice, type Codecs, defineAction } from './action.ts';
export { type ActionPacket, ActionPacketHandler, type ActionPacketOptions, toSigned16, toUnsigned16 } from './action-packet.ts';
export { type ActionsOf, actionsOf } from './actions-of.ts';
export type { SessionHooks } from './hooked-listener.ts';
export type { Middleware, Next } from './middleware.ts';
export { ERROR_ACTION } from './refusal.ts';
export type { ActionSession, RouteContext } from './route-context.ts';
export { NO_REPLY, type PushOptions, type PushResult, type RouteHandler, Router, type RouterOptions, type RouterStats } from './router.ts';
export type { CallOptions, RouterCalls } from './router-calls.ts';
export { type PushHandler, RouterClient, type RouterClientOptions } from './router-client.ts';
export type { ListenerOptions, RouterListener } from './router-listener.ts';
export type { UnknownLimit } from './unknown-limit.ts';
