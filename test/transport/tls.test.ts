import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect as connectPlain, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { connect } from 'node:tls';
import { beforeAll, describe, expect, it } from 'vitest';
import type { PorticoError } from '../../src/base/errors.ts';
import { withConnectTimeoutMs, withLocalAddress, withStaticRead, withTls } from '../../src/endpoint/options.ts';
import type { TlsOptions } from '../../src/transport/tls-options.ts';
import { loadTls } from '../../src/transport/tls-options.ts';
import { makeCertificates, type TestCertificates } from '../helpers/certificates.ts';
import { pattern, until } from '../helpers/raw-peer.ts';
import { type EchoServer, useScene } from '../helpers/scene.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const scene = useScene();
let certificates: TestCertificates;
let ca: string;
let own: TlsOptions;
beforeAll(async () => {
  certificates = await makeCertificates();
  ca = certificates.ca.cert;
  own = { cert: certificates.server.cert, key: certificates.server.key };
}, 30_000);

/** Sends a text there and back. */
async function echoOnce(echo: EchoServer | string, tls: TlsOptions, text = 'there and back') {
  const connected = await scene.client(echo, withTls(tls));
  connected.session.send(Buffer.from(text));
  expect(await connected.watch.textsIn(1)).toEqual([text]);
  return connected;
}

describe('mutual TLS', () => {
  it('takes a certificate of its CA and shows whose it is', async () => {
    const { client } = certificates;
    const echo = await scene.server(withTls({ ...own, ca, requireClientCert: true }));
    await echoOnce(echo, { ca, cert: client.cert, key: client.key });
    const tls = (await echo.watch.session()).connection.tls;
    expect(tls).toMatchObject({ authorized: true, peerSubject: 'client.test' });
    expect(tls?.peerFingerprint256).toMatch(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/);
  });

  it.each(['no certificate', 'one of another CA', 'one that has expired'] as const)(
    'refuses %s: no open event, HANDSHAKE_FAILED',
    async (which) => {
      const { foreignClient, expiredClient } = certificates;
      const echo = await scene.server(withTls({ ...own, ca, requireClientCert: true }));
      const pair = { 'no certificate': undefined, 'one of another CA': foreignClient, 'one that has expired': expiredClient }[which];
      // Under TLS 1.3 a client is done before the server has looked at its certificate, so it opens and is cut.
      const { client, watch } = scene.newClient(echo, withTls({ ca, ...(pair === undefined ? {} : { cert: pair.cert, key: pair.key }) }));
      await Promise.race([client.connect().catch(() => {}), until(() => echo.lost.length > 0, 'the refusal')]);
      await until(() => echo.lost.length === 1 && watch.opened.length === watch.reasons.length, 'both sides to be done');
      expect(echo.lost[0]).toMatchObject({ name: 'PeerError', code: 'HANDSHAKE_FAILED' });
      const why = {
        'no certificate': /did not return a certificate/,
        'one of another CA': /UNABLE_TO|SELF_SIGNED/,
        'one that has expired': /EXPIRED/,
      }[which];
      expect(echo.lost[0]?.message).toMatch(why);
      expect(echo.watch.opened).toEqual([]);
      expect(echo.server.stats()).toMatchObject({ totalSessions: 0, openSessions: 0 });
    },
  );

  it('is not asked for by default', async () => {
    const { client } = certificates;
    const echo = await scene.server(withTls({ ...own, ca }));
    await echoOnce(echo, { ca, cert: client.cert, key: client.key });
    expect((await echo.watch.session()).connection.tls).toMatchObject({ authorized: false, peerSubject: undefined });
  });
});

