import type { BackplaneMember } from './backplane.ts';
import type { OwnMembers } from './own-members.ts';

/** A node as the others of its process see it. */
export interface InProcessNode {
  readonly nodeId: string;
  readonly own: OwnMembers;
  readonly channels: Iterable<string>;
  readonly followed: Iterable<string>;
  take(channel: string, bytes: Uint8Array, from: InProcessNode): void;
  /** A message of this node gave way to others at the node that it was for. */
  onDropped(): void;
  /** A member of a room that it follows came, left or changed. */
  onChanged(room: string, memberId: string): void;
  onGone(nodeId: string): void;
}

const NONE: ReadonlySet<InProcessNode> = new Set();

/** Joins the nodes of one process that are given it. */
export class InProcessNetwork {
  readonly #nodes = new Map<string, InProcessNode>();
  readonly #subscribers = new Map<string, Set<InProcessNode>>();
  readonly #followers = new Map<string, Set<InProcessNode>>();
  #version = 0;

  /** @internal */
  get nodes(): ReadonlyMap<string, InProcessNode> {
    return this.#nodes;
  }

  /** @internal */
  nextVersion(): number {
    return ++this.#version;
  }

  /** @internal What a node has from before it opened counts from here on. */
  add(node: InProcessNode): void {
    this.#nodes.set(node.nodeId, node);
    for (const [room, members] of node.own.rooms) for (const memberId of members.keys()) this.onChanged(room, memberId, node);
  }

  /** @internal */
  remove(node: InProcessNode): void {
    for (const channel of node.channels) this.removeSubscriber(channel, node);
    for (const room of node.followed) this.removeFollower(room, node);
    if (!this.#nodes.delete(node.nodeId)) return;
    for (const [room, members] of node.own.rooms) {
      for (const follower of this.#followers.get(room) ?? NONE) for (const memberId of members.keys()) follower.onChanged(room, memberId);
    }
    for (const other of this.#nodes.values()) other.onGone(node.nodeId);
  }

  /** @internal */
  subscribersOf(channel: string): ReadonlySet<InProcessNode> {
    return this.#subscribers.get(channel) ?? NONE;
  }

  /** @internal */
  addSubscriber(channel: string, node: InProcessNode): void {
    add(this.#subscribers, channel, node);
  }

  /** @internal */
  removeSubscriber(channel: string, node: InProcessNode): void {
    remove(this.#subscribers, channel, node);
  }

  /** @internal */
  addFollower(room: string, node: InProcessNode): void {
    add(this.#followers, room, node);
  }

  /** @internal */
  removeFollower(room: string, node: InProcessNode): void {
    remove(this.#followers, room, node);
  }

  /** @internal */
  onChanged(room: string, memberId: string, node: InProcessNode): void {
    if (!this.#nodes.has(node.nodeId)) return;
    for (const follower of this.#followers.get(room) ?? NONE) if (follower !== node) follower.onChanged(room, memberId);
  }

  /** @internal The members of a room, those of one node excepted. */
  membersOf(room: string, except?: InProcessNode): Map<string, BackplaneMember> {
    const found = new Map<string, BackplaneMember & { readonly version: number }>();
    for (const [nodeId, node] of this.#nodes) {
      if (node === except) continue;
      for (const [memberId, { state, version }] of node.own.of(room)) {
        if (version > (found.get(memberId)?.version ?? 0)) found.set(memberId, { nodeId, state, version });
      }
    }
    return found;
  }

  /** @internal */
  memberOf(room: string, memberId: string, except: InProcessNode): BackplaneMember | undefined {
    let found: (BackplaneMember & { readonly version: number }) | undefined;
    for (const [nodeId, node] of this.#nodes) {
      const member = node === except ? undefined : node.own.of(room).get(memberId);
      if (member !== undefined && member.version > (found?.version ?? 0)) found = { nodeId, ...member };
    }
    return found;
  }
}

function add(table: Map<string, Set<InProcessNode>>, name: string, node: InProcessNode): void {
  const nodes = table.get(name);
  if (nodes === undefined) table.set(name, new Set([node]));
  else nodes.add(node);
}

function remove(table: Map<string, Set<InProcessNode>>, name: string, node: InProcessNode): void {
  const nodes = table.get(name);
  if (nodes?.delete(node) === true && nodes.size === 0) table.delete(name);
}
