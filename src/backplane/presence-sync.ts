import { describeThrown } from '../base/errors.ts';
import { debugLogger } from '../base/log.ts';
import type { BackplaneLimits, BackplaneMember } from './backplane.ts';
import type { BusDirectory, DirectoryEntry } from './bus.ts';
import type { BackplaneCounters } from './counters.ts';
import { QUERY } from './frame.ts';
import type { NodeTable } from './node-table.ts';
import type { Questions } from './questions.ts';
import type { RemoteMembers } from './remote-members.ts';

/** Rooms that are read from a directory at a time. */
const MAX_READS = 32;
/** A room that changes faster than it can be read, or that somebody does not tell of, is read so often in a row, and again with the next beat. */
const MAX_ATTEMPTS = 3;

const TOO_MANY = Symbol('too many');

export interface PresenceSyncSettings {
  readonly nodeId: string;
  readonly nodes: NodeTable;
  readonly remote: RemoteMembers;
  readonly questions: Questions;
  readonly limits: BackplaneLimits;
  readonly counters: BackplaneCounters;
  readonly directory: BusDirectory | undefined;
  /** Readings of the directory that somebody waits for; one more is answered with what is known. */
  readonly maxReads: number;
  /** Settles when what was subscribed to has begun. */
  readonly subscribed: () => Promise<void>;
  readonly send: (query: number, what: number, name: string, toNode?: string) => void;
}

/** Finds out who is in which room: from the directory when there is one that answers, from the other nodes when not. */
export class PresenceSync {
  readonly #settings: PresenceSyncSettings;
  /** What is being read; true: again after that. */
  readonly #running = new Map<string, boolean>();
  /** What could not be read. */
  readonly #owed = new Map<string, () => Promise<boolean>>();
  #reads = 0;

  constructor(settings: PresenceSyncSettings) {
    this.#settings = settings;
  }

