import type { BusConnector, BusLink, BusLinkEvents } from '../backplane/reconnecting-bus.ts';
import { loadRedis, type RedisClient, type RedisModule } from './redis-client.ts';
import type { RedisDirectory } from './redis-directory.ts';

export interface RedisLinkOptions {
  readonly client: Readonly<Record<string, unknown>>;
  readonly keyPrefix: string;
  readonly directory: RedisDirectory;
}

/** Two connections: one for commands, and one that only listens. When one is lost, so is the other. */
export function redisConnector({ client, keyPrefix, directory }: RedisLinkOptions): BusConnector {
  return async (events, signal) => {
    const redis = await loadRedis();
    const commands = makeClient(redis, client);
    const listening = makeClient(redis, client);
    const destroyAll = (): void => {
      for (const each of [commands, listening]) destroy(each);
    };
    for (const each of [commands, listening]) {
      each.on('error', (error) => events.onLost(error));
      each.on('end', () => events.onLost(new Error('the connection ended')));
    }
    // A server that has frozen takes connections and says nothing.
    signal.addEventListener('abort', destroyAll, { once: true });
    try {
      await Promise.all([commands.connect(), listening.connect()]);
    } catch (thrown) {
      destroyAll();
      throw thrown;
    } finally {
      signal.removeEventListener('abort', destroyAll);
    }
    directory.use(commands.withTypeMapping({ [redis.RESP_TYPES.BLOB_STRING]: Buffer, [redis.RESP_TYPES.SIMPLE_STRING]: Buffer }));
    return new RedisLink(commands, listening, keyPrefix, events);
  };
}

function makeClient(redis: RedisModule, options: Readonly<Record<string, unknown>>): RedisClient {
  const socket = typeof options['socket'] === 'object' ? options['socket'] : {};
  // The bus connects again by itself: it must know when, and bounds what waits meanwhile.
  return redis.createClient({ ...options, disableOfflineQueue: true, socket: { ...socket, reconnectStrategy: false } });
}

function destroy(client: RedisClient): void {
  try {
    client.destroy();
  } catch {
    // It was closed already.
  }
}

class RedisLink implements BusLink {
  readonly #commands: RedisClient;
  readonly #listening: RedisClient;
  readonly #prefix: string;
  readonly #events: BusLinkEvents;

  constructor(commands: RedisClient, listening: RedisClient, prefix: string, events: BusLinkEvents) {
    this.#commands = commands;
    this.#listening = listening;
    this.#prefix = prefix;
    this.#events = events;
  }

  publish(topic: string, bytes: Uint8Array): void {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#commands.publish(this.#prefix + topic, buffer).catch(this.#onFailure);
  }

  subscribe(topics: readonly string[]): void {
    const channels = topics.map((topic) => this.#prefix + topic);
    this.#listening.subscribe(channels, this.#onBytes, true).catch((thrown: unknown) => this.#events.onLost(thrown));
  }

  unsubscribe(topic: string): void {
    this.#listening.unsubscribe(this.#prefix + topic).catch(this.#onFailure);
  }

  async flush(): Promise<void> {
    await Promise.all([this.#commands.sendCommand(['PING']), this.#listening.sendCommand(['PING'])]);
  }

  destroy(): void {
    destroy(this.#commands);
    destroy(this.#listening);
  }

  async close(): Promise<void> {
    await Promise.all([this.#commands.close(), this.#listening.close()]);
  }

  readonly #onBytes = (bytes: Buffer, channel: Buffer): void => {
    this.#events.onBytes(channel.toString().slice(this.#prefix.length), bytes);
  };

  /** A loss is told by the connection itself. */
  readonly #onFailure = (thrown: unknown): void => {
    if (isRefusal(thrown)) this.#events.onRefused(thrown);
  };
}

/** The server answered, and the answer was an error. */
export function isRefusal(thrown: unknown): boolean {
  return thrown instanceof Error && ['ErrorReply', 'SimpleError', 'BlobError'].includes(thrown.constructor.name);
}
