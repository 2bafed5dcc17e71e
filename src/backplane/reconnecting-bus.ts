import { type Clock, systemClock } from '../base/clock.ts';
import { ConfigError, describeThrown, type PorticoError, TransportError } from '../base/errors.ts';
import { after, wheelOf } from '../base/wheel.ts';
import type { Bus, BusDirectory, BusSink } from './bus.ts';

/** One connection to a server; it is not mended but replaced. */
export interface BusLink {
  /** Throws when the bytes cannot be sent at all. */
  publish(topic: string, bytes: Uint8Array): void;
  subscribe(topics: readonly string[]): void;
  unsubscribe(topic: string): void;
  /** Settles when the server has handled all that was sent before; rejects when the connection is lost. */
  flush(): Promise<void>;
  /** Ends at once. Never throws. */
  destroy(): void;
  /** Ends after what was sent has left. */
  close(): Promise<void>;
}

export interface BusLinkEvents {
  onBytes(topic: string, bytes: Uint8Array): void;
  /** The connection is lost; may come more than once. */
  onLost(cause: unknown): void;
  /** The server refused something; the connection goes on. */
  onRefused(cause: unknown): void;
}

/** Connects. `signal` is aborted when it takes too long: a connection that comes after that MUST be destroyed by the connector. */
export type BusConnector = (events: BusLinkEvents, signal: AbortSignal) => Promise<BusLink>;

/** Bytes sent that the server is not known to have; above this `publish` refuses. */
const MAX_UNACKNOWLEDGED_BYTES = 1_048_576;
const FLUSH_BYTES = 65_536;
/** Changes of subscriptions, beside two for each topic, that the server is not known to have; above this the connection is given up. */
const MAX_COMMANDS = 10_000;
const FLUSH_COMMANDS = 1_000;
const CONNECT_TIMEOUT_MS = 5_000;
/** First and longest wait between attempts: short, so that a server that is back is found within a second. */
const BACKOFF_MS = [50, 500] as const;
/** What a server refuses is told of once in so long. */
const REPORT_EVERY_MS = 10_000;

export interface ReconnectingBusOptions {
  /** In errors. */
  readonly name: string;
  readonly connect: BusConnector;
  readonly directory?: BusDirectory;
  readonly clock?: Clock;
  /** From 0 up to 1; for tests. */
  readonly random?: () => number;
}

/** A bus over connections that are made anew after each loss, with what was subscribed to. */
export class ReconnectingBus implements Bus {
  readonly directory?: BusDirectory;
  readonly #name: string;
  readonly #connect: BusConnector;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #topics = new Set<string>();
  #sink: BusSink | undefined;
  #link: BusLink | undefined;
  /** In bytes of messages. */
  #unacknowledged = 0;
  /** Changes of what is subscribed to that the server is not known to have. */
  #commands = 0;
  #isFlushing = false;
  #hasRefused = false;
  #failures = 0;
  #cancelRetry: () => void = () => {};
  #cancelAttempt: () => void = () => {};
  #isClosed = false;
  #reportedAtMs = Number.NEGATIVE_INFINITY;

  constructor({ name, connect, directory, clock = systemClock, random = Math.random }: ReconnectingBusOptions) {
    this.#name = name;
    this.#connect = connect;
    this.#clock = clock;
    this.#random = random;
    if (directory !== undefined) this.directory = directory;
  }

  async open(sink: BusSink): Promise<void> {
    this.#sink = sink;
    try {
      await this.#attempt();
    } catch (thrown) {
      throw thrown instanceof ConfigError ? thrown : this.#failure('cannot be reached', thrown);
    }
  }

