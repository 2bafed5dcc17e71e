import { TransportError } from '../base/errors.ts';
import { BaseConnection } from './base-connection.ts';
import type { Address } from './connection.ts';
import { type MemoryEnvironment, MemoryPipe, type PipeSource, type PipeTarget } from './memory-pipe.ts';

/** Who dialled and who listened. */
export type MemorySide = 'client' | 'server';

/** Fixed, or a range out of which each write draws its own. The order is kept in any case. */
export type MemoryLatency = number | readonly [min: number, max: number];

/** One end of a link. Made by MemoryNetwork. */
export class MemoryConnection extends BaseConnection implements PipeSource, PipeTarget {
  readonly kind: 'stream' | 'message';
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly tls: undefined;
  readonly raw: MemoryLink;
  readonly readPath = 'static';
  readonly #incoming: MemoryPipe;
  readonly #outgoing: MemoryPipe;
  readonly #environment: MemoryEnvironment;
  #hasSentEnd = false;
  #hasReceivedEnd = false;
  #isOver = false;

  constructor(
    link: MemoryLink,
    environment: MemoryEnvironment,
    addresses: readonly [local: Address, remote: Address],
    pipes: readonly [MemoryPipe, MemoryPipe],
  ) {
    super();
    this.raw = link;
    this.kind = environment.kind;
    [this.localAddress, this.remoteAddress] = addresses;
    [this.#incoming, this.#outgoing] = pipes;
    this.#environment = environment;
    this.#incoming.target = this;
    this.#outgoing.source = this;
  }

  // --- down ---

  protected sendOpen(): void {
    this.sendResume();
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    if (!this.#isOver) this.#outgoing.write(chunks);
  }

  protected unsentBytes(): number {
    return this.#outgoing.unsentBytes;
  }

  protected sendPause(): void {
    this.#incoming.isReading = false;
  }

  protected sendResume(): void {
    this.#incoming.isReading = true;
    this.#incoming.schedule();
  }

  protected sendEnd(): void {
    if (this.#isOver) return;
    this.#hasSentEnd = true;
    this.#outgoing.end();
    if (this.#hasReceivedEnd) this.#finish(undefined);
  }

  protected sendClose(): void {
    // The link is over by itself when both directions have ended.
  }

  protected sendAbort(error: TransportError | undefined): void {
    if (this.#isOver) return;
    // Once the end of the stream is out, only bytes that still come in are answered with a reset.
    if (!this.#hasSentEnd) this.#outgoing.reset();
    this.#finish(error);
  }

  // --- up ---

  onArrived(bytes: Buffer): void {
    this.onBytes(bytes);
  }

  onEndArrived(): void {
    this.#hasReceivedEnd = true;
    this.onEnd();
    if (this.#hasSentEnd) this.#finish(undefined);
  }

  onTaken(): void {
    this.onSent();
  }

  onResetArrived(): void {
    if (this.#isOver) return;
    this.#environment.onReset();
    this.#finish(new TransportError('CONNECTION_RESET', `${this.remoteAddress.text} reset the connection`));
  }

  #finish(error: TransportError | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#incoming.isRefusing = true;
    this.#incoming.schedule();
    if (error !== undefined) this.#outgoing.abandon();
    this.#environment.soon(() => {
      this.onClosed(error);
      this.raw.onClosed(this);
    });
  }
}

/** A connection seen from outside: its two ends, and what can happen to the network between them. */
export class MemoryLink {
  readonly client: MemoryConnection;
  readonly server: MemoryConnection;
  /** For this link only; undefined = as the network. */
  latencyMs: MemoryLatency | undefined;
  readonly #toClient: MemoryPipe;
  readonly #toServer: MemoryPipe;
  readonly #onOver: (link: MemoryLink) => void;
  readonly #gone = new Set<MemoryConnection>();

  constructor(
    environment: MemoryEnvironment,
    latency: (link: MemoryLink) => number,
    addresses: { readonly client: Address; readonly server: Address },
    onOver: (link: MemoryLink) => void,
  ) {
    const { client, server } = addresses;
    this.#toClient = new MemoryPipe(
      environment,
      () => latency(this),
      () => this.#toServer.reset(),
    );
    this.#toServer = new MemoryPipe(
      environment,
      () => latency(this),
      () => this.#toClient.reset(),
    );
    this.client = new MemoryConnection(this, environment, [client, server], [this.#toClient, this.#toServer]);
    this.server = new MemoryConnection(this, environment, [server, client], [this.#toServer, this.#toClient]);
    this.#onOver = onOver;
  }

  /** The cable is cut: both sides get CONNECTION_RESET. */
  cut(): void {
    this.client.onResetArrived();
    this.server.onResetArrived();
  }

  /** This side gets CONNECTION_RESET; the other one only when it sends something. */
  reset(side: MemorySide): void {
    this[side].onResetArrived();
  }

  /**
   * The peer of this side vanishes without a word, as when its machine loses power: nothing arrives any more in either
   * direction, and bytes are taken until the kernel's buffer is full. The link is over when this side has closed.
   */
  halfOpen(side: MemorySide): void {
    this.#toClient.isSilent = true;
    this.#toServer.isSilent = true;
    this.#gone.add(side === 'client' ? this.server : this.client);
  }

  /** This side, or both, does not read: the buffer of the sender fills up. */
  stall(side?: MemorySide): void {
    this.#setStalled(side, true);
  }

  unstall(side?: MemorySide): void {
    this.#setStalled(side, false);
  }

  /** From a connection that has closed. */
  onClosed(side: MemoryConnection): void {
    this.#gone.add(side);
    if (this.#gone.size === 2) this.#onOver(this);
  }

  #setStalled(side: MemorySide | undefined, isStalled: boolean): void {
    const pipes = side === undefined ? [this.#toClient, this.#toServer] : [side === 'client' ? this.#toClient : this.#toServer];
    for (const pipe of pipes) {
      pipe.isStalled = isStalled;
      pipe.schedule();
    }
  }
}