  /** Brings one room up to date. */
  room(room: string): void {
    this.#once(`room ${room}`, async () => {
      if (!this.#settings.remote.has(room)) return true;
      this.#settings.remote.beginSync(room);
      await this.#settings.subscribed();
      const isComplete = await this.#read([room], undefined, QUERY.ROOM, room);
      return this.#settings.remote.endSync(room) && isComplete;
    });
  }

  /** Brings all rooms up to date, as far as one node or all nodes are concerned. */
  all(nodeId?: string): void {
    if (this.#settings.remote.size === 0) return;
    // A directory tells of all nodes at once.
    if (nodeId !== undefined && this.#settings.directory !== undefined) {
      this.all();
      return;
    }
    this.#once(`node ${nodeId ?? ''}`, async () => {
      if (nodeId !== undefined && !this.#settings.nodes.has(nodeId)) return true;
      const rooms = [...this.#settings.remote.rooms];
      for (const room of rooms) this.#settings.remote.beginSync(room);
      await this.#settings.subscribed();
      const isComplete = await this.#read(rooms, nodeId, QUERY.ALL, '');
      return rooms.map((room) => this.#settings.remote.endSync(room)).every(Boolean) && isComplete;
    });
  }

  /** Tries again what could not be read. */
  onBeat(): void {
    const owed = [...this.#owed];
    this.#owed.clear();
    for (const [key, run] of owed) this.#once(key, run);
  }

  clear(): void {
    this.#owed.clear();
  }

  /** The members of any room on other nodes, as they are now. */
  async members(room: string): Promise<Map<string, BackplaneMember>> {
    const { remote, nodeId, directory, counters, limits } = this.#settings;
    if (remote.has(room) && !remote.isSyncing(room) && this.#owed.size === 0) return remote.of(room);
    const found = new Map<string, BackplaneMember & DirectoryEntry>();
    const add = (from: string, entries: readonly DirectoryEntry[]): void => {
      if (from === nodeId) return;
      for (const entry of entries) {
        const before = found.get(entry.memberId);
        if (before === undefined && !counters.unless(found.size >= limits.maxMembersPerRoom)) continue;
        if (entry.version >= (before?.version ?? 0)) found.set(entry.memberId, { nodeId: from, ...entry });
      }
    };
    const read = directory === undefined ? undefined : await this.#bounded(() => directory.read(room));
    if (read === undefined) await this.#ask([room], undefined, QUERY.ROOM, room, add);
    else if (read !== TOO_MANY) for (const [from, entries] of read) add(from, entries);
    // Those who did not answer are there until their lease is over.
    for (const [memberId, member] of remote.of(room)) if (!found.has(memberId)) found.set(memberId, { memberId, ...member });
    return found;
  }

  async locate(clientId: string): Promise<string | undefined> {
    const { directory, questions, nodes, send } = this.#settings;
    if (directory !== undefined) {
      const read = await this.#bounded(async () => ({ nodeId: await directory.locate(clientId) }));
      if (read !== undefined) return read === TOO_MANY ? undefined : read.nodeId;
    }
    const { found } = await questions.ask(
      nodes.ids,
      (query) => send(query, QUERY.CLIENT, clientId),
      () => false,
      () => {},
    );
    return found;
  }

  /** Undefined when the directory failed. */
  async #bounded<T extends object>(read: () => Promise<T>): Promise<T | typeof TOO_MANY | undefined> {
    if (this.#reads >= this.#settings.maxReads) {
      this.#settings.counters.unanswered++;
      return TOO_MANY;
    }
    this.#reads++;
    try {
      return await read();
    } catch (thrown) {
      return reportFailure(thrown);
    } finally {
      this.#reads--;
    }
  }

  async #read(rooms: readonly string[], nodeId: string | undefined, what: number, name: string): Promise<boolean> {
    const { remote, nodes, directory } = this.#settings;
    const left: string[] = directory === undefined ? [...rooms] : [];
    for (let start = 0; directory !== undefined && start < rooms.length; start += MAX_READS) {
      const reads = rooms.slice(start, start + MAX_READS).map(async (room) => {
        const found = await directory.read(room).catch(reportFailure);
        if (found === undefined) left.push(room);
        for (const [from, entries] of found ?? []) {
          // Who is not heard of yet is read when it is; who is not heard of any more is gone.
          if (nodes.has(from)) remote.applySnapshot(room, from, entries);
        }
      });
      await Promise.all(reads);
    }
    return left.length === 0 || this.#ask(left, nodeId, what, name, (from, entries, room) => remote.applySnapshot(room, from, entries));
  }

  async #ask(
    rooms: readonly string[],
    nodeId: string | undefined,
    what: number,
    name: string,
    onRoom: (from: string, entries: readonly DirectoryEntry[], room: string) => void,
  ): Promise<boolean> {
    const { questions, nodes, send } = this.#settings;
    const wanted = new Set(rooms);
    const { isComplete } = await questions.ask(
      nodeId === undefined ? nodes.ids : [nodeId],
      (query) => send(query, what, name, nodeId),
      (room) => wanted.has(room),
      (from, answer) => {
        for (const room of rooms) onRoom(from, answer.get(room) ?? [], room);
      },
    );
    return isComplete;
  }

  #once(key: string, run: () => Promise<boolean>): void {
    if (this.#running.has(key)) {
      this.#running.set(key, true);
      return;
    }
    this.#running.set(key, false);
    void this.#repeat(key, run)
      .catch(reportFailure)
      .finally(() => this.#running.delete(key));
  }

  async #repeat(key: string, run: () => Promise<boolean>): Promise<void> {
    let failures = 0;
    do {
      this.#running.set(key, false);
      failures = (await run()) ? 0 : failures + 1;
    } while (this.#running.get(key) === true || (failures > 0 && failures < MAX_ATTEMPTS));
    // With the next beat, not at once: whoever does not answer may have too much to do.
    if (failures > 0) this.#owed.set(key, run);
    else this.#owed.delete(key);
  }
}

function reportFailure(thrown: unknown): undefined {
  debugLogger.warn(`the directory of a backplane failed: ${describeThrown(thrown)}`);
  return undefined;
}
