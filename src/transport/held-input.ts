/** What came from the peer while a connection was paused, to be delivered when it goes on. */
export class HeldInput {
  readonly chunks: Buffer[] = [];
  hasEnd = false;
  hasClose = false;

  /** The oldest bytes; empty when there are none. */
  next(): Buffer {
    return this.chunks.shift() ?? Buffer.alloc(0);
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
