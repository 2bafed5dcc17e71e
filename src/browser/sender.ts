import { StateError } from '../base/errors.ts';
import { distance, HALF, nextSeq } from '../command/replay.ts';
import { encodeMessage, encodeNumbers, readUint32, SEQ_ID, VOLATILE_ID } from '../command/wire.ts';
import type { ClientEvents, DroppedMessage } from './client-events.ts';
import type { Settings } from './client-options.ts';
import type { WebSocketLike } from './environment.ts';

/** What the client does with messages that cannot leave now. */
export interface BufferSettings {
  /** At most so many messages. 0: off, each is dropped at once. Default 256. */
  readonly messages: number;
  /** At most so many bytes, ids included. Default 1 MiB. */
  readonly bytes: number;
  /** Messages older than this are dropped instead of sent. Default 120 000. */
  readonly ageMs: number;
  /** Which message goes when it is full; `reject`: `send` throws SEND_QUEUE_FULL. Default `drop-oldest`. */
  readonly policy: 'drop-oldest' | 'drop-newest' | 'reject';
}

/**
 * `message`: what users send; the settings of the buffer hold for these. `call`, `credit`: a call, and what it allows a stream to send first;
 * bounded by the number of open calls. `answer`: belongs to a call of this session and goes with it.
 */
export type FrameKind = 'message' | 'call' | 'credit' | 'answer';

/** One message that waits, or has left and is not confirmed. */
interface Entry {
  readonly frame: Uint8Array;
  readonly kind: FrameKind;
  /** When it came, later when it left. */
  at: number;
  /** Of kind `call` and `credit`. */
  readonly call: number | undefined;
}

/**
 * Where a message goes: into the socket, into the buffer, or nowhere, which is told. One queue has them all, in order: first those that have left and
 * are numbered, until the server confirms them, then those that wait.
 */
export interface Sender {
  /** Takes a message. False when it was dropped. Throws ENCODED_TOO_LARGE, and SEND_QUEUE_FULL when the policy is to reject. */
  give(frame: Uint8Array, kind: FrameKind, call?: number): boolean;
  /** Sends a message now, or drops it. */
  sendVolatile(frame: Uint8Array): boolean;
  drop(frame: Uint8Array, reason: DroppedMessage['reason']): void;
  /** Whether this call has not left yet. */
  isWaiting(call: number): boolean;
  /** Takes a call back; false when it has left already. */
  takeBack(call: number): boolean;
  /** The session that these answers belong to is over. */
  dropAnswers(): void;
  /** Sends what waits, as far as the socket takes it. */
  flush(): void;
  /** Whether to go slower; if so, `drain` is told. */
  isAbove(): boolean;
  bytes(): number;
  /** Larger messages are refused from now on. */
  limit(maxPayloadBytes: number): void;
  /** The number of the oldest message that could be repeated; with none, that of the next one. */
  oldestSeq(): number;
  /** The server has everything up to this number. False: it cannot have. */
  acknowledged(seq: number): boolean;
  /** Sends what the server, which has everything up to this number, lacks. False: that is not kept any more. */
  repeatAfter(seq: number, socket: WebSocketLike): boolean;
  /** The session is over: what was not confirmed is told as lost, except what belongs to calls, which fail. */
  forget(): void;
  /** It is over: what waits is dropped. */
  stop(): void;
  stats(): { readonly messagesSent: number; readonly dropped: number; readonly waiting: number; readonly unconfirmed: number };
}

/** How often a socket is asked whether it has written. */
export const POLL_MS = 50;

/**
 * @param openSocket - the open socket, if there is one that takes messages.
 * @param onTooLarge - a call became too large while it waited: the server takes less than the one before.
 */
