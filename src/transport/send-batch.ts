import { ByteWriter } from '../base/byte-writer.ts';
import { describeThrown, StateError, TransportError } from '../base/errors.ts';
import type { SendReceipt } from './connection.ts';
import { type Batch, compact } from './send-queue.ts';

/**
 * The batch of one connection at a time, `owner`, is written straight into this writer. When another connection begins a package,
 * the first one's bytes are copied out: memory that waits is always exactly as large as what waits. `depth` is how many packages
 * are being encoded: one in the shared writer, and those that a PkgHandler sends from inside `write`, each in a writer of its own.
 */
const shared: { readonly writer: ByteWriter; readonly nested: ByteWriter[]; owner: SendBatch | undefined; depth: number } = {
  writer: new ByteWriter(),
  nested: [],
  owner: undefined,
  depth: 0,
};

/** The packages of one connection that will leave together. */
export class SendBatch {
  packages = 0;
  bytes = 0;
  /** Waiting in front of what stands in the shared writer, and behind it. */
  #front: Uint8Array[] | undefined;
  #behind: Uint8Array[] | undefined;
  #receipts: SendReceipt[] | undefined;

  /** Whether a package is being encoded behind this batch, so that it cannot leave just now. */
  get isEncoding(): boolean {
    return shared.depth > 0 && shared.owner === this;
  }

  /** Where to encode a package: behind this batch, or for a nested one in a writer of its own. */
  beginPackage(): ByteWriter {
    if (shared.depth > 0 || shared.owner !== this || this.#behind !== undefined) return this.#beginApart();
    shared.depth = 1;
    const { writer } = shared;
    writer.beginPackage();
    return writer;
  }

  #beginApart(): ByteWriter {
    if (++shared.depth > 1) {
      const writer = new ByteWriter();
      shared.nested.push(writer);
      return writer;
    }
    if (shared.owner !== undefined) shared.owner.#spill();
    shared.owner = this;
    shared.writer.beginPackage();
    return shared.writer;
  }

  /** The package begun last is complete and counted, the usual case in one step; false when it is nested. */
  keepPackage(): boolean {
    if (shared.depth !== 1) return false;
    shared.depth = 0;
    this.packages++;
    this.bytes += shared.writer.length;
    return true;
  }

  /** The package begun last is complete: its writer, for `has` or `takeOut`. */
  endPackage(): ByteWriter {
    if (shared.depth === 0) throw new StateError('WRONG_STATE', 'endPackage: expected a beginPackage before it');
    shared.depth--;
    return shared.nested.pop() ?? shared.writer;
  }

  /** Whether a package encoded in this writer stands in the batch already. */
  has(writer: ByteWriter): boolean {
    return writer === shared.writer;
  }

  /** The package, which cannot be part of a batch, in memory of its own. */
  takeOut(writer: ByteWriter): readonly Uint8Array[] {
    if (writer === shared.writer) shared.owner = undefined;
    return writer.takeCopies();
  }

  /** Takes back the package begun last. `isEmpty`: nothing else that stands in the shared writer will leave. */
  cancelPackage(isEmpty: boolean): void {
    if (shared.depth === 0) return;
    shared.depth--;
    if (shared.nested.pop() !== undefined) return;
    shared.writer.cancelPackage();
    if (isEmpty) clearShared();
  }

  /** Chunks that are not in the shared writer: behind what stands there, before what will be written there. */
  append(chunks: readonly Uint8Array[]): void {
    if (shared.owner === this) this.#behind = appended(this.#behind, chunks);
    else this.#front = appended(this.#front, chunks);
  }

  /** Counts a package that stands in the batch now. */
  add(size: number, receipt: SendReceipt | undefined): void {
    this.packages++;
    this.bytes += size;
    if (receipt === undefined) return;
    this.#receipts ??= [];
    this.#receipts.push(receipt);
  }

  /** The batch, to be sent now, and then `recycleShared` to be called if it `isShared`. `ownsMemory`: it must not be. */
  take(ownsMemory: boolean): Batch {
    let chunks: readonly Uint8Array[] = this.#front ?? [];
    let isShared = false;
    if (shared.owner === this) {
      shared.owner = undefined;
      isShared = !ownsMemory;
      const own = isShared ? shared.writer.take() : shared.writer.takeCopies();
      chunks = chunks.length === 0 ? own : chunks.concat(own);
    }
    if (this.#behind !== undefined) chunks = chunks.concat(this.#behind);
    const compacted = compact(chunks, this.bytes);
    if (isShared && compacted !== chunks) {
      shared.writer.reuse();
      isShared = false;
    }
    const batch = { chunks: compacted, size: this.bytes, receipts: this.#receipts, isShared, isText: false };
    this.#forget();
    return batch;
  }

  /** Empties the batch, unsent, and returns the receipts of its packages. */
  drop(): readonly SendReceipt[] {
    const receipts = this.#receipts ?? [];
    // A package being encoded is refused when it is complete, and takes along what stands before it.
    if (shared.owner === this && shared.depth === 0) clearShared();
    this.#forget();
    return receipts;
  }

  #forget(): void {
    this.packages = 0;
    this.bytes = 0;
    this.#front = undefined;
    this.#behind = undefined;
    this.#receipts = undefined;
  }

  /** Moves what stands in the shared writer into memory of its own, because another connection needs the writer. */
  #spill(): void {
    this.#front = appended(this.#front, shared.writer.takeCopies());
    if (this.#behind !== undefined) this.#front = appended(this.#front, this.#behind);
    this.#behind = undefined;
  }
}

function appended(list: Uint8Array[] | undefined, more: readonly Uint8Array[]): Uint8Array[] {
  if (list === undefined) return [...more];
  for (const chunk of more) list.push(chunk);
  return list;
}

function clearShared(): void {
  shared.writer.take();
  shared.writer.reuse();
  shared.owner = undefined;
}

/** After a batch that `isShared` was handed over: its memory is free again, or belongs to the socket now. */
export function recycleShared(isFree: boolean): void {
  if (isFree) shared.writer.reuse();
  else shared.writer.release();
}

/** Batches that nobody uses: a connection has one only from its first package to the flush. */
const spare: SendBatch[] = [];
const MAX_SPARE = 64;

export function borrowBatch(): SendBatch {
  return spare.pop() ?? new SendBatch();
}

/** MUST be empty, as after `take`, and not be used afterwards. */
export function returnBatch(batch: SendBatch): void {
  if (spare.length < MAX_SPARE) spare.push(batch);
}

interface Flushable {
  flush(): void;
  abort(error: TransportError): void;
}

let dirty: Flushable[] = [];
let isFlushScheduled = false;

/** Flushes the connection when this turn of the event loop, continuations of promises included, has had its say. */
export function flushSoon(connection: Flushable): void {
  dirty.push(connection);
  if (isFlushScheduled) return;
  isFlushScheduled = true;
  process.nextTick(flushDirty);
}

function flushDirty(): void {
  const connections = dirty;
  dirty = [];
  isFlushScheduled = false;
  for (const connection of connections) {
    try {
      connection.flush();
    } catch (thrown) {
      // The others must not wait for ever because of this one.
      connection.abort(new TransportError('TRANSPORT_FAILED', `flush failed: ${describeThrown(thrown)}`, { cause: thrown }));
    }
  }
}