describe('server name indication', () => {
  const sniServer = (): Promise<EchoServer> => {
    const { serverA, serverB } = certificates;
    return scene.server(withTls({ ...own, sni: { 'a.test': serverA, '*.b.test': serverB, 'x.b.test': serverA, 'B.Test': serverB } }));
  };

  it.each([
    ['a.test', 'server-a.test'],
    ['A.TEST', 'server-a.test'],
    ['b.test', 'server-b.test'],
    ['one.b.test', 'server-b.test'],
    ['x.b.test', 'server-a.test'],
    ['one.two.b.test', 'server.test'],
    ['.b.test', 'server.test'],
    ['a.test.evil', 'server.test'],
    ['aXtest', 'server.test'],
    ['unknown.test', 'server.test'],
  ])('for %s shows the certificate of %s', async (serverName, subject) => {
    const { session } = await echoOnce(await sniServer(), { ca, serverName, rejectUnauthorized: false });
    expect(session.connection.tls?.peerSubject).toBe(subject);
  });

  it('shows the default certificate to a client that names nobody, and verifies with names', async () => {
    const echo = await sniServer();
    const { session } = await echoOnce(echo, { ca });
    expect(session.connection.tls).toMatchObject({ peerSubject: 'server.test', authorized: true, serverName: undefined });
    await echoOnce(echo, { ca, serverName: 'a.test' });
    expect((await echo.watch.session(1)).connection.tls).toMatchObject({ serverName: 'a.test' });
  });

  it('also asks for client certificates under another name', async () => {
    const { serverA, client } = certificates;
    const echo = await scene.server(withTls({ ...own, ca, requireClientCert: true, sni: { 'a.test': { ...serverA, ca } } }));
    await echoOnce(echo, { ca, serverName: 'a.test', cert: client.cert, key: client.key });
    expect((await echo.watch.session()).connection.tls).toMatchObject({ authorized: true, peerSubject: 'client.test' });
  });
});

describe('ALPN', () => {
  it('agrees on the first protocol of the server that the client offers', async () => {
    const echo = await scene.server(withTls({ ...own, alpnProtocols: ['game/2', 'game/1'] }));
    const { session } = await echoOnce(echo, { ca, alpnProtocols: ['chat/1', 'game/1', 'game/2'] });
    expect(session.connection.tls?.alpnProtocol).toBe('game/2');
    expect((await echo.watch.session()).connection.tls?.alpnProtocol).toBe('game/2');
  });

  it('refuses a client that offers none of them', async () => {
    const echo = await scene.server(withTls({ ...own, alpnProtocols: ['game/2'] }));
    const { client } = scene.newClient(echo, withTls({ ca, alpnProtocols: ['chat/1'] }));
    expect(await rejectionOf(client.connect())).toMatchObject({
      cause: { code: 'CONNECT_FAILED', cause: { code: expect.stringContaining('NO_APPLICATION_PROTOCOL') } },
    });
    await until(() => echo.lost.length === 1, 'the refusal');
    expect(echo.lost[0]).toMatchObject({ code: 'HANDSHAKE_FAILED' });
    expect(echo.watch.opened).toEqual([]);
  });

  it('is left out when either side has no protocols', async () => {
    const echo = await scene.server(withTls({ ...own, alpnProtocols: ['game/2'] }));
    const { session } = await echoOnce(echo, { ca });
    expect(session.connection.tls?.alpnProtocol).toBeUndefined();
    const plain = await scene.server(withTls(own));
    expect((await echoOnce(plain, { ca, alpnProtocols: ['game/2'] })).session.connection.tls?.alpnProtocol).toBeUndefined();
  });
});

