import { expect, it } from 'vitest';
import { memoryInUse } from '../helpers/attack.ts';
import { FUZZ_TARGETS, Fuzz } from '../helpers/command-fuzz.ts';
import { turns } from '../helpers/raw-peer.ts';

const seed = Number(process.env['PORTICO_SEED'] ?? Date.now() % 2 ** 31);
const STRINGS = Number(process.env['PORTICO_STRINGS'] ?? 1_000_000);
/** As for attacks: caches of the runtime, compiled code. A kept connection would come to far more. */
const SLACK_BYTES = 12 * 1_048_576;

/** What the first collection makes free by way of weak references goes with the second. */
async function settledMemory(): Promise<number> {
  memoryInUse();
  await turns(20);
  return memoryInUse();
}

it.each(Object.entries(FUZZ_TARGETS))(
  'znet-knet scenario 62: a million random strings on %s crash nothing, and leave no memory behind',
  async (name, target) => {
    const rejections: unknown[] = [];
    const onRejection = (reason: unknown): void => void rejections.push(reason);
    process.on('unhandledRejection', onRejection);
    try {
      const fuzz = await Fuzz.of(target, seed);
      // What is made once, and compiled, is no leak.
      await fuzz.run(STRINGS / 50);
      await fuzz.honest();
      const before = await settledMemory();
      await fuzz.run(STRINGS);
      await fuzz.honest();
      const grownBytes = (await settledMemory()) - before;
      console.log(`${name}, seed ${seed}: ${fuzz.closed} connections were closed, ${Math.round(grownBytes / 1_024)} KiB more in use`);
      expect(rejections, `seed ${seed}`).toEqual([]);
      expect(grownBytes).toBeLessThan(SLACK_BYTES);
    } finally {
      process.off('unhandledRejection', onRejection);
    }
  },
  600_000,
);
