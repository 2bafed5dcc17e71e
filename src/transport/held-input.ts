import type { PeerEnding } from './connection.ts';

/** What came from the peer while a connection was paused, to be delivered when it goes on. */
export class HeldInput {
  readonly chunks: { readonly bytes: Buffer; readonly isText: boolean }[] = [];
  hasEnd = false;
  hasClose = false;
  ending: PeerEnding | undefined;

  /** The oldest bytes, unless there are none or the connection `isPaused` again. */
  take(isPaused: boolean): { readonly bytes: Buffer; readonly isText: boolean } | undefined {
    return isPaused ? undefined : this.chunks.shift();
  }

  /** Whether the end is to be delivered now; only once. */
  takeEnd(): boolean {
    const hasEnd = this.hasEnd;
    this.hasEnd = false;
    return hasEnd;
  }

  /** Nobody wants the bytes any more. */
  clear(): void {
    this.chunks.length = 0;
  }
}