  publish(topic: string, bytes: Uint8Array): boolean {
    const link = this.#link;
    if (link === undefined) return false;
    if (this.#unacknowledged >= MAX_UNACKNOWLEDGED_BYTES) {
      this.#hasRefused = true;
      return false;
    }
    try {
      link.publish(topic, bytes);
    } catch (thrown) {
      this.#onRefused(thrown);
      return true;
    }
    this.#unacknowledged += bytes.length + topic.length;
    if (this.#isManyUnacknowledged) this.#acknowledge(link);
    return true;
  }

  subscribe(topic: string): void {
    this.#topics.add(topic);
    this.#command((link) => link.subscribe([topic]));
  }

  unsubscribe(topic: string): void {
    this.#topics.delete(topic);
    this.#command((link) => link.unsubscribe(topic));
  }

  async flush(): Promise<void> {
    await this.#link?.flush().catch(() => {});
  }

  restart(): void {
    if (this.#link !== undefined) this.#onLost(this.#link, new Error('the connection was given up'));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelRetry();
    this.#cancelAttempt();
    const link = this.#link;
    this.#link = undefined;
    this.#topics.clear();
    if (link === undefined) return;
    await Promise.race([link.close().catch(() => {}), this.#wait(1_000)]);
    link.destroy();
  }

  /** What a new connection subscribes to is never more than what is wanted, so one on which too many changes wait is replaced. */
  #command(send: (link: BusLink) => void): void {
    const link = this.#link;
    if (link === undefined) return;
    this.#commands++;
    if (this.#commands > MAX_COMMANDS + 2 * this.#topics.size) {
      this.#onLost(link, new Error('it does not keep up with what is subscribed to and given up'));
      return;
    }
    send(link);
    if (this.#isManyUnacknowledged) this.#acknowledge(link);
  }

  get #isManyUnacknowledged(): boolean {
    return this.#unacknowledged >= FLUSH_BYTES || this.#commands >= FLUSH_COMMANDS;
  }

  async #attempt(): Promise<void> {
    const controller = new AbortController();
    const cancelTimer = after(wheelOf(this.#clock), CONNECT_TIMEOUT_MS, () =>
      controller.abort(new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`)),
    );
    this.#cancelAttempt = () => {
      cancelTimer();
      controller.abort(new Error('closed'));
    };
    let made: BusLink | undefined;
    let lost: { readonly cause: unknown } | undefined;
    const events: BusLinkEvents = {
      onBytes: (topic, bytes) => {
        if (made === undefined || made === this.#link) this.#sink?.onBytes(topic, bytes);
      },
      onLost: (cause) => {
        lost ??= { cause };
        if (made !== undefined) this.#onLost(made, cause);
      },
      onRefused: (cause) => this.#onRefused(cause),
    };
    try {
      const link = await until(this.#connect(events, controller.signal), controller.signal);
      // Topics that come meanwhile are subscribed to when the link is in place.
      const topics = new Set(this.#topics);
      if (topics.size > 0) link.subscribe([...topics]);
      await until(link.flush(), controller.signal).catch((thrown: unknown) => {
        link.destroy();
        throw thrown;
      });
      if (lost !== undefined || this.#isClosed) {
        link.destroy();
        throw lost?.cause ?? new Error('closed');
      }
      made = link;
      this.#link = link;
      this.#unacknowledged = 0;
      this.#commands = 0;
      this.#isFlushing = false;
      this.#failures = 0;
      const added = [...this.#topics].filter((topic) => !topics.has(topic));
      if (added.length > 0) link.subscribe(added);
      for (const topic of topics) if (!this.#topics.has(topic)) link.unsubscribe(topic);
    } finally {
      cancelTimer();
      this.#cancelAttempt = () => {};
    }
  }

  #onLost(link: BusLink, cause: unknown): void {
    if (link !== this.#link || this.#isClosed) return;
    this.#link = undefined;
    link.destroy();
    this.#sink?.onDown(this.#failure('is lost', cause));
    this.#retry();
  }

  #retry(): void {
    const [first, longest] = BACKOFF_MS;
    const bound = Math.min(longest, first * 2 ** Math.min(this.#failures++, 10));
    this.#cancelRetry = after(wheelOf(this.#clock), Math.ceil(bound * (0.5 + this.#random() / 2)), () => {
      if (this.#isClosed) return;
      this.#attempt().then(
        () => this.#sink?.onUp(),
        () => {
          if (!this.#isClosed) this.#retry();
        },
      );
    });
  }

  #acknowledge(link: BusLink): void {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    const [coveredBytes, coveredCommands] = [this.#unacknowledged, this.#commands];
    link.flush().then(
      () => {
        if (link !== this.#link) return;
        this.#isFlushing = false;
        this.#unacknowledged -= coveredBytes;
        this.#commands -= coveredCommands;
        if (this.#isManyUnacknowledged) this.#acknowledge(link);
        if (!this.#hasRefused || this.#unacknowledged > MAX_UNACKNOWLEDGED_BYTES / 2) return;
        this.#hasRefused = false;
        this.#sink?.onDrain();
      },
      (thrown: unknown) => this.#onLost(link, thrown),
    );
  }

  #onRefused(cause: unknown): void {
    const now = this.#clock.now();
    if (now - this.#reportedAtMs < REPORT_EVERY_MS) return;
    this.#reportedAtMs = now;
    this.#sink?.onError(this.#failure('refused a command', cause));
  }

  #failure(what: string, cause: unknown): PorticoError {
    return new TransportError('BACKPLANE_FAILED', `${this.#name}: the server ${what}: ${describeThrown(cause)}`, { cause });
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => after(wheelOf(this.#clock), ms, resolve));
  }
}

/** Rejects when the signal is aborted first; what comes later is ignored. */
function until<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}