describe('what TLS agreed on', () => {
  it('is told by session.connection.tls', async () => {
    const echo = await scene.server(withTls(own));
    const { session } = await echoOnce(echo, { ca });
    expect(session.connection.tls).toEqual({
      protocol: 'TLSv1.3',
      cipher: expect.stringMatching(/^TLS_/),
      serverName: undefined,
      alpnProtocol: undefined,
      authorized: true,
      peerSubject: 'server.test',
      peerFingerprint256: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
    });
  });

  it('is nothing for plain TCP', async () => {
    const echo = await scene.server();
    const { session } = await scene.client(echo);
    expect(session.connection.tls).toBeUndefined();
    expect((await echo.watch.session()).connection.tls).toBeUndefined();
  });

  it('can still be asked for after the end', async () => {
    const { client } = certificates;
    const echo = await scene.server(withTls({ ...own, ca, requireClientCert: true }));
    const { session } = await echoOnce(echo, { ca, cert: client.cert, key: client.key });
    const [before, serverSession] = [session.connection.tls, await echo.watch.session()];
    await session.close();
    await serverSession.closed;
    expect(session.connection.tls).toEqual(before);
    expect(serverSession.connection.tls).toMatchObject({ protocol: 'TLSv1.3', authorized: true, peerSubject: 'client.test' });
  });

  it('is at least TLS 1.2, or what minVersion says', async () => {
    const old = async (echo: EchoServer): Promise<string> => {
      const socket = connect({ port: echo.address.port, host: '127.0.0.1', ca, maxVersion: 'TLSv1.2' });
      scene.atEnd(() => socket.destroy());
      return Promise.race([
        once(socket, 'secureConnect').then(() => String(socket.getProtocol())),
        once(socket, 'close').then(() => 'refused'),
      ]).catch((error: NodeJS.ErrnoException) => String(error.code));
    };
    expect(await old(await scene.server(withTls(own)))).toBe('TLSv1.2');
    const strict = await scene.server(withTls({ ...own, minVersion: 'TLSv1.3' }));
    expect(await old(strict)).toMatch(/PROTOCOL_VERSION/);
    await echoOnce(strict, { ca });
  });
});

describe('onOpen', () => {
  it('comes after the handshake on both sides', async () => {
    const seen: (string | null | undefined)[] = [];
    const echo = await scene.serverWith((session) => void seen.push(session.connection.tls?.protocol), withTls(own));
    await echoOnce(echo, { ca });
    expect(seen).toEqual(['TLSv1.3']);
  });

  it('does not come on a client whose server falls silent in the handshake', async () => {
    const echo = await scene.server();
    const { client, watch } = scene.newClient(echo, withTls({ ca }), withConnectTimeoutMs(50), withStaticRead(true));
    // A plain server reads the ClientHello as a huge frame and closes.
    expect(await rejectionOf(client.connect())).toMatchObject({ cause: { code: expect.stringMatching(/CONNECT_(FAILED|TIMEOUT)/) } });
    expect(watch.opened).toEqual([]);
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'TOO_LARGE' }]);
  });
});

describe('a TLS server that breaks the stream right behind the handshake', () => {
  it.each([true, false])('ends the session of the client, not its process (static read %s)', async (isStatic) => {
    const echo = await scene.server(withTls(own));
    const badRecord = Buffer.concat([Buffer.of(0x17, 3, 3, 0, 32), pattern(32)]);
    const proxy = createServer((near) => {
      const far = connectPlain(echo.address.port, '127.0.0.1');
      near.on('error', () => far.destroy()).on('close', () => far.destroy());
      far.on('error', () => near.destroy()).on('close', () => near.destroy());
      near.pipe(far);
      // In one write, so that the client finds the end of the handshake and the bad record in one read.
      far.once('data', (flight) => near.write(Buffer.concat([flight, badRecord])));
    }).listen(0, '127.0.0.1');
    await once(proxy, 'listening');
    scene.atEnd(() => proxy.close());
    const { port } = proxy.address() as AddressInfo;
    const { client, watch } = scene.newClient(`127.0.0.1:${port}`, withTls({ ca }), withStaticRead(isStatic));
    await client.connect().catch(() => {});
    await until(() => watch.opened.length === watch.reasons.length, 'the session to end');
    for (const reason of watch.reasons) expect(reason.code).toBe('RESET');
    for (const error of watch.errors) expect(error).toMatchObject({ name: 'TransportError' });
  });
});

