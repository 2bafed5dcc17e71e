import { Replay, type ReplayLimits } from '../command/replay.ts';
import { COMMAND_ID, encodeJson, encodeMessage, FIRST_RESERVED_ID, type Hello, readUint32, type Welcome } from '../command/wire.ts';
import type { DroppedMessage } from './client-events.ts';

/** What outlives a connection in the native profile: the token, and what must be repeated when it is shown. */
export class NativeSession {
  readonly #limits: ReplayLimits;
  readonly #onDropped: (frame: Uint8Array, reason: DroppedMessage['reason']) => void;
  #token: string | undefined;
  #replay: Replay<Uint8Array>;

  constructor(limits: ReplayLimits, onDropped: (frame: Uint8Array, reason: DroppedMessage['reason']) => void) {
    this.#limits = limits;
    this.#onDropped = onDropped;
    this.#replay = new Replay(limits);
  }

  get replay(): Replay<Uint8Array> {
    return this.#replay;
  }

  /** There is something to resume: what is open may still be answered. */
  get canResume(): boolean {
    return this.#token !== undefined;
  }

  hello(auth: unknown, rooms: Hello['rooms'], nowMs: number): Uint8Array {
    const token = this.#token;
    this.#replay.forgetOld(nowMs);
    const received = token && this.#replay.receivedSeq;
    const oldest = token && this.#replay.oldestSeq;
    // JSON leaves out what is undefined.
    return encodeMessage(COMMAND_ID.HELLO, encodeJson({ v: 1, token, received, oldest, auth, rooms: rooms?.length ? rooms : undefined }));
  }

  /** What is to be repeated; undefined when this side cannot, which the server should have known. */
  welcome({ token, recovered, received }: Welcome): readonly Uint8Array[] | undefined {
    const isResumed = recovered && this.#token !== undefined;
    if (!isResumed) this.forget('lost');
    this.#token = token;
    if (!isResumed) return [];
    if (!this.#replay.acknowledged(received) || !this.#replay.canRepeatAfter(received)) return undefined;
    this.#replay.resumed();
    return [...this.#replay.pending()];
  }

  /** The session is over: what the server did not confirm is told, except what belongs to calls, which fail. */
  forget(reason: DroppedMessage['reason']): void {
    const pending = [...this.#replay.pending()];
    this.#token = undefined;
    this.#replay = new Replay(this.#limits);
    for (const frame of pending) if (isMessage(readUint32(frame, 0))) this.#onDropped(frame, reason);
  }
}

/** What users send, in contrast to what belongs to a call. */
function isMessage(id: number): boolean {
  return id < FIRST_RESERVED_ID || id === COMMAND_ID.ROOM;
}
