import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BucketTable, TokenBucket } from '../../src/base/token-bucket.ts';
import { propertyRuns } from '../helpers/codec-property.ts';

/** The same in the plainest way, and exact: counts in thousandths of tokens, one step for each millisecond that passes. */
class NaiveBucket {
  #milli: number;
  #nowMs = 0;
  readonly #perSecond: number;
  readonly #burst: number;

  constructor(perSecond: number, burst: number) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#milli = burst * 1000;
  }

  #pass(nowMs: number): void {
    for (; this.#nowMs < nowMs; this.#nowMs++) this.#milli = Math.min(this.#burst * 1000, this.#milli + this.#perSecond);
  }

  take(count: number, nowMs: number): boolean {
    this.#pass(nowMs);
    if (this.#milli < count * 1000) return false;
    this.#milli -= count * 1000;
    return true;
  }

  overdraw(count: number, nowMs: number): boolean {
    this.#pass(nowMs);
    const isEnough = this.#milli >= count * 1000;
    this.#milli = Math.max(this.#milli - count * 1000, -this.#burst * 1000);
    return isEnough;
  }
}

describe('a token bucket', () => {
  it('lets through what a naive one does, whatever comes when', () => {
    const step = fc.record({ waitMs: fc.integer({ min: -50, max: 400 }), count: fc.integer({ min: 0, max: 40 }), isForced: fc.boolean() });
    const rate = fc.record({ perSecond: fc.integer({ min: 1, max: 2000 }), burst: fc.integer({ min: 1, max: 100 }) });
    fc.assert(
      fc.property(rate, fc.array(step, { maxLength: 60 }), ({ perSecond, burst }, steps) => {
        const bucket = new TokenBucket({ perSecond, burst }, 0);
        const naive = new NaiveBucket(perSecond, burst);
        let nowMs = 0;
        for (const { waitMs, count, isForced } of steps) {
          // Backwards too: the clocks of two endpoints may differ.
          nowMs = Math.max(0, nowMs + waitMs);
          if (isForced) expect(bucket.overdraw(count, nowMs)).toBe(naive.overdraw(count, nowMs));
          else expect(bucket.take(count, nowMs)).toBe(naive.take(count, nowMs));
        }
      }),
      propertyRuns(300),
    );
  });

  it('says how long a debt lasts, and owes one burst at most', () => {
    const bucket = new TokenBucket({ perSecond: 100, burst: 20 }, 0);
    expect(bucket.msUntilPaid(0)).toBe(0);
    expect(bucket.overdraw(25, 0)).toBe(false);
    expect(bucket.msUntilPaid(0)).toBe(50);
    bucket.overdraw(1e9, 0);
    expect(bucket.msUntilPaid(0)).toBe(200);
    expect(bucket.has(0, 0)).toBe(false);
    expect(bucket.msUntilPaid(200)).toBe(0);
    expect(bucket.has(0, 200)).toBe(true);
  });

  it('reserves for many, a burst for each at most', () => {
    const bucket = new TokenBucket({ perSecond: 100, burst: 20 }, 0);
    bucket.reserve(5, 0);
    expect([bucket.has(15, 0), bucket.has(16, 0), bucket.msUntilPaid(0)]).toEqual([true, false, 0]);
    bucket.reserve(Number.POSITIVE_INFINITY, 0);
    expect(bucket.msUntilPaid(0)).toBe(50);
    bucket.reserve(20, 0);
    bucket.reserve(20, 0);
    expect([bucket.msUntilPaid(0), bucket.msUntilPaid(450)]).toEqual([450, 0]);
    for (let index = 0; index < 10_000; index++) bucket.reserve(20, 450);
    expect(bucket.msUntilPaid(450)).toBe(60_000);
  });

  it('loses nothing to a clock that goes backwards or far ahead', () => {
    const bucket = new TokenBucket({ perSecond: 10, burst: 2 }, 1000);
    expect([bucket.take(2, 1000), bucket.take(1, 0), bucket.take(1, 999)]).toEqual([true, false, false]);
    expect([bucket.take(2, 1e15), bucket.take(1, 1e15)]).toEqual([true, false]);
  });

  it('does not lose a token to rounding', () => {
    const bucket = new TokenBucket({ perSecond: 100, burst: 1 }, 0);
    let passed = 0;
    for (let step = 0; step <= 100_000; step++) if (bucket.take(1, step * 0.1)) passed++;
    expect(passed).toBe(1001);
  });
});

describe('a table of buckets', () => {
  it('forgets the key asked for longest ago when there are too many', () => {
    const table = new BucketTable({ perSecond: 1, burst: 1 }, 2);
    const first = table.get('a', 0);
    expect(first.take(1, 0)).toBe(true);
    table.get('b', 0);
    expect(table.get('a', 0)).toBe(first);
    table.get('c', 0);
    expect([table.size, table.forgotten]).toEqual([2, 1]);
    expect(table.get('a', 0)).toBe(first);
    expect(table.get('b', 0).take(1, 0)).toBe(true);
    expect([table.size, table.forgotten]).toEqual([2, 2]);
  });
});
