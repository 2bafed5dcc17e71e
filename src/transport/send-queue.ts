import { type PorticoError, StateError } from '../base/errors.ts';
import type { SendLimits, SendReceipt } from './connection.ts';

interface QueuedPackage {
  readonly chunks: readonly Uint8Array[];
  readonly size: number;
  readonly receipt: SendReceipt | undefined;
  readonly isText: boolean;
}

/** What leaves together: several packages of a stream, or one message. */
export interface Batch {
  readonly chunks: readonly Uint8Array[];
  readonly size: number;
  readonly receipts: SendReceipt[] | undefined;
  /** Whether its memory is that of the writer which all connections share. */
  readonly isShared: boolean;
  /** Of one message: whether it leaves as text. */
  readonly isText: boolean;
}

/** How much leaves the queue in one go, and so how much can no longer be dropped or taken back. */
const TAKE_BYTES = 65_536;
/** A waiting package costs memory beside its bytes: many tiny ones reach the hard cap as if each had so many bytes. */
const MIN_PACKAGE_BYTES = 64;
/** This many are allowed under any cap. */
const FREE_PACKAGES = 1024;
/** More chunks than this cost more as a vector than as a copy. */
const MAX_CHUNKS = 8;

/** Whole packages waiting for a socket that is blocked, in order. Bounded by its connection. */
export class SendQueue {
  bytes = 0;
  /** Empty up to #first. */
  #packages: (QueuedPackage | undefined)[] = [];
  #first = 0;

  get length(): number {
    return this.#packages.length - this.#first;
  }

  /** Whether so many packages may wait under a cap of `maxBytes`, whatever their size. */
  canHoldOneMore(maxBytes: number): boolean {
    return this.length < FREE_PACKAGES || this.length < maxBytes / MIN_PACKAGE_BYTES;
  }

  push(chunks: readonly Uint8Array[], size: number, receipt: SendReceipt | undefined, isText = false): void {
    this.#packages.push({ chunks, size, receipt, isText });
    this.bytes += size;
  }

  /** The oldest packages, up to 64 KiB of them and at least one; just one for connections that carry messages. */
  take(isOne: boolean): Batch {
    const chunks: Uint8Array[] = [];
    let receipts: SendReceipt[] | undefined;
    let size = 0;
    let isText = false;
    do {
      const oldest = this.#shift();
      if (oldest === undefined) break;
      for (const chunk of oldest.chunks) chunks.push(chunk);
      size += oldest.size;
      isText = oldest.isText;
      if (oldest.receipt !== undefined) {
        receipts ??= [];
        receipts.push(oldest.receipt);
      }
    } while (!isOne && size < TAKE_BYTES);
    return { chunks: compact(chunks, size), size, receipts, isShared: false, isText };
  }

  /** Drops the oldest packages until there is room; returns how many. */
  dropOldest(hasRoom: () => boolean, error: PorticoError): number {
    let dropped = 0;
    while (this.length > 0 && !hasRoom()) {
      dropped++;
      this.#shift()?.receipt?.onUnsent(error);
    }
    return dropped;
  }

  /** Empties the queue and returns the receipts of its packages. */
  clear(): readonly SendReceipt[] {
    const receipts: SendReceipt[] = [];
    for (let queued = this.#shift(); queued !== undefined; queued = this.#shift()) {
      if (queued.receipt !== undefined) receipts.push(queued.receipt);
    }
    return receipts;
  }

  /** Removes the package that the receipt follows. */
  remove(receipt: SendReceipt): boolean {
    const index = this.#packages.findIndex((queued) => queued?.receipt === receipt);
    if (index === -1) return false;
    const [removed] = this.#packages.splice(index, 1);
    this.bytes -= removed?.size ?? 0;
    return true;
  }

  #shift(): QueuedPackage | undefined {
    const oldest = this.#packages[this.#first];
    if (oldest === undefined) return undefined;
    this.#packages[this.#first] = undefined;
    this.#first++;
    this.bytes -= oldest.size;
    // Array.shift moves all the rest: cut the used front off only now and then.
    if (this.#first === this.#packages.length) {
      this.#packages = [];
      this.#first = 0;
    } else if (this.#first >= 1024) {
      this.#packages = this.#packages.slice(this.#first);
      this.#first = 0;
    }
    return oldest;
  }
}

/** The bytes of chunks that belong together. */
export function sizeOf(chunks: readonly Uint8Array[]): number {
  let size = 0;
  for (const chunk of chunks) size += chunk.length;
  return size;
}

/** Many small chunks as one; others as they are. */
export function compact(chunks: readonly Uint8Array[], size: number): readonly Uint8Array[] {
  return chunks.length > MAX_CHUNKS && size <= 2 * TAKE_BYTES ? [Buffer.concat(chunks, size)] : chunks;
}

/** Where a package does not fit under the hard cap: why, what was dropped for it, and whether it fits now. */
interface Room {
  readonly full: string;
  readonly dropped: number;
  readonly isMade: boolean;
}

/** Undefined when there is room; otherwise makes some, if that is the policy. */
export function makeRoom(queue: SendQueue | undefined, size: number, pendingBytes: () => number, limits: SendLimits): Room | undefined {
  const { maxQueueBytes, overflowPolicy } = limits;
  const hasRoom = (): boolean => pendingBytes() + size <= maxQueueBytes && (queue === undefined || queue.canHoldOneMore(maxQueueBytes));
  if (hasRoom()) return undefined;
  const full = `expected at most ${maxQueueBytes} bytes waiting to be sent, given ${pendingBytes()} and ${size} more`;
  const isWorthIt = overflowPolicy === 'drop-oldest' && queue !== undefined && pendingBytes() - queue.bytes + size <= maxQueueBytes;
  if (!isWorthIt) return { full, dropped: 0, isMade: false };
  const dropped = queue.dropOldest(hasRoom, new StateError('SEND_QUEUE_FULL', `dropped as the oldest: ${full}`));
  return { full, dropped, isMade: true };
}
