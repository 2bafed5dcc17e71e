import { randomUUID } from 'node:crypto';
import { StateError } from '../base/errors.ts';
import { invalid } from '../base/option.ts';
import type { Backplane, BackplaneLimits, BackplaneMember, BackplaneSink, BackplaneStats } from './backplane.ts';
import { BoundedQueue } from './bounded-queue.ts';
import { checkBytes, checkLimits, checkName, checkSink, fits } from './checks.ts';
import { CountedNames } from './counted-names.ts';
import { BackplaneCounters } from './counters.ts';
import { GuardedSink } from './guarded-sink.ts';
import { InProcessNetwork, type InProcessNode } from './in-process-network.ts';
import { OwnMembers } from './own-members.ts';

export interface InProcessOptions extends Partial<BackplaneLimits> {
  /** Those of one network are one service. Default: a network of its own, so that the node is alone. */
  readonly network?: InProcessNetwork;
}

const ALL = Symbol('all');

/**
 * The default backplane: nodes in one process, or a node alone, which pays nothing. What is published arrives after the program that is
 * running has returned (in a microtask), so that no hub calls another one from within.
 *
 * What waits for a node is bounded by `maxPendingMessages` and `maxPendingBytes` of that node: the oldest messages are dropped, counted by
 * their sender, and told to the receiver as a gap of the reason `overflow`. The nodes are the program's own, so `maxNodes` is not looked at.
 */
export class InProcessBackplane implements Backplane, InProcessNode {
  readonly nodeId: string = randomUUID();
  readonly own: OwnMembers;
  readonly channels: CountedNames;
  readonly followed: CountedNames;
  readonly #limits: BackplaneLimits;
  readonly #network: InProcessNetwork;
  readonly #counters = new BackplaneCounters();
  /** What the sink knows of the rooms that it follows. */
  readonly #told = new Map<string, Map<string, BackplaneMember>>();
  #sink: GuardedSink | undefined;
  #isClosed = false;

  #isScheduled = false;
  readonly #inbox: BoundedQueue<Message>;
  #overflow = 0;
  /** Members that may have changed since the sink was told; ALL when they are more than a room may have. */
  readonly #changed = new Map<string, Set<string> | typeof ALL>();
  readonly #gone = new Set<string>();

