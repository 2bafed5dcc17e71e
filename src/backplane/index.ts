/**
 * What makes several hubs one: channels, presence and a directory of clients behind one contract. In one process by default;
 * `portico/backplane-redis` and `portico/backplane-nats` join processes and machines.
 *
 * @module
 * @example
 * ```ts
 * import { InProcessBackplane, InProcessNetwork } from 'portico/backplane';
 *
 * const network = new InProcessNetwork();
 * const here = new InProcessBackplane({ network });
 * const there = new InProcessBackplane({ network });
 * const silent = { onMember() {}, onNodeDown() {}, onGap() {}, onError() {} };
 * await here.open({ ...silent, onMessage() {} });
 * await there.open({ ...silent, onMessage: (channel, bytes) => console.log(channel, new TextDecoder().decode(bytes)) });
 * there.subscribe('news');
 * here.publish('news', new TextEncoder().encode('hello')); // news hello
 * ```
 */
export {
  BACKPLANE_LIMITS,
  type Backplane,
  type BackplaneGap,
  type BackplaneLimits,
  type BackplaneMember,
  type BackplaneSink,
  type BackplaneStats,
} from './backplane.ts';
export { InProcessBackplane, type InProcessOptions } from './in-process.ts';
export { InProcessNetwork } from './in-process-network.ts';
