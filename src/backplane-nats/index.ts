/**
 * Joins hubs by way of a NATS server. Needs the package @nats-io/transport-node: `npm install @nats-io/transport-node`.
 *
 * @module
 * @example
 * ```ts
 * import { NatsBackplane } from 'portico/backplane-nats';
 *
 * const backplane = new NatsBackplane({ nats: '127.0.0.1:4222', subjectPrefix: 'chat' });
 * ```
 */
export type { BusBackplaneOptions } from '../backplane/bus-options.ts';
export { NatsBackplane, type NatsBackplaneOptions } from './nats-backplane.ts';
