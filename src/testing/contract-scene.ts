import assert from 'node:assert/strict';
import type { Address, Connection, SendLimits } from '../transport/connection.ts';
import type { Acceptor, AcceptorSink, Transport } from '../transport/transport.ts';
import { ConnectionRecorder, WIDE_LIMITS } from './connection-recorder.ts';

/** The transport under test and what it can do. */
export interface ConnectionHarness {
  readonly name: string;
  /** Called for each case. */
  transport(): Transport | Promise<Transport>;
  /** Where to listen: a place that is free in each case, such as port 0. */
  readonly address: string | (() => string);
  readonly capabilities: ConnectionCapabilities;
  /** With `isDatagram`: sends an empty message to the peer, past the connection, so that the peer learns of it. */
  readonly greet?: (connection: Connection) => void;
  /** The largest amount to send; less for a simulated network that is slow. @default 10 MiB */
  readonly maxBytes?: number;
  /** How long to wait for anything before the case fails. @default 5000 */
  readonly timeoutMs?: number;
}

export interface ConnectionCapabilities {
  readonly kind: 'stream' | 'message';
  /** `end` ends one direction only. */
  readonly halfClose: boolean;
  /** `abort` shows on the other side as CONNECTION_RESET. */
  readonly reset: boolean;
  /** A receiver that pauses makes the sender's queue grow. */
  readonly backPressure: boolean;
  /**
   * There is no connection on the wire: a peer learns of it by its first message, is not told of its end, and nobody has to listen.
   * Messages are not held back, and a paused reader drops those above its limit. @default false
   */
  readonly isDatagram?: boolean;
  /** The largest message. @default no limit */
  readonly maxMessageBytes?: number;
}

export interface Pair {
  readonly client: ConnectionRecorder;
  readonly server: ConnectionRecorder;
  readonly acceptor: Acceptor;
}

/** Who sends to whom. */
export interface Flow {
  readonly sender: ConnectionRecorder;
  readonly receiver: ConnectionRecorder;
}

/** An acceptor's sink that keeps what it is given. */
export class AcceptorRecorder implements AcceptorSink {
  readonly connections: Connection[] = [];
  readonly lost: Address[] = [];
  refusal: string | undefined;

  admit(): string | undefined {
    return this.refusal;
  }

  onConnection(connection: Connection): void {
    this.connections.push(connection);
  }

  onConnectionLost(remoteAddress: Address): void {
    this.lost.push(remoteAddress);
  }

  onAcceptError(): void {}
}

const TIMEOUT_MS = 5000;
export const NEVER: AbortSignal = new AbortController().signal;

/** What one case of the contract works with; cleans up after it. */
export class ContractScene {
  readonly harness: ConnectionHarness;
  readonly capabilities: ConnectionCapabilities;
  readonly maxBytes: number;
  readonly #recorders: ConnectionRecorder[] = [];
  readonly #acceptors: Acceptor[] = [];
  #transport: Transport | undefined;

  constructor(harness: ConnectionHarness) {
    this.harness = harness;
    this.capabilities = harness.capabilities;
    this.maxBytes = harness.maxBytes ?? 10 * 1024 * 1024;
  }

  async transport(): Promise<Transport> {
    this.#transport ??= await this.harness.transport();
    return this.#transport;
  }

  async listen(): Promise<{ acceptor: Acceptor; accepted: AcceptorRecorder }> {
    const { address } = this.harness;
    const accepted = new AcceptorRecorder();
    const transport = await this.transport();
    const acceptor = await transport.listen(typeof address === 'string' ? address : address(), accepted);
    this.#acceptors.push(acceptor);
    return { acceptor, accepted };
  }

  async dial(acceptor: Acceptor): Promise<ConnectionRecorder> {
    const transport = await this.transport();
    return this.record(await transport.dial(acceptor.address.text, { signal: NEVER }));
  }

  record(connection: Connection): ConnectionRecorder {
    const recorder = new ConnectionRecorder(connection);
    this.#recorders.push(recorder);
    return recorder;
  }

  /** Two connected ends, open unless `isOpen` is false. */
  async connect(limits: SendLimits = WIDE_LIMITS, isOpen = true): Promise<Pair> {
    const { acceptor, accepted } = await this.listen();
    return this.connectTo(acceptor, accepted, limits, isOpen);
  }

