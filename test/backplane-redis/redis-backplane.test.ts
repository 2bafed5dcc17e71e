import { describe, expect, it, vi } from 'vitest';
import { RedisBackplane } from '../../src/backplane-redis/redis-backplane.ts';
import { BackplaneRecorder } from '../../src/testing/index.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

vi.mock('@redis/client', () => {
  throw new Error('not installed');
});

describe('RedisBackplane', () => {
  it('asks for the package when it is not installed', async () => {
    const backplane = new RedisBackplane({ redis: 'redis://127.0.0.1:1' });
    expect(await rejectionOf(backplane.open(new BackplaneRecorder(backplane)))).toMatchObject({
      name: 'ConfigError',
      code: 'MISSING_OPTION',
      message: expect.stringMatching(/^RedisBackplane: expected the package @redis\/client, given none that can be loaded \(npm install /),
    });
  });

  it('refuses wrong options', () => {
    const made = (options: unknown): unknown => thrownBy(() => new RedisBackplane(options as { readonly redis: string }));
    for (const wrong of [undefined, {}, { redis: '' }, { redis: 5 }, { redis: null }]) {
      expect(made(wrong)).toMatchObject({
        name: 'ConfigError',
        code: 'INVALID_OPTION',
        message: expect.stringMatching(/^RedisBackplane redis: expected /),
      });
    }
    expect(made({ redis: 'x', leaseMs: 1 })).toMatchObject({
      message: 'RedisBackplane leaseMs: expected a whole number, from 100 to 3600000, given 1',
    });
  });
});
