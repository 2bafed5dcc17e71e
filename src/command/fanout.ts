import { Frame } from './command-handler.ts';
import type { CommandProfile } from './link.ts';
import type { Peer } from './peer.ts';
import { COMMAND_ID, encodeRoom, encodeVolatile } from './wire.ts';

/** What became of a broadcast, in clients of this hub. */
export interface BroadcastResult {
  /** Given to their connections. */
  readonly delivered: number;
  /** Kept for native clients that are away. */
  readonly kept: number;
  /** Volatile and the client slow or away, or refused by its connection. */
  readonly dropped: number;
}

const ID_BYTES = 4;

/** One message for many clients, encoded at most once for each profile. */
export class Fanout implements BroadcastResult {
  delivered = 0;
  kept = 0;
  dropped = 0;
  readonly #id: number;
  readonly #payload: Uint8Array;
  readonly #room: string | undefined;
  readonly #isVolatile: boolean;
  readonly #nowMs: number;
  #native: Frame | undefined;
  #knet: Frame | undefined;

  /** `room`: native clients are told for which room it is. */
  constructor(id: number, payload: Uint8Array, room: string | undefined, isVolatile: boolean, nowMs: number) {
    this.#nowMs = nowMs;
    this.#id = id;
    this.#payload = payload;
    this.#room = room;
    this.#isVolatile = isVolatile;
  }

  give(peer: Peer): void {
    const frame = this.#frameFor(peer.profile);
    if (this.#isVolatile) {
      if (peer.sendVolatile(frame, true)) this.delivered++;
      else this.dropped++;
      return;
    }
    const given = peer.give(frame, true, this.#nowMs);
    if (given === 'kept') this.kept++;
    else if (given === 'lost') this.dropped++;
    else this.delivered++;
  }

  get result(): BroadcastResult {
    return { delivered: this.delivered, kept: this.kept, dropped: this.dropped };
  }

  #frameFor(profile: CommandProfile): Frame {
    if (profile === 'native' && (this.#room !== undefined || this.#isVolatile)) {
      this.#native ??= this.#encodeNative();
      return this.#native;
    }
    this.#knet ??= Frame.of(this.#id, this.#payload);
    return this.#knet;
  }

  #encodeNative(): Frame {
    if (this.#room === undefined) return Frame.ofMessage(encodeVolatile(this.#id, this.#payload));
    const message = encodeRoom(this.#room, this.#id, this.#payload);
    return Frame.ofMessage(this.#isVolatile ? encodeVolatile(COMMAND_ID.ROOM, message.subarray(ID_BYTES)) : message);
  }
}
