import type { BackplaneGap } from '../backplane/backplane.ts';
import { describeThrown, ListenerError, PorticoError } from '../base/errors.ts';
import { debugLogger } from '../base/log.ts';
import { isThenable } from '../base/thenable.ts';
import { type Wheel, wheelOf } from '../base/wheel.ts';
import { InvalidBodyError } from '../protocol/invalid-body.ts';
import type { MessageType } from '../protocol/protocol.ts';
import { type Client, encodeBody } from './client.ts';
import { Cluster, type ClusterMessage, type ClusterOwner } from './cluster.ts';
import { CommandHandler, Frame } from './command-handler.ts';
import { Fanout } from './fanout.ts';
import { type AnyCatchAll, type Command, type Handler, Handlers, type Served } from './handlers.ts';
import { type Encoded, type HubContext, type HubCounters, newCounters } from './hub-context.ts';
import type { Disconnect, HubSettings } from './hub-options.ts';
import type { Link, LinkEnd } from './link.ts';
import type { Peer } from './peer.ts';
import { Registry } from './registry.ts';
import { Retention } from './retention.ts';
import { Rooms } from './rooms.ts';
import {
  COMMAND_ID,
  COMMAND_STATUS,
  decodeCall,
  decodeRoom,
  encodeJson,
  encodeReply,
  FIRST_RESERVED_ID,
  isFreeId,
  REPLY_KIND,
  WRAP_BYTES,
} from './wire.ts';

/** What all parts of a hub share: its clients, who handles what, and the end of a client. */
export class HubCore implements HubContext, ClusterOwner {
  readonly settings: HubSettings;
  readonly wheel: Wheel;
  readonly counters: HubCounters = newCounters();
  readonly retention: Retention;
  readonly handlers: Handlers;
  readonly reserved: Map<number, AnyCatchAll> = new Map();
  readonly registry: Registry;
  readonly rooms: Rooms;
  readonly cluster: Cluster | undefined;
  readonly codec: CommandHandler;
  readonly links: Set<Link> = new Set();
  isClosing = false;
  /** Called when the last handler that runs has ended, once the hub is closing. */
  onQuiet: (() => void) | undefined;
  /** Clients that have been ended here, and their connections not yet. */
  readonly #ends = new WeakMap<Peer, Disconnect>();
  /** Clients that `onConnect` was called for: those get `onDisconnect`. */
  readonly #known = new WeakSet<Peer>();

  constructor(settings: HubSettings) {
    this.settings = settings;
    this.wheel = wheelOf(settings.clock);
    this.retention = new Retention(settings.maxTotalRetainedBytes);
    this.handlers = new Handlers(settings.protocol, !settings.native);
    this.registry = new Registry(settings.maxAwayClients, this.retention);
    this.cluster = settings.backplane === undefined ? undefined : new Cluster(settings.backplane, this);
    this.rooms = new Rooms(this, this.cluster);
    this.codec = new CommandHandler({ maxPayloadBytes: settings.maxPayloadBytes });
  }

  // --- handling ---

  dispatch(peer: Peer, id: number, payload: Uint8Array): void | Promise<void> {
    if (id >= FIRST_RESERVED_ID && (id >= COMMAND_ID.RPC_ERROR || peer.profile === 'native'))
      return this.#dispatchReserved(peer, id, payload);
    return this.#dispatchFree(peer, id, payload);
  }

