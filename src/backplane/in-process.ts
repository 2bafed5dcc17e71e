import { randomUUID } from 'node:crypto';
import { StateError } from '../base/errors.ts';
import { invalid } from '../base/option.ts';
import type { Backplane, BackplaneLimits, BackplaneMember, BackplaneSink, BackplaneStats } from './backplane.ts';
import { checkBytes, checkLimits, checkName, checkSink, tooLarge } from './checks.ts';
import { CountedNames } from './counted-names.ts';
import { BackplaneCounters } from './counters.ts';
import { GuardedSink } from './guarded-sink.ts';
import { InProcessNetwork, type InProcessNode } from './in-process-network.ts';
import { OwnMembers } from './own-members.ts';

export interface InProcessOptions extends Partial<BackplaneLimits> {
  /** Those of one network are one service. Default: a network of its own, so that the node is alone. */
  readonly network?: InProcessNetwork;
}

/**
 * The default backplane: nodes in one process, or a node alone, which pays nothing. What is published arrives after the program that is
 * running has returned (in a microtask), so that no hub calls another one from within.
 *
 * What waits for a node is bounded by `maxPendingMessages` and `maxPendingBytes` of that node: further messages are dropped, counted by
 * their sender, and told to the receiver as a gap of the reason `overflow`.
 */
export class InProcessBackplane implements Backplane, InProcessNode {
  readonly nodeId: string = randomUUID();
  readonly limits: BackplaneLimits;
  readonly own: OwnMembers;
  readonly channels: CountedNames;
  readonly followed: CountedNames;
  readonly #network: InProcessNetwork;
  readonly #counters = new BackplaneCounters();
  /** What the sink knows of the rooms that it follows. */
  readonly #told = new Map<string, Map<string, BackplaneMember>>();
  #sink: GuardedSink | undefined;
  #isClosed = false;

  #isScheduled = false;
  #inbox: Message[] = [];
  #inboxBytes = 0;
  #overflow = 0;
  /** Members that may have changed since the sink was told. */
  readonly #changed = new Map<string, Set<string>>();
  readonly #gone = new Set<string>();

  constructor(options: InProcessOptions = {}) {
    const { network = new InProcessNetwork() } = options;
    if (!(network instanceof InProcessNetwork)) throw invalid('InProcessBackplane network', 'an InProcessNetwork', network);
    this.limits = checkLimits('InProcessBackplane', options);
    this.#network = network;
    this.own = new OwnMembers(this.limits, () => network.nextVersion());
    this.channels = new CountedNames(this.limits.maxChannels);
    this.followed = new CountedNames(this.limits.maxRooms);
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
    for (const node of this.#network.subscribersOf(channel)) if (node !== this) this.#deliver(node, channel, bytes);
  }

  publishTo(nodeId: string, channel: string, bytes: Uint8Array): void {
    checkName('publishTo channel', channel);
    if (!this.#maySend(bytes)) return;
    const node = this.#network.nodes.get(nodeId);
    if (node !== undefined && node !== this) this.#deliver(node, channel, bytes);
  }

  subscribe(channel: string): boolean {
    checkName('subscribe channel', channel);
    if (this.#isClosed) return false;
    const added = this.channels.add(channel);
    if (added === 'first') this.#network.addSubscriber(channel, this);
    return this.#unless(added === 'refused');
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
    return this.#unless(added === 'refused');
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
    return this.#unless(set === 'refused');
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
    return !this.#isClosed && this.#unless(!this.own.register(clientId));
  }

  unregister(clientId: string): void {
    this.own.clients.delete(clientId);
  }

  async locate(clientId: string): Promise<string | undefined> {
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
      pendingBytes: this.#inboxBytes,
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
    this.#inbox = [];
    this.#inboxBytes = 0;
  }

  take(channel: string, bytes: Uint8Array, fromNode: string): boolean {
    if (!this.isUp) return true;
    if (this.#inbox.length >= this.limits.maxPendingMessages || this.#inboxBytes + bytes.length > this.limits.maxPendingBytes) {
      this.#overflow++;
      return false;
    }
    this.#inbox.push({ channel, bytes, fromNode });
    this.#inboxBytes += bytes.length;
    this.#schedule();
    return true;
  }

  onChanged(room: string, memberId: string): void {
    const changed = this.#changed.get(room);
    if (changed === undefined) this.#changed.set(room, new Set([memberId]));
    else changed.add(memberId);
    this.#schedule();
  }

  onGone(nodeId: string): void {
    this.#gone.add(nodeId);
    this.#schedule();
  }

  #maySend(bytes: Uint8Array): boolean {
    checkBytes('publish bytes', bytes);
    if (!this.isUp) {
      if (!this.#isClosed) this.#counters.dropped++;
      return false;
    }
    if (bytes.length <= this.limits.maxMessageBytes) {
      this.#counters.published++;
      return true;
    }
    this.#counters.tooLarge++;
    this.#sink?.onError(tooLarge(bytes, this.limits));
    return false;
  }

  #deliver(node: InProcessNode, channel: string, bytes: Uint8Array): void {
    if (!node.take(channel, bytes, this.nodeId)) this.#counters.dropped++;
  }

  #unless(isRefused: boolean): boolean {
    if (isRefused) this.#counters.refused++;
    return !isRefused;
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
    const inbox = this.#inbox;
    this.#inbox = [];
    this.#inboxBytes = 0;
    for (const { channel, bytes, fromNode } of inbox) {
      this.#counters.received++;
      sink.onMessage(channel, bytes, fromNode);
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
    for (const [room, memberIds] of rooms) {
      for (const memberId of memberIds) {
        if (!this.followed.has(room)) break;
        this.#tellMember(sink, room, memberId);
      }
    }
  }

  #tellMember(sink: GuardedSink, room: string, memberId: string): void {
    const now = this.#network.memberOf(room, memberId, this);
    const told = this.#told.get(room) ?? new Map<string, BackplaneMember>();
    const before = told.get(memberId);
    if (before?.nodeId === now?.nodeId && before?.state === now?.state) return;
    if (now === undefined) told.delete(memberId);
    else told.set(memberId, now);
    if (told.size > 0) this.#told.set(room, told);
    else this.#told.delete(room);
    sink.onMember(room, memberId, now?.state, now?.nodeId ?? before?.nodeId ?? '');
  }
}

interface Message {
  readonly channel: string;
  readonly bytes: Uint8Array;
  readonly fromNode: string;
}
