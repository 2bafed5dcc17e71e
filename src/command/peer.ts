import { setMaxListeners } from 'node:events';
import { Attributes } from '../base/attributes.ts';
import { StateError } from '../base/errors.ts';
import { Client } from './client.ts';
import { type CommandMessage, Frame, HEADER_BYTES } from './command-handler.ts';
import type { HubContext } from './hub-context.ts';
import type { Disconnect } from './hub-options.ts';
import { IncomingCalls } from './incoming-calls.ts';
import type { CommandProfile, Link } from './link.ts';
import { OutgoingCalls } from './outgoing-calls.ts';
import { Replay } from './replay.ts';
import { COMMAND_ID, encodeSeq, isCounted, readUint32 } from './wire.ts';

/** What became of a message: `full` is taken too, but the queue is above its high-water mark; `kept` is for when the client comes back. */
export type Given = 'taken' | 'full' | 'kept' | 'lost';

/**
 * One client from the inside: what outlives its connections. Messages that come wait here for their handlers, so that their order holds
 * over a change of connection, and so that a handler which takes its time holds up neither heartbeats nor acknowledgements.
 */
export class Peer {
  readonly id: string;
  readonly hub: HubContext;
  readonly profile: CommandProfile;
  readonly attributes: Attributes = new Attributes();
  readonly replay: Replay<Frame> | undefined;
  readonly client: Client;
  link: Link | undefined;
  /** `connecting` until `onConnect` has settled. */
  state: 'connecting' | 'ready' | 'over' = 'connecting';
  token: string | undefined;
  /** Good until the client shows that it has the new one. */
  previousToken: string | undefined;
  /** The rooms it is in. */
  readonly rooms: Set<string> = new Set();
  /** When it is over, if it stays away. */
  deadlineMs = 0;
  /** How its last connection ended, while it is away. */
  lastEnd: Disconnect | undefined;
  /** It was away while what all clients keep was too much: it cannot resume, so that nothing is kept for it. */
  isForgotten = false;
  #waiting: CommandMessage[] = [];
  #front = 0;
  #waitingBytes = 0;
  #running = 0;
  #onSettled: (() => void) | undefined;
  #incoming: IncomingCalls | undefined;
  #outgoing: OutgoingCalls | undefined;
  #controller: AbortController | undefined;
  #forgottenBefore = 0;

  constructor(id: string, hub: HubContext, profile: CommandProfile) {
    const { maxRetainedMessages, maxRetainedBytes, retentionMs } = hub.settings;
    this.id = id;
    this.hub = hub;
    this.profile = profile;
    this.client = new Client(this);
    if (profile === 'native') {
      const messages = retentionMs === 0 ? 0 : maxRetainedMessages;
      this.replay = new Replay({ messages, bytes: maxRetainedBytes, ageMs: retentionMs }, hub.retention);
    }
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      // Everything that is done for the client may depend on it.
      setMaxListeners(0, this.#controller.signal);
      if (this.state === 'over') this.#controller.abort(clientOver());
    }
    return this.#controller.signal;
  }

  // --- sending ---

  /** False: over, or above the high-water mark. */
  send(message: CommandMessage): boolean {
    const given = this.give(message);
    return given === 'taken' || given === 'kept';
  }

  /** Counted messages are kept until the client has them, whether it is there or not. */
  give(message: CommandMessage, isShared = false, nowMs?: number): Given {
    if (this.state === 'over') return 'lost';
    const { replay, link } = this;
    const isKept = replay !== undefined && !this.isForgotten && isCounted(message.id);
    const encoded = isKept ? this.#keep(replay, message, nowMs) : message;
    // Once it is closing, the connection takes nothing; the client gets it from what is kept.
    if (link !== undefined && link.phase === 'open') {
      const isBelowMark = link.send(encoded, isShared);
      if (isBelowMark !== undefined) return isBelowMark ? 'taken' : 'full';
      // A message is missing now, and the numbers of all that follow would be wrong: only a new connection mends that.
      if (replay !== undefined && isCounted(message.id) && !link.session.isClosed) link.lose();
    }
    if (replay !== undefined && replay.keptMessages > 0) return 'kept';
    this.hub.counters.unsent++;
    return 'lost';
  }

  /** Only when the client is there and takes it at once. */
  sendVolatile(message: CommandMessage, isShared = false): boolean {
    const { link } = this;
    if (this.state !== 'over' && link?.phase === 'open' && link.isWritable && link.send(message, isShared) !== undefined) return true;
    this.hub.counters.volatileDropped++;
    return false;
  }

  #keep(replay: Replay<Frame>, message: CommandMessage, nowMs = this.hub.wheel.now()): Frame {
    const { retention, counters } = this.hub;
    const frame = message instanceof Frame ? message : Frame.of(message.id, message.payload);
    replay.sent(frame, nowMs);
    if (retention.isOver) {
      counters.retentionCuts++;
      retention.cut(this);
    }
    if (replay.forgotten !== this.#forgottenBefore) this.#countForgotten(replay);
    return frame;
  }

