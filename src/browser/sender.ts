import { StateError } from '../base/errors.ts';
import type { Replay } from '../command/replay.ts';
import { readUint32 } from '../command/wire.ts';
import type { ClientEvents, DroppedMessage } from './client-events.ts';
import type { Settings } from './client-options.ts';
import type { Connector } from './connector.ts';
import { Outbox, type Waiting } from './outbox.ts';

export interface SenderHost {
  emit<Name extends 'dropped' | 'drain'>(name: Name, ...args: ClientEvents[Name]): void;
}

/** How often a socket is asked whether it has written. */
export const POLL_MS = 50;

/** Where a message goes: into the socket, into the buffer, or nowhere, which is told. */
export class Sender {
  readonly outbox: Outbox;
  /** That of the session; set once. */
  replay: () => Replay<Uint8Array> | undefined = () => undefined;
  /** That of the settings, or less if the server says so. */
  maxPayloadBytes: number;
  messagesSent = 0;
  dropped = 0;
  readonly #settings: Settings;
  readonly #connector: Connector;
  readonly #host: SenderHost;
  #isFull = false;
  #isFlushing = false;
  #cancelPoll: (() => void) | undefined;

  constructor(settings: Settings, connector: Connector, host: SenderHost) {
    this.#settings = settings;
    this.#connector = connector;
    this.#host = host;
    this.maxPayloadBytes = settings.maxPayloadBytes;
    this.outbox = new Outbox(settings.buffer, settings.clock, (frame, reason) => this.drop(frame, reason));
  }

  get queuedBytes(): number {
    return (this.#connector.link?.queuedBytes ?? 0) + this.outbox.bytes;
  }

  /** A message that must not be lost. False: above the high-water mark, or dropped, which `dropped` tells. Throws when it is too large. */
  send(frame: Uint8Array): boolean {
    this.#checkSize(frame);
    if (this.#connector.state === 'closed' || this.#connector.state === 'closing') {
      this.drop(frame, 'closed');
      return false;
    }
    return this.give(frame, 'message') && !this.#isAbove();
  }

  /** A message that is sent now or never. */
  sendVolatile(frame: Uint8Array, original: Uint8Array): boolean {
    this.#checkSize(original);
    const { link } = this.#connector;
    if (link === undefined || this.#isAbove()) {
      this.drop(original, 'offline');
      return false;
    }
    this.messagesSent++;
    link.send(frame);
    return !this.#isAbove();
  }

  drop(frame: Uint8Array, reason: DroppedMessage['reason']): void {
    this.dropped++;
    this.#host.emit('dropped', { id: readUint32(frame, 0), payload: frame.subarray(4), reason });
  }

  #checkSize(frame: Uint8Array): void {
    if (frame.length - 4 <= this.maxPayloadBytes) return;
    throw new StateError('ENCODED_TOO_LARGE', `send: more than ${this.maxPayloadBytes} bytes`);
  }

  /** False when it was dropped. Throws SEND_QUEUE_FULL when the policy is to reject. */
  give(frame: Uint8Array, kind: Waiting['kind']): boolean {
    if (this.outbox.size === 0 && this.#canTransmit()) {
      this.#transmit(frame);
      return true;
    }
    const isTaken = this.outbox.add(frame, kind);
    if (!isTaken && this.#settings.buffer.policy === 'reject') throw new StateError('SEND_QUEUE_FULL', 'send: the buffer is full');
    if (isTaken) this.flush();
    return isTaken;
  }

  #canTransmit(): boolean {
    const { link } = this.#connector;
    return link?.openedAt !== undefined && link.isOpen && link.queuedBytes < this.#settings.maxSocketBytes;
  }

  #transmit(frame: Uint8Array): void {
    this.messagesSent++;
    this.replay()?.sent(frame, this.#settings.clock.now());
    this.#connector.link?.send(frame);
  }

  flush(): void {
    // What is told to a listener on the way may send too.
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    while (this.#canTransmit()) {
      const next = this.outbox.take();
      if (next === undefined) break;
      if (next.frame.length - 4 > this.maxPayloadBytes) this.drop(next.frame, 'too-large');
      else this.#transmit(next.frame);
    }
    this.#isFlushing = false;
    if (this.outbox.size > 0 && this.#connector.link !== undefined) this.#poll();
  }

  #isAbove(): boolean {
    if (this.queuedBytes < this.#settings.highWaterMarkBytes) return false;
    this.#isFull = true;
    this.#poll();
    return true;
  }

  /** Sockets of pages do not tell when they have written: while something waits, they are asked. */
  #poll(): void {
    this.#cancelPoll ??= this.#settings.clock.after(POLL_MS, () => {
      this.#cancelPoll = undefined;
      this.flush();
      if (this.queuedBytes * 4 > this.#settings.highWaterMarkBytes) return this.#poll();
      if (!this.#isFull) return;
      this.#isFull = false;
      this.#host.emit('drain');
    });
  }

  /** It is over: what waits is dropped. */
  stop(): void {
    this.#cancelPoll?.();
    this.#cancelPoll = undefined;
    this.#isFull = false;
    this.outbox.clear('closed');
  }
}
