import type { EventListenerLike } from '../session/event-listener.ts';
import type { RateLimitOptions } from './options.ts';
import { RateLimiter } from './rate-limiter.ts';

/**
 * Limits how much the sessions of a listener may send. Give the result to `withEventListener` in place of the listener: messages within
 * the limits, and every other event, reach it as before. Throws ConfigError INVALID_OPTION.
 *
 * A message that a limit refuses costs nothing of the others. With 'close' the peer is told (1008 over WebSocket), also while it keeps
 * sending; `onError` gets a PeerError RATE_EXCEEDED, `onClose` the code RATE. WebSocket pings are no messages and cost nothing. A loop
 * over a session (`for await`) is not a listener, and not limited.
 */
export function rateLimit<In, Out = In>(listener: EventListenerLike<In, Out>, options: RateLimitOptions<In, Out>): RateLimiter<In, Out> {
  return new RateLimiter(listener, options);
}
