import { publish } from '../base/diagnostics.ts';
import { PeerError } from '../base/errors.ts';
import { ipGroup } from '../base/ip-group.ts';
import { oneLine } from '../base/log.ts';
import { checkMethods } from '../base/option.ts';
import { BucketTable, TokenBucket } from '../base/token-bucket.ts';
import { type EventListenerLike, overrides } from '../session/event-listener.ts';
import type { Session } from '../session/session.ts';
import type { SessionEndPoint } from '../session/session-host.ts';
import { checkRateLimits, type RateLimitName, type RateLimitOptions, type RateLimits } from './options.ts';

/** What a rate limiter has done, in messages. */
export interface RateLimitStats {
  /** Handed on to the listener, the delayed ones included. */
  readonly passed: number;
  /** Sessions closed. */
  readonly closed: number;
  readonly dropped: number;
  readonly delayed: number;
  readonly rejected: number;
  /** How often each limit was exceeded. */
  readonly exceeded: Readonly<Record<RateLimitName, number>>;
  /** IP addresses that are remembered, and those that had to be forgotten for others. */
  readonly addresses: number;
  readonly forgottenAddresses: number;
}

/** What one session may still send: its own buckets, and those that it shares. */
interface Account {
  readonly session: TokenBucket | undefined;
  readonly bytes: TokenBucket | undefined;
  readonly ip: TokenBucket | undefined;
  readonly endPoint: TokenBucket | undefined;
  /** Undefined once the session is authenticated. */
  beforeAuth: TokenBucket | undefined;
  /** How much of `connection.bytesRead` has been paid. */
  paidBytes: number;
  isLogged: boolean;
}

/** A listener around another one, which gets only what the limits let through. Made by `rateLimit`. */
export class RateLimiter<In, Out = In> implements EventListenerLike<In, Out> {
  // Only there when the listener has them, because a session saves the work for methods that do nothing.
  readonly onOpen?: (session: Session<In, Out>) => void | Promise<void>;
  readonly onCron?: (session: Session<In, Out>) => void | Promise<void>;
  readonly onDrain?: (session: Session<In, Out>) => void | Promise<void>;
  readonly onEnd?: (session: Session<In, Out>) => void | Promise<void>;
  readonly onError?: NonNullable<EventListenerLike<In, Out>['onError']>;
  readonly onClose?: NonNullable<EventListenerLike<In, Out>['onClose']>;
  readonly #listener: EventListenerLike<In, Out>;
  readonly #limits: RateLimits<In, Out>;
  readonly #costOf: RateLimits<In, Out>['costOf'];
  readonly #accounts = new WeakMap<Session<In, Out>, Account>();
  readonly #addresses: BucketTable | undefined;
  readonly #endPoints = new WeakMap<SessionEndPoint<In, Out>, TokenBucket>();
  /** Messages of one session come in rows: these two save looking it up. */
  #lastId = 0;
  #lastAccount: Account | undefined;
  #passed = 0;
  readonly #did: Record<'close' | 'drop' | 'delay' | 'reject', number> = { close: 0, drop: 0, delay: 0, reject: 0 };
  readonly #exceeded: Record<RateLimitName, number> = { 'before-auth': 0, session: 0, bytes: 0, ip: 0, endpoint: 0 };

  constructor(listener: EventListenerLike<In, Out>, options: RateLimitOptions<In, Out>) {
    this.#listener = checkMethods('rateLimit listener', listener, ['onMessage']);
    this.#limits = checkRateLimits(options);
    this.#costOf = this.#limits.costOf;
    const { ip, maxAddresses } = this.#limits;
    if (ip !== undefined) this.#addresses = new BucketTable(ip, maxAddresses);
    if (overrides(listener, 'onOpen')) this.onOpen = (session) => listener.onOpen?.(session);
    if (overrides(listener, 'onCron')) this.onCron = (session) => listener.onCron?.(session);
    if (overrides(listener, 'onDrain')) this.onDrain = (session) => listener.onDrain?.(session);
    if (overrides(listener, 'onEnd')) this.onEnd = (session) => listener.onEnd?.(session);
    if (overrides(listener, 'onError')) this.onError = (session, error) => listener.onError?.(session, error);
    if (overrides(listener, 'onClose')) this.onClose = (session, reason) => listener.onClose?.(session, reason);
  }

