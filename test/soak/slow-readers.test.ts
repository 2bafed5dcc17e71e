import { describe, expect, it } from 'vitest';
import { withSendQueue, withWriteTimeoutMs } from '../../src/session/options.ts';
import { memoryInUse } from '../helpers/attack.ts';
import { amount, inParallel, loopLagDuring } from '../helpers/load.ts';
import { frame, pattern, type RawPeer, turns, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';

const scene = useScene();

describe('slow readers among many', () => {
  it('are cut as SLOW, and the others get every package of a broadcast', { timeout: 120_000 }, async () => {
    const [readers, slow, packages] = [amount(200, 20), amount(30, 5), 400];
    const echo = await scene.server(withSendQueue(1_048_576), withWriteTimeoutMs(5000));
    const peers: RawPeer[] = [];
    await inParallel(readers + slow, 50, async () => void peers.push(await scene.peer(echo)));
    await echo.watch.sessions(readers + slow);
    const stalled = peers.splice(0, slow);
    for (const peer of stalled) peer.socket.pause();
    const sessionsOf = new Set(stalled.map((peer) => peer.socket.localPort));
    const body = pattern(20_000);
    const stream = Buffer.concat(Array.from({ length: packages }, () => frame(body)));
    let wrong = 0;
    for (const peer of peers) {
      peer.onBytes = (bytes) => {
        if (!stream.subarray(peer.length, peer.length + bytes.length).equals(bytes)) wrong++;
      };
    }
    const before = memoryInUse();
    const lag = await loopLagDuring(async () => {
      for (let count = 0; count < packages; count++) {
        echo.server.broadcast(body);
        // As fast as the readers are, who live in this process too.
        await until(() => peers.every((peer) => peer.length >= (count - 10) * (body.length + 4)), 'the readers', 20_000);
        await turns(1);
      }
    });
    await echo.watch.closes(slow, 20_000);
    await Promise.all(peers.map((peer) => peer.receive(packages * (body.length + 4))));
    expect(wrong).toBe(0);
    for (const session of echo.watch.opened) {
      const isSlow = sessionsOf.has(session.remoteAddress.port);
      expect(echo.watch.reasonOf.get(session.id)?.code).toBe(isSlow ? 'SLOW' : undefined);
    }
    expect(echo.server.stats()).toMatchObject({ openSessions: readers, packagesDropped: expect.any(Number) });
    for (const session of echo.server.sessions.values()) expect(session.pendingBytes).toBe(0);
    expect(memoryInUse() - before).toBeLessThan(60_000_000);
    expect(lag).toBeLessThan(500);
  });
});
