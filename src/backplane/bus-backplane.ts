import { randomBytes } from 'node:crypto';
import { type PorticoError, StateError } from '../base/errors.ts';
import { after, type Wheel, WheelTimer, wheelOf } from '../base/wheel.ts';
import type { Backplane, BackplaneLimits, BackplaneMember, BackplaneSink, BackplaneStats } from './backplane.ts';
import type { Bus, BusSink } from './bus.ts';
import { type BusBackplaneOptions, type BusBackplaneSettings, checkBusOptions } from './bus-options.ts';
import { BusReceiver } from './bus-receiver.ts';
import { checkBytes, checkName, checkSink, fits } from './checks.ts';
import { CountedNames } from './counted-names.ts';
import { BackplaneCounters } from './counters.ts';
import { BEAT, channelTopic, FrameWriter, NODES_TOPIC, nodeTopic, roomTopic } from './frame.ts';
import { GuardedSink } from './guarded-sink.ts';
import { LinkWatch } from './link-watch.ts';
import { NodeTable } from './node-table.ts';
import { Outlet } from './outlet.ts';
import { OwnMembers } from './own-members.ts';
import { PresenceSync } from './presence-sync.ts';
import { Questions } from './questions.ts';
import { RemoteMembers } from './remote-members.ts';

/** How long `close` waits for the server to hear of it. */
const BYE_TIMEOUT_MS = 1_000;

/** A backplane over anything that can publish and subscribe. */
export class BusBackplane implements Backplane, BusSink {
  readonly nodeId: string = randomBytes(12).toString('base64url');
  readonly #limits: BackplaneLimits;
  readonly #settings: BusBackplaneSettings;
  readonly #bus: Bus;
  readonly #wheel: Wheel;
  readonly #beatTimer: WheelTimer;
  readonly #watch: LinkWatch;

  readonly #write: FrameWriter;
  readonly #outlet: Outlet;
  readonly #counters = new BackplaneCounters();
  readonly #own: OwnMembers;
  readonly #nodes: NodeTable;
  readonly #remote: RemoteMembers;
  readonly #channels: CountedNames;
  readonly #followed: CountedNames;
  readonly #questions: Questions;
  readonly #sync: PresenceSync;
  readonly #receiver: BusReceiver;

  #sink: GuardedSink | undefined;
  #state: 'idle' | 'opening' | 'open' | 'closed' = 'idle';
  #lastVersion = 0;
  #rewriting: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(name: string, bus: Bus, options: BusBackplaneOptions = {}) {
    const settings = checkBusOptions(name, options);
    const { clock, limits, queryTimeoutMs, maxQuestions } = settings;
    this.#settings = settings;
    this.#limits = limits;
    this.#bus = bus;
    this.#wheel = wheelOf(clock);
    this.#beatTimer = new WheelTimer({ onTimer: () => this.#onBeatTimer() });
    this.#watch = new LinkWatch(settings);

