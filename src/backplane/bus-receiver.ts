import type { Clock } from '../base/clock.ts';
import { describeThrown, PeerError } from '../base/errors.ts';
import type { BackplaneLimits, BackplaneSink } from './backplane.ts';
import type { CountedNames } from './counted-names.ts';
import type { BackplaneCounters } from './counters.ts';
import { BEAT, entryBytes, FRAME, FrameReader, type FrameWriter, nodeTopic, QUERY, REPLY, type RoomEntry } from './frame.ts';
import type { NodeTable } from './node-table.ts';
import type { Outlet } from './outlet.ts';
import type { OwnMembers } from './own-members.ts';
import type { PresenceSync } from './presence-sync.ts';
import type { Questions } from './questions.ts';
import type { RemoteMembers } from './remote-members.ts';
import { UNKNOWN } from './sequences.ts';

/** Junk is told of once in so long, and counted always. */
const REPORT_EVERY_MS = 10_000;
/** A part of an answer has so many bytes of members. */
const REPLY_BYTES = 65_536;
/** Answers are not made while so much waits to be sent. */
const REPLY_PAUSE_BYTES = 262_144;
/** Answers under way; further questions are not answered, and counted. */
const MAX_ANSWERS = 64;

export interface BusReceiverSettings {
  readonly nodeId: string;
  readonly clock: Clock;
  readonly limits: BackplaneLimits;
  readonly write: FrameWriter;
  readonly counters: BackplaneCounters;
  readonly own: OwnMembers;
  readonly nodes: NodeTable;
  readonly remote: RemoteMembers;
  readonly channels: CountedNames;
  readonly questions: Questions;
  readonly sync: PresenceSync;
  readonly outlet: Outlet;
  readonly sink: () => BackplaneSink | undefined;
  readonly isOpen: () => boolean;
  /** An own beat came back. */
  readonly onEcho: () => void;
  readonly onNodeDown: (nodeId: string) => void;
}

/** What other nodes sent: checked, counted, and brought to where it belongs. */
export class BusReceiver {
  readonly #at: BusReceiverSettings;
  #answers = 0;
  #reportedAtMs = Number.NEGATIVE_INFINITY;

  constructor(settings: BusReceiverSettings) {
    this.#at = settings;
  }

  onBytes(topic: string, bytes: Uint8Array): void {
    try {
      const frame = new FrameReader(bytes);
      if (frame.nodeId === this.#at.nodeId) {
        if (frame.kind === FRAME.BEAT) this.#at.onEcho();
        return;
      }
      this.#onFrame(topic, frame);
    } catch (thrown) {
      this.#onJunk(thrown);
    }
  }