  #dispatchFree(peer: Peer, id: number, payload: Uint8Array): void | Promise<void> {
    const handlers = this.handlers.of(id);
    const first = handlers?.[0];
    if (handlers === undefined || first === undefined) return this.#dispatchToAll(peer, id, payload);
    this.counters.handled++;
    return handlers.length === 1 ? this.#callOne(peer, id, payload, first) : this.#callEach(peer, id, payload, handlers);
  }

  #callOne(peer: Peer, id: number, payload: Uint8Array, handler: Handler): void | Promise<void> {
    if (handler.isOnce) this.handlers.remove(id, handler);
    try {
      const result = handler.call(peer.client, handler.type === undefined ? payload : handler.type.body.decode(payload));
      if (result !== undefined && isThenable(result)) return this.#follow(result, peer, id);
    } catch (thrown) {
      this.#onHandlerFailure(thrown, peer, id);
    }
    return undefined;
  }

  #callEach(peer: Peer, id: number, payload: Uint8Array, handlers: readonly Handler[]): void | Promise<void> {
    const pending = handlers.map((handler) => this.#callOne(peer, id, payload, handler)).filter((result) => result !== undefined);
    return pending.length === 0 ? undefined : Promise.all(pending).then(ignore);
  }

  #dispatchToAll(peer: Peer, id: number, payload: Uint8Array): void | Promise<void> {
    const { catchAll } = this.handlers;
    if (catchAll.length === 0) {
      this.#onUnknown(peer, id, payload);
      return undefined;
    }
    this.counters.handled++;
    const [only] = catchAll;
    if (only !== undefined && catchAll.length === 1) return this.#guarded(peer, id, payload, only);
    const pending = catchAll.map((call) => this.#guarded(peer, id, payload, call)).filter((result) => result !== undefined);
    return pending.length === 0 ? undefined : Promise.all(pending).then(ignore);
  }

  #onUnknown(peer: Peer, id: number, payload: Uint8Array): void {
    this.counters.unknown++;
    const { onUnknown } = this.settings;
    if (onUnknown !== undefined) void this.#guarded(peer, id, payload, onUnknown);
  }

  #dispatchReserved(peer: Peer, id: number, payload: Uint8Array): void | Promise<void> {
    if (id === COMMAND_ID.CALL && peer.profile === 'native') {
      const call = decodeCall(payload);
      if (call === undefined) this.violated(peer, 'a CALL that cannot be read');
      else peer.incoming.begin(call.call, call.id, call.payload);
      return undefined;
    }
    if (id === COMMAND_ID.ROOM || id === COMMAND_ID.VOLATILE) {
      const isVolatile = id === COMMAND_ID.VOLATILE;
      this.#onRoomFrame(peer, isVolatile ? payload.subarray(WRAP_BYTES.VOLATILE) : payload, isVolatile);
      return undefined;
    }
    const handler = this.reserved.get(id);
    if (handler !== undefined) {
      this.counters.handled++;
      return this.#guarded(peer, id, payload, handler);
    }
    return isFreeId(id) ? this.#dispatchFree(peer, id, payload) : this.#dispatchToAll(peer, id, payload);
  }

  #onRoomFrame(peer: Peer, payload: Uint8Array, isVolatile: boolean): void {
    const message = decodeRoom(payload);
    if (message === undefined) {
      this.violated(peer, 'a ROOM that cannot be read');
      return;
    }
    const { room, id } = message;
    let isAllowed = false;
    try {
      isAllowed = peer.rooms.has(room) && this.settings.authorizeRoomMessage?.(peer.client, room, id, message.payload) === true;
    } catch (thrown) {
      this.report(thrown, peer, COMMAND_ID.ROOM);
    }
    if (isAllowed) this.toRoom(room, { id, payload: message.payload, isVolatile, clients: [peer.id] });
    else this.counters.roomMessagesRefused++;
  }

  /** Calls what may throw, reject, or return anything; the promise never rejects. */
  #guarded(peer: Peer, id: number, payload: Uint8Array, call: AnyCatchAll): void | Promise<void> {
    try {
      const result = call(peer.client, id, payload);
      if (result !== undefined && isThenable(result)) return this.#follow(result, peer, id);
    } catch (thrown) {
      this.report(thrown, peer, id);
    }
    return undefined;
  }

  #follow(result: PromiseLike<unknown>, peer: Peer, id: number): Promise<void> {
    return Promise.resolve(result).then(ignore, (thrown: unknown) => this.report(thrown, peer, id));
  }

  #onHandlerFailure(thrown: unknown, peer: Peer, id: number): void {
    if (thrown instanceof InvalidBodyError) {
      this.counters.invalidBodies++;
      const { message, issues } = thrown;
      // No call has the number 0: it stands for what was no call.
      const failure = encodeJson({ code: 'INVALID', message, data: { id, issues } });
      if (peer.profile === 'native') peer.send(Frame.ofMessage(encodeReply(0, REPLY_KIND.ERROR, failure)));
    }
    this.report(thrown, peer, id);
  }

  servedAs(id: number): Served | undefined {
    return this.handlers.servedAs(id);
  }

  report(thrown: unknown, peer: Peer | undefined, id: number | undefined): void {
    if (!(thrown instanceof InvalidBodyError)) this.counters.failures++;
    const error =
      thrown instanceof PorticoError
        ? thrown
        : new ListenerError('LISTENER_FAILED', 'message', `a handler failed: ${describeThrown(thrown)}`, { cause: thrown });
    try {
      if (this.settings.onError === undefined) debugLogger.error(`command hub: ${error.message}`);
      else this.settings.onError(error, peer?.client, id);
    } catch (own) {
      debugLogger.error(`onError of a command hub failed: ${describeThrown(own)}`);
    }
  }

  // --- sending ---

  encode(method: string, command: Command, body: unknown, kinds: readonly MessageType['kind'][], wrapBytes = 0): Encoded {
    const { id, type } = this.handlers.resolve(method, command, kinds);
    const payload = encodeBody(type, body);
    this.codec.check(id, payload, wrapBytes);
    return { id, payload, type };
  }

  checkPayload(id: number, payload: Uint8Array, wrapBytes = 0): void {
    this.codec.check(id, payload, wrapBytes);
  }

  broadcast(message: ClusterMessage, filter: ((client: Client) => boolean) | undefined): Fanout {
    const fanout = this.onBroadcast(message, filter);
    if (filter === undefined) this.cluster?.broadcast(message);
    return fanout;
  }

  onBroadcast({ id, payload, isVolatile, clients }: ClusterMessage, filter?: (client: Client) => boolean): Fanout {
    const fanout = new Fanout(id, payload, undefined, isVolatile, this.wheel.now());
    const except = setOf(clients);
    for (const peer of this.registry.ready.values()) {
      if (except?.has(peer.id) === true) continue;
      if (filter === undefined || filter(peer.client)) fanout.give(peer);
    }
    return fanout;
  }

  toRoom(room: string, message: ClusterMessage): Fanout {
    const fanout = this.onRoomMessage(room, message);
    this.cluster?.toRoom(room, message);
    return fanout;
  }

  onRoomMessage(room: string, { id, payload, isVolatile, clients }: ClusterMessage): Fanout {
    const fanout = new Fanout(id, payload, room, isVolatile, this.wheel.now());
    this.rooms.give(room, fanout, setOf(clients));
    return fanout;
  }

  onDirect(clientId: string, { id, payload, isVolatile }: ClusterMessage): void {
    const peer = this.registry.ready.get(clientId);
    if (peer !== undefined) new Fanout(id, payload, undefined, isVolatile, this.wheel.now()).give(peer);
  }

  onRemoteMember(room: string, clientId: string, state: Uint8Array | undefined): void {
    this.rooms.onRemote(room, clientId, state);
  }

  onGap(gap: BackplaneGap): void {
    try {
      this.settings.onGap?.(gap);
    } catch (thrown) {
      this.report(thrown, undefined, undefined);
    }
  }

  onClusterError(error: PorticoError): void {
    this.report(error, undefined, undefined);
  }

  // --- the end of a client ---

  /** From now on `onDisconnect` comes for it. */
  know(peer: Peer): void {
    this.#known.add(peer);
  }

  violated(peer: Peer, what: string): void {
    this.counters.violations++;
    this.closePeer(peer, { status: COMMAND_STATUS.MALFORMED, reason: `expected no ${what}`, isFatal: true, code: 'PROTOCOL' });
  }

  closePeer(peer: Peer, end: LinkEnd): void {
    if (peer.state === 'over') return;
    const { link } = peer;
    link?.end(end);
    const disconnect: Disconnect = { status: end.status, reason: end.reason, by: 'server', wasClean: true, error: undefined };
    if (link === undefined) {
      this.endPeer(peer, disconnect);
    } else {
      this.#ends.set(peer, disconnect);
      this.#forget(peer);
    }
  }

  /** The client is over, and has no connection any more. */
  endPeer(peer: Peer, disconnect: Disconnect): void {
    const end = this.#ends.get(peer) ?? disconnect;
    this.#ends.delete(peer);
    peer.link = undefined;
    this.#forget(peer);
    if (!this.#known.delete(peer)) return;
    try {
      this.settings.onDisconnect?.(peer.client, end);
    } catch (thrown) {
      this.report(thrown, peer, undefined);
    }
  }

  #forget(peer: Peer): void {
    if (peer.state === 'over') return;
    this.registry.delete(peer);
    this.cluster?.unregister(peer.id);
    peer.over();
    this.rooms.leaveAll(peer);
    this.onIdle();
  }

  onIdle(): void {
    if (this.onQuiet === undefined) return;
    for (const peer of this.registry.all) if (peer.isBusy) return;
    this.onQuiet();
  }
}

function setOf(clients: readonly string[]): ReadonlySet<string> | undefined {
  return clients.length === 0 ? undefined : new Set(clients);
}

function ignore(): void {}
