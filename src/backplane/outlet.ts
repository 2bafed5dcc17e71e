import type { BackplaneGap, BackplaneLimits } from './backplane.ts';
import { BoundedQueue } from './bounded-queue.ts';
import type { Bus } from './bus.ts';
import type { BackplaneCounters } from './counters.ts';
import { channelTopic, type FrameWriter, isOfUser, nodeTopic, type Position, roomTopic } from './frame.ts';
import { SentSequences } from './sequences.ts';

interface Frame {
  readonly topic: string;
  readonly bytes: Uint8Array;
}

/** Where frames are numbered and leave: at once when the bus takes them, else in their order when it does again. */
export class Outlet {
  /** Whether there is a server to send to. */
  isUp = false;
  readonly #bus: Bus;
  readonly #write: FrameWriter;
  readonly #sent: SentSequences;
  readonly #queue: BoundedQueue<Frame>;
  readonly #counters: BackplaneCounters;
  readonly #onGap: (gap: BackplaneGap) => void;
  #overflow = 0;
  #isClosed = false;

  constructor(bus: Bus, write: FrameWriter, limits: BackplaneLimits, counters: BackplaneCounters, onGap: (gap: BackplaneGap) => void) {
    this.#bus = bus;
    this.#write = write;
    this.#sent = new SentSequences(limits.maxChannels);
    this.#counters = counters;
    this.#onGap = onGap;
    this.#queue = new BoundedQueue(limits, () => {
      this.#overflow++;
      counters.dropped++;
    });
  }

  get pendingBytes(): number {
    return this.#queue.bytes;
  }

  message(channel: string, bytes: Uint8Array): void {
    const topic = channelTopic(channel);
    this.send(topic, this.#write.message(this.#sent.next(topic), bytes));
  }

  direct(nodeId: string, channel: string, bytes: Uint8Array): void {
    const topic = nodeTopic(nodeId);
    this.send(topic, this.#write.direct(this.#sent.next(topic), channel, bytes));
  }

  member(room: string, memberId: string, version: number, state: Uint8Array | undefined): void {
    const topic = roomTopic(room);
    this.send(topic, this.#write.member(this.#sent.next(topic), memberId, version, state));
  }

  /** What a beat tells of; nothing while what it would tell of still waits here. */
  positions(): readonly (readonly [string, Position])[] {
    return this.isUp && this.#queue.length === 0 ? this.#sent.forBeat() : [];
  }

  send(topic: string, bytes: Uint8Array): void {
    if (this.#isClosed) return;
    if (this.isUp && this.#queue.length === 0 && this.#take(topic, bytes)) return;
    this.#queue.push({ topic, bytes });
  }

  flush(): void {
    for (let next = this.#queue.first; next !== undefined && this.#take(next.topic, next.bytes); next = this.#queue.first) {
      this.#queue.shift();
    }
    if (this.#overflow === 0 || this.#queue.length > 0) return;
    const count = this.#overflow;
    this.#overflow = 0;
    this.#onGap({ reason: 'overflow', count });
  }

  close(): void {
    this.isUp = false;
    this.#isClosed = true;
    this.#queue.clear();
  }

  #take(topic: string, frame: Uint8Array): boolean {
    if (!this.#bus.publish(topic, frame)) return false;
    if (isOfUser(frame)) this.#counters.published++;
    return true;
  }
}
