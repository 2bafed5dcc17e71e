import type { BackplaneMember, BackplaneSink } from './backplane.ts';
import type { DirectoryEntry } from './bus.ts';
import type { BackplaneCounters } from './counters.ts';
import { isEqual } from './own-members.ts';

interface Known extends BackplaneMember {
  readonly version: number;
}

interface Room {
  /** Mostly one node has a member; while it moves there are two. The one of the greatest version counts. */
  readonly members: Map<string, readonly Known[]>;
  /** Readings of this room that are under way. */
  syncs: number;
  /** What changed while one is, so that an older reading does not undo it. */
  readonly recent: Map<string, number>;
  /** Changes could not be noted: what is read is not to be trusted. */
  isStale: boolean;
}

/** The members on other nodes, in the rooms that this node follows: put together from announcements and from readings. Bounded. */
export class RemoteMembers {
  readonly #sink: () => BackplaneSink | undefined;
  readonly #counters: BackplaneCounters;
  readonly #maxMembers: number;
  readonly #rooms = new Map<string, Room>();

  constructor(sink: () => BackplaneSink | undefined, counters: BackplaneCounters, maxMembersPerRoom: number) {
    this.#sink = sink;
    this.#counters = counters;
    this.#maxMembers = maxMembersPerRoom;
  }

  get rooms(): IterableIterator<string> {
    return this.#rooms.keys();
  }

  get size(): number {
    return this.#rooms.size;
  }

  has(room: string): boolean {
    return this.#rooms.has(room);
  }

  /** Whether what is known of it may lack something. */
  isSyncing(room: string): boolean {
    return (this.#rooms.get(room)?.syncs ?? 0) > 0;
  }

  follow(room: string): void {
    this.#rooms.set(room, { members: new Map(), syncs: 0, recent: new Map(), isStale: false });
  }

  unfollow(room: string): void {
    this.#rooms.delete(room);
  }

  clear(): void {
    this.#rooms.clear();
  }

  of(room: string): Map<string, Known> {
    const found = new Map<string, Known>();
    for (const [memberId, list] of this.#rooms.get(room)?.members ?? []) {
      const known = latest(list);
      if (known !== undefined) found.set(memberId, known);
    }
    return found;
  }

  /** An announcement: `undefined` for a member that left. */
  apply(room: string, nodeId: string, memberId: string, version: number, state: Uint8Array | undefined): void {
    const entry = this.#rooms.get(room);
    if (entry === undefined) return;
    if (entry.syncs > 0) this.#note(entry, keyOf(nodeId, memberId), version);
    if (state !== undefined) this.#set(room, entry, nodeId, { memberId, version, state });
    else if (versionOf(entry, nodeId, memberId) <= version) this.#remove(room, entry, nodeId, memberId);
  }

  /** From here until the end of the reading, what changes counts more than what is read. */
  beginSync(room: string): void {
    const entry = this.#rooms.get(room);
    if (entry !== undefined) entry.syncs++;
  }

  /** False when so much changed meanwhile that it must be read again. */
  endSync(room: string): boolean {
    const entry = this.#rooms.get(room);
    if (entry === undefined) return true;
    const isGood = !entry.isStale;
    entry.syncs = Math.max(0, entry.syncs - 1);
    if (entry.syncs === 0) {
      entry.recent.clear();
      entry.isStale = false;
    }
    return isGood;
  }

  /** All members that a node has in a room, as they were read. */
  applySnapshot(room: string, nodeId: string, entries: readonly DirectoryEntry[]): void {
    const entry = this.#rooms.get(room);
    if (entry === undefined || entry.isStale) return;
    const there = new Set<string>();
    for (const read of entries) {
      there.add(read.memberId);
      if (read.version >= (entry.recent.get(keyOf(nodeId, read.memberId)) ?? 0)) this.#set(room, entry, nodeId, read);
    }
    for (const [memberId, list] of entry.members) {
      const isGone = !there.has(memberId) && list.some((known) => known.nodeId === nodeId);
      if (isGone && !entry.recent.has(keyOf(nodeId, memberId))) this.#remove(room, entry, nodeId, memberId);
    }
  }

  removeNode(nodeId: string): void {
    for (const [room, entry] of this.#rooms) {
      for (const [memberId, list] of entry.members) {
        if (list.some((known) => known.nodeId === nodeId)) this.#remove(room, entry, nodeId, memberId);
      }
    }
  }

  #note(entry: Room, key: string, version: number): void {
    if (entry.recent.size >= this.#maxMembers && !entry.recent.has(key)) entry.isStale = true;
    else entry.recent.set(key, version);
  }

  #set(room: string, entry: Room, nodeId: string, { memberId, version, state }: DirectoryEntry): void {
    const list = entry.members.get(memberId) ?? [];
    const own = list.find((known) => known.nodeId === nodeId);
    if (own !== undefined && own.version > version) return;
    if (list.length === 0 && entry.members.size >= this.#maxMembers) {
      this.#counters.refused++;
      return;
    }
    this.#replace(room, entry, memberId, [...list.filter((known) => known !== own), { nodeId, version, state }]);
  }

  #remove(room: string, entry: Room, nodeId: string, memberId: string): void {
    const list = entry.members.get(memberId) ?? [];
    if (list.some((known) => known.nodeId === nodeId))
      this.#replace(
        room,
        entry,
        memberId,
        list.filter((known) => known.nodeId !== nodeId),
      );
  }

  #replace(room: string, entry: Room, memberId: string, list: readonly Known[]): void {
    const before = latest(entry.members.get(memberId) ?? []);
    const now = latest(list);
    if (list.length === 0) entry.members.delete(memberId);
    else entry.members.set(memberId, list);
    if (before !== undefined && now !== undefined && before.nodeId === now.nodeId && isEqual(before.state, now.state)) return;
    this.#sink()?.onMember(room, memberId, now?.state, now?.nodeId ?? before?.nodeId ?? '');
  }
}

function latest(list: readonly Known[]): Known | undefined {
  return list.reduce<Known | undefined>((best, known) => (best === undefined || known.version >= best.version ? known : best), undefined);
}

function versionOf(entry: Room, nodeId: string, memberId: string): number {
  return entry.members.get(memberId)?.find((known) => known.nodeId === nodeId)?.version ?? 0;
}

function keyOf(nodeId: string, memberId: string): string {
  return `${nodeId}/${memberId}`;
}
