/**
 * Commands between a server and its clients: numbered or named messages, calls, streams, rooms with presence, and sessions that survive the loss of
 * their connection. Over WebSocket and streams alike, in knet's format or the native one.
 *
 * @example
 * ```ts
 * import { withLocalAddress, WsServer } from 'portico';
 * import { type CommandMessage, CommandHub, commandWsOptions } from 'portico/command';
 * import { defineProtocol, json } from 'portico/protocol';
 *
 * const chat = defineProtocol({ say: { id: 1, body: json<{ text: string }>() } });
 * const hub = new CommandHub({ protocol: chat });
 * hub.on('say', (client, { text }) => void hub.broadcast('say', { text }, { except: client }));
 *
 * const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
 * await server.listen();
 * await hub.close();
 * await server.close();
 * ```
 *
 * @module
 */
export { CallError } from '../base/call-error.ts';
export { Client, type ClientCloseOptions, type RawBody, type SendOptions } from './client.ts';
export { CommandHandler, type CommandHandlerOptions, type CommandMessage } from './command-handler.ts';
export { commandOptions, commandWsOptions } from './endpoint-options.ts';
export type { BroadcastResult } from './fanout.ts';
export type { CallContext } from './handlers.ts';
export { type BroadcastOptions, CommandHub, type CommandHubStats, type HubCloseOptions } from './hub.ts';
export type { Admission, Authentication, CommandHubOptions, Disconnect, PresenceChange } from './hub-options.ts';
export type { CommandProfile, CommandSession } from './link.ts';
export type { CallOptions } from './outgoing-calls.ts';
export { Room, type RoomBroadcastOptions } from './room.ts';
export { COMMAND_ID, COMMAND_STATUS, COMMAND_SUBPROTOCOL } from './wire.ts';
