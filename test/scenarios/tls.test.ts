import { once } from 'node:events';
import { connect } from 'node:tls';
import { beforeAll, describe, expect, it } from 'vitest';
import type { PorticoError } from '../../src/base/errors.ts';
import type { ReconnectInfo } from '../../src/endpoint/client.ts';
import {
  withClock,
  withHandshakeTimeoutMs,
  withLocalAddress,
  withMaxSessions,
  withReconnect,
  withServerAddress,
  withStaticRead,
  withTls,
} from '../../src/endpoint/options.ts';
import { closeCodeOf } from '../../src/session/close-reason.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { makeCertificates, type TestCertificates } from '../helpers/certificates.ts';
import { frame, openFiles, openHandles, pattern, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const scene = useScene();
let certificates: TestCertificates;
beforeAll(async () => {
  certificates = await makeCertificates();
}, 30_000);

describe('60 TLS verifies by default', () => {
  it('60 a verified echo: the client trusts the CA, both see what was agreed, and onOpen comes after the handshake', async () => {
    const { ca, server } = certificates;
    const echo = await scene.server(withTls({ cert: server.cert, key: server.key }));
    const { session, watch } = await scene.client(echo, withTls({ ca: ca.cert }));
    const body = pattern(70_000);
    session.send(body);
    expect((await watch.packagesIn(1))[0]?.equals(body)).toBe(true);
    expect(session.connection.tls).toMatchObject({ protocol: 'TLSv1.3', authorized: true, peerSubject: 'server.test' });
    expect((await echo.watch.session()).connection.tls).toMatchObject({ protocol: 'TLSv1.3', authorized: false, peerSubject: undefined });
    await session.close();
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
  });

  it.each([
    ['an unknown CA', {}],
    ['another CA', 'otherCa'],
  ] as const)('60 a certificate of %s: connect rejects, and each attempt counts as failed', async (_who, trust) => {
    const { server, otherCa } = certificates;
    const echo = await scene.server(withTls({ cert: server.cert, key: server.key }));
    const { client, watch } = scene.newClient(
      echo,
      withTls(trust === 'otherCa' ? { ca: otherCa.cert } : {}),
      withReconnect({ attempts: 3, baseMs: 1, maxMs: 1 }),
    );
    const failures: number[] = [];
    client.on('reconnecting', (info: ReconnectInfo & { cause: unknown }) => failures.push(info.failures));
    expect(await rejectionOf(client.connect())).toMatchObject({
      code: 'RECONNECT_EXHAUSTED',
      cause: { name: 'TransportError', code: 'CONNECT_FAILED', cause: { code: expect.stringMatching(/UNABLE_TO|SELF_SIGNED/) } },
    });
    expect(failures).toEqual([1, 2]);
    expect(watch.opened).toEqual([]);
    expect(echo.watch.packages).toEqual([]);
  });

  it.each([false, true])(
    '60 a certificate that the client does not trust: the server drops it at once (static read %s)',
    async (isStatic) => {
      const { ca, server, otherCa } = certificates;
      // Time stands still, so no time-out helps.
      const options = [withClock(new VirtualClock()), withMaxSessions(1), withStaticRead(isStatic)] as const;
      const echo = await scene.server(withTls({ cert: server.cert, key: server.key }), ...options);
      const trusting = await scene.client(echo, withTls({ ca: ca.cert }));
      await trusting.client.close();
      await echo.watch.closes(1);
      const base = openHandles();
      for (const [count, tls] of [{ ca: otherCa.cert }, { ca: ca.cert, serverName: 'another.test' }].entries()) {
        const { client } = scene.newClient(echo, withTls(tls));
        await rejectionOf(client.connect());
        await until(() => echo.lost.length > count, 'the server to know');
        await until(() => openHandles() <= base, 'the socket to be closed');
      }
      expect(echo.lost).toMatchObject([{ code: 'HANDSHAKE_FAILED' }, { code: 'HANDSHAKE_FAILED' }]);
      await scene.client(echo, withTls({ ca: ca.cert }));
      await echo.watch.sessions(2);
    },
  );

  it('60 a certificate for another name: connect rejects', async () => {
    const { ca, serverA } = certificates;
    const echo = await scene.server(withTls({ cert: serverA.cert, key: serverA.key }));
    const { client } = scene.newClient(echo, withTls({ ca: ca.cert }));
    expect(await rejectionOf(client.connect())).toMatchObject({
      cause: { code: 'CONNECT_FAILED', cause: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' } },
    });
    const named = await scene.client(echo, withTls({ ca: ca.cert, serverName: 'a.test' }));
    expect(named.session.connection.tls).toMatchObject({ authorized: true, peerSubject: 'server-a.test', serverName: 'a.test' });
  });

  it('60 an encrypted key with its passphrase works', async () => {
    const { ca, server, encryptedKey, passphrase } = certificates;
    const echo = await scene.server(withTls({ cert: server.cert, key: encryptedKey, passphrase }));
    const { session, watch } = await scene.client(echo, withTls({ ca: ca.cert }));
    session.send(Buffer.from('sesame'));
    expect(await watch.textsIn(1)).toEqual(['sesame']);
  });

  it.each([['a wrong one', 'wrong'] as const, ['none', undefined] as const])(
    '60 an encrypted key with %s: listen rejects with INVALID_TLS',
    async (_what, passphrase) => {
      const { server, encryptedKey } = certificates;
      const tls = { cert: server.cert, key: encryptedKey, ...(passphrase === undefined ? {} : { passphrase }) };
      expect(await rejectionOf(scene.server(withTls(tls)))).toMatchObject({ name: 'ConfigError', code: 'INVALID_TLS' });
    },
  );
});

describe('61 a silent TLS client', () => {
  it('61 is closed at the handshake time-out: no open event, its descriptor freed, the processor idle', async () => {
    const { server, ca } = certificates;
    const echo = await scene.server(withTls({ cert: server.cert, key: server.key }), withHandshakeTimeoutMs(150));
    const files = openFiles();
    const handles = openHandles();
    const lost = new Promise<PorticoError>((resolve) => echo.server.on('connectionLost', (_address, error) => resolve(error)));
    const peer = await scene.peer(echo);
    const started = performance.now();
    const before = performance.eventLoopUtilization();
    const error = await lost;
    const waited = performance.now() - started;
    expect(performance.eventLoopUtilization(before).utilization).toBeLessThan(0.5);
    expect(error).toMatchObject({ name: 'PeerError', code: 'HANDSHAKE_TIMEOUT' });
    expect(closeCodeOf(error)).toBe('TIMEOUT');
    expect(waited).toBeGreaterThan(100);
    expect(waited).toBeLessThan(2000);
    await peer.closed();
    peer.destroy();
    await until(() => openHandles() === handles && openFiles() === files, 'the descriptors to be freed');
    expect(echo.watch.opened).toEqual([]);
    expect(echo.lost).toHaveLength(1);
    expect(echo.server.stats()).toMatchObject({ openSessions: 0, totalSessions: 0 });
    // The server is as it was.
    const { session, watch } = await scene.client(echo, withTls({ ca: ca.cert }));
    session.send(Buffer.from('next'));
    await watch.packagesIn(1);
  });

  it('61 that sends its ClientHello byte by byte is closed as well, however busy it looks', async () => {
    const { server } = certificates;
    const clock = new VirtualClock();
    const echo = await scene.server(withTls({ cert: server.cert, key: server.key }), withClock(clock));
    const peer = await scene.peer(echo);
    await peer.send(Buffer.from([0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3]));
    for (let count = 0; count < 99; count++) {
      await peer.send(Buffer.of(0));
      await clock.advance(100);
    }
    expect(echo.lost).toEqual([]);
    await clock.advance(110);
    expect(echo.lost).toMatchObject([{ name: 'PeerError', code: 'HANDSHAKE_TIMEOUT' }]);
    await peer.closed();
  });

  it('61 counts against the limits until it is gone, and no longer', async () => {
    const { server, ca } = certificates;
    const clock = new VirtualClock();
    const echo = await scene.server(withTls({ cert: server.cert, key: server.key }), withClock(clock), withMaxSessions(1));
    await scene.peer(echo);
    const refused = await scene.peer(echo);
    await refused.closed();
    expect(echo.refused).toEqual(['max-sessions']);
    await clock.advance(10_010);
    expect(echo.lost).toHaveLength(1);
    await scene.client(echo, withTls({ ca: ca.cert }));
  });
});

describe('62 a random port with TLS', () => {
  it('62 is still TLS', async () => {
    const { server, ca } = certificates;
    const echo = await scene.server(withLocalAddress('127.0.0.1'), withTls({ cert: server.cert, key: server.key }));
    expect(echo.address.port).toBeGreaterThan(0);
    const plain = await scene.peer(echo);
    await plain.send(frame('plain'));
    await plain.closed();
    expect(echo.watch.opened).toEqual([]);
    const foreign = connect({ port: echo.address.port, host: '127.0.0.1', ca: ca.cert });
    scene.atEnd(() => foreign.destroy());
    await once(foreign, 'secureConnect');
    foreign.write(frame('secret'));
    const [reply] = (await once(foreign, 'data')) as [Buffer];
    expect(reply).toEqual(frame('secret'));
    const { session, watch } = await scene.client(echo, withServerAddress(echo.address.text), withTls({ ca: ca.cert }));
    session.send(Buffer.from('secret'));
    await watch.packagesIn(1);
    expect(session.connection.tls?.protocol).toBe('TLSv1.3');
  });
});
