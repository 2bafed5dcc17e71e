import { CallError } from '../base/call-error.ts';
import { after } from '../base/wheel.ts';
import type { Cluster } from './cluster.ts';
import { Frame } from './command-handler.ts';
import type { Fanout } from './fanout.ts';
import type { HubContext } from './hub-context.ts';
import type { Peer } from './peer.ts';
import { COMMAND_ID, decodeJson, encodeControl, encodeJson, type Presence } from './wire.ts';

/** A PRESENCE message tells so many changes at most; more make more messages. */
const CHANGES_IN_A_MESSAGE = 256;
/** What it says besides, in bytes: the room's name, quoted, and the names of its members. */
const PRESENCE_BYTES = 1_024;
/** Changes of all rooms that are gathered at most; then they are told at once. */
const MAX_GATHERED_CHANGES = 10_000;

/** What this hub has of a room; there while it has members. */
interface LocalRoom {
  readonly name: string;
  readonly members: Map<Peer, unknown>;
  readonly hasPresence: boolean;
  /** Changes not told yet; LEFT = has gone. */
  readonly changed: Map<string, unknown>;
}

const LEFT = Symbol('left');

type Member = readonly [id: string, state: unknown];
/** Quotes, colon and comma. */
const MEMBER_BYTES = 4;

/** Who is in which room, on this hub; the others tell theirs through the cluster. */
export class Rooms {
  readonly #hub: HubContext;
  readonly #cluster: Cluster | undefined;
  readonly #rooms = new Map<string, LocalRoom>();
  readonly #changed = new Set<LocalRoom>();
  #gathered = 0;
  #isScheduled = false;

  constructor(hub: HubContext, cluster: Cluster | undefined) {
    this.#hub = hub;
    this.#cluster = cluster;
  }

  get size(): number {
    return this.#rooms.size;
  }

  membersHere(name: string): ReadonlyMap<Peer, unknown> {
    return this.#rooms.get(name)?.members ?? NOBODY;
  }

  hasPresence(name: string): boolean {
    const { presence } = this.#hub.settings;
    return typeof presence === 'boolean' ? presence : presence(name);
  }

  /** Joins, or changes the state of who has joined. Throws CallError LIMITED. */
  join(peer: Peer, name: string, state: unknown): void {
    const { maxRooms, maxRoomsPerClient, maxMembersPerRoom, maxStateBytes } = this.#hub.settings;
    const known = this.#rooms.get(name);
    const isNew = known?.members.has(peer) !== true;
    const bytes = encodeJson(state ?? null);
    if (bytes.length > maxStateBytes) throw this.#limited(`a state of at most ${maxStateBytes} bytes`);
    if (isNew && peer.rooms.size >= maxRoomsPerClient) throw this.#limited(`at most ${maxRoomsPerClient} rooms`);
    if (isNew && (known?.members.size ?? 0) >= maxMembersPerRoom) throw this.#limited(`at most ${maxMembersPerRoom} members`);
    const room = known ?? this.#open(name, maxRooms);
    if (room.hasPresence && this.#cluster?.setMember(name, peer.id, bytes) === false) {
      if (room.members.size === 0) this.#close(room);
      throw this.#limited('a room that the backplane takes another member for');
    }
    room.members.set(peer, state ?? null);
    peer.rooms.add(name);
    this.#change(room, peer.id, state ?? null);
  }

  #open(name: string, maxRooms: number): LocalRoom {
    if (this.#rooms.size >= maxRooms) throw this.#limited(`at most ${maxRooms} rooms on this server`);
    const room: LocalRoom = { name, members: new Map(), hasPresence: this.hasPresence(name), changed: new Map() };
    if (this.#cluster?.openRoom(name, room.hasPresence) === false) throw this.#limited('a room that the backplane takes');
    this.#rooms.set(name, room);
    return room;
  }

  #limited(expected: string): CallError {
    this.#hub.counters.joinsRefused++;
    return new CallError('LIMITED', `expected ${expected}`);
  }

  /** False when it was not in the room. */
  leave(peer: Peer, name: string): boolean {
    const room = this.#rooms.get(name);
    if (room?.members.delete(peer) !== true) return false;
    peer.rooms.delete(name);
    if (room.hasPresence) this.#cluster?.removeMember(name, peer.id);
    this.#change(room, peer.id, LEFT);
    if (room.members.size === 0) this.#close(room);
    return true;
  }

  leaveAll(peer: Peer): void {
    for (const name of [...peer.rooms]) this.leave(peer, name);
  }