describe('TLS over a Unix socket', () => {
  it.runIf(process.platform !== 'win32')('verifies the server as localhost and carries packages (only with Unix sockets)', async () => {
    const file = path.join(os.tmpdir(), `portico-${randomUUID()}.sock`);
    const echo = await scene.server(withLocalAddress(`unix:${file}`), withTls(own));
    const body = pattern(300_000);
    const { session, watch } = await scene.client(echo, withTls({ ca }));
    session.send(body);
    expect((await watch.packagesIn(1))[0]?.equals(body)).toBe(true);
    expect(session.connection.tls).toMatchObject({ protocol: 'TLSv1.3', authorized: true });
    expect(session.remoteAddress).toMatchObject({ family: 'unix', path: file });
    const { client } = scene.newClient(echo, withTls({ ca, serverName: 'a.test' }));
    expect(await rejectionOf(client.connect())).toMatchObject({ cause: { cause: { code: 'ERR_TLS_CERT_ALTNAME_INVALID' } } });
  });
});

describe('settings that cannot work', () => {
  const refusal = async (tls: TlsOptions | (() => TlsOptions | Promise<TlsOptions>), isServer = true): Promise<PorticoError> =>
    (await rejectionOf(loadTls(tls, isServer))) as PorticoError;

  it.each<[string, (good: TlsOptions, all: TestCertificates) => TlsOptions | (() => Promise<TlsOptions>)]>([
    ['no certificate', () => ({})],
    ['a certificate without a key', (good) => ({ cert: good.cert ?? '' })],
    ['a key without a certificate', (good) => ({ key: good.key ?? '' })],
    ['the key of another certificate', (good, all) => ({ ...good, key: all.serverA.key })],
    ['text that is no certificate', (good) => ({ ...good, cert: 'junk' })],
    ['an empty certificate', (good) => ({ ...good, cert: '' })],
    ['a key that is cut off', (good) => ({ ...good, key: String(good.key).slice(0, 60) })],
    ['a CA that is none', (good) => ({ ...good, ca: '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n' })],
    ['a TLS version that there is not', (good) => ({ ...good, minVersion: 'TLSv9' as 'TLSv1.3' })],
    ['a bad certificate for a name', (good) => ({ ...good, sni: { 'a.test': { cert: 'junk', key: 'junk' } } })],
    ['mutual TLS without a CA', (good) => ({ ...good, requireClientCert: true })],
    ['a name without a certificate', (good) => ({ ...good, sni: { 'a.test': {} } })],
    ['an ALPN name that is too long', (good) => ({ ...good, alpnProtocols: ['x'.repeat(256)] })],
    ['an empty ALPN name', (good) => ({ ...good, alpnProtocols: [''] })],
    ['a source that throws', () => () => Promise.reject(new Error('no such file'))],
  ])('%s: INVALID_TLS at listen', async (_what, make) => {
    const tls = make(own, certificates);
    expect(await refusal(tls)).toMatchObject({
      name: 'ConfigError',
      code: 'INVALID_TLS',
      message: expect.stringMatching(/^TLS: expected/),
    });
    expect(await rejectionOf(scene.server(withTls(tls)))).toMatchObject({ code: 'INVALID_TLS' });
  });

  it('for a client nothing is required, but what is given must work', async () => {
    expect(await loadTls({}, false)).toEqual({});
    expect(await refusal({ cert: own.cert ?? '' }, false)).toMatchObject({ code: 'INVALID_TLS' });
    expect(await refusal({ alpnProtocols: ['x'.repeat(256)] }, false)).toMatchObject({ code: 'INVALID_TLS' });
  });

  it('says nothing of the secret', async () => {
    const { message } = await refusal({ ...own, key: certificates.encryptedKey, passphrase: 'my secret' });
    expect(message).not.toContain('my secret');
    expect(message).not.toContain('BEGIN');
  });
});
