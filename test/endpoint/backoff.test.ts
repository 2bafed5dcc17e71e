import { describe, expect, it } from 'vitest';
import { BACKOFF_DEFAULTS, backoffMs } from '../../src/endpoint/backoff.ts';

describe('backoffMs', () => {
  const highest = { ...BACKOFF_DEFAULTS, random: () => 1 - Number.EPSILON };

  it('doubles its upper bound with every failure, up to the maximum', () => {
    const bounds = [1, 2, 3, 4, 5, 6, 7, 8, 9, 100, 5_000].map((failures) => backoffMs(failures, highest) + 1);
    expect(bounds).toEqual([300, 600, 1_200, 2_400, 4_800, 9_600, 19_200, 30_000, 30_000, 30_000, 30_000]);
  });

  it('takes any time from 0 up to the bound', () => {
    expect(backoffMs(4, { ...highest, random: () => 0 })).toBe(0);
    expect(backoffMs(4, { ...highest, random: () => 0.5 })).toBe(1_200);
    const times = Array.from({ length: 200 }, () => backoffMs(3, BACKOFF_DEFAULTS));
    expect(Math.min(...times)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...times)).toBeLessThan(1_200);
    expect(new Set(times).size).toBeGreaterThan(50);
  });

  it('takes no failure, and less, for one', () => {
    expect([backoffMs(0, highest), backoffMs(-5, highest)]).toEqual([299, 299]);
  });
});
