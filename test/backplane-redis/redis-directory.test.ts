import { describe, expect, it } from 'vitest';
import type { RedisClient } from '../../src/backplane-redis/redis-client.ts';
import { RedisDirectory } from '../../src/backplane-redis/redis-directory.ts';
import type { PorticoError } from '../../src/base/errors.ts';

/** A client whose answers the test gives. */
function silentRedis(): { readonly client: RedisClient; readonly commands: string[][]; answerAll(): Promise<void> } {
  const commands: string[][] = [];
  let waiting: (() => void)[] = [];
  const sendCommand = (args: readonly (string | Buffer)[]): Promise<unknown> => {
    commands.push(args.map(String));
    return new Promise((resolve) => waiting.push(() => resolve('OK')));
  };
  const answerAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const ready = waiting;
      waiting = [];
      for (const answer of ready) answer();
      for (let turn = 0; turn < 10; turn++) await Promise.resolve();
    }
  };
  // The directory uses nothing else.
  return { client: { sendCommand } as unknown as RedisClient, commands, answerAll };
}

describe('the directory in Redis', () => {
  it('lets 10,000 commands wait, counts what is above, and has all written again with the next beat', async () => {
    const errors: PorticoError[] = [];
    const directory = new RedisDirectory({ keyPrefix: 'p:', nodeId: () => 'me', onError: (error) => errors.push(error) });
    const { client, commands, answerAll } = silentRedis();
    directory.use(client);
    for (let index = 0; index < 10_003; index++) directory.register(`client ${index}`);
    expect([commands.length, directory.deferred, errors.length]).toEqual([10_000, 3, 0]);
    await answerAll();
    expect(await directory.renew(1_000)).toBe(false);
    const rewritten = directory.rewrite([], ['client 1', 'client 2'], 1_000);
    await answerAll();
    await rewritten;
    expect(commands).toContainEqual(['SADD', 'p:node:me:clients', 'client 1', 'client 2']);
    const renewed = directory.renew(1_000);
    await answerAll();
    expect(await renewed).toBe(true);
    directory.register('client 3');
    expect([commands.at(-1), directory.deferred]).toEqual([['SADD', 'p:node:me:clients', 'client 3'], 3]);
  });
});
