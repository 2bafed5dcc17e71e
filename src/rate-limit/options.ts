import { checkFunction, checkInteger, checkOneOf, invalid } from '../base/option.ts';
import type { BucketRate } from '../base/token-bucket.ts';
import type { Session } from '../session/session.ts';

/** Messages, or what `costOf` makes of them. */
export interface MessageRate {
  /** On average; more than 0. */
  readonly messagesPerSecond: number;
  /** At once, after a pause; 1 or more. */
  readonly burst: number;
}

export interface ByteRate {
  /** On average; more than 0. */
  readonly bytesPerSecond: number;
  /** At once, after a pause; at least the largest package that is to pass. */
  readonly burstBytes: number;
}

export interface AddressRate extends MessageRate {
  /** Addresses that are remembered; for one more, the one that connected longest ago begins anew. Default 100,000. */
  readonly maxAddresses?: number;
}

export interface BeforeAuthRate<In, Out> extends MessageRate {
  /** Asked for each message until it says true for the first time. A session that signs out stays in the wider limit. */
  isAuthenticated(session: Session<In, Out>): boolean;
}

/** Which limit a message exceeded. */
export type RateLimitName = 'before-auth' | 'session' | 'bytes' | 'ip' | 'endpoint';

/**
 * What becomes of a message over a limit: 'close' ends its session; 'drop' loses the message; 'delay' handles it, and the next one when
 * the limit allows, which is back-pressure on the peer; 'reject' loses it and lets `onExceeded` answer.
 */
export type RateLimitPolicy = 'close' | 'drop' | 'delay' | 'reject';

/** What was exceeded, for `onExceeded`. */
export interface RateLimitExceeded {
  readonly limit: RateLimitName;
  readonly policy: RateLimitPolicy;
}

/** A limit that is left out does not exist. */
export interface RateLimitOptions<In, Out = In> {
  /** For each session. */
  readonly perSession?: MessageRate;
  /**
   * For each session: what its connection received, counted with the next whole package, so that the first package of a chunk pays
   * for the chunk. Bytes are always paid; while they are overdrawn (by one burst at most) messages are over the limit.
   */
  readonly bytes?: ByteRate;
  /** For all sessions of one IP address together; an IPv6 /64 counts as one address. Sessions without an IP address are free. */
  readonly perIp?: AddressRate;
  /** For all sessions of one endpoint together. */
  readonly perEndpoint?: MessageRate;
  /** For each session, in place of `perSession`, until it is authenticated. */
  readonly beforeAuth?: BeforeAuthRate<In, Out>;
  /** How many messages one counts for: 0 or more. Default 1. MUST be synchronous. */
  readonly costOf?: (pkg: In, session: Session<In, Out>) => number;
  /** Default 'close'. */
  readonly policy?: RateLimitPolicy;
  /**
   * Called with a message that will not be handled, to answer it: needed with 'reject', possible with 'close', where a peer that
   * has no close status (TCP) is told before the end. Never called with 'drop' and 'delay'.
   */
  readonly onExceeded?: (session: Session<In, Out>, pkg: In, exceeded: RateLimitExceeded) => void | Promise<void>;
  /** With 'close': what a WebSocket peer is given, 3000 to 4999 or 1008. Default 1008. */
  readonly status?: number;
  /** With 'close': the text beside it, 1 to 123 bytes. Default `Rate limit exceeded`. */
  readonly reason?: string;
}

/** What knet does: 100 messages a second, 200 at once, then close 1008 "Rate limit exceeded". */
export const KNET_RATE_LIMIT: Pick<RateLimitOptions<unknown>, 'perSession' | 'policy' | 'status' | 'reason'> = {
  perSession: { messagesPerSecond: 100, burst: 200 },
  policy: 'close',
  status: 1008,
  reason: 'Rate limit exceeded',
};

const DEFAULT_MAX_ADDRESSES = 100_000;

/** The options checked, with their defaults, in the units of buckets. */
export interface RateLimits<In, Out> {
  readonly session: BucketRate | undefined;
  readonly beforeAuth: BucketRate | undefined;
  readonly bytes: BucketRate | undefined;
  readonly ip: BucketRate | undefined;
  readonly maxAddresses: number;
  readonly endPoint: BucketRate | undefined;
  readonly isAuthenticated: ((session: Session<In, Out>) => boolean) | undefined;
  readonly costOf: RateLimitOptions<In, Out>['costOf'];
  readonly policy: RateLimitPolicy;
  readonly onExceeded: RateLimitOptions<In, Out>['onExceeded'];
  readonly status: number;
  readonly reason: string;
}

/** Throws ConfigError INVALID_OPTION. */
export function checkRateLimits<In, Out>(options: RateLimitOptions<In, Out>): RateLimits<In, Out> {
  if (typeof options !== 'object' || options === null) throw invalid('rateLimit', 'options', options);
  const { perSession, bytes, perIp, perEndpoint, beforeAuth, costOf, onExceeded } = options;
  const { policy = 'close', status = 1008, reason = 'Rate limit exceeded' } = options;
  if (costOf !== undefined) checkFunction('rateLimit costOf', costOf);
  if (onExceeded !== undefined) checkFunction('rateLimit onExceeded', onExceeded);
  if (beforeAuth !== undefined) checkFunction('rateLimit beforeAuth.isAuthenticated', beforeAuth.isAuthenticated);
  checkOneOf('rateLimit policy', policy, ['close', 'drop', 'delay', 'reject']);
  if (policy === 'reject' && onExceeded === undefined)
    throw invalid('rateLimit onExceeded', "a function, with the policy 'reject'", onExceeded);
  if (status !== 1008) checkInteger('rateLimit status', status, 3000, 4999);
  if (typeof reason !== 'string' || reason === '' || Buffer.byteLength(reason) > 123) {
    throw invalid('rateLimit reason', 'a string of 1 to 123 bytes', reason);
  }
  return {
    session: messageRate('perSession', perSession),
    beforeAuth: messageRate('beforeAuth', beforeAuth),
    bytes: bytes === undefined ? undefined : checkRate('bytes', 'bytesPerSecond', bytes.bytesPerSecond, 'burstBytes', bytes.burstBytes),
    ip: messageRate('perIp', perIp),
    maxAddresses: checkInteger('rateLimit perIp.maxAddresses', perIp?.maxAddresses ?? DEFAULT_MAX_ADDRESSES, 1, 2 ** 24),
    endPoint: messageRate('perEndpoint', perEndpoint),
    isAuthenticated: beforeAuth === undefined ? undefined : (session) => beforeAuth.isAuthenticated(session),
    costOf,
    policy,
    onExceeded,
    status,
    reason,
  };
}

function messageRate(option: string, rate: MessageRate | undefined): BucketRate | undefined {
  return rate === undefined ? undefined : checkRate(option, 'messagesPerSecond', rate.messagesPerSecond, 'burst', rate.burst);
}

function checkRate(option: string, rateName: string, perSecond: number, burstName: string, burst: number): BucketRate {
  if (!Number.isFinite(perSecond) || perSecond <= 0) throw invalid(`rateLimit ${option}.${rateName}`, 'a number above 0', perSecond);
  if (!Number.isFinite(burst) || burst < 1) throw invalid(`rateLimit ${option}.${burstName}`, 'a number, 1 or more', burst);
  return { perSecond, burst };
}
