import { describe, expect } from 'vitest';
import { openFileLimit } from '../../src/endpoint/open-files.ts';
import { type CommandServer, startCommandServer, stressWith } from '../helpers/command-stress.ts';
import { goPeer } from '../helpers/go-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { hasTool, itIf } from '../helpers/tools.ts';

/** A server takes 70 % of them, and 10,000 clients are to come. */
const NEEDED_FILES = 14_500;
const MINUTES = 300_000;

const scene = useScene();
const files = openFileLimit() ?? Number.POSITIVE_INFINITY;
const it = itIf(
  hasTool('go') && files >= NEEDED_FILES,
  `go and ${NEEDED_FILES} open files`,
  `Go 1.22 or newer, https://go.dev/dl; a limit of open files (ulimit -Hn, prlimit --nofile) of ${NEEDED_FILES}, not ${files}`,
);
const build = goPeer('knet');

/** Numbers are the result of these tests: they are printed, to be quoted. */
async function print(name: string, numbers: object, server: CommandServer, clients = 0): Promise<void> {
  const { rssBytes, maxRssBytes, ends } = await server.ask();
  const memory = {
    rssMiB: mebibytes(rssBytes),
    maxRssMiB: mebibytes(maxRssBytes),
    ...(clients === 0 ? {} : { rssKiBPerClient: Math.round((rssBytes - server.rssBytes) / clients / 102.4) / 10 }),
  };
  console.log(`${name}: ${JSON.stringify({ ...numbers, ...memory, ends })}`);
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1_048_576);
}

describe('a hub under stress', () => {
  const echoes = async (name: string, clients: number, messages: number, pauseMs: number, spreadMs: number): Promise<void> => {
    const server = await startCommandServer(scene);
    const flags = { clients, messages, group: 1, 'pause-ms': pauseMs, 'spread-ms': spreadMs };
    const report = await stressWith(scene, await build(), server.port, flags).report();
    await print(`${name}, begun over ${spreadMs} ms`, report, server, clients);
    expect(report.connected).toBeGreaterThanOrEqual(clients * 0.99);
    expect(report).toMatchObject({ ownEchoes: report.connected * messages, outOfOrder: 0, closes: {}, failures: {} });
    expect(report.p99Ms).toBeGreaterThan(0);
  };

  const s1 = 'znet-knet scenario 61: S1, 5,000 connections that send 5 messages each are there, and get back their own';
  // As knet's test does, 10 ms between messages and 100 clients more each 100 ms; and with all clients beginning at once.
  it(s1, () => echoes('S1', 5_000, 5, 10, 5_000), MINUTES);
  it(`${s1}, begun at once`, () => echoes('S1', 5_000, 5, 10, 0), MINUTES);

  const s2 = 'znet-knet scenario 61: S2, 10,000 connections that send 3 messages each are there, and get back their own';
  // As knet's test does, 50 ms between messages and 50 clients more each 50 ms.
  it(s2, () => echoes('S2', 10_000, 3, 50, 10_000), MINUTES);
  it(`${s2}, begun at once`, () => echoes('S2', 10_000, 3, 50, 0), MINUTES);

  const fanOut = async (rate: number, burst: number) => {
    const server = await startCommandServer(scene, rate, burst);
    const report = await stressWith(scene, await build(), server.port, { clients: 100, messages: 1_000, fanout: true }).report();
    await print(`S3 with ${rate} a second and ${burst} at once`, report, server);
    return { report, ends: (await server.ask()).ends };
  };

  it(
    'znet-knet scenario 61: S3, each of 100 clients gets all 100,000 messages of all, in one and the same order',
    async () => {
      // knet's own limit in this test, which nobody exceeds.
      const { report } = await fanOut(1_000, 2_000);
      expect(report).toMatchObject({ connected: 100, sent: 100_000, deliveries: 10_000_000, outOfOrder: 0, orders: 1 });
      expect(report).toMatchObject({ closes: {}, failures: {} });
    },
    MINUTES,
  );

  it(
    "znet-knet scenario 61: S3 with knet's default limit, all 100 are closed with 1008, and each is told",
    async () => {
      const { report, ends } = await fanOut(100, 200);
      expect(report).toMatchObject({ connected: 100, outOfOrder: 0, failures: {} });
      expect(report.closes).toEqual({ '1008 Rate limit exceeded': 100 });
      expect(ends).toEqual({ '1008 RATE_EXCEEDED Rate limit exceeded': 100 });
    },
    MINUTES,
  );

  it(
    'ten frozen clients among a thousand change nothing for the others, and are closed as slow',
    async () => {
      const sendQueueBytes = 1_048_576;
      const p99Ms: Record<number, number[]> = { 0: [], 10: [] };
      for (const frozen of [0, 10, 10, 0]) {
        const server = await startCommandServer(scene, 0, 0, sendQueueBytes);
        const flags = { clients: 1_000, messages: 400, bytes: 16_384, group: 1, 'pause-ms': 20, fanout: true, senders: 1, frozen };
        const report = await stressWith(scene, await build(), server.port, flags).report();
        await print(`1,000 clients and ${frozen} frozen ones`, report, server);
        expect(report).toMatchObject({ connected: 1_000, deliveries: 400_000, outOfOrder: 0, orders: 1, closes: {}, failures: {} });
        const { ends, maxRssBytes } = await server.ask();
        const slow = Object.entries(ends).filter(([end]) => end.includes('SLOW_READER'));
        expect(slow.map(([, count]) => count)).toEqual(frozen === 0 ? [] : [frozen]);
        // Their queues, and what the others may hold at a time.
        expect(maxRssBytes - server.rssBytes).toBeLessThan(20 * sendQueueBytes + 100 * 1_048_576);
        p99Ms[frozen]?.push(report.p99Ms);
      }
      // On a machine that does other things too; bench/README.md has the figure of a quiet one.
      expect(Math.min(...(p99Ms[10] ?? []))).toBeLessThan(Math.max(...(p99Ms[0] ?? [])) * 1.5);
    },
    MINUTES,
  );
});
