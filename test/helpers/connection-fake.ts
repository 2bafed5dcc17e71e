import type { PorticoError, TransportError } from '../../src/base/errors.ts';
import { ConnectionRecorder, ReceiptRecorder } from '../../src/testing/index.ts';
import { BaseConnection } from '../../src/transport/base-connection.ts';
import type { Address, Connection, SendLimits } from '../../src/transport/connection.ts';

const address: Address = { text: 'memory://fake', host: 'fake', port: 0, family: 'memory' };

/** A connection to nowhere: the test plays the operating system and the peer. */
export class FakeConnection extends BaseConnection {
  readonly kind: 'stream' | 'message';
  readonly localAddress = address;
  readonly remoteAddress = address;
  readonly tls = undefined;
  readonly raw = undefined;
  readonly readPath = 'chunk';
  /** What the base asked for, in order. */
  readonly calls: string[] = [];
  /** What the operating system took, a buffer for each `sendBatch`. */
  readonly taken: Buffer[] = [];
  /** False: the operating system takes nothing until `take()`. */
  isTaking = true;
  /** Thrown by the next `sendBatch`. */
  failure: Error | undefined;
  readonly #sendsLater: boolean;
  #waiting: readonly Uint8Array[] = [];

  constructor(kind: 'stream' | 'message' = 'stream', sendsLater = false) {
    super();
    this.kind = kind;
    this.#sendsLater = sendsLater;
  }

  /** All bytes that the operating system took. */
  get sentBytes(): Buffer {
    return Buffer.concat(this.taken);
  }

  get sentText(): string {
    return this.sentBytes.toString('latin1');
  }

  /** What the operating system was given and has not taken. */
  get waitingBytes(): number {
    return this.unsentBytes();
  }

  /** The chunks of the last batch. */
  lastChunks: readonly Uint8Array[] = [];

  // --- the operating system ---

  /** Takes what waits. Read from where the connection left it, not from a copy: it must not have changed. */
  take(): void {
    this.taken.push(Buffer.concat(this.#waiting));
    this.#waiting = [];
    this.onSent();
  }

  receive(text: string | Buffer): void {
    this.onBytes(Buffer.from(text));
  }

  receiveEnd(): void {
    this.onEnd();
  }

  finish(error?: PorticoError): void {
    this.onClosed(error);
  }

  // --- from the base ---

  protected override get sendsLater(): boolean {
    return this.#sendsLater;
  }

  protected sendOpen(): void {
    this.calls.push('open');
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    const { failure } = this;
    this.failure = undefined;
    if (failure !== undefined) throw failure;
    this.lastChunks = chunks;
    if (this.isTaking) this.taken.push(Buffer.concat(chunks));
    else this.#waiting = chunks;
  }

  protected unsentBytes(): number {
    return this.#waiting.reduce((sum, chunk) => sum + chunk.length, 0);
  }

  protected sendPause(): void {
    this.calls.push('pause');
  }

  protected sendResume(): void {
    this.calls.push('resume');
  }

  protected sendEnd(): void {
    this.calls.push('end');
  }

  protected sendClose(): void {
    this.calls.push('close');
  }

  protected sendAbort(error: TransportError | undefined): void {
    this.calls.push(error === undefined ? 'abort' : `abort ${error.code}`);
  }
}

/** Until `process.nextTick` and promises have settled. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export const LIMITS: SendLimits = { lowWaterMarkBytes: 20, highWaterMarkBytes: 50, maxQueueBytes: 100, overflowPolicy: 'drop-newest' };

export interface FakeSetUp {
  readonly fake: FakeConnection;
  readonly recorder: ConnectionRecorder;
  readonly connection: Connection;
  send(text: string, receipt?: ReceiptRecorder): boolean;
  block(text: string, receipt?: ReceiptRecorder): void;
}

/** An open FakeConnection with what tests do to it. */
export function setUp(limits: Partial<SendLimits> = {}, kind: 'stream' | 'message' = 'stream', sendsLater = false): FakeSetUp {
  const fake = new FakeConnection(kind, sendsLater);
  const recorder = new ConnectionRecorder(fake).open({ ...LIMITS, ...limits });
  const send = (text: string, receipt?: ReceiptRecorder): boolean => recorder.send(Buffer.from(text), receipt);
  /** Sends and flushes, and the operating system takes none of it. */
  const block = (text: string, receipt?: ReceiptRecorder): void => {
    fake.isTaking = false;
    send(text, receipt);
    recorder.connection.flush();
  };
  return { fake, recorder, connection: recorder.connection, send, block };
}

/** A receipt that does something when the package was sent. */
export function onSent(then: () => void): ReceiptRecorder {
  const receipt = new ReceiptRecorder();
  receipt.onSent = () => {
    receipt.sent++;
    then();
  };
  return receipt;
}