  async connectTo(acceptor: Acceptor, accepted: AcceptorRecorder, limits: SendLimits = WIDE_LIMITS, isOpen = true): Promise<Pair> {
    const before = accepted.connections.length;
    const client = await this.dial(acceptor);
    this.harness.greet?.(client.connection);
    await this.until(() => accepted.connections.length > before, 'the connection to be accepted');
    const connection = accepted.connections[before];
    assert.ok(connection !== undefined);
    const server = this.record(connection);
    if (isOpen) {
      client.open(limits);
      server.open(limits);
      if (this.harness.greet !== undefined) await this.until(() => server.messages.splice(0).length > 0, 'the greeting');
    }
    return { client, server, acceptor };
  }

  /** Turns the event loop until the condition holds. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const timeoutMs = this.harness.timeoutMs ?? TIMEOUT_MS;
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      if (performance.now() > deadline) assert.fail(`waited ${timeoutMs} ms for ${what}`);
      await turn();
    }
  }

  /** Waits until all that was sent has come. */
  async delivered({ sender, receiver }: Flow): Promise<void> {
    const isDelivered = (): boolean => sender.connection.pendingBytes === 0 && receiver.length === sender.connection.bytesWritten;
    await this.until(isDelivered, 'all that was sent');
  }

  /**
   * Makes the peer stop reading and sends packages until they wait in the sender's queue and nothing moves any more. Returns
   * how many: they have the indexes from 0 on.
   */
  async block({ sender, receiver }: Flow, send: (bytes: Buffer) => void = (bytes) => void sender.send(bytes)): Promise<number> {
    const waiting = Math.min(262_144, this.maxBytes);
    receiver.connection.pause();
    let count = 0;
    const isBlocked = async (): Promise<boolean> => {
      const before = sender.connection.pendingBytes;
      await turns(20);
      return before >= waiting && sender.connection.pendingBytes === before;
    };
    while (!(await isBlocked())) {
      while (sender.connection.pendingBytes < waiting) send(packageBytes(count++, waiting / 16));
    }
    return count;
  }

  /** Ends everything, and checks what holds in all cases: each end was closed once, and the recorders saw no breach. */
  async cleanUp(): Promise<void> {
    for (const recorder of this.#recorders) recorder.connection.abort();
    for (const acceptor of this.#acceptors) await acceptor.close();
    for (const recorder of this.#recorders) {
      if (recorder.wasOpened) await this.until(() => recorder.closes > 0, 'onClose after abort');
    }
    await turns(3);
    for (const recorder of this.#recorders) {
      assert.deepEqual(recorder.breaches, []);
      assert.equal(recorder.closes, recorder.wasOpened ? 1 : 0, 'how many times onClose came');
    }
  }
}

/** Registers one case of the contract. */
export type CaseMaker = (name: string, body: (scene: ContractScene) => Promise<void>) => void;

/** Runs one case and cleans up, also when it fails. */
export async function runCase(harness: ConnectionHarness, body: (scene: ContractScene) => Promise<void>): Promise<void> {
  const scene = new ContractScene(harness);
  let isDone = false;
  try {
    await body(scene);
    isDone = true;
  } finally {
    // A fault found by the case is worth more than one found while cleaning up after it.
    if (isDone) await scene.cleanUp();
    else await scene.cleanUp().catch(() => {});
  }
}

export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

export async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

const HEADER_BYTES = 8;

/** A package that can be recognised: its index, its size, and filling that depends on the index. */
export function packageBytes(index: number, size: number): Buffer {
  const bytes = Buffer.alloc(Math.max(size, HEADER_BYTES), index % 251);
  bytes.writeUInt32BE(index, 0);
  bytes.writeUInt32BE(bytes.length, 4);
  return bytes;
}

/** The indexes of the packages in the bytes; fails when one is damaged. */
export function packagesIn(bytes: Buffer): number[] {
  const indexes: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    assert.ok(at + HEADER_BYTES <= bytes.length, 'a package was cut');
    const index = bytes.readUInt32BE(at);
    const size = bytes.readUInt32BE(at + 4);
    assert.ok(packageBytes(index, size).equals(bytes.subarray(at, at + size)), `package ${index} was damaged`);
    indexes.push(index);
    at += size;
  }
  return indexes;
}

/** Bytes without a pattern that a mix-up could hide in. */
export function patternBytes(length: number, seed = 1): Buffer {
  const bytes = Buffer.alloc(length);
  let state = seed | 0;
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

export function numbersTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}
