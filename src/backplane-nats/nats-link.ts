import { loadPackage } from '../backplane/load-package.ts';
import type { BusConnector, BusLink, BusLinkEvents } from '../backplane/reconnecting-bus.ts';

/** The part of @nats-io/transport-node that is used here, so that nobody who does without the package needs its types. */
export interface NatsConnection {
  publish(subject: string, payload: Uint8Array): void;
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: { readonly data: Uint8Array }) => void },
  ): { unsubscribe(): void };
  flush(): Promise<void>;
  close(): Promise<void>;
  closed(): Promise<unknown>;
}

interface NatsModule {
  connect(options: object): Promise<NatsConnection>;
}

export interface NatsLinkOptions {
  readonly connection: Readonly<Record<string, unknown>>;
  readonly subjectPrefix: string;
}

/** Topics are any text; subjects are not. */
export function subjectOf(prefix: string, topic: string): string {
  return `${prefix}.${Buffer.from(topic).toString('base64url')}`;
}

export function natsConnector({ connection, subjectPrefix }: NatsLinkOptions): BusConnector {
  return async (events, signal) => {
    const { connect } = await loadNats();
    // The bus connects again by itself: it must know when, and bounds what waits meanwhile.
    const nats = await connect({ ...connection, reconnect: false, waitOnFirstConnect: false, noEcho: false });
    if (signal.aborted) {
      nats.close().catch(() => {});
      throw signal.reason;
    }
    return new NatsLink(nats, subjectPrefix, events);
  };
}

class NatsLink implements BusLink {
  readonly #nats: NatsConnection;
  readonly #prefix: string;
  readonly #events: BusLinkEvents;
  readonly #subscriptions = new Map<string, { unsubscribe(): void }>();
  #isEnded = false;

  constructor(nats: NatsConnection, prefix: string, events: BusLinkEvents) {
    this.#nats = nats;
    this.#prefix = prefix;
    this.#events = events;
    nats.closed().then(
      (error) => this.#onClosed(error ?? new Error('the connection ended')),
      (thrown: unknown) => this.#onClosed(thrown),
    );
  }

  publish(topic: string, bytes: Uint8Array): void {
    this.#nats.publish(subjectOf(this.#prefix, topic), bytes);
  }

  subscribe(topics: readonly string[]): void {
    try {
      for (const topic of topics) this.#subscribe(topic);
    } catch (thrown) {
      this.#onClosed(thrown);
    }
  }

  unsubscribe(topic: string): void {
    const subscription = this.#subscriptions.get(topic);
    this.#subscriptions.delete(topic);
    try {
      subscription?.unsubscribe();
    } catch (thrown) {
      this.#onClosed(thrown);
    }
  }

  flush(): Promise<void> {
    return this.#nats.flush();
  }

  destroy(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#nats.close().catch(() => {});
  }

  async close(): Promise<void> {
    this.#isEnded = true;
    await this.#nats.flush();
    await this.#nats.close();
  }

  #subscribe(topic: string): void {
    if (this.#subscriptions.has(topic)) return;
    const callback = (error: Error | null, message: { readonly data: Uint8Array }): void => {
      if (error !== null) this.#events.onRefused(error);
      else this.#events.onBytes(topic, message.data);
    };
    this.#subscriptions.set(topic, this.#nats.subscribe(subjectOf(this.#prefix, topic), { callback }));
  }

  #onClosed(cause: unknown): void {
    if (!this.#isEnded) this.#events.onLost(cause);
  }
}

async function loadNats(): Promise<NatsModule> {
  // Its own types would be needed by those who do without the package, too.
  return (await loadPackage('NatsBackplane', '@nats-io/transport-node')) as NatsModule;
}