export function makeSender(
  settings: Settings,
  openSocket: () => WebSocketLike | undefined,
  emit: <Name extends 'dropped' | 'drain'>(name: Name, ...args: ClientEvents[Name]) => void,
  onTooLarge: (call: number, error: StateError) => void,
): Sender {
  const { buffer, clock, highWaterMarkBytes, replay, isNative } = settings;
  let maxPayloadBytes = settings.maxPayloadBytes;
  const queue: Entry[] = [];
  /** How many at the front have left, their bytes, and the number of the last. */
  let unconfirmed = 0;
  let unconfirmedBytes = 0;
  let lastSeq = 0;
  /** Of kind `message`, and waiting. */
  let messages = 0;
  let messageBytes = 0;
  /** Of all that wait. */
  let waitingBytes = 0;
  let messagesSent = 0;
  let dropped = 0;
  let isFull = false;
  let isFlushing = false;
  let cancelPoll: (() => void) | undefined;

  function drop(frame: Uint8Array, reason: DroppedMessage['reason']): void {
    dropped++;
    emit('dropped', { id: readUint32(frame, 0), payload: frame.subarray(4), reason });
  }

  function dropAll(entries: readonly Entry[], reason: DroppedMessage['reason']): void {
    for (const { kind, frame } of entries) if (kind === 'message') drop(frame, reason);
  }

  // --- what waits ---

  function count({ frame: { length }, kind }: Entry, sign: 1 | -1): void {
    waitingBytes += sign * length;
    if (kind !== 'message') return;
    messages += sign;
    messageBytes += sign * length;
  }

  function remove(isIt: (one: Entry) => boolean): Entry[] {
    const removed: Entry[] = [];
    for (const one of queue.splice(unconfirmed)) (isIt(one) ? removed : queue).push(one);
    for (const one of removed) count(one, -1);
    return removed;
  }

  function dropOld(): void {
    const oldest = clock.now() - buffer.ageMs;
    if ((queue[unconfirmed]?.at ?? oldest) < oldest)
      dropAll(
        remove(({ kind, at }) => kind === 'message' && at < oldest),
        'age',
      );
  }

  function makeRoom({ length }: Uint8Array): boolean {
    dropOld();
    const isOver = (): boolean => messages >= buffer.messages || messageBytes + length > buffer.bytes;
    if (buffer.policy === 'drop-oldest' && length <= buffer.bytes) {
      while (isOver() && messages > 0) {
        const oldest = queue.find(({ kind }, index) => index >= unconfirmed && kind === 'message');
        dropAll(
          remove((one) => one === oldest),
          'full',
        );
      }
    }
    return !isOver();
  }

  // --- what has left ---

  /** Takes the oldest out that have left. */
  function confirm(messagesConfirmed: number): Entry[] {
    const confirmed = queue.splice(0, messagesConfirmed);
    unconfirmed -= confirmed.length;
    for (const { frame } of confirmed) unconfirmedBytes -= frame.length;
    return confirmed;
  }

  /** What is kept for too long, or too much, is forgotten: the session cannot be resumed past it. */
  function forgetOld(): void {
    const isOver = (): boolean =>
      unconfirmed > replay.messages || unconfirmedBytes > replay.bytes || clock.now() - (queue[0]?.at ?? 0) > replay.ageMs;
    while (unconfirmed > 0 && (!isNative || isOver())) confirm(1);
  }

  // --- the socket ---

  function socketThatTakes(): WebSocketLike | undefined {
    const socket = openSocket();
    return socket && socket.bufferedAmount < settings.maxSocketBytes ? socket : undefined;
  }

  function tooLarge(frame: Uint8Array): StateError | undefined {
    if (frame.length - 4 <= maxPayloadBytes) return undefined;
    return new StateError('ENCODED_TOO_LARGE', `more than ${maxPayloadBytes} bytes`);
  }

  function checkSize(frame: Uint8Array): void {
    const error = tooLarge(frame);
    if (error) throw error;
  }

  function flush(): void {
    // What is told to a listener on the way may send too.
    if (isFlushing) return;
    isFlushing = true;
    for (let socket = socketThatTakes(); socket; socket = socketThatTakes()) {
      dropOld();
      const next = queue[unconfirmed];
      if (!next) break;
      const error = tooLarge(next.frame);
      if (error) {
        dropAll(
          remove((one) => one === next),
          'too-large',
        );
        if (next.call !== undefined) onTooLarge(next.call, error);
        continue;
      }
      count(next, -1);
      next.at = clock.now();
      unconfirmed++;
      unconfirmedBytes += next.frame.length;
      lastSeq = nextSeq(lastSeq);
      messagesSent++;
      socket.send(next.frame as Uint8Array<ArrayBuffer>);
      forgetOld();
    }
    isFlushing = false;
    if (waitingBytes > 0 && openSocket()) poll();
  }

  function bytes(): number {
    return (openSocket()?.bufferedAmount ?? 0) + waitingBytes;
  }

  function isAbove(): boolean {
    if (bytes() < highWaterMarkBytes) return false;
    isFull = true;
    poll();
    return true;
  }

  /** Sockets of pages do not tell when they have written: while something waits, they are asked. */
  function poll(): void {
    cancelPoll ??= clock.after(POLL_MS, () => {
      cancelPoll = undefined;
      flush();
      if (bytes() * 4 > highWaterMarkBytes) poll();
      else if (isFull) {
        isFull = false;
        emit('drain');
      }
    });
  }

  return {
    drop,
    flush,
    isAbove,
    bytes,
    give(frame, kind, call) {
      checkSize(frame);
      const leavesNow = waitingBytes === 0 && socketThatTakes();
      if (!leavesNow && kind === 'message' && !makeRoom(frame)) {
        if (buffer.policy === 'reject') throw new StateError('SEND_QUEUE_FULL', 'the buffer is full');
        drop(frame, buffer.messages === 0 ? 'offline' : 'full');
        return false;
      }
      const entry = { frame, kind, call, at: clock.now() };
      queue.push(entry);
      count(entry, 1);
      flush();
      return true;
    },
    sendVolatile(frame) {
      const message = isNative ? encodeMessage(VOLATILE_ID, frame) : frame;
      checkSize(message);
      const socket = openSocket();
      if (!socket || isAbove()) {
        drop(frame, 'offline');
        return false;
      }
      messagesSent++;
      socket.send(message as Uint8Array<ArrayBuffer>);
      return !isAbove();
    },
    isWaiting: (call) => queue.some((one, index) => index >= unconfirmed && one.kind === 'call' && one.call === call),
    takeBack: (call) => remove((one) => one.call === call).some(({ kind }) => kind === 'call'),
    dropAnswers: () => void remove(({ kind }) => kind === 'answer'),
    limit(bytesNow) {
      maxPayloadBytes = bytesNow;
    },
    oldestSeq() {
      forgetOld();
      return nextSeq(distance(unconfirmed, lastSeq));
    },
    acknowledged(seq) {
      const left = distance(seq, lastSeq);
      // What is further back was acknowledged before, or forgotten; only a number of the future is wrong.
      if (left > HALF) return false;
      confirm(Math.max(0, unconfirmed - left));
      return true;
    },
    repeatAfter(seq, socket) {
      if (distance(seq, lastSeq) !== unconfirmed) return false;
      if (unconfirmed > 0) socket.send(encodeNumbers([SEQ_ID, nextSeq(seq)]) as Uint8Array<ArrayBuffer>);
      for (const { frame } of queue.slice(0, unconfirmed)) socket.send(frame as Uint8Array<ArrayBuffer>);
      return true;
    },
    forget() {
      lastSeq = 0;
      dropAll(confirm(unconfirmed), 'lost');
    },
    stop() {
      cancelPoll?.();
      cancelPoll = undefined;
      isFull = false;
      dropAll(
        remove(() => true),
        'closed',
      );
    },
    stats: () => ({ messagesSent, dropped, waiting: queue.length - unconfirmed, unconfirmed }),
  };
}
