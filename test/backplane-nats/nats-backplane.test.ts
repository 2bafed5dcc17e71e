import { describe, expect, it, vi } from 'vitest';
import { NatsBackplane } from '../../src/backplane-nats/nats-backplane.ts';
import { BackplaneRecorder } from '../../src/testing/index.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

vi.mock('@nats-io/transport-node', () => {
  throw new Error('not installed');
});

describe('NatsBackplane', () => {
  it('asks for the package when it is not installed', async () => {
    const backplane = new NatsBackplane({ nats: '127.0.0.1:1' });
    expect(await rejectionOf(backplane.open(new BackplaneRecorder(backplane)))).toMatchObject({
      name: 'ConfigError',
      code: 'MISSING_OPTION',
      message: expect.stringMatching(
        /^NatsBackplane: expected the package @nats-io\/transport-node, given none that can be loaded \(npm install /,
      ),
    });
  });

  it('refuses wrong options', () => {
    const made = (options: unknown): unknown => thrownBy(() => new NatsBackplane(options as { readonly nats: string }));
    for (const wrong of [undefined, {}, { nats: '' }, { nats: 5 }, { nats: null }]) {
      expect(made(wrong)).toMatchObject({
        name: 'ConfigError',
        code: 'INVALID_OPTION',
        message: expect.stringMatching(/^NatsBackplane nats: expected /),
      });
    }
    expect(made({ nats: 'x', leaseMs: 1 })).toMatchObject({
      message: 'NatsBackplane leaseMs: expected a whole number, from 100 to 3600000, given 1',
    });
  });
});

describe('the subjects of a NatsBackplane', () => {
  it('begin with a prefix that is one or more plain tokens', () => {
    const made = (subjectPrefix: string): unknown => thrownBy(() => new NatsBackplane({ nats: '127.0.0.1:1', subjectPrefix }));
    for (const wrong of ['a b', 'a.', '.a', 'a..b', '*', 'a.>', '', 'x'.repeat(129)]) {
      expect(made(wrong)).toMatchObject({
        code: 'INVALID_OPTION',
        message: expect.stringMatching(/^NatsBackplane subjectPrefix: expected /),
      });
    }
    expect(made('game.eu-1')).toMatchObject({ message: 'expected the call to throw' });
  });
});