    const { maxMembersPerRoom } = limits;
    const counters = this.#counters;
    this.#channels = new CountedNames(limits.maxChannels);
    this.#followed = new CountedNames(limits.maxRooms);
    const write = new FrameWriter(this.nodeId);
    const parts = {
      nodeId: this.nodeId,
      clock,
      limits,
      counters,
      write,
      outlet: new Outlet(bus, write, limits, counters, (gap) => this.#sink?.onGap(gap)),
      own: new OwnMembers(limits, () => this.#nextVersion()),
      nodes: new NodeTable(limits.maxNodes),
      remote: new RemoteMembers(() => this.#sink, counters, maxMembersPerRoom),
      channels: this.#channels,
      questions: new Questions({ wheel: this.#wheel, timeoutMs: queryTimeoutMs, maxOpen: maxQuestions, maxMembersPerRoom, counters }),
    };
    const { outlet, own, nodes, remote, questions } = parts;
    [this.#write, this.#outlet, this.#own] = [write, outlet, own];
    [this.#nodes, this.#remote, this.#questions] = [nodes, remote, questions];
    this.#sync = new PresenceSync({
      ...parts,
      maxReads: maxQuestions,
      directory: bus.directory,
      subscribed: () => bus.flush(),
      send: (query, what, about, toNode) =>
        outlet.send(toNode === undefined ? NODES_TOPIC : nodeTopic(toNode), write.query(query, what, about)),
    });
    this.#receiver = new BusReceiver({
      ...parts,
      sync: this.#sync,
      sink: () => this.#sink,
      isOpen: () => this.#state === 'open',
      onEcho: () => this.#onEcho(),
      onNodeDown: (nodeId) => this.#onNodeDown(nodeId),
    });
  }

  get isUp(): boolean {
    return this.#outlet.isUp;
  }

  async open(sink: BackplaneSink): Promise<void> {
    checkSink(sink);
    if (this.#state !== 'idle') throw new StateError('WRONG_STATE', 'open: expected a backplane that was not opened before');
    this.#state = 'opening';
    this.#sink = new GuardedSink(sink);
    try {
      await this.#bus.open(this);
    } catch (thrown) {
      await this.close();
      throw thrown;
    }
    this.#checkStillOpen();
    this.#state = 'open';
    this.#outlet.isUp = true;
    this.#watch.restart();
    for (const topic of this.#topics()) this.#bus.subscribe(topic);
    await this.#bus.flush();
    this.#checkStillOpen();
    const hadMembers = this.#own.size > 0;
    await this.#rewrite();
    this.#checkStillOpen();
    this.#bus.publish(NODES_TOPIC, this.#write.beat((hadMembers ? BEAT.BACK : BEAT.NEW) | BEAT.ASKS, []));
    this.#wheel.arm(this.#beatTimer, this.#settings.beatMs);
    await this.#bus.flush();
    const { joinWaitMs } = this.#settings;
    if (this.#bus.directory === undefined && joinWaitMs > 0) await this.#wait(joinWaitMs);
    this.#checkStillOpen();
    this.#sync.all();
  }

  publish(channel: string, bytes: Uint8Array): void {
    checkName('publish channel', channel);
    if (this.#maySend(bytes)) this.#outlet.message(channel, bytes);
  }

  publishTo(nodeId: string, channel: string, bytes: Uint8Array): void {
    checkName('publishTo channel', channel);
    if (this.#maySend(bytes) && nodeId !== this.nodeId) this.#outlet.direct(nodeId, channel, bytes);
  }

  subscribe(channel: string): boolean {
    checkName('subscribe channel', channel);
    if (this.#isClosed()) return false;
    const added = this.#channels.add(channel);
    if (added === 'first' && this.#state === 'open') this.#bus.subscribe(channelTopic(channel));
    return this.#counters.unless(added === 'refused');
  }

  unsubscribe(channel: string): void {
    if (this.#channels.remove(channel)) this.#leave(channelTopic(channel));
  }

  follow(room: string): boolean {
    checkName('follow room', room);
    if (this.#isClosed()) return false;
    const added = this.#followed.add(room);
    if (added === 'first') {
      this.#remote.follow(room);
      if (this.#state === 'open') {
        this.#bus.subscribe(roomTopic(room));
        this.#sync.room(room);
      }
    }
    return this.#counters.unless(added === 'refused');
  }

  unfollow(room: string): void {
    if (!this.#followed.remove(room)) return;
    this.#remote.unfollow(room);
    this.#leave(roomTopic(room));
  }

  setMember(room: string, memberId: string, state: Uint8Array): boolean {
    checkName('setMember room', room);
    checkName('setMember memberId', memberId);
    checkBytes('setMember state', state);
    if (this.#isClosed()) return false;
    const set = this.#own.set(room, memberId, state);
    if (typeof set === 'object') {
      this.#bus.directory?.setMember(room, memberId, set.version, state);
      if (this.#state === 'open') this.#outlet.member(room, memberId, set.version, state);
    }
    return this.#counters.unless(set === 'refused');
  }

  removeMember(room: string, memberId: string): void {
    const version = this.#own.remove(room, memberId);
    if (version === undefined) return;
    this.#bus.directory?.removeMember(room, memberId);
    if (this.#state === 'open') this.#outlet.member(room, memberId, version, undefined);
  }

  async members(room: string): Promise<ReadonlyMap<string, BackplaneMember>> {
    checkName('members room', room);
    if (this.#isClosed()) return new Map<string, BackplaneMember>();
    const found: Map<string, BackplaneMember & { readonly version?: number }> = this.isUp
      ? await this.#sync.members(room)
      : this.#remote.of(room);
    for (const [memberId, { state, version }] of this.#own.of(room)) {
      if (version >= (found.get(memberId)?.version ?? 0)) found.set(memberId, { nodeId: this.nodeId, state });
    }
    return found;
  }

  register(clientId: string): boolean {
    checkName('register clientId', clientId);
    if (this.#isClosed()) return false;
    const isNew = !this.#own.clients.has(clientId);
    const isRegistered = this.#own.register(clientId);
    if (isNew && isRegistered) this.#bus.directory?.register(clientId);
    return this.#counters.unless(!isRegistered);
  }

  unregister(clientId: string): void {
    if (this.#own.clients.delete(clientId)) this.#bus.directory?.unregister(clientId);
  }

  async locate(clientId: string): Promise<string | undefined> {
    checkName('locate clientId', clientId);
    if (this.#own.clients.has(clientId)) return this.nodeId;
    return this.isUp ? this.#sync.locate(clientId) : undefined;
  }

  nodes(): readonly string[] {
    return [...this.#nodes.ids];
  }

  stats(): BackplaneStats {
    return {
      ...this.#counters,
      deferred: this.#bus.directory?.deferred ?? 0,
      pendingBytes: this.#outlet.pendingBytes,
      nodes: this.#nodes.size,
      channels: this.#channels.size,
      rooms: this.#own.rooms.size,
      members: this.#own.size,
      clients: this.#own.clients.size,
    };
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  onBytes(topic: string, bytes: Uint8Array): void {
    if (this.#state !== 'open') return;
    this.#watch.onTraffic();
    this.#receiver.onBytes(topic, bytes);
  }

  onUp(): void {
    if (this.#state === 'open' && !this.isUp) this.#comeBack();
  }

  onDown(error: PorticoError): void {
    if (!this.isUp) return;
    this.#outlet.isUp = false;
    this.#sink?.onError(error);
    this.#counters.disconnects++;
  }

  onDrain(): void {
    if (this.isUp) this.#outlet.flush();
  }

  onError(error: PorticoError): void {
    if (!this.#isClosed()) this.#sink?.onError(error);
  }

  async #end(): Promise<void> {
    const wasUp = this.isUp;
    this.#state = 'closed';
    this.#sink?.end();
    this.#beatTimer.cancel();
    this.#questions.clear();
    this.#outlet.close();
    if (wasUp) {
      // A server that has frozen does not keep anybody from closing.
      await Promise.race([this.#sayBye(), this.#wait(BYE_TIMEOUT_MS)]);
    }
    for (const table of [this.#nodes, this.#remote, this.#sync, this.#own, this.#channels, this.#followed]) table.clear();
    await this.#bus.close();
  }

  async #sayBye(): Promise<void> {
    this.#bus.publish(NODES_TOPIC, this.#write.beat(BEAT.BYE, []));
    // One that is under way would write again what is taken out here.
    await this.#rewriting;
    await this.#bus.directory?.rewrite([], [], 0);
    await this.#bus.flush();
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => after(this.#wheel, ms, resolve));
  }

  #checkStillOpen(): void {
    if (this.#isClosed()) throw new StateError('WRONG_STATE', 'open: the backplane was closed meanwhile');
  }

  /** A method, because a comparison in place would make the compiler believe that it stays so. */
  #isClosed(): boolean {
    return this.#state === 'closed';
  }

  *#topics(): Iterable<string> {
    yield NODES_TOPIC;
    yield nodeTopic(this.nodeId);
    for (const channel of this.#channels) yield channelTopic(channel);
    for (const room of this.#followed) yield roomTopic(room);
  }

  #maySend(bytes: Uint8Array): boolean {
    checkBytes('publish bytes', bytes);
    if (this.#state !== 'open' || this.#sink === undefined) {
      if (!this.#isClosed()) this.#counters.dropped++;
      return false;
    }
    return fits(bytes, this.#limits, this.#counters, this.#sink);
  }

  #leave(topic: string): void {
    this.#nodes.forgetTopic(topic);
    if (this.#state === 'open') this.#bus.unsubscribe(topic);
  }

  /** Rises always, and across nodes follows their clocks: of two nodes with the same member the later one counts. */
  #nextVersion(): number {
    this.#lastVersion = Math.max(this.#lastVersion + 1, Date.now());
    return this.#lastVersion;
  }

  #onBeatTimer(): void {
    this.#wheel.arm(this.#beatTimer, this.#settings.beatMs);
    const late = this.#watch.tick();
    if (late > 0) this.#nodes.forgive(late);
    const { leaseMs, beatMs, clock } = this.#settings;
    for (const nodeId of this.#nodes.expire(clock.now() - leaseMs + beatMs)) this.#onNodeDown(nodeId);
    if (this.isUp && this.#watch.isSilent) {
      this.onDown(this.#watch.silence());
      this.#bus.restart();
    }
    // A frozen server that wakes up answers these.
    this.#bus.publish(NODES_TOPIC, this.#write.beat(0, this.#outlet.positions()));
    if (!this.isUp) return;
    this.#sync.onBeat();
    void this.#renew();
  }

  async #renew(): Promise<void> {
    const isThere = await this.#bus.directory?.renew(this.#settings.directoryLeaseMs);
    if (isThere !== false || !this.isUp) return;
    await this.#rewrite();
    this.#tellBack();
  }

  #onEcho(): void {
    this.#watch.onEcho();
    if (!this.isUp && this.#state === 'open') this.#comeBack();
  }

  #comeBack(): void {
    this.#outlet.isUp = true;
    this.#watch.restart();
    this.#outlet.flush();
    this.#sink?.onGap({ reason: 'disconnected', count: undefined });
    void this.#rewrite().then(() => {
      this.#tellBack();
      if (this.isUp) this.#sync.all();
    });
  }

  /** The others read anew what members this node has. */
  #tellBack(): void {
    if (this.isUp) this.#bus.publish(NODES_TOPIC, this.#write.beat(BEAT.BACK | BEAT.ASKS, []));
  }

  /** One at a time; who asks meanwhile gets the one under way, which may have read the members already: then the next beat sees to it. */
  #rewrite(): Promise<void> {
    const { directory } = this.#bus;
    if (directory === undefined) return Promise.resolve();
    this.#rewriting ??= directory.rewrite(this.#own.entries(), this.#own.clients, this.#settings.directoryLeaseMs).finally(() => {
      this.#rewriting = undefined;
    });
    return this.#rewriting;
  }

  #onNodeDown(nodeId: string): void {
    this.#nodes.remove(nodeId);
    this.#remote.removeNode(nodeId);
    this.#questions.onNodeDown(nodeId);
    void this.#bus.directory?.forget(nodeId);
    this.#sink?.onNodeDown(nodeId);
  }
}
