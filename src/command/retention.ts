import type { Frame } from './command-handler.ts';
import type { Peer } from './peer.ts';
import type { ReplayTally } from './replay.ts';

/** What it takes to keep a message for one more client, whether its bytes are shared or not. */
export const KEPT_ENTRY_BYTES = 32;
/** Once it was too much, some room is made, so that not every message has to look for it. */
const CUT_TO = 0.875;

/** What all clients of a hub keep, in bytes; of a message that several keep, the bytes count once. */
export class Retention implements ReplayTally<Frame> {
  readonly #maxBytes: number;
  /** Clients that are away and may come back, longest away first. */
  readonly #away = new Set<Peer>();
  bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  onKept(frame: Frame): void {
    this.bytes += KEPT_ENTRY_BYTES;
    if (frame.keepers++ === 0) this.bytes += frame.length;
  }

  onDropped(frame: Frame): void {
    this.bytes -= KEPT_ENTRY_BYTES;
    if (--frame.keepers === 0) this.bytes -= frame.length;
  }

  setAway(peer: Peer): void {
    this.#away.add(peer);
  }

  setBack(peer: Peer): void {
    this.#away.delete(peer);
  }

  get isOver(): boolean {
    return this.bytes > this.#maxBytes;
  }

  /**
   * Makes room: those that are away longest can resume no more, one after the other; then `last`, which was given something just now,
   * loses its oldest.
   */
  cut(last: Peer): void {
    const enough = this.#maxBytes * CUT_TO;
    for (const peer of this.#away) {
      if (this.bytes <= enough) return;
      this.#away.delete(peer);
      peer.forgetAll();
    }
    while (this.bytes > enough && (last.replay?.keptMessages ?? 0) > 0) last.replay?.forgetOldest();
  }
}
