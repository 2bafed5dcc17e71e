import type { BackplaneLimits } from './backplane.ts';

export interface OwnMember {
  readonly state: Uint8Array;
  /** Rises with each change that this node makes, so that others can tell which of two is the later. */
  readonly version: number;
}

const NOBODY: ReadonlyMap<string, OwnMember> = new Map();

/** The members and clients of this node: what it announces, and announces again when the server was lost. Bounded. */
export class OwnMembers {
  readonly clients: Set<string> = new Set();
  readonly #limits: BackplaneLimits;
  readonly #nextVersion: () => number;
  readonly #rooms = new Map<string, Map<string, OwnMember>>();
  #size = 0;

  constructor(limits: BackplaneLimits, nextVersion: () => number) {
    this.#limits = limits;
    this.#nextVersion = nextVersion;
  }

  /** Over all rooms. */
  get size(): number {
    return this.#size;
  }

  get rooms(): ReadonlyMap<string, ReadonlyMap<string, OwnMember>> {
    return this.#rooms;
  }

  of(room: string): ReadonlyMap<string, OwnMember> {
    return this.#rooms.get(room) ?? NOBODY;
  }

  *entries(): Iterable<readonly [room: string, entry: OwnMember & { readonly memberId: string }]> {
    for (const [room, members] of this.#rooms) for (const [memberId, member] of members) yield [room, { memberId, ...member }];
  }

  /** `same`: it has that state already. */
  set(room: string, memberId: string, state: Uint8Array): OwnMember | 'same' | 'refused' {
    if (state.length > this.#limits.maxStateBytes) return 'refused';
    const members = this.#rooms.get(room) ?? new Map<string, OwnMember>();
    const before = members.get(memberId);
    if (before !== undefined && isEqual(before.state, state)) return 'same';
    if (before === undefined) {
      if (members.size >= this.#limits.maxMembersPerRoom) return 'refused';
      if (members.size === 0 && this.#rooms.size >= this.#limits.maxRooms) return 'refused';
      this.#rooms.set(room, members);
      this.#size++;
    }
    const member = { state, version: this.#nextVersion() };
    members.set(memberId, member);
    return member;
  }

  /** The version of the removal; undefined when there was no such member. */
  remove(room: string, memberId: string): number | undefined {
    const members = this.#rooms.get(room);
    if (members?.delete(memberId) !== true) return undefined;
    this.#size--;
    if (members.size === 0) this.#rooms.delete(room);
    return this.#nextVersion();
  }

  /** False when it is one too many. */
  register(clientId: string): boolean {
    if (!this.clients.has(clientId) && this.clients.size >= this.#limits.maxClients) return false;
    this.clients.add(clientId);
    return true;
  }

  clear(): void {
    this.clients.clear();
    this.#rooms.clear();
    this.#size = 0;
  }
}

export function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a === b || (a.length === b.length && Buffer.compare(a, b) === 0);
}