  #onFrame(topic: string, frame: FrameReader): void {
    const { kind } = frame;
    if (kind === FRAME.MESSAGE) this.#onMessage(topic, frame);
    else if (kind === FRAME.DIRECT) this.#onDirect(topic, frame);
    else if (kind === FRAME.MEMBER) this.#onMember(topic, frame);
    else if (kind === FRAME.BEAT) this.#onBeat(frame);
    else if (kind === FRAME.QUERY) this.#onQuery(frame);
    else if (kind === FRAME.REPLY) this.#onReply(frame);
    else throw new RangeError(`a frame of the unknown kind ${kind}`);
  }

  #onMessage(topic: string, frame: FrameReader): void {
    if (this.#accept(topic, frame)) this.#tell(topic.slice(2), frame);
  }

  #onDirect(topic: string, frame: FrameReader): void {
    if (this.#accept(topic, frame)) this.#tell(frame.name(), frame);
  }

  #tell(channel: string, frame: FrameReader): void {
    this.#at.counters.received++;
    this.#at.sink()?.onMessage(channel, frame.rest(), frame.nodeId);
  }

  #onMember(topic: string, frame: FrameReader): void {
    const room = topic.slice(2);
    if (!this.#accept(topic, frame)) return;
    const memberId = frame.name();
    const version = frame.version();
    const isThere = frame.uint8() === 1;
    this.#at.remote.apply(room, frame.nodeId, memberId, version, isThere ? frame.rest() : undefined);
  }

  #onBeat(frame: FrameReader): void {
    const { nodeId } = frame;
    const flags = frame.uint8();
    if ((flags & BEAT.BYE) !== 0) {
      if (this.#at.nodes.has(nodeId)) this.#at.onNodeDown(nodeId);
      return;
    }
    const heard = this.#hear(nodeId, (flags & BEAT.NEW) === 0);
    if (heard === 'full') return;
    while (!frame.isAtEnd) {
      const topic = frame.name();
      const position = frame.position();
      if (this.#isWanted(topic)) this.#onMissing(topic, nodeId, this.#at.nodes.reach(nodeId, topic, position));
    }
    if ((flags & BEAT.BACK) !== 0 && heard === 'known') this.#at.sync.all(nodeId);
    if ((flags & BEAT.ASKS) !== 0) this.#at.outlet.send(nodeTopic(nodeId), this.#at.write.beat(0, []));
  }

  /** Whoever is heard of is alive. One that may have members already is asked for them. */
  #hear(nodeId: string, mayHaveMembers: boolean): 'known' | 'new' | 'full' {
    const heard = this.#at.nodes.hear(nodeId, this.#at.clock.now());
    if (heard === 'full') this.#at.counters.refused++;
    if (heard === 'new' && mayHaveMembers) this.#at.sync.all(nodeId);
    return heard;
  }

  /** Whether the message is wanted and was not here before. */
  #accept(topic: string, frame: FrameReader): boolean {
    const position = frame.position();
    if (!this.#isWanted(topic) || this.#hear(frame.nodeId, true) === 'full') return false;
    const missing = this.#at.nodes.accept(frame.nodeId, topic, position);
    if (missing === -1) {
      this.#at.counters.repeated++;
      return false;
    }
    this.#onMissing(topic, frame.nodeId, missing);
    return true;
  }

  #isWanted(topic: string): boolean {
    if (topic.startsWith('c.')) return this.#at.channels.has(topic.slice(2));
    if (topic.startsWith('r.')) return this.#at.remote.has(topic.slice(2));
    return topic === nodeTopic(this.#at.nodeId);
  }

  #onMissing(topic: string, fromNode: string, count: number): void {
    if (count === 0) return;
    if (count !== UNKNOWN) this.#at.counters.missed += count;
    // What is missing of presence, or may be, can be read again; messages cannot.
    if (topic.startsWith('r.')) this.#at.sync.room(topic.slice(2));
    else if (count !== UNKNOWN)
      this.#at.sink()?.onGap({ reason: 'missing', count, fromNode, ...(topic.startsWith('c.') ? { channel: topic.slice(2) } : {}) });
  }

  #onQuery(frame: FrameReader): void {
    const query = frame.uint32();
    const what = frame.uint8();
    const name = frame.name();
    const topic = nodeTopic(frame.nodeId);
    if (what === QUERY.CLIENT) {
      const flags = REPLY.LAST | (this.#at.own.clients.has(name) ? REPLY.FOUND : 0);
      this.#at.outlet.send(topic, this.#at.write.reply(query, flags, []));
      return;
    }
    if (this.#answers >= MAX_ANSWERS) {
      this.#at.counters.refused++;
      return;
    }
    this.#answers++;
    const rooms = what === QUERY.ALL ? this.#at.own.rooms.keys() : [name].values();
    this.#answer(topic, query, this.#entriesOf(rooms));
  }

  /** In parts, and only as fast as they leave. */
  #answer(topic: string, query: number, entries: Iterator<RoomEntry>): void {
    while (this.#at.outlet.pendingBytes < REPLY_PAUSE_BYTES) {
      const part: RoomEntry[] = [];
      let bytes = 0;
      let next = entries.next();
      for (; next.done !== true; next = entries.next()) {
        part.push(next.value);
        bytes += entryBytes(next.value);
        if (bytes >= REPLY_BYTES) break;
      }
      const isLast = next.done === true;
      this.#at.outlet.send(topic, this.#at.write.reply(query, isLast ? REPLY.LAST : 0, part));
      if (isLast) {
        this.#answers--;
        return;
      }
    }
    if (!this.#at.isOpen()) this.#answers--;
    else this.#at.clock.after(10, () => this.#answer(topic, query, entries));
  }

  *#entriesOf(rooms: Iterator<string> & Iterable<string>): Generator<RoomEntry> {
    for (const room of rooms) for (const [memberId, member] of this.#at.own.of(room)) yield { room, memberId, ...member };
  }

  #onReply(frame: FrameReader): void {
    const query = frame.uint32();
    const flags = frame.uint8();
    const entries: RoomEntry[] = [];
    while (!frame.isAtEnd) entries.push(frame.entry());
    this.#at.questions.onReply(query, frame.nodeId, entries, (flags & REPLY.LAST) !== 0, (flags & REPLY.FOUND) !== 0);
  }

  #onJunk(thrown: unknown): void {
    this.#at.counters.malformed++;
    const now = this.#at.clock.now();
    if (now - this.#reportedAtMs < REPORT_EVERY_MS) return;
    this.#reportedAtMs = now;
    const text = `something else than portico writes to the topics of the backplane: ${describeThrown(thrown)}`;
    this.#at.sink()?.onError(new PeerError('PROTOCOL_VIOLATION', text, { cause: thrown, recoverable: true }));
  }
}