  #close(room: LocalRoom): void {
    this.#rooms.delete(room.name);
    this.#cluster?.closeRoom(room.name, room.hasPresence);
  }

  /** `except`: ids of those who are left out. */
  give(name: string, fanout: Fanout, except: ReadonlySet<string> | undefined): void {
    for (const peer of this.membersHere(name).keys()) {
      if (peer.state === 'ready' && except?.has(peer.id) !== true) fanout.give(peer);
    }
  }

  // --- presence ---

  /** Everybody in the room with their states, on all hubs. */
  async members(name: string): Promise<ReadonlyMap<string, unknown>> {
    const members = new Map<string, unknown>();
    for (const [id, state] of (await this.#cluster?.members(name)) ?? []) members.set(id, decodeJson(state) ?? null);
    for (const [peer, state] of this.membersHere(name)) members.set(peer.id, state);
    return members;
  }

  /** A member on another hub came, changed, or left. */
  onRemote(name: string, id: string, state: Uint8Array | undefined): void {
    const room = this.#rooms.get(name);
    if (room !== undefined) this.#change(room, id, state === undefined ? LEFT : (decodeJson(state) ?? null));
  }

  #change(room: LocalRoom, id: string, state: unknown): void {
    if (!room.hasPresence) return;
    room.changed.set(id, state);
    this.#changed.add(room);
    this.#gathered++;
    if (this.#gathered >= MAX_GATHERED_CHANGES) {
      this.#hub.counters.presenceFlushes++;
      this.#tell();
    }
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    after(this.#hub.wheel, this.#hub.settings.presenceDelayMs, () => {
      this.#isScheduled = false;
      this.#tell();
    });
  }

  #tell(): void {
    this.#gathered = 0;
    const rooms = [...this.#changed];
    this.#changed.clear();
    for (const room of rooms) {
      const changes = [...room.changed];
      room.changed.clear();
      for (const part of this.#inParts(changes, CHANGES_IN_A_MESSAGE)) this.#tellSome(room, part);
    }
  }

  /** No message is larger than the clients take. */
  #inParts(members: Iterable<Member>, maxMembers: number): Member[][] {
    const maxBytes = this.#hub.settings.maxPayloadBytes - PRESENCE_BYTES;
    const parts: Member[][] = [];
    let part: Member[] = [];
    let bytes = 0;
    for (const member of members) {
      const [id, state] = member;
      const more = id.length + MEMBER_BYTES + (state === LEFT ? 0 : encodeJson(state).length);
      if (part.length > 0 && (part.length >= maxMembers || bytes + more > maxBytes)) {
        parts.push(part);
        part = [];
        bytes = 0;
      }
      part.push(member);
      bytes += more;
    }
    if (part.length > 0) parts.push(part);
    return parts;
  }

  #tellSome(room: LocalRoom, changes: readonly Member[]): void {
    const joined = changes.filter(([, state]) => state !== LEFT);
    const left = changes.filter(([, state]) => state === LEFT).map(([id]) => id);
    const frame = presenceFrame({
      room: room.name,
      ...(joined.length === 0 ? {} : { joined: toObject(joined) }),
      ...(left.length === 0 ? {} : { left }),
    });
    for (const peer of room.members.keys()) if (peer.state === 'ready' && peer.profile === 'native') peer.give(frame, true);
    try {
      this.#hub.settings.onPresence?.({ room: room.name, joined: new Map(joined), left });
    } catch (thrown) {
      this.#hub.report(thrown, undefined, undefined);
    }
  }

  /** Everybody in the rooms of a client, for that client. */
  async tellAll(peer: Peer, names: readonly string[]): Promise<void> {
    for (const name of names) {
      if (!this.hasPresence(name) || peer.profile !== 'native') continue;
      const [first = [], ...others] = this.#inParts(await this.members(name), Number.POSITIVE_INFINITY);
      if (!peer.rooms.has(name)) continue;
      peer.give(presenceFrame({ room: name, all: toObject(first) }));
      // What does not fit into one message goes as changes.
      for (const part of others) peer.give(presenceFrame({ room: name, joined: toObject(part) }));
    }
  }

  /** For the answer to who has joined: everybody, or as many as fit into it; then `tellAll` follows. */
  async firstMembers(peer: Peer, name: string): Promise<Record<string, unknown>> {
    const [first = [], ...others] = this.#inParts(await this.members(name), Number.POSITIVE_INFINITY);
    if (others.length > 0) after(this.#hub.wheel, 0, () => void this.#tellAllLater(peer, name));
    return toObject(first);
  }

  async #tellAllLater(peer: Peer, name: string): Promise<void> {
    try {
      await this.tellAll(peer, [name]);
    } catch (thrown) {
      this.#hub.report(thrown, peer, COMMAND_ID.PRESENCE);
    }
  }
}

const NOBODY: ReadonlyMap<Peer, unknown> = new Map();

function presenceFrame(presence: Presence): Frame {
  return Frame.ofMessage(encodeControl(COMMAND_ID.PRESENCE, presence));
}

/** Ids are UUIDs of hubs; one that came from elsewhere, such as `__proto__`, is a key like others. */
function toObject(members: Iterable<Member>): Record<string, unknown> {
  return Object.fromEntries(members);
}
