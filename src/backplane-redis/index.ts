/**
 * Joins hubs by way of a Redis server. Needs the package @redis/client: `npm install @redis/client`.
 *
 * @module
 * @example
 * ```ts
 * import { RedisBackplane } from 'portico/backplane-redis';
 *
 * const backplane = new RedisBackplane({ redis: 'redis://127.0.0.1:6379', keyPrefix: 'chat:' });
 * ```
 */
export type { BusBackplaneOptions } from '../backplane/bus-options.ts';
export { RedisBackplane, type RedisBackplaneOptions } from './redis-backplane.ts';