  #countForgotten(replay: Replay<Frame>): void {
    if (this.hub.settings.retentionMs > 0) this.hub.counters.forgotten += replay.forgotten - this.#forgottenBefore;
    this.#forgottenBefore = replay.forgotten;
  }

  /** While it is away: it cannot resume any more. */
  forgetAll(): void {
    const { replay } = this;
    if (replay === undefined) return;
    this.isForgotten = true;
    while (replay.keptMessages > 0) replay.forgetOldest();
    this.#countForgotten(replay);
  }

  sendAck(): void {
    const { replay, link } = this;
    if (replay !== undefined && link?.phase === 'open') link.sendControl(encodeSeq(COMMAND_ID.ACK, replay.takeAck()));
  }

  /** On a new connection, behind WELCOME. */
  repeat(): void {
    const { replay, link } = this;
    if (replay === undefined || link === undefined) return;
    link.sendControl(encodeSeq(COMMAND_ID.SEQ, replay.oldestSeq));
    for (const frame of replay.pending()) {
      if (link.send(frame) === undefined) {
        link.lose();
        return;
      }
    }
  }

  /** Whether streams may go on: the client is there, keeps up, and there is room for what it has not acknowledged. */
  get canStream(): boolean {
    const { replay, link } = this;
    if (this.state === 'over' || link === undefined || link.phase !== 'open' || !link.isWritable) return false;
    const { retentionMs, maxRetainedMessages, maxRetainedBytes } = this.hub.settings;
    if (replay === undefined || retentionMs === 0) return true;
    return replay.keptMessages * 2 <= maxRetainedMessages && replay.keptBytes * 2 <= maxRetainedBytes;
  }

  /** `canStream` may have changed. */
  wake(): void {
    this.#incoming?.wake();
  }

  // --- receiving ---

  get isBusy(): boolean {
    return this.#running > 0 || this.#front < this.#waiting.length || (this.#incoming?.size ?? 0) > 0;
  }

  /** A message for handlers; in order, the next one after the promise of the one before. */
  receive(message: CommandMessage): void {
    if (this.state === 'over') return;
    const { settings } = this.hub;
    if (this.state === 'ready' && this.#running < settings.concurrentMessages && this.#front === this.#waiting.length) {
      this.#run(message);
      return;
    }
    this.#waiting.push(message);
    this.#waitingBytes += message.payload.length + HEADER_BYTES;
    if (this.link !== undefined && !this.link.isPaused && this.#isFull(1)) {
      this.hub.counters.pauses++;
      this.link.pause();
    }
  }

  /** A connection that comes while too much waits is not read either. */
  attached(link: Link): void {
    this.link = link;
    if (this.#isFull(1)) link.pause();
  }

  #isFull(part: number): boolean {
    const { maxWaitingMessages, maxWaitingBytes } = this.hub.settings;
    return this.#waiting.length - this.#front >= maxWaitingMessages * part || this.#waitingBytes >= maxWaitingBytes * part;
  }

  #run({ id, payload }: CommandMessage): void {
    const pending = this.hub.dispatch(this, id, payload);
    if (pending === undefined) return;
    this.#running++;
    this.#onSettled ??= () => {
      this.#running--;
      this.runWaiting();
    };
    void pending.then(this.#onSettled);
  }

  /** Goes on with what waits. */
  runWaiting(): void {
    const { concurrentMessages } = this.hub.settings;
    while (this.state === 'ready' && this.#running < concurrentMessages) {
      const next = this.#takeWaiting();
      if (next === undefined) break;
      this.#run(next);
    }
    if (this.link?.isPaused === true && !this.#isFull(0.5)) this.link.unpause();
    if (!this.isBusy) this.hub.onIdle();
  }

  #takeWaiting(): CommandMessage | undefined {
    const next = this.#waiting[this.#front];
    if (next === undefined) return undefined;
    this.#front++;
    this.#waitingBytes -= next.payload.length + HEADER_BYTES;
    if (this.#front === this.#waiting.length) this.#dropWaiting();
    return next;
  }

  #dropWaiting(): void {
    this.#waiting = [];
    this.#front = 0;
    this.#waitingBytes = 0;
  }

  // --- calls ---

  get incoming(): IncomingCalls {
    this.#incoming ??= new IncomingCalls(this);
    return this.#incoming;
  }

  get outgoing(): OutgoingCalls {
    this.#outgoing ??= new OutgoingCalls(this);
    return this.#outgoing;
  }

  /** The caller wants no answer any more; the call may run already, or wait. */
  cancel(call: number): void {
    const at = this.#waiting.findIndex(
      (message, index) => index >= this.#front && message.id === COMMAND_ID.CALL && readUint32(message.payload, 0) === call,
    );
    const [removed] = at === -1 ? [] : this.#waiting.splice(at, 1);
    if (removed === undefined) {
      this.#incoming?.cancel(call);
      return;
    }
    this.#waitingBytes -= removed.payload.length + HEADER_BYTES;
    this.incoming.replyAborted(call);
  }

  credit(call: number, items: number): void {
    const waiting = this.#waiting.some(
      ({ id, payload }, index) => index >= this.#front && id === COMMAND_ID.CALL && readUint32(payload, 0) === call,
    );
    // The call has not begun: what it may send is remembered for it.
    if (waiting) this.incoming.creditEarly(call, items);
    else this.#incoming?.credit(call, items);
  }

  // --- ending ---

  /** Once; what is done for the client ends. */
  over(): void {
    this.state = 'over';
    this.#dropWaiting();
    this.replay?.clear();
    const reason = clientOver();
    this.#outgoing?.end(reason);
    this.#incoming?.end(reason);
    this.#controller?.abort(reason);
  }
}

export function clientOver(): StateError {
  return new StateError('SESSION_CLOSED', 'the client is over');
}
