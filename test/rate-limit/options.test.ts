import { describe, expect, it } from 'vitest';
import type { RateLimitOptions } from '../../src/rate-limit/options.ts';
import { rateLimit } from '../../src/rate-limit/rate-limit.ts';

describe('options', () => {
  const listener = { onMessage: (): void => {} };
  const rate = { messagesPerSecond: 1, burst: 1 };
  it.each<[string, unknown]>([
    ['perSession.burst: expected a number, 1 or more, given 0', { perSession: { messagesPerSecond: 100, burst: 0 } }],
    ['perSession.burst: expected a number, 1 or more, given NaN', { perSession: { messagesPerSecond: 100, burst: Number.NaN } }],
    ['perSession.messagesPerSecond: expected a number above 0, given 0', { perSession: { messagesPerSecond: 0, burst: 1 } }],
    [
      'perIp.messagesPerSecond: expected a number above 0, given Infinity',
      { perIp: { messagesPerSecond: Number.POSITIVE_INFINITY, burst: 1 } },
    ],
    ['perIp.maxAddresses: expected a whole number, from 1 to 16777216, given 0', { perIp: { ...rate, maxAddresses: 0 } }],
    ['bytes.burstBytes: expected a number, 1 or more, given undefined', { bytes: { bytesPerSecond: 1 } }],
    ['beforeAuth.isAuthenticated: expected a function, given undefined', { beforeAuth: rate }],
    ['policy: expected one of close, drop, delay, reject, given "kick"', { policy: 'kick' }],
    ["onExceeded: expected a function, with the policy 'reject', given undefined", { policy: 'reject' }],
    ['status: expected a whole number, from 3000 to 4999, given 1006', { status: 1006 }],
    ['reason: expected a string of 1 to 123 bytes, given ""', { reason: '' }],
    ['costOf: expected a function, given 1', { costOf: 1 }],
  ])('refuses %s', (message, options) => {
    // The compiler would refuse these.
    expect(() => rateLimit(listener, options as RateLimitOptions<string>)).toThrow(
      expect.objectContaining({ name: 'ConfigError', code: 'INVALID_OPTION', message: `rateLimit ${message}` }),
    );
  });

  it('refuses a listener that is none', () => {
    // The compiler would refuse it.
    expect(() => rateLimit({} as typeof listener, {})).toThrow('rateLimit listener: expected an object with the method(s) onMessage');
  });
});
