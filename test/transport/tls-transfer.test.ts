import { createHash } from 'node:crypto';
import { type ConnectionOptions, connect } from 'node:tls';
import { beforeAll, describe, expect, it } from 'vitest';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withClock, withStaticRead, withTls } from '../../src/endpoint/options.ts';
import { withMaxPackageBytes, withPkgHandler, withSendQueue, withWriteTimeoutMs } from '../../src/session/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import type { TlsOptions } from '../../src/transport/tls-options.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { frame, framesIn, pattern, RawPeer, turns, until } from '../helpers/raw-peer.ts';
import { type BytesSession, pathOf, useScene } from '../helpers/scene.ts';

const scene = useScene();
let own: TlsOptions;
let ca: string;
beforeAll(async () => {
  const certificates = await makeCertificates();
  own = { cert: certificates.server.cert, key: certificates.server.key };
  ca = certificates.ca.cert;
}, 30_000);

const MiB = 1_048_576;
const digest = (chunks: readonly Buffer[]): string => {
  const hash = createHash('sha256');
  for (const chunk of chunks) hash.update(chunk);
  return hash.digest('hex');
};

describe.each([
  ['static', true],
  ['chunk', false],
] as const)('a session over TLS on the %s read path', (_path, isStatic) => {
  it('says which path it is on', async () => {
    const echo = await scene.server(withTls(own), withStaticRead(isStatic));
    const { session, client } = await scene.client(echo, withTls({ ca }), withStaticRead(isStatic));
    const serverSession = await echo.watch.session();
    const readPath = pathOf(isStatic);
    expect([session.stats().readPath, serverSession.stats().readPath]).toEqual([readPath, readPath]);
    expect([client.stats().readPath, echo.server.stats().readPath]).toEqual([readPath, readPath]);
  });

  it('carries 10 MB both ways at once, in packages of many sizes, unharmed', async () => {
    const echo = await scene.server(withTls(own), withSendQueue(64 * MiB), withStaticRead(isStatic));
    const { session, watch } = await scene.client(echo, withTls({ ca }), withStaticRead(isStatic));
    const sizes = [1, 100, 5000, 16_384, 16_385, 70_000, 300_000, 1_000_000];
    const sent: Buffer[] = [];
    let total = 0;
    for (let index = 0; total < 10_000_000; index++) {
      const pkg = pattern(sizes[index % sizes.length] ?? 1, index);
      sent.push(pkg);
      total += pkg.length;
      if (!session.send(pkg)) await session.drained();
    }
    await watch.packagesIn(sent.length);
    expect(digest(watch.packages)).toBe(digest(sent));
    expect(session.connection.pendingBytes).toBe(0);
    expect(session.stats()).toMatchObject({ bytesWritten: total + 4 * sent.length, bytesRead: total + 4 * sent.length });
  }, 20_000);

  it('carries one package of 10 MB there and back', async () => {
    const handler = new LengthFieldHandler({ maxFrameBytes: 11 * MiB });
    const options = [withPkgHandler(handler), withMaxPackageBytes(0), withSendQueue(32 * MiB), withStaticRead(isStatic)] as const;
    const echo = await scene.server(withTls(own), ...options);
    const { session, watch } = await scene.client(echo, withTls({ ca }), ...options);
    const pkg = pattern(10 * MiB);
    const result = await session.writePkg(pkg);
    expect(result).toEqual({ total: 10 * MiB + 4, sent: 10 * MiB + 4 });
    await watch.packagesIn(1);
    expect(digest(watch.packages)).toBe(digest([pkg]));
  }, 20_000);

  it('resolves writes when the bytes have been taken, in order, and sends them in few records', async () => {
    const echo = await scene.server(withTls(own), withStaticRead(isStatic));
    const { session, watch } = await scene.client(echo, withTls({ ca }), withStaticRead(isStatic));
    const order: number[] = [];
    await Promise.all(
      Array.from({ length: 100 }, async (_, index) => {
        const { sent } = await session.writePkg(Buffer.from(`package ${index}`));
        expect(sent).toBeGreaterThan(10);
        order.push(index);
      }),
    );
    expect(order).toEqual(Array.from({ length: 100 }, (_, index) => index));
    expect(session.stats().writes).toBeLessThanOrEqual(2);
    expect(await watch.textsIn(100)).toEqual(order.map((index) => `package ${index}`));
  });

  it('rejects writes that the end came before', async () => {
    const echo = await scene.server(withTls(own), withStaticRead(isStatic));
    const { session } = await scene.client(echo, withTls({ ca }), withSendQueue(64 * MiB), withStaticRead(isStatic));
    (await echo.watch.session()).pause();
    const writes = Array.from({ length: 60 }, (_, index) => session.writePkg(pattern(500_000, index)));
    const settled = Promise.allSettled(writes);
    await until(() => session.pendingBytes > 4 * MiB, 'the queue to fill');
    session.destroy();
    const results = await settled;
    expect(results.at(-1)).toMatchObject({ status: 'rejected', reason: { code: 'SESSION_CLOSED' } });
    expect(session.pendingBytes).toBe(0);
  });

  it('flushes when it closes: all of it, then close_notify', async () => {
    const echo = await scene.serverWith(
      (session: BytesSession) => {
        session.configure(withSendQueue(64 * MiB));
      },
      withTls(own),
      withStaticRead(isStatic),
    );
    const { session, watch } = await scene.client(echo, withTls({ ca }), withPkgHandler(new RawHandler()), withStaticRead(isStatic));
    const serverSession = await echo.watch.session();
    const packages = Array.from({ length: 40 }, (_, index) => pattern(200_000, index));
    for (const pkg of packages) serverSession.send(pkg);
    const closing = serverSession.close();
    expect(serverSession.send(Buffer.from('too late'))).toBe(false);
    expect(await closing).toMatchObject({ code: 'NORMAL', unsentBytes: 0 });
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', truncatedBytes: 0 });
    expect(digest(framesIn(Buffer.concat(watch.packages)))).toBe(digest(packages));
  });

  it('goes one way while the other has ended', async () => {
    const echo = await scene.server(withTls(own), withStaticRead(isStatic));
    const { session, watch } = await scene.client(echo, withTls({ ca }), withStaticRead(isStatic));
    const pkg = pattern(900_000);
    session.send(pkg);
    session.end();
    await watch.packagesIn(1);
    expect(watch.packages[0]?.equals(pkg)).toBe(true);
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED' });
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
  });

  it.each([
    ['bytes', Buffer.concat([frame('one'), frame(pattern(60_000)), frame('three')])],
    ['nothing', Buffer.alloc(0)],
  ])('gets %s and the end, also when both come before the session is open', async (_what, bytes) => {
    let release = (): void => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let started = 0;
    const echo = await scene.serverWith(
      async () => {
        started++;
        await released;
      },
      withTls(own),
      withStaticRead(isStatic),
    );
    const socket = connect({ port: echo.address.port, host: '127.0.0.1', ca, allowHalfOpen: true } as ConnectionOptions);
    scene.atEnd(() => socket.destroy());
    const peer = new RawPeer(socket);
    // Behind the client's last message of the handshake, in one flight.
    socket.once('secureConnect', () => socket.end(bytes));
    await until(() => started === 1 && socket.writableFinished, 'the session to wait');
    await turns(20);
    release();
    await peer.closed();
    expect(peer.received.equals(bytes)).toBe(true);
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
  });

  it.each([
    ['goes on, however long it takes', true, []],
    ['ends when the peer takes nothing for the write time-out', false, ['SLOW']],
  ])('in the middle of one large package %s', async (_what, reads, codes) => {
    const clock = new VirtualClock();
    const handler = withPkgHandler(new LengthFieldHandler({ maxFrameBytes: 32 * MiB }));
    const options = [withClock(clock), handler, withMaxPackageBytes(0), withSendQueue(64 * MiB), withWriteTimeoutMs(10_000)] as const;
    const echo = await scene.server(withTls(own), withStaticRead(isStatic), ...options);
    const socket = connect({ port: echo.address.port, host: '127.0.0.1', ca });
    scene.atEnd(() => socket.destroy());
    const peer = new RawPeer(socket);
    const session = await echo.watch.session();
    socket.pause();
    session.send(pattern(24 * MiB));
    await turns(50);
    for (let count = 0; count < 8; count++) {
      if (reads) {
        const before = peer.length;
        socket.resume();
        await until(() => peer.length >= before + 2 * MiB, 'some of it');
        socket.pause();
      }
      await turns(20);
      await clock.advance(6000);
    }
    expect(echo.watch.reasons.map(({ code }) => code)).toEqual(codes);
  });

  it('stops reading while it is paused, and loses nothing', async () => {
    const echo = await scene.server(withTls(own), withSendQueue(64 * MiB), withStaticRead(isStatic));
    const { session } = await scene.client(echo, withTls({ ca }), withSendQueue(64 * MiB), withStaticRead(isStatic));
    const serverSession = await echo.watch.session();
    serverSession.pause();
    // However slow the machine: the echo is not read at all, and none of it is too much.
    session.pause();
    const packages = Array.from({ length: 40 }, (_, index) => pattern(300_000, index));
    for (const pkg of packages) session.send(pkg);
    await until(() => session.pendingBytes > 1, 'the pipe to fill');
    let last = -1;
    await until(() => {
      const now = serverSession.connection.bytesRead;
      const isStill = now === last;
      last = now;
      return isStill;
    }, 'reading to stop');
    expect(serverSession.stats().bufferedBytes).toBeLessThan(MiB);
    expect(echo.watch.packages).toEqual([]);
    serverSession.resume();
    await echo.watch.packagesIn(packages.length);
    expect(digest(echo.watch.packages)).toBe(digest(packages));
  });
});
