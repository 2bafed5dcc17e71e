import { describe, expect, it } from 'vitest';
import { withAcceptRate, withMaxSessions } from '../../src/endpoint/options.ts';
import { withReadTimeoutMs } from '../../src/session/options.ts';
import { Attack, memoryInUse } from '../helpers/attack.ts';
import { clientHello, inRecords } from '../helpers/client-hello.ts';
import { amount, inParallel, loopLagDuring } from '../helpers/load.ts';
import { frame, openFiles, openHandles, RawPeer, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';

const scene = useScene();
const MINUTES = 120_000;

describe('a storm of connections', () => {
  it('of ten thousand that come and go leaves every descriptor, session and byte as it was', { timeout: MINUTES }, async () => {
    const count = amount(10_000, 500);
    const echo = await scene.server();
    await inParallel(50, 10, async () => (await RawPeer.connect(echo.address)).reset());
    await until(() => echo.server.sessions.size === 0 && openHandles() === 1 + baseHandles, 'the warm-up to be over');
    const [files, memory] = [openFiles(), memoryInUse()];
    const lag = await loopLagDuring(() =>
      inParallel(count, 100, async (index) => {
        const peer = await RawPeer.connect(echo.address);
        if (index % 4 === 0) {
          await peer.send(frame(`number ${index}`));
          await peer.receive(4 + `number ${index}`.length);
        } else if (index % 4 === 1) {
          peer.pour(frame('cut').subarray(0, 5));
        } else if (index % 4 === 2) {
          peer.end();
          await peer.closed();
        }
        peer.reset();
      }),
    );
    await until(() => echo.server.sessions.size === 0, 'the sessions to be forgotten', 20_000);
    await until(() => openFiles() <= files, 'the descriptors to be freed', 20_000);
    const { openSessions, totalSessions, refusedConnections } = echo.server.stats();
    expect([openSessions, totalSessions + refusedConnections]).toEqual([0, count + 50]);
    // Refused is only who was reset before the server looked; no more than those who sent nothing and waited for nothing.
    expect(echo.refused.filter((why) => why !== 'gone')).toEqual([]);
    expect(totalSessions).toBeGreaterThanOrEqual(count / 2);
    expect(echo.watch.opened.length).toBe(echo.watch.reasons.length);
    echo.refused.length = 0;
    echo.watch.opened.length = 0;
    echo.watch.packages.length = 0;
    echo.watch.errors.length = 0;
    echo.watch.reasons.length = 0;
    echo.watch.reasonOf.clear();
    expect(memoryInUse() - memory).toBeLessThan(20_000_000);
    expect(lag).toBeLessThan(100);
    const peer = await scene.peer(echo);
    await peer.send(frame('calm'));
    expect(await peer.receive(8)).toEqual(frame('calm'));
  });

  it('at five thousand a second from one address is cut to the accept rate, while others are served', { timeout: MINUTES }, async () => {
    const perSecond = amount(5000, 500);
    const attack = await Attack.begin(scene, { options: [withAcceptRate(100, 100)] });
    let dialled = 0;
    const lag = await loopLagDuring(async () => {
      for (let second = 0; second < 3; second++) {
        const started = performance.now();
        await inParallel(perSecond, 250, async (index) => {
          const peer = await RawPeer.connect(attack.echo.address).catch(() => undefined);
          dialled++;
          peer?.reset();
          if (index % 500 === 0) await attack.honest();
        });
        await attack.pass(Math.max(1000, performance.now() - started));
      }
    });
    const { echo } = attack;
    await until(() => echo.refused.length + echo.server.stats().totalSessions > dialled, 'all to be looked at', 20_000);
    expect(echo.server.stats().totalSessions).toBeLessThan(1 + 4 * 100 + dialled / 20);
    expect(echo.refused.length).toBeGreaterThan(dialled * 0.8);
    expect(lag).toBeLessThan(100);
    await attack.honest();
  });
});

describe('a thousand slow peers', () => {
  it('that send a byte now and then are cut at the read time-out, while others are served', { timeout: MINUTES }, async () => {
    const count = amount(1000, 100);
    const echo = await scene.server(withReadTimeoutMs(1200), withMaxSessions(count + 10));
    const honest = await scene.peer(echo);
    const peers: RawPeer[] = [];
    await inParallel(count, 50, async () => void peers.push(await scene.peer(echo)));
    const drip = setInterval(() => {
      for (const peer of peers) if (!peer.isClosed) peer.pour(Buffer.of(0));
    }, 500);
    scene.atEnd(() => clearInterval(drip));
    let rounds = 0;
    const started = performance.now();
    const lag = await loopLagDuring(async () => {
      while (echo.watch.reasons.length < count && performance.now() - started < 20_000) {
        await honest.send(frame('honest'));
        await honest.receive(++rounds * 10);
      }
    });
    expect(echo.watch.reasons.filter(({ code }) => code === 'TIMEOUT')).toHaveLength(count);
    expect(performance.now() - started).toBeLessThan(10_000);
    expect(rounds).toBeGreaterThan(100);
    expect(lag).toBeLessThan(100);
    await until(() => echo.server.sessions.size === 1, 'the sessions to be forgotten', 10_000);
  });

  it('that announce a megabyte and send none of it cost next to nothing', { timeout: MINUTES }, async () => {
    const count = amount(5000, 300);
    const echo = await scene.server(withMaxSessions(count + 10));
    const peers: RawPeer[] = [];
    const before = memoryInUse();
    await inParallel(count, 100, async () => {
      const peer = await scene.peer(echo);
      peers.push(peer);
      await peer.send(Buffer.of(0, 0x0f, 0xff, 0xff, 1, 2, 3));
    });
    await until(() => echo.server.stats().bytesRead === count * 7, 'all to be read', 20_000);
    // Both ends of each are in this process.
    expect((memoryInUse() - before) / count).toBeLessThan(20_000);
    for (const peer of peers) peer.reset();
    await until(() => echo.server.sessions.size === 0, 'the sessions to be forgotten', 20_000);
  });
});

describe('the wrong protocol', () => {
  it('a TLS hello on a plain port, thousands of times, leaves no descriptor', { timeout: MINUTES }, async () => {
    const count = amount(10_000, 500);
    const echo = await scene.server();
    const files = openFiles();
    const hello = inRecords(clientHello({ supportedVersions: [0x0304] }));
    await inParallel(count, 100, async () => {
      const peer = await RawPeer.connect(echo.address);
      peer.pour(hello);
      await peer.closed();
      peer.reset();
    });
    await until(() => echo.server.sessions.size === 0 && openFiles() <= files, 'the descriptors to be freed', 20_000);
    expect(echo.watch.reasons.every(({ code }) => code === 'TOO_LARGE')).toBe(true);
    expect(echo.server.stats().totalSessions).toBe(count);
  });
});

const baseHandles = openHandles();
