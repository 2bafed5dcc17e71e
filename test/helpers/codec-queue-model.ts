import { expect } from 'vitest';
import { ByteQueue } from '../../src/base/byte-queue.ts';

/** What one ByteQueue should hold, as one plain Buffer. */
export class ByteQueueModel {
  readonly queue = new ByteQueue();
  readonly #kept: [Buffer, Buffer][] = [];
  #lent: Buffer[] = [];
  #unread = Buffer.alloc(0);
  #discarding = 0;
  #consumed = 0;
  #sent = 0;

  apply(operation: number, size: number, value: number): void {
    const { queue } = this;
    const front = queue.length;
    const inFront = front === 0 ? 0 : size % (front + 1);
    switch (operation) {
      case 0:
      case 1:
        this.#offer(operation === 0 ? size % 12 : size);
        break;
      case 2:
        this.#keep(inFront, value % (inFront + 1));
        break;
      case 3:
        expect(
          queue
            .readView(inFront - (value % (inFront + 1)), value % (inFront + 1))
            .equals(this.#unread.subarray(value % (inFront + 1), inFront)),
        ).toBe(true);
        this.#consume(inFront);
        break;
      case 4:
        expect(queue.readString(inFront, 'latin1')).toBe(this.#unread.toString('latin1', 0, inFront));
        this.#consume(inFront);
        break;
      case 5:
        queue.skip(inFront);
        this.#consume(inFront);
        break;
      case 6: {
        const count = size % (this.#unread.length + 5);
        queue.discard(count);
        const arrived = Math.min(count, this.#unread.length);
        this.#discarding += count - arrived;
        this.#consumed += count - arrived;
        this.#consume(arrived);
        break;
      }
      case 7: {
        const from = front === 0 ? 0 : value % front;
        expect(queue.indexOf(value & 3, from)).toBe(this.#unread.subarray(0, front).indexOf(value & 3, from));
        const pair = Buffer.of(value & 3, (value >> 2) & 3);
        expect(queue.indexOf(pair, from)).toBe(this.#unread.subarray(0, front).indexOf(pair, from));
        break;
      }
      case 8: {
        const wanted = size % 2000;
        queue.need(wanted);
        const pulled = queue.pull();
        expect(pulled).toBe(queue.length > front);
        if (!pulled) expect(queue.length).toBe(this.#unread.length);
        if (pulled && wanted > front) expect(queue.length).toBe(Math.min(wanted, this.#unread.length));
        break;
      }
      case 9:
        this.#retain();
        break;
      default:
        if (front >= 4) expect(queue.uint32At(front - 4)).toBe(this.#unread.readUInt32BE(front - 4));
    }
  }

  check(): void {
    const { queue } = this;
    expect(queue.totalLength).toBe(this.#unread.length);
    expect(queue.discarding).toBe(this.#discarding);
    expect(queue.consumed).toBe(this.#consumed);
    expect(queue.length === 0).toBe(this.#unread.length === 0);
    if (queue.length > 0) {
      expect(queue.uint8At(0)).toBe(this.#unread[0]);
      expect(queue.uint8At(queue.length - 1)).toBe(this.#unread[queue.length - 1]);
    }
  }

  finish(): void {
    this.#retain();
    expect(this.queue.readString(this.queue.length, 'latin1')).toBe(this.#unread.toString('latin1'));
    for (const [pkg, expected] of this.#kept) expect(pkg.equals(expected)).toBe(true);
  }

  #offer(size: number): void {
    // Few different values, so that searches find something.
    const chunk = Buffer.from(Uint8Array.from({ length: size }, (_, index) => ((this.#sent + index) * 2_654_435_761) >>> 30));
    this.#sent += size;
    const lent = Buffer.from(chunk);
    this.queue.offer(lent);
    this.#lent.push(lent);
    const dropped = Math.min(this.#discarding, size);
    this.#discarding -= dropped;
    this.#unread = Buffer.concat([this.#unread, chunk.subarray(dropped)]);
  }

  #retain(): void {
    this.queue.retain();
    for (const chunk of this.#lent) chunk.fill(0xdd);
    this.#lent = [];
    expect(this.queue.length).toBe(this.#unread.length);
  }

  #keep(count: number, skip: number): void {
    const pkg = skip === 0 ? this.queue.readBytes(count) : this.queue.readBytes(count - skip, skip);
    const expected = Buffer.from(this.#unread.subarray(skip, count));
    expect(pkg.equals(expected)).toBe(true);
    this.#kept.push([pkg, expected]);
    this.#consume(count);
  }

  #consume(count: number): void {
    this.#unread = this.#unread.subarray(count);
    this.#consumed += count;
  }
}
