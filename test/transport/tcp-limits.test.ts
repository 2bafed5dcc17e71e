import { spawnSync } from 'node:child_process';
import type { Server } from 'node:net';
import { describe, expect, it } from 'vitest';
import { openFileLimit } from '../../src/endpoint/open-files.ts';
import { withClock } from '../../src/endpoint/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { frame, openFiles, RawPeer, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { type ServerProcess, startServerProcess } from '../helpers/server-process.ts';
import { itWith } from '../helpers/tools.ts';

const scene = useScene();
const itLimited = itWith('prlimit');

/** An echo server in a process that may have `limit` files open. */
async function startLimited(limit: number): Promise<ServerProcess> {
  const server = await startServerProcess(['prlimit', `--nofile=${limit}:${limit}`]);
  scene.atEnd(() => server.stop());
  return server;
}

describe('openFileLimit', () => {
  it('is what the system says', () => {
    expect(openFileLimit()).toBeGreaterThan(16);
    if (process.platform === 'linux')
      expect(String(openFileLimit())).toBe(spawnSync('sh', ['-c', 'ulimit -n'], { encoding: 'utf8' }).stdout.trim());
  });
});

describe('a process with few descriptors', () => {
  itLimited(
    'refuses above 70 % of them, counts that, and serves again when there is room',
    async () => {
      const limited = await startLimited(300);
      expect(limited.limit).toBe(300);
      const peers = await Promise.all(Array.from({ length: 280 }, () => RawPeer.connect({ port: limited.port })));
      scene.atEnd(() => peers.map((peer) => peer.destroy()));
      await until(() => peers.filter((peer) => peer.isClosed || peer.hasEnded).length === 70, 'the refusals');
      expect(await limited.ask()).toMatchObject({ openSessions: 210, refused: 70, reasons: { 'max-sessions': 70 } });
      expect(openFiles(limited.pid)).toBeLessThan(300);
      const served = peers.filter((peer) => !peer.isClosed && !peer.hasEnded);
      for (const peer of served) peer.pour(frame('all of them'));
      await Promise.all(served.map((peer) => peer.receive(15)));
      for (const peer of peers) peer.destroy();
      await until(() => openFiles(limited.pid) < 100, 'the descriptors to be freed');
      const next = await scene.peer({ port: limited.port });
      await next.send(frame('again'));
      expect(await next.receive(9)).toEqual(frame('again'));
      expect(await limited.ask()).toMatchObject({ openSessions: 1, refused: 70 });
    },
    20_000,
  );

  itLimited(
    'survives having none left at all, and serves again afterwards',
    async () => {
      const limited = await startLimited(64);
      const attempts = await Promise.allSettled(Array.from({ length: 120 }, () => RawPeer.connect({ port: limited.port })));
      const peers = attempts.flatMap((attempt) => (attempt.status === 'fulfilled' ? [attempt.value] : []));
      scene.atEnd(() => peers.map((peer) => peer.destroy()));
      await until(() => peers.filter((peer) => peer.isClosed || peer.hasEnded).length >= 120 - 64, 'the system to run out');
      const report = await limited.ask();
      expect(report.openSessions).toBeGreaterThan(5);
      expect(report.openSessions).toBeLessThanOrEqual(44);
      expect(limited.hasExited()).toBe(false);
      for (const peer of peers) peer.destroy();
      await until(() => openFiles(limited.pid) < 45, 'the descriptors to be freed');
      const next = await scene.peer({ port: limited.port });
      await next.send(frame('again'));
      expect(await next.receive(9)).toEqual(frame('again'));
      expect(await limited.ask()).toMatchObject({ openSessions: 1 });
    },
    20_000,
  );
});

describe('a listening socket that fails', () => {
  it('emits ACCEPT_FAILED, ever more rarely, and goes on serving', async () => {
    const clock = new VirtualClock();
    const echo = await scene.server(withClock(clock));
    const listening = echo.server.raw as Server;
    const fail = (): boolean => listening.emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
    for (let count = 0; count < 100; count++) fail();
    expect(echo.troubles).toMatchObject([{ name: 'TransportError', code: 'ACCEPT_FAILED', cause: { code: 'EMFILE' } }]);
    const peer = await scene.peer(echo);
    await peer.send(frame('still serving'));
    expect(await peer.receive(17)).toEqual(frame('still serving'));
    const told: number[] = [];
    for (let ms = 1; ms < 50; ms++) {
      await clock.advance(1);
      fail();
      if (echo.troubles.length > told.length + 1) told.push(ms);
    }
    // After 5, then 5, since a connection came, then 10 and 20 ms.
    expect(told).toEqual([5, 10, 20, 40]);
    expect(listening.maxConnections).toBeUndefined();
    const peers = await Promise.all(Array.from({ length: 20 }, () => scene.peer(echo)));
    for (const next of peers) next.pour(frame('all'));
    await Promise.all(peers.map((next) => next.receive(7)));
  });
});
