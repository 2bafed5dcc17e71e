/**
 * Token buckets around a listener: messages and bytes a second for each session, address and endpoint.
 *
 * @example
 * ```ts
 * import { LineHandler, TcpServer, withEventListener, withLocalAddress, withPkgHandler } from 'portico';
 * import { rateLimit } from 'portico/rate-limit';
 *
 * const limiter = rateLimit<string>(
 *   { onMessage: (session, line) => void session.send(line) },
 *   { perSession: { messagesPerSecond: 100, burst: 200 }, perIp: { messagesPerSecond: 500, burst: 1_000 } },
 * );
 * const server = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LineHandler()), withEventListener(limiter));
 * await server.listen();
 * console.log(limiter.stats().passed);
 * await server.close();
 * ```
 *
 * @module
 */
export {
  type AddressRate,
  type BeforeAuthRate,
  type ByteRate,
  KNET_RATE_LIMIT,
  type MessageRate,
  type RateLimitExceeded,
  type RateLimitName,
  type RateLimitOptions,
  type RateLimitPolicy,
} from './options.ts';
export { rateLimit } from './rate-limit.ts';
export { RateLimiter, type RateLimitStats } from './rate-limiter.ts';
