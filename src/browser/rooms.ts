import { StateError } from '../base/errors.ts';
import { decodePresence, decodeRoom, PRESENCE_ID, ROOM_ID } from '../command/wire.ts';
import type { Protocol } from '../protocol/protocol.ts';
import type { BrowserClient } from './client.ts';
import { type ClientCore, need, type RoomKeeper } from './client-core.ts';
import { Room } from './room.ts';

const MAX_ROOMS = 1_000;

/** The rooms of one client. */
interface Rooms<P extends Protocol> extends RoomKeeper {
  room(name: string): Room<P>;
}

function roomsOf<P extends Protocol>(core: ClientCore): Rooms<P> {
  const rooms = new Map<string, Room<P>>();
  core.reserved.set(ROOM_ID, (payload) => {
    const message = need(decodeRoom(payload));
    rooms.get(message.room)?.dispatch(message.id, message.payload);
  });
  core.reserved.set(PRESENCE_ID, (payload) => {
    const presence = need(decodePresence(payload));
    rooms.get(presence.room)?.presence(presence);
  });
  return {
    room(name) {
      const known = rooms.get(name);
      if (known) return known;
      if (rooms.size >= MAX_ROOMS) throw new StateError('SEND_QUEUE_FULL', `more than ${MAX_ROOMS} rooms`);
      const room = new Room<P>(name, core);
      rooms.set(name, room);
      return room;
    },
    rooms: () => [...rooms.values()].flatMap(({ wanted }) => wanted ?? []),
    joined(names) {
      for (const room of rooms.values()) if (room.isJoined && !names.includes(room.name)) room.lost(true);
    },
  };
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
export function roomOf<P extends Protocol>({ core }: BrowserClient<P>, name: string): Room<P> {
  core.rooms ??= roomsOf<P>(core);
  // Nobody else sets it, and the rooms of a client have its protocol.
  return (core.rooms as Rooms<P>).room(name);
}
