/**
 * How other parts bind to the two ids that both profiles reserve (JSON-RPC; a part that may not import this folder writes down the shape):
 *
 *   hub.reserved(id: 0xffffffff | 0xfffffffe, handler: (client: ReservedClient, payload: Uint8Array) => void | Promise<void>): () => void
 *   interface ReservedClient {
 *     readonly id: string;
 *     readonly signal: AbortSignal;                 // aborted when the client is over; not when it is only away and may resume
 *     readonly isAlive: boolean;
 *     sendReserved(id: 0xffffffff | 0xfffffffe, payload: Uint8Array): boolean;   // false: over, or above the high-water mark
 *   }
 *
 * A second binding of the same id throws ConfigError; the returned function takes it back. Messages come in the order of their client, the next
 * one after the promise of the one before; what a handler throws goes to the hub's `onError`, and the client stays.
 */
import { checkFunction, checkMs, invalid } from '../base/option.ts';
import { after } from '../base/wheel.ts';
import type { BodyReceived, BodySent, CallNames, ItemSent, MessageNames, Protocol, ReplySent, StreamNames } from '../protocol/protocol.ts';
import type { CloseReason } from '../session/close-reason.ts';
import { EventListener } from '../session/event-listener.ts';
import type { Client, RawBody } from './client.ts';
import type { CommandHandler, CommandMessage } from './command-handler.ts';
import { Connections } from './connections.ts';
import type { BroadcastResult } from './fanout.ts';
import type { AnyCatchAll, AnyHandler, AnyServe, CallContext, Command } from './handlers.ts';
import type { HubCounters } from './hub-context.ts';
import { HubCore } from './hub-core.ts';
import { type CommandHubOptions, type HubSettings, hubSettings } from './hub-options.ts';
import { type CommandSession, linkOf } from './link.ts';
import { idsOf, Room, type RoomBroadcastOptions } from './room.ts';
import { serveRooms } from './room-commands.ts';
import { COMMAND_ID, WRAP_BYTES } from './wire.ts';

export interface BroadcastOptions<P extends Protocol = Protocol> extends RoomBroadcastOptions<P> {
  /** Who gets it, of the clients of this hub; it then goes to no other hub. */
  readonly filter?: (client: Client<P>) => boolean;
}

export interface HubCloseOptions {
  /** How long running handlers and calls may take. @default 3_000 */
  readonly drainTimeoutMs?: number;
  /** For the clients. @default 'the server is closing' */
  readonly reason?: string;
}

/** Counters since the hub was made, and sizes as they are. */
export interface CommandHubStats extends Readonly<HubCounters> {
  /** Clients that are not over, those that are away included. */
  readonly clients: number;
  readonly away: number;
  /** Bytes kept for clients until they have them. */
  readonly retainedBytes: number;
  /** Rooms with members on this hub. */
  readonly rooms: number;
}

type Result<T> = T | Promise<T>;
type Items<T> = AsyncIterable<T> | Promise<AsyncIterable<T>>;

/**
 * The server side of the command protocol: an EventListener for all endpoints whose clients shall meet, over any transport. Give it to them
 * with `commandOptions(hub)` or `commandWsOptions(hub)`.
 *
 * Messages of one client are handled in order, the next one after the promise of the one before; its calls begin in order and run beside each
 * other. What a handler throws or rejects with goes to `onError`, and the client stays. One that never settles holds up the messages
 * of its own client only.
 */
export class CommandHub<P extends Protocol = Protocol> extends EventListener<CommandMessage> {
  readonly #core: HubCore;
  readonly #connections: Connections;
  #closing: Promise<void> | undefined;