  constructor(options: InProcessOptions = {}) {
    const { network = new InProcessNetwork() } = options;
    if (!(network instanceof InProcessNetwork)) throw invalid('InProcessBackplane network', 'an InProcessNetwork', network);
    this.#limits = checkLimits('InProcessBackplane', options);
    this.#network = network;
    this.#inbox = new BoundedQueue(this.#limits, ({ from }) => {
      this.#overflow++;
      from.onDropped();
    });
    this.own = new OwnMembers(this.#limits, () => network.nextVersion());
    this.channels = new CountedNames(this.#limits.maxChannels);
    this.followed = new CountedNames(this.#limits.maxRooms);
  }

  get isUp(): boolean {
    return this.#sink !== undefined && !this.#isClosed;
  }

  async open(sink: BackplaneSink): Promise<void> {
    checkSink(sink);
    if (this.#sink !== undefined || this.#isClosed)
      throw new StateError('WRONG_STATE', 'open: expected a backplane that was not opened before');
    this.#sink = new GuardedSink(sink);
    this.#network.add(this);
  }

  publish(channel: string, bytes: Uint8Array): void {
    checkName('publish channel', channel);
    if (!this.#maySend(bytes)) return;
    for (const node of this.#network.subscribersOf(channel)) if (node !== this) node.take(channel, bytes, this);
  }

  publishTo(nodeId: string, channel: string, bytes: Uint8Array): void {
    checkName('publishTo channel', channel);
    if (!this.#maySend(bytes)) return;
    const node = this.#network.nodes.get(nodeId);
    if (node !== this) node?.take(channel, bytes, this);
  }

  subscribe(channel: string): boolean {
    checkName('subscribe channel', channel);
    if (this.#isClosed) return false;
    const added = this.channels.add(channel);
    if (added === 'first') this.#network.addSubscriber(channel, this);
    return this.#counters.unless(added === 'refused');
  }

  unsubscribe(channel: string): void {
    if (this.channels.remove(channel)) this.#network.removeSubscriber(channel, this);
  }

  follow(room: string): boolean {
    checkName('follow room', room);
    if (this.#isClosed) return false;
    const added = this.followed.add(room);
    if (added === 'first') {
      this.#network.addFollower(room, this);
      for (const memberId of this.#network.membersOf(room, this).keys()) this.onChanged(room, memberId);
    }
    return this.#counters.unless(added === 'refused');
  }

  unfollow(room: string): void {
    if (!this.followed.remove(room)) return;
    this.#network.removeFollower(room, this);
    this.#told.delete(room);
    this.#changed.delete(room);
  }

  setMember(room: string, memberId: string, state: Uint8Array): boolean {
    checkName('setMember room', room);
    checkName('setMember memberId', memberId);
    checkBytes('setMember state', state);
    if (this.#isClosed) return false;
    const set = this.own.set(room, memberId, state);
    if (typeof set === 'object') this.#network.onChanged(room, memberId, this);
    return this.#counters.unless(set === 'refused');
  }

  removeMember(room: string, memberId: string): void {
    if (this.own.remove(room, memberId) !== undefined) this.#network.onChanged(room, memberId, this);
  }

  async members(room: string): Promise<ReadonlyMap<string, BackplaneMember>> {
    checkName('members room', room);
    return this.isUp ? this.#network.membersOf(room) : new Map<string, BackplaneMember>();
  }

  register(clientId: string): boolean {
    checkName('register clientId', clientId);
    return !this.#isClosed && this.#counters.unless(!this.own.register(clientId));
  }

  unregister(clientId: string): void {
    this.own.clients.delete(clientId);
  }

  async locate(clientId: string): Promise<string | undefined> {
    checkName('locate clientId', clientId);
    if (!this.isUp) return undefined;
    for (const [nodeId, node] of this.#network.nodes) if (node.own.clients.has(clientId)) return nodeId;
    return undefined;
  }

  nodes(): readonly string[] {
    return this.isUp ? [...this.#network.nodes.keys()].filter((nodeId) => nodeId !== this.nodeId) : [];
  }

  stats(): BackplaneStats {
    return {
      ...this.#counters,
      pendingBytes: this.#inbox.bytes,
      nodes: this.nodes().length,
      channels: this.channels.size,
      rooms: this.own.rooms.size,
      members: this.own.size,
      clients: this.own.clients.size,
    };
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#sink?.end();
    this.#network.remove(this);
    for (const names of [this.channels, this.followed]) names.clear();
    this.own.clear();
    this.#told.clear();
    this.#changed.clear();
    this.#gone.clear();
    this.#inbox.clear();
  }

  take(channel: string, bytes: Uint8Array, from: InProcessNode): void {
    if (!this.isUp) return;
    this.#inbox.push({ channel, bytes, from });
    this.#schedule();
  }

  onDropped(): void {
    this.#counters.dropped++;
  }

  onChanged(room: string, memberId: string): void {
    const changed = this.#changed.get(room);
    if (changed === undefined) this.#changed.set(room, new Set([memberId]));
    else if (changed !== ALL && changed.add(memberId).size > this.#limits.maxMembersPerRoom) this.#changed.set(room, ALL);
    this.#schedule();
  }

  onGone(nodeId: string): void {
    this.#gone.add(nodeId);
    this.#schedule();
  }

  #maySend(bytes: Uint8Array): boolean {
    checkBytes('publish bytes', bytes);
    if (this.#sink === undefined || this.#isClosed) {
      if (!this.#isClosed) this.#counters.dropped++;
      return false;
    }
    if (!fits(bytes, this.#limits, this.#counters, this.#sink)) return false;
    this.#counters.published++;
    return true;
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    queueMicrotask(this.#drain);
  }

  readonly #drain = (): void => {
    this.#isScheduled = false;
    const sink = this.#sink;
    if (sink === undefined || this.#isClosed) return;
    // What comes meanwhile has a turn of its own.
    for (let left = this.#inbox.length; left > 0; left--) {
      const message = this.#inbox.shift();
      if (message === undefined) break;
      this.#counters.received++;
      sink.onMessage(message.channel, message.bytes, message.from.nodeId);
    }
    this.#tellMembers(sink);
    for (const nodeId of this.#gone) sink.onNodeDown(nodeId);
    this.#gone.clear();
    if (this.#overflow === 0) return;
    const count = this.#overflow;
    this.#overflow = 0;
    this.#counters.missed += count;
    sink.onGap({ reason: 'overflow', count });
  };

  #tellMembers(sink: GuardedSink): void {
    const rooms = [...this.#changed];
    this.#changed.clear();
    for (const [room, changed] of rooms) {
      for (const memberId of changed === ALL ? this.#everybodyIn(room) : changed) {
        if (!this.followed.has(room)) break;
        this.#tellMember(sink, room, memberId);
      }
    }
  }

  /** Those who left first, to make room for those who came. */
  #everybodyIn(room: string): Iterable<string> {
    return new Set([...(this.#told.get(room)?.keys() ?? []), ...this.#network.membersOf(room, this).keys()]);
  }

  #tellMember(sink: GuardedSink, room: string, memberId: string): void {
    const now = this.#network.memberOf(room, memberId, this);
    const told = this.#told.get(room) ?? new Map<string, BackplaneMember>();
    const before = told.get(memberId);
    if (before?.nodeId === now?.nodeId && before?.state === now?.state) return;
    if (now === undefined) told.delete(memberId);
    else if (before !== undefined || this.#counters.unless(told.size >= this.#limits.maxMembersPerRoom)) told.set(memberId, now);
    else return;
    if (told.size > 0) this.#told.set(room, told);
    else this.#told.delete(room);
    sink.onMember(room, memberId, now?.state, now?.nodeId ?? before?.nodeId ?? '');
  }
}

interface Message {
  readonly channel: string;
  readonly bytes: Uint8Array;
  readonly from: InProcessNode;
}
