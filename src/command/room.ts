import { invalid } from '../base/option.ts';
import type { BodySent, MessageNames, Protocol } from '../protocol/protocol.ts';
import { type Client, peerOf, type RawBody, type SendOptions } from './client.ts';
import type { BroadcastResult } from './fanout.ts';
import type { Command } from './handlers.ts';
import type { HubCore } from './hub-core.ts';
import { isRoomName, WRAP_BYTES } from './wire.ts';

export interface RoomBroadcastOptions<P extends Protocol = Protocol> extends SendOptions {
  /** Who is left out, such as the sender; also members on other hubs, by their ids. */
  readonly except?: Client<P> | string | readonly (Client<P> | string)[];
}

/** As many as a message between hubs can name. */
const MAX_EXCEPT = 0xffff;

/** The ids of those who are left out. */
export function idsOf(except: RoomBroadcastOptions['except']): readonly string[] {
  if (except === undefined) return [];
  const list = Array.isArray(except) ? (except as readonly (Client | string)[]) : [except as Client | string];
  if (list.length > MAX_EXCEPT) throw invalid('broadcast except', `at most ${MAX_EXCEPT} clients`, list.length);
  return list.map((one) => (typeof one === 'string' ? one : one.id));
}

/** A room, by its name: nothing is kept for it while nobody is in it. */
export class Room<P extends Protocol = Protocol> {
  readonly name: string;
  readonly #hub: HubCore;

  /** Made by `hub.room`. */
  constructor(hub: HubCore, name: string) {
    if (!isRoomName(name)) throw invalid('hub.room', 'a name of 1 to 128 bytes of text', name);
    this.#hub = hub;
    this.name = name;
  }

  /** How many members are clients of this hub. */
  get size(): number {
    return this.#hub.rooms.membersHere(this.name).size;
  }

  /** The members that are clients of this hub. */
  get clients(): readonly Client<P>[] {
    return [...this.#hub.rooms.membersHere(this.name).keys()].map((peer) => peer.client as Client<P>);
  }

  has(client: Client<P>): boolean {
    return this.#hub.rooms.membersHere(this.name).has(peerOf(client));
  }

  /**
   * Takes a client in, or changes its state, whatever `authorizeJoin` would say. `state` fits JSON and is what the other members see.
   * False when the client is over. Throws CallError LIMITED at a limit: rooms of the hub and of the client, members, bytes of state.
   */
  join(client: Client<P>, state?: unknown): boolean {
    const peer = peerOf(client);
    if (peer.state === 'over') return false;
    this.#hub.rooms.join(peer, this.name, state);
    return true;
  }

  /** False when it was not in the room. */
  leave(client: Client<P>): boolean {
    return this.#hub.rooms.leave(peerOf(client), this.name);
  }

  /** All members with their states by id, on all hubs. */
  members(): Promise<ReadonlyMap<string, unknown>> {
    return this.#hub.rooms.members(this.name);
  }

  /**
   * Sends to all members, on all hubs, encoded once. The result is that of this hub. A member that is slow, away or over changes nothing for the
   * others. Throws as `client.send`.
   */
  broadcast<Name extends MessageNames<P>>(name: Name, body: BodySent<P, Name>, options?: RoomBroadcastOptions<P>): BroadcastResult;
  broadcast(id: number, payload: RawBody, options?: RoomBroadcastOptions<P>): BroadcastResult;
  broadcast(command: Command, body: unknown, { except, volatile = false }: RoomBroadcastOptions<P> = {}): BroadcastResult {
    const wrapBytes = WRAP_BYTES.ROOM + Buffer.byteLength(this.name) + (volatile ? WRAP_BYTES.VOLATILE : 0);
    const { id, payload } = this.#hub.encode('room.broadcast', command, body, ['message'], wrapBytes);
    return this.#hub.toRoom(this.name, { id, payload, isVolatile: volatile, clients: idsOf(except) }).result;
  }
}
