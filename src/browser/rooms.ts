import { StateError } from '../base/errors.ts';
import { COMMAND_ID, decodePresence, decodeRoom, encodeMessage } from '../command/wire.ts';
import type { Protocol } from '../protocol/protocol.ts';
import type { BrowserClient } from './client.ts';
import { ask, type ClientParts, type RoomKeeper } from './client-parts.ts';
import { Room } from './room.ts';

const MAX_ROOMS = 1_000;

/** The rooms of one client. */
class Rooms<P extends Protocol> implements RoomKeeper {
  readonly #rooms = new Map<string, Room<P>>();
  readonly #parts: ClientParts;

  constructor(parts: ClientParts) {
    this.#parts = parts;
    parts.rooms = this;
    const { reserved } = parts.core;
    reserved.set(COMMAND_ID.ROOM, (payload) => {
      const message = decodeRoom(payload);
      if (message !== undefined) this.#rooms.get(message.room)?.dispatch(message.id, message.payload);
    });
    reserved.set(COMMAND_ID.PRESENCE, (payload) => {
      const presence = decodePresence(payload);
      if (presence !== undefined) this.#rooms.get(presence.room)?.presence(presence);
    });
  }

  room(name: string): Room<P> {
    const known = this.#rooms.get(name);
    if (known !== undefined) return known;
    if (this.#rooms.size >= MAX_ROOMS) throw new StateError('SEND_QUEUE_FULL', `roomOf: more than ${MAX_ROOMS} rooms`);
    const { core, commands } = this.#parts;
    const host = {
      commands,
      call: (id: number, payload: Uint8Array) => ask(this.#parts, id, payload),
      onFailure: (thrown: unknown, command: string | number) => core.failed(thrown, command),
    };
    const room = new Room<P>(name, host, (payload) => core.sender.send(encodeMessage(COMMAND_ID.ROOM, payload)));
    this.#rooms.set(name, room);
    return room;
  }

  wanted(): ReturnType<RoomKeeper['wanted']> {
    return [...this.#rooms.values()].flatMap(({ wanted }) => wanted ?? []);
  }

  onNewSession(names: readonly string[]): void {
    for (const room of this.#rooms.values()) if (room.isJoined && !names.includes(room.name)) room.lost(true);
  }
}

/**
 * The room of that name; for one client always the same object. A function of its own, so that pages without rooms do not load them. Native
 * profile only. At most 1 000 names.
 *
 * @example
 * ```ts
 * import { createClient, roomOf } from 'portico/browser';
 *
 * const client = createClient({ url: 'wss://example.org/' });
 * const lobby = roomOf(client, 'lobby');
 * lobby.on(1, (payload) => console.log(new TextDecoder().decode(payload)));
 * lobby.onPresence(({ members }) => console.log([...members.keys()]));
 * void client.connect();
 * await lobby.join({ name: 'anna' });
 * ```
 */
export function roomOf<P extends Protocol>(client: BrowserClient<P>, name: string): Room<P> {
  const { parts } = client;
  // Nobody else sets it, and the rooms of a client have its protocol.
  const rooms = (parts.rooms as Rooms<P> | undefined) ?? new Rooms<P>(parts);
  return rooms.room(name);
}
