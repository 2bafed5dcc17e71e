import type { ByteWriter } from '../base/byte-writer.ts';
import { publish } from '../base/diagnostics.ts';
import { PeerError, type PorticoError, StateError, type TransportError } from '../base/errors.ts';
import type { CloseNotice, Connection, ConnectionSink, SendLimits, SendReceipt } from './connection.ts';
import { ReceivingConnection } from './receiving-connection.ts';
import { borrowBatch, flushSoon, recycleShared, returnBatch, type SendBatch } from './send-batch.ts';
import { type Batch, makeRoom, SendQueue } from './send-queue.ts';

/** A batch that has grown to this is handed over before its end. */
const FLUSH_BYTES = 65_536;

/**
 * What all connections share: batching, the bounded send queue with its water marks and policies, receipts, pausing, and
 * closing once. A subclass moves bytes: the base calls its `send…` methods, it calls the base's `on…` methods.
 *
 * ```
 * beginPackage .. endPackage -> batch -- end of onBytes, 64 KiB, or nextTick --> sendBatch -> all taken: batch again
 *                                 | blocked                                          | not all taken: blocked
 *                                 '-> SendQueue (packages, bounded, policy) <- onSent <'
 * ```
 */
export abstract class BaseConnection extends ReceivingConnection implements Connection {
  #limits: SendLimits | undefined;
  /** There only while packages are batched. */
  #batch: SendBatch | undefined;
  #sentReceipts: SendReceipt[] | undefined;
  #queue: SendQueue | undefined;
  #isBlocked = false;
  #isFull = false;
  /** Whether packages go into the batch, or are gathered; otherwise each waits by itself. */
  #isBatching = false;
  #isDirty = false;
  #isEnding = false;
  #isEndSent = false;
  #isAborted = false;
  #closeError: PorticoError | undefined;

  // --- what a subclass reports ---

