import { BusBackplane } from '../backplane/bus-backplane.ts';
import type { BusBackplaneOptions } from '../backplane/bus-options.ts';
import { ReconnectingBus } from '../backplane/reconnecting-bus.ts';
import { checkString, invalid } from '../base/option.ts';
import { RedisDirectory } from './redis-directory.ts';
import { redisConnector } from './redis-link.ts';

export interface RedisBackplaneOptions extends BusBackplaneOptions {
  /**
   * Where the server is, such as `'redis://127.0.0.1:6379'`; or what `createClient` of `@redis/client` takes; or such a client, whose options are
   * used. The backplane makes two connections of its own, and sets `reconnectStrategy` and `disableOfflineQueue` there.
   */
  readonly redis: string | Readonly<Record<string, unknown>> | { readonly options: object };
  /** In front of every key and channel: services of different prefixes do not hear each other. Default `'portico:'`. */
  readonly keyPrefix?: string;
}

/**
 * A backplane over Redis 6 or newer, one server or one behind Sentinel's address; not Redis Cluster. Messages go by publish and subscribe. Presence and the
 * directory of clients are kept in keys of each node, which count as long as its lease does: see `redis-scripts.ts` for the keys.
 */
export class RedisBackplane extends BusBackplane {
  constructor(options: RedisBackplaneOptions) {
    const { redis, keyPrefix = 'portico:', ...rest } = options ?? {};
    const client = clientOptions(redis);
    checkString('RedisBackplane keyPrefix', keyPrefix, 128);
    const clock = rest.clock === undefined ? {} : { clock: rest.clock };
    const directory = new RedisDirectory({ keyPrefix, nodeId: () => this.nodeId, onError: (error) => this.onError(error) });
    const connect = redisConnector({ client, keyPrefix, directory });
    super('RedisBackplane', new ReconnectingBus({ name: 'RedisBackplane', connect, directory, ...clock }), rest);
  }
}

function clientOptions(redis: unknown): Readonly<Record<string, unknown>> {
  if (typeof redis === 'string' && redis !== '') return { url: redis };
  if (typeof redis === 'object' && redis !== null) {
    const isClient = 'options' in redis && 'sendCommand' in redis;
    return { ...(isClient && typeof redis.options === 'object' ? redis.options : redis) };
  }
  throw invalid('RedisBackplane redis', 'the URL of a server, an object of options or a client', redis);
}
