import type { PeerError, PorticoError } from '../base/errors.ts';
import type { Connection, ConnectionSink, SendLimits, SendReceipt } from '../transport/connection.ts';

/** Roomy enough that nothing is refused. */
export const WIDE_LIMITS: SendLimits = {
  lowWaterMarkBytes: 65_536,
  highWaterMarkBytes: 262_144,
  maxQueueBytes: Number.MAX_SAFE_INTEGER,
  overflowPolicy: 'reject',
};

/** What became of one package. */
export class ReceiptRecorder implements SendReceipt {
  sent = 0;
  readonly errors: PorticoError[] = [];

  /** How many times it was settled: 1, if the connection keeps its promise. */
  get settled(): number {
    return this.sent + this.errors.length;
  }

  onSent(): void {
    this.sent++;
  }

  onUnsent(error: PorticoError): void {
    this.errors.push(error);
  }
}

/**
 * A sink that writes down all that a connection says, and every breach of the contract that it can see by itself: anything
 * after `onClose`, bytes or an end while paused, and an `onClose` from inside a call. Use `connection` of the recorder, not the
 * one given to it: it watches the calls.
 */
export class ConnectionRecorder implements ConnectionSink {
  readonly connection: Connection;
  readonly breaches: string[] = [];
  /** The names of all calls but `onBytes`, in order. */
  readonly events: string[] = [];
  /** Of a message connection: each message. */
  readonly messages: Buffer[] = [];
  wasOpened = false;
  ends = 0;
  drains = 0;
  blocks = 0;
  finishes = 0;
  closes = 0;
  closeError: PorticoError | undefined;
  overflow: PeerError | undefined;
  /** Called with the lent bytes after they were recorded. */
  onBytesHook: ((bytes: Buffer) => void) | undefined;
  onDrainHook: (() => void) | undefined;
  onOverflowHook: (() => void) | undefined;
  #memory: Buffer = Buffer.alloc(4096);
  #length = 0;
  #callDepth = 0;
  #isPaused = false;
  #isClosing = false;

  constructor(connection: Connection) {
    this.connection = this.#watched(connection);
  }

  /** How many bytes have come. */
  get length(): number {
    return this.#length;
  }

  /** All bytes that have come. */
  get bytes(): Buffer {
    return this.#memory.subarray(0, this.#length);
  }

  open(limits: SendLimits = WIDE_LIMITS): this {
    this.wasOpened = true;
    this.connection.open(this, limits);
    return this;
  }

  /** Sends bytes as one package. */
  send(bytes: Uint8Array, receipt?: SendReceipt): boolean {
    this.connection.beginPackage().writeBytes(bytes);
    return this.connection.endPackage(receipt);
  }

  // --- from the connection ---

  onBytes(bytes: Buffer): void {
    this.#check('onBytes', this.#isPaused);
    if (this.connection.kind === 'message') this.messages.push(Buffer.from(bytes));
    const length = this.#length + bytes.length;
    if (length > this.#memory.length) {
      const larger = Buffer.alloc(length * 2);
      this.#memory.copy(larger, 0, 0, this.#length);
      this.#memory = larger;
    }
    this.#memory.set(bytes, this.#length);
    this.#length = length;
    this.onBytesHook?.(bytes);
  }

  onDrain(): void {
    this.#check('onDrain');
    this.events.push('drain');
    this.drains++;
    this.onDrainHook?.();
  }

  onEnd(): void {
    this.#check('onEnd', this.#isPaused);
    this.events.push('end');
    this.ends++;
  }

  onBlocked(): void {
    this.#check('onBlocked');
    this.blocks++;
  }

  onFinished(): void {
    this.#check('onFinished');
    this.events.push('finished');
    this.finishes++;
  }

  onClose(error: PorticoError | undefined): void {
    this.#check('onClose');
    if (this.#callDepth > 0) this.breaches.push('onClose came from inside a call');
    this.events.push('close');
    this.closes++;
    this.closeError = error;
  }

  onOverflow(error: PeerError): void {
    this.#check('onOverflow');
    this.events.push('overflow');
    this.overflow = error;
    this.onOverflowHook?.();
  }

  // --- private ---

  #check(name: string, isPaused = false): void {
    if (this.closes > 0) this.breaches.push(`${name} came after onClose`);
    if (isPaused && !this.#isClosing) this.breaches.push(`${name} came while paused`);
  }

  /** The connection with each call noted while it lasts. */
  #watched(connection: Connection): Connection {
    return new Proxy(connection, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target);
        if (typeof value !== 'function') return value;
        return (...args: unknown[]): unknown => {
          if (name === 'resume') this.#isPaused = false;
          if (name === 'close' || name === 'abort') this.#isClosing = true;
          this.#callDepth++;
          try {
            return Reflect.apply(value, target, args);
          } finally {
            this.#callDepth--;
            if (name === 'pause' && this.closes === 0) this.#isPaused = true;
          }
        };
      },
    });
  }
}