  constructor(options: CommandHubOptions<P> = {}) {
    super();
    this.#core = new HubCore(hubSettings(options));
    this.#connections = new Connections(this.#core);
    serveRooms(this.#core, this.#connections.door);
  }

  /** The framing for its endpoints. */
  get codec(): CommandHandler {
    return this.#core.codec;
  }

  /** The options in force. */
  get settings(): HubSettings {
    return this.#core.settings;
  }

  /** Those that `onConnect` has let in and that are not over, by id; those that are away too. */
  get clients(): ReadonlyMap<string, Client<P>> {
    return this.#core.registry.clients as ReadonlyMap<string, Client> as ReadonlyMap<string, Client<P>>;
  }

  /** The client of a session; undefined before it was let in, and for sessions of other listeners. */
  clientOf(session: CommandSession): Client<P> | undefined {
    return linkOf(session)?.peer?.client as Client<P> | undefined;
  }

  stats(): CommandHubStats {
    const { counters, registry, rooms, retention } = this.#core;
    return { ...counters, clients: registry.all.size, away: registry.away, retainedBytes: retention.bytes, rooms: rooms.size };
  }

  /** Joins the other hubs of the backplane. Needed only with one, once, before clients come. Rejects with BACKPLANE_FAILED. */
  async open(): Promise<void> {
    await this.#core.cluster?.open();
  }

  // --- handling ---

  /**
   * Has a message handled; several handlers of one command are called in the order of their adding. Returns what takes it back. Throws
   * INVALID_OPTION for a name that is not of the protocol, a reserved id, and what is no function.
   */
  on<Name extends MessageNames<P>>(
    name: Name,
    handler: (client: Client<P>, body: BodyReceived<P, Name>) => void | Promise<void>,
  ): () => void;
  on(id: number, handler: (client: Client<P>, payload: Uint8Array) => void | Promise<void>): () => void;
  on(command: Command, handler: unknown): () => void {
    return this.#core.handlers.add('CommandHub.on', command, handler as AnyHandler, false);
  }

  /** As `on`, for the next such message only, of whichever client. */
  once<Name extends MessageNames<P>>(
    name: Name,
    handler: (client: Client<P>, body: BodyReceived<P, Name>) => void | Promise<void>,
  ): () => void;
  once(id: number, handler: (client: Client<P>, payload: Uint8Array) => void | Promise<void>): () => void;
  once(command: Command, handler: unknown): () => void {
    return this.#core.handlers.add('CommandHub.once', command, handler as AnyHandler, true);
  }

  /** For all messages that have no handler of their own. */
  onAny(handler: (client: Client<P>, id: number, payload: Uint8Array) => void | Promise<void>): () => void {
    return this.#core.handlers.addCatchAll(handler as AnyCatchAll);
  }

  /**
   * Answers calls: with a value, a promise of one, or an async iterable, which is a stream. A CallError that it throws is told to the
   * caller; of any other error only that there was one. One function for each command.
   */
  handle<Name extends CallNames<P>>(
    name: Name,
    handler: (client: Client<P>, body: BodyReceived<P, Name>, context: CallContext) => Result<ReplySent<P, Name>>,
  ): () => void;
  handle<Name extends StreamNames<P>>(
    name: Name,
    handler: (client: Client<P>, body: BodyReceived<P, Name>, context: CallContext) => Items<ItemSent<P, Name>>,
  ): () => void;
  handle(
    id: number,
    handler: (client: Client<P>, payload: Uint8Array, context: CallContext) => Result<Uint8Array | undefined> | Items<Uint8Array>,
  ): () => void;
  handle(command: Command, handler: unknown): () => void {
    return this.#core.handlers.serve(command, handler as AnyServe);
  }

  /** For parts of the protocol itself, such as JSON-RPC; see the top of this file. */
  reserved(
    id: typeof COMMAND_ID.RPC | typeof COMMAND_ID.RPC_ERROR,
    handler: (client: Client<P>, payload: Uint8Array) => void | Promise<void>,
  ): () => void {
    const { reserved } = this.#core;
    if (id !== COMMAND_ID.RPC && id !== COMMAND_ID.RPC_ERROR) throw invalid('CommandHub.reserved', 'the id of RPC or RPC_ERROR', id);
    checkFunction('CommandHub.reserved', handler);
    if (reserved.has(id)) throw invalid('CommandHub.reserved', 'an id that nothing is bound to yet', id);
    const own: AnyCatchAll = (client, _id, payload) => handler(client as Client<P>, payload);
    reserved.set(id, own);
    return () => {
      if (reserved.get(id) === own) reserved.delete(id);
    };
  }

  // --- sending ---

  /**
   * Sends to all clients, on all hubs; encoded once. The result is that of this hub. A client that is slow, away or over changes nothing for the
   * others. Throws as `client.send`, before anybody got it.
   */
  broadcast<Name extends MessageNames<P>>(name: Name, body: BodySent<P, Name>, options?: BroadcastOptions<P>): BroadcastResult;
  broadcast(id: number, payload: RawBody, options?: BroadcastOptions<P>): BroadcastResult;
  broadcast(command: Command, body: unknown, { except, filter, volatile = false }: BroadcastOptions<P> = {}): BroadcastResult {
    const { id, payload } = this.#core.encode('CommandHub.broadcast', command, body, ['message'], volatile ? WRAP_BYTES.VOLATILE : 0);
    const isWanted = filter as ((client: Client) => boolean) | undefined;
    return this.#core.broadcast({ id, payload, isVolatile: volatile, clients: idsOf(except) }, isWanted).result;
  }

  /** Sends to one client, on whichever hub it is. False when no hub has it. Throws (rejects) as `client.send`. */
  sendTo<Name extends MessageNames<P>>(
    clientId: string,
    name: Name,
    body: BodySent<P, Name>,
    options?: { readonly volatile?: boolean },
  ): Promise<boolean>;
  sendTo(clientId: string, id: number, payload: RawBody, options?: { readonly volatile?: boolean }): Promise<boolean>;
  async sendTo(
    clientId: string,
    command: Command,
    body: unknown,
    { volatile = false }: { readonly volatile?: boolean } = {},
  ): Promise<boolean> {
    const { id, payload } = this.#core.encode('CommandHub.sendTo', command, body, ['message'], volatile ? WRAP_BYTES.VOLATILE : 0);
    const message = { id, payload, isVolatile: volatile };
    if (this.#core.registry.ready.has(clientId)) {
      this.#core.onDirect(clientId, { ...message, clients: [] });
      return true;
    }
    return (await this.#core.cluster?.toClient(clientId, message)) ?? false;
  }

  /** A room, by its name: 1 to 128 bytes of text. It need not be made, and nothing is kept for it while nobody is in it. */
  room(name: string): Room<P> {
    return new Room<P>(this.#core, name);
  }

  // --- from endpoints ---

  override onOpen(session: CommandSession): void | Promise<void> {
    return this.#connections.onOpen(session);
  }

  onMessage(session: CommandSession, message: CommandMessage): void {
    this.#connections.onMessage(session, message);
  }

  override onClose(session: CommandSession, reason: CloseReason): void {
    this.#connections.onClose(session, reason);
  }

  // --- ending ---

  /**
   * Ends all clients: messages that come are not handled any more, running handlers and calls finish, then everybody is told GOODBYE with 1001 and when
   * to come again, and closed. New connections are sent away: a closed hub stays closed. Close the endpoints after it. Any number of calls is one close.
   * A handler must not wait for it: it would be waited for in turn, until the drain time-out.
   */
  close({ drainTimeoutMs = 3_000, reason = 'the server is closing' }: HubCloseOptions = {}): Promise<void> {
    checkMs('CommandHub.close drainTimeoutMs', drainTimeoutMs, 0);
    this.#closing ??= this.#close(drainTimeoutMs, reason);
    return this.#closing;
  }

  async #close(drainTimeoutMs: number, reason: string): Promise<void> {
    const core = this.#core;
    core.isClosing = true;
    await this.#untilQuiet(drainTimeoutMs);
    const sessions = [...core.links].map(({ session }) => session);
    const end = { status: 1001, reason, code: 'GOING_AWAY', retryAfterMs: core.settings.retryAfterMs, drainTimeoutMs } as const;
    for (const peer of [...core.registry.all]) core.closePeer(peer, end);
    for (const link of core.links) link.end(end);
    await Promise.all(sessions.map((session) => session.closed));
    this.#connections.stop();
    await core.cluster?.close();
  }

  #untilQuiet(drainTimeoutMs: number): Promise<void> {
    const core = this.#core;
    return new Promise((resolve) => {
      const cancel = after(core.wheel, drainTimeoutMs, () => core.onQuiet?.());
      core.onQuiet = () => {
        core.onQuiet = undefined;
        cancel();
        resolve();
      };
      core.onIdle();
    });
  }
}
