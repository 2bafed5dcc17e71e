/** So much a second on average, and `burst` at once. */
export interface BucketRate {
  readonly perSecond: number;
  readonly burst: number;
}

/** What binary fractions of tokens may have lost must not cost a whole one. */
const ROUNDING = 1e-6;
/** What a crowd that has gone again may leave behind for the others to wait for. */
const MAX_QUEUE_SECONDS = 60;

/**
 * A token bucket: full at first with `burst` tokens, filled up with `perSecond`. Has no clock and no timer: it is told the time, in
 * milliseconds that never go backwards; an earlier time than the one before counts as the same.
 */
export class TokenBucket {
  readonly #rate: BucketRate;
  #tokens: number;
  #filledMs: number;

  constructor(rate: BucketRate, nowMs: number) {
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#filledMs = nowMs;
  }

  /** Whether there are so many tokens now. */
  has(count: number, nowMs: number): boolean {
    this.#fill(nowMs);
    return this.#tokens >= count - ROUNDING;
  }

  /** Takes so many tokens, or none and returns false. */
  take(count: number, nowMs: number): boolean {
    const isEnough = this.has(count, nowMs);
    if (isEnough) this.#tokens -= count;
    return isEnough;
  }

  /** Takes so many tokens whether there are or not, down to a debt of one burst. Returns whether there were. */
  overdraw(count: number, nowMs: number): boolean {
    const isEnough = this.has(count, nowMs);
    this.#tokens = Math.max(this.#tokens - count, -this.#rate.burst);
    return isEnough;
  }

  /**
   * Takes so many tokens, at most one burst of them, whether there are or not: for a bucket that several share, of whom each waits
   * afterwards until the debt is paid. So the debt is their queue. It is no longer than 60 s, or a burst when that is more.
   */
  reserve(count: number, nowMs: number): void {
    this.#fill(nowMs);
    const { burst, perSecond } = this.#rate;
    const floor = -Math.max(burst, perSecond * MAX_QUEUE_SECONDS);
    this.#tokens = Math.max(this.#tokens - Math.min(count, burst), floor);
  }

  /** How long until the debt is paid; 0 without one. */
  msUntilPaid(nowMs: number): number {
    this.#fill(nowMs);
    return this.#tokens >= -ROUNDING ? 0 : (-this.#tokens * 1000) / this.#rate.perSecond;
  }

  #fill(nowMs: number): void {
    if (nowMs <= this.#filledMs) return;
    const { perSecond, burst } = this.#rate;
    this.#tokens = Math.min(burst, this.#tokens + ((nowMs - this.#filledMs) * perSecond) / 1000);
    this.#filledMs = nowMs;
  }
}

/** A bucket for each key, up to a number of keys: for one more, the key asked for longest ago is forgotten and begins anew when it comes again. */
export class BucketTable {
  /** Keys that gave way to others. */
  forgotten = 0;
  readonly #rate: BucketRate;
  readonly #maxKeys: number;
  /** From the key asked for longest ago to the one asked for last. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(rate: BucketRate, maxKeys: number) {
    this.#rate = rate;
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#buckets.size;
  }

  get(key: string, nowMs: number): TokenBucket {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#rate, nowMs);
    // Deleting first moves the key to the young end of the map.
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#maxKeys) {
      const oldest = this.#buckets.keys().next();
      if (!oldest.done) this.#buckets.delete(oldest.value);
      this.forgotten++;
    }
    return bucket;
  }
}