  onMessage(session: Session<In, Out>, pkg: In): void | Promise<void> {
    const account = this.#accountOf(session);
    const cost = this.#costOf === undefined ? 1 : checkCost(this.#costOf(pkg, session));
    const limit = this.#spend(session, account, cost);
    if (limit !== undefined) {
      this.#tell(session, account, limit);
      if (!this.#mayGoOn(session, account, limit)) return this.#refuse(session, pkg, limit);
    }
    this.#passed++;
    return this.#listener.onMessage(session, pkg);
  }

  /**
   * Takes `cost` more messages from the limits of a session, for a message that turned out to be many, such as a JSON-RPC batch. False:
   * it is too much, and the rest MUST NOT be handled; with the policy 'close' the session is closing. `onExceeded` is not called.
   */
  charge(session: Session<In, Out>, cost: number): boolean {
    checkCost(cost);
    if (session.isClosed) return false;
    const account = this.#accountOf(session);
    const limit = this.#spend(session, account, cost);
    if (limit === undefined) return true;
    this.#tell(session, account, limit);
    if (this.#mayGoOn(session, account, limit)) return true;
    if (this.#limits.policy === 'close') this.#close(session);
    return false;
  }

  stats(): RateLimitStats {
    const { close: closed, drop: dropped, delay: delayed, reject: rejected } = this.#did;
    const addresses = this.#addresses?.size ?? 0;
    const forgottenAddresses = this.#addresses?.forgotten ?? 0;
    return { passed: this.#passed, closed, dropped, delayed, rejected, exceeded: { ...this.#exceeded }, addresses, forgottenAddresses };
  }

  // --- accounts ---

  #accountOf(session: Session<In, Out>): Account {
    if (this.#lastAccount !== undefined && this.#lastId === session.id) return this.#lastAccount;
    let account = this.#accounts.get(session);
    if (account === undefined) {
      account = this.#newAccount(session);
      this.#accounts.set(session, account);
    }
    this.#lastId = session.id;
    this.#lastAccount = account;
    return account;
  }

  #newAccount(session: Session<In, Out>): Account {
    const nowMs = session.wheel.now();
    const { session: own, beforeAuth, bytes } = this.#limits;
    const { host } = session.remoteAddress;
    return {
      session: bucketOf(own, nowMs),
      beforeAuth: bucketOf(beforeAuth, nowMs),
      bytes: bucketOf(bytes, nowMs),
      ip: host === '' ? undefined : this.#addresses?.get(ipGroup(host), nowMs),
      endPoint: this.#endPointBucket(session.endPoint, nowMs),
      paidBytes: 0,
      isLogged: false,
    };
  }

  #endPointBucket(endPoint: SessionEndPoint<In, Out>, nowMs: number): TokenBucket | undefined {
    const { endPoint: rate } = this.#limits;
    if (rate === undefined) return undefined;
    let bucket = this.#endPoints.get(endPoint);
    if (bucket === undefined) {
      bucket = new TokenBucket(rate, nowMs);
      this.#endPoints.set(endPoint, bucket);
    }
    return bucket;
  }

  // --- spending ---

  /** Takes what a message costs, or says which limit has not enough. With 'delay' it is taken all the same. */
  #spend(session: Session<In, Out>, account: Account, cost: number): RateLimitName | undefined {
    if (account.beforeAuth !== undefined && this.#limits.isAuthenticated?.(session) === true) account.beforeAuth = undefined;
    const own = account.beforeAuth ?? account.session;
    const { bytes, ip, endPoint } = account;
    let owedBytes = 0;
    if (bytes !== undefined) {
      const { bytesRead } = session.connection;
      owedBytes = bytesRead - account.paidBytes;
      account.paidBytes = bytesRead;
    }
    // When the message came. What time has passed since is asked only when it matters, because asking costs as much as all else here.
    let nowMs = session.lastActiveMs;
    let limit = findExceeded(account, own, cost, owedBytes, nowMs);
    if (limit !== undefined) {
      nowMs = session.wheel.now();
      limit = findExceeded(account, own, cost, owedBytes, nowMs);
    }
    bytes?.overdraw(owedBytes, nowMs);
    if (limit === undefined || this.#limits.policy === 'delay') {
      own?.overdraw(cost, nowMs);
      // With 'delay' each session queues for what it shares; a debt that were cut off would let all of them through at once.
      ip?.reserve(cost, nowMs);
      endPoint?.reserve(cost, nowMs);
    }
    return limit;
  }

  // --- over a limit ---

  #tell(session: Session<In, Out>, account: Account, limit: RateLimitName): void {
    const { policy, reason } = this.#limits;
    this.#exceeded[limit]++;
    this.#did[policy]++;
    publish('limit', () => ({ limit: 'rate', scope: limit, policy, session }));
    if (account.isLogged) return;
    account.isLogged = true;
    const { id, name, remoteAddress, logger } = session;
    logger.warn(`${oneLine(reason)}: session ${id} (${oneLine(name)}) at ${remoteAddress.text}: limit ${limit}, policy ${policy}`);
  }

  /** Whether the message is handled, though nothing after it for a while. */
  #mayGoOn(session: Session<In, Out>, account: Account, limit: RateLimitName): boolean {
    if (this.#limits.policy !== 'delay') return false;
    const nowMs = session.wheel.now();
    const own = limit === 'before-auth' ? account.beforeAuth : account.session;
    let delayMs = own?.msUntilPaid(nowMs) ?? 0;
    for (const bucket of [account.bytes, account.ip, account.endPoint]) delayMs = Math.max(delayMs, bucket?.msUntilPaid(nowMs) ?? 0);
    if (delayMs > 0) session.delay(delayMs);
    return true;
  }

  #refuse(session: Session<In, Out>, pkg: In, limit: RateLimitName): void | Promise<void> {
    const { policy, onExceeded } = this.#limits;
    if (policy === 'drop') return undefined;
    try {
      return onExceeded?.(session, pkg, { limit, policy });
    } finally {
      if (policy === 'close') this.#close(session);
    }
  }

  #close(session: Session<In, Out>): void {
    const { reason, status } = this.#limits;
    void session.fail(new PeerError('RATE_EXCEEDED', reason, { status }));
  }
}

function bucketOf(rate: ConstructorParameters<typeof TokenBucket>[0] | undefined, nowMs: number): TokenBucket | undefined {
  return rate === undefined ? undefined : new TokenBucket(rate, nowMs);
}

function findExceeded(
  account: Account,
  own: TokenBucket | undefined,
  cost: number,
  owedBytes: number,
  nowMs: number,
): RateLimitName | undefined {
  if (own?.has(cost, nowMs) === false) return account.beforeAuth === undefined ? 'session' : 'before-auth';
  if (account.bytes?.has(owedBytes, nowMs) === false) return 'bytes';
  if (account.ip?.has(cost, nowMs) === false) return 'ip';
  return account.endPoint?.has(cost, nowMs) === false ? 'endpoint' : undefined;
}

function checkCost(cost: number): number {
  if (typeof cost !== 'number' || !(cost >= 0)) throw new TypeError('rateLimit: expected a cost of 0 or more');
  return cost;
}
