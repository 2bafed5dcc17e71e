import { CallError } from '../base/call-error.ts';
import { peerOf } from './client.ts';
import type { FrontDoor } from './front-door.ts';
import type { AnyServe } from './handlers.ts';
import type { HubCore } from './hub-core.ts';
import type { Peer } from './peer.ts';
import { isPlainJson } from './plain-json.ts';
import { COMMAND_ID, decodeJson, encodeJson, isRoomName } from './wire.ts';

/** The calls JOIN, LEAVE and STATE of native clients. */
export function serveRooms(hub: HubCore, door: FrontDoor): void {
  const serve = (id: number, answer: (peer: Peer, room: string, state: unknown) => unknown): void => {
    const call: AnyServe = (client, body) => {
      const { room, state } = requestOf(body);
      return answer(peerOf(client), room, state);
    };
    hub.handlers.serveReserved(id, { call, type: undefined });
  };
  serve(COMMAND_ID.JOIN, async (peer, room, state) => {
    if (!(await door.mayJoin(peer, room, state))) throw new CallError('FORBIDDEN', 'this room may not be joined');
    hub.rooms.join(peer, room, state);
    return encodeJson(hub.rooms.hasPresence(room) ? { members: await hub.rooms.firstMembers(peer, room) } : {});
  });
  serve(COMMAND_ID.LEAVE, (peer, room) => {
    hub.rooms.leave(peer, room);
    return encodeJson({});
  });
  serve(COMMAND_ID.STATE, (peer, room, state) => {
    if (!peer.rooms.has(room)) throw new CallError('FORBIDDEN', 'only members have a state');
    hub.rooms.join(peer, room, state);
    return encodeJson({});
  });
}

function requestOf(body: unknown): { readonly room: string; readonly state: unknown } {
  const request = body instanceof Uint8Array && isPlainJson(body) ? decodeJson(body) : undefined;
  if (typeof request === 'object' && request !== null) {
    const room: unknown = Reflect.get(request, 'room');
    if (isRoomName(room)) return { room, state: Reflect.get(request, 'state') };
  }
  throw new CallError('INVALID', 'expected { room } with a name of 1 to 128 bytes');
}