  /** Everything given to `sendBatch` was taken. */
  protected onSent(): void {
    if (this.#isAborted || this.isClosed) return;
    this.#isBlocked = false;
    this.#checkBatching();
    this.#confirm();
    while (!this.#isBlocked && this.#queue?.length) {
      this.#handOver(this.#queue.take(this.kind === 'message'));
      if (this.gatheredBytes() >= FLUSH_BYTES || this.#queue.length === 0) this.flush();
    }
    this.#checkBatching();
    this.#checkEnd();
    this.#checkDrain();
  }

  /** What was given to `sendBatch` last is not sent: from inside `sendBatch`, or before the `onSent` that follows it. */
  protected onRefused(error: PorticoError): void {
    const receipts = this.#sentReceipts;
    this.#sentReceipts = undefined;
    this.lostPackages++;
    if (receipts !== undefined) for (const receipt of receipts) receipt.onUnsent(error);
  }

  /** Something failed that the connection survives. */
  protected onNotice(error: PorticoError): void {
    if (!this.#isAborted && !this.isClosed) this.sink?.onNotice?.(error);
  }

  protected onClosed(error: PorticoError | undefined): void {
    if (this.isClosed) return;
    if (error === undefined && !this.isClosing && this.isPaused && this.held !== undefined) {
      // In order, and what came before it was not delivered yet.
      this.held.hasClose = true;
      return;
    }
    this.isClosed = true;
    this.#checkBatching();
    this.#closeError = error;
    this.#dropUnsent(error ?? new StateError('SESSION_CLOSED', 'the connection ended before the package was sent'));
    this.sink?.onClose(error);
  }

  // --- sending ---

  open(sink: ConnectionSink, limits: SendLimits): void {
    // Another sink would never hear what this one began, nor this one its end.
    if (this.sink !== undefined) throw new StateError('WRONG_STATE', 'open: expected one call, given a second');
    this.sink = sink;
    this.#limits = limits;
    if (this.isClosed) process.nextTick(() => sink.onClose(this.#closeError));
    if (this.#isAborted || this.isClosed) return;
    this.#checkBatching();
    this.sendOpen();
    this.resume();
  }

  limitSending(limits: SendLimits): void {
    this.#limits = limits;
  }

  get pendingBytes(): number {
    const waiting =
      this.gatheredBytes() + (this.#batch === undefined ? 0 : this.#batch.bytes) + (this.#queue === undefined ? 0 : this.#queue.bytes);
    return this.#isBlocked ? waiting + this.unsentBytes() : waiting;
  }

  get stalledBytes(): number {
    return this.#isBlocked ? this.unsentBytes() : 0;
  }

  beginPackage(): ByteWriter {
    this.#batch ??= borrowBatch();
    return this.#batch.beginPackage();
  }

  cancelPackage(): void {
    this.#getBatch().cancelPackage(!this.#isBatching);
  }

  endPackage(receipt?: SendReceipt): boolean {
    const batch = this.#batch;
    if (batch === undefined || receipt !== undefined || !this.#isBatching || !batch.keepPackage()) return this.#endApart(receipt);
    if (batch.bytes >= FLUSH_BYTES || !(this.isReading || this.#isDirty)) return this.#onBatched();
    return true;
  }

  #endApart(receipt: SendReceipt | undefined): boolean {
    const batch = this.#getBatch();
    const writer = batch.endPackage();
    const size = writer.length;
    const { isText } = writer;
    if (!this.#isBatching || !batch.has(writer)) return this.#accept(batch.takeOut(writer), size, receipt, isText);
    batch.add(size, receipt);
    return this.#onBatched();
  }

  sendShared(bytes: Uint8Array, receipt?: SendReceipt, isText = false): boolean {
    return this.#accept([bytes], bytes.length, receipt, isText);
  }

  unsend(receipt: SendReceipt): boolean {
    const isTakenBack = this.#queue?.remove(receipt) ?? false;
    if (isTakenBack) this.lostPackages++;
    return isTakenBack;
  }

  /** Whether a message may be gathered without `endPackage` and `sendShared`; then `onGathered` MUST follow. */
  protected get isGathering(): boolean {
    return this.#isBatching && this.gathers;
  }

  /** A message was gathered. Same result as `endPackage`. */
  protected onGathered(receipt?: SendReceipt): boolean {
    this.#follow(receipt);
    if (this.gatheredBytes() >= FLUSH_BYTES) {
      this.flush();
      return this.#checkMarks();
    }
    if (!this.#isDirty) this.#schedule();
    return true;
  }

  #follow(receipt: SendReceipt | undefined): void {
    if (receipt === undefined) return;
    this.#sentReceipts ??= [];
    this.#sentReceipts.push(receipt);
  }

  flush(): void {
    this.#isDirty = false;
    if (this.gatheredBytes() > 0 && !this.isClosed) {
      this.writes++;
      this.sendGathered();
      this.#settle(this.unsentBytes() === 0);
      if (this.isDrainExpected) this.#checkDrain();
    }
    const batch = this.#batch;
    if (batch === undefined || batch.packages === 0 || this.isClosed) return;
    if (batch.isEncoding) this.#schedule();
    else this.#flushBatch(batch);
  }

  #flushBatch(batch: SendBatch): void {
    const taken = batch.take(this.sendsLater);
    this.#batch = undefined;
    returnBatch(batch);
    this.#handOver(taken);
    this.#checkEnd();
    if (this.isDrainExpected) this.#checkDrain();
  }

  #checkDrain(): void {
    const wasFull = this.#isFull;
    if (!(wasFull || this.isDrainExpected) || (this.#isWaiting && this.pendingBytes > this.#getLimits().lowWaterMarkBytes)) return;
    this.#isFull = false;
    this.isDrainExpected = false;
    this.sink?.onDrain(wasFull);
  }

  #schedule(): void {
    this.#isDirty = true;
    flushSoon(this);
  }

  #getBatch(): SendBatch {
    this.#batch ??= borrowBatch();
    return this.#batch;
  }

  /** Looks again whether packages go into the batch; called wherever one of the conditions changes. */
  #checkBatching(): void {
    this.#isBatching = (this.kind === 'stream' || this.gathers) && !this.#isWaiting && !this.#isEnding && !this.isClosed;
  }

  /** Whether packages have to queue: also behind those that the queue is about to hand over. */
  get #isWaiting(): boolean {
    return this.#isBlocked || (this.#queue !== undefined && this.#queue.length > 0);
  }

  /** A package that is not in the shared writer. */
  #accept(chunks: readonly Uint8Array[], size: number, receipt: SendReceipt | undefined, isText: boolean): boolean {
    if (this.#isEnding || this.isClosed) {
      this.lostPackages++;
      receipt?.onUnsent(new StateError('SESSION_CLOSED', 'the connection is closing or closed'));
      return false;
    }
    if (this.#isBatching && this.gathers) {
      this.bytesWritten += size;
      this.sendBatch(chunks, isText);
      return this.onGathered(receipt);
    }
    if (this.#isBatching) {
      this.#getBatch().append(chunks);
      this.#getBatch().add(size, receipt);
      return this.#onBatched();
    }
    if (!this.#isWaiting) {
      this.#handOver({ chunks, size, receipts: receipt === undefined ? undefined : [receipt], isShared: false, isText });
      return this.#checkMarks();
    }
    if (!this.#fits(size, receipt)) return false;
    this.#queue ??= new SendQueue();
    this.#queue.push(chunks, size, receipt, isText);
    return this.#checkMarks();
  }

  #onBatched(): boolean {
    if (this.pendingBytes >= FLUSH_BYTES) {
      this.flush();
      return this.#checkMarks();
    }
    if (!this.isReading && !this.#isDirty) this.#schedule();
    return true;
  }

  #handOver({ chunks, size, receipts, isShared, isText }: Batch): void {
    if (this.gathers) {
      this.bytesWritten += size;
      this.sendBatch(chunks, isText);
      if (receipts !== undefined) this.#follow(receipts[0]);
      return;
    }
    this.#sentReceipts = receipts;
    if (size > 0 || this.kind === 'message') {
      this.writes++;
      this.bytesWritten += size;
      this.sendBatch(chunks, isText);
    }
    const isTaken = this.unsentBytes() === 0;
    if (isShared) recycleShared(isTaken);
    this.#settle(isTaken);
  }

  #settle(isTaken: boolean): void {
    if (isTaken) {
      if (this.#sentReceipts !== undefined) this.#confirm();
    } else {
      this.#isBlocked = true;
      this.#checkBatching();
      this.sink?.onBlocked();
    }
  }

  #confirm(): void {
    const receipts = this.#sentReceipts;
    this.#sentReceipts = undefined;
    if (receipts !== undefined) for (const receipt of receipts) receipt.onSent();
  }

  #checkMarks(): boolean {
    if (!this.#isWaiting) return true;
    if (this.pendingBytes > this.#getLimits().highWaterMarkBytes) this.#isFull = true;
    return !this.#isFull;
  }

  /** Applies the overflow policy; false = the package is not taken. */
  #fits(size: number, receipt: SendReceipt | undefined): boolean {
    const limits = this.#getLimits();
    const room = makeRoom(this.#queue, size, () => this.pendingBytes, limits);
    if (room === undefined) return true;
    publish('limit', () => ({ limit: 'send-queue', connection: this, policy: limits.overflowPolicy, message: room.full }));
    this.droppedPackages += room.dropped;
    this.lostPackages += room.dropped;
    // A receipt of a dropped package may have closed the connection.
    if (room.isMade && !this.#isEnding) return true;
    this.droppedPackages++;
    const error = new StateError('SEND_QUEUE_FULL', room.full);
    if (limits.overflowPolicy === 'reject') throw error;
    this.lostPackages++;
    receipt?.onUnsent(error);
    this.#isFull = true;
    if (limits.overflowPolicy === 'close') this.sink?.onOverflow(new PeerError('SLOW_READER', room.full));
    return false;
  }

  #getLimits(): SendLimits {
    if (this.#limits === undefined) throw new StateError('WRONG_STATE', 'send: expected open() before it');
    return this.#limits;
  }

  // --- closing ---

  end(): void {
    if (this.#isEnding || this.isClosed) return;
    if (this.#batch?.isEncoding) {
      process.nextTick(() => this.end());
      return;
    }
    this.flush();
    this.#isEnding = true;
    this.#checkBatching();
    this.#checkEnd();
  }

  close(notice?: CloseNotice): void {
    if (this.isClosing || this.isClosed) return;
    this.isClosing = true;
    this.noteClose(notice);
    this.held?.clear();
    // The peer's end must be seen, so reading goes on; onBytes throws the bytes away.
    if (this.isPaused) this.sendResume();
    if (this.held?.hasClose) process.nextTick(() => this.onClosed(undefined));
    else if (this.#isEndSent) this.#finish();
    else this.end();
  }

  abort(error?: TransportError): void {
    if (this.#isAborted || this.isClosed) return;
    this.#isAborted = true;
    this.isClosing = true;
    this.#isEnding = true;
    this.#isEndSent = true;
    this.#checkBatching();
    this.held?.clear();
    this.#dropUnsent(error ?? new StateError('SESSION_CLOSED', 'the connection was aborted before the package was sent'));
    if (this.held?.hasClose) process.nextTick(() => this.onClosed(error));
    else this.sendAbort(error);
  }

  #checkEnd(): void {
    if (!this.#isEnding || this.#isEndSent || this.isClosed || this.#isWaiting || (this.#batch?.packages ?? 0) > 0) return;
    this.#isEndSent = true;
    this.sendEnd();
    if (this.isClosing) this.#finish();
  }

  #finish(): void {
    this.sendClose();
    process.nextTick(() => {
      if (!this.#isAborted && !this.isClosed) this.sink?.onFinished();
    });
  }

  #dropUnsent(error: PorticoError): void {
    const receipts = [...(this.#sentReceipts ?? []), ...(this.#batch?.drop() ?? []), ...(this.#queue?.clear() ?? [])];
    this.#sentReceipts = undefined;
    this.#isBlocked = false;
    for (const receipt of receipts) receipt.onUnsent(error);
  }
}
