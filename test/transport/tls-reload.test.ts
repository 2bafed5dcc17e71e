import { copyFile, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withClock, withTls, withTlsReloadMs } from '../../src/endpoint/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { type TlsOptions, tlsFiles } from '../../src/transport/tls-options.ts';
import { type KeyPair, makeCertificates, type TestCertificates } from '../helpers/certificates.ts';
import { until } from '../helpers/raw-peer.ts';
import { type EchoServer, useScene } from '../helpers/scene.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const scene = useScene();
let certificates: TestCertificates;
let folder: string;
let certFile: string;
let keyFile: string;
beforeAll(async () => {
  certificates = await makeCertificates();
  folder = await mkdtemp(path.join(os.tmpdir(), 'portico-reload-'));
  certFile = path.join(folder, 'server.crt');
  keyFile = path.join(folder, 'server.key');
}, 30_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

async function install(pair: KeyPair): Promise<void> {
  await copyFile(pair.certFile, certFile);
  await copyFile(pair.keyFile, keyFile);
}

/** Whose certificate a new client is shown. */
async function subjectNow(echo: EchoServer, serverName = 'localhost'): Promise<string | undefined> {
  const { session } = await scene.client(echo, withTls({ ca: certificates.ca.cert, serverName, rejectUnauthorized: false }));
  return session.connection.tls?.peerSubject;
}

describe('reloadTls', () => {
  it('shows a renewed certificate to new clients; open sessions live on', async () => {
    await install(certificates.serverA);
    const echo = await scene.server(withTls(tlsFiles({ certFile, keyFile })));
    const before = await scene.client(echo, withTls({ ca: certificates.ca.cert, serverName: 'a.test' }));
    await install(certificates.serverB);
    expect(await subjectNow(echo)).toBe('server-a.test');
    await echo.server.reloadTls();
    const after = await scene.client(echo, withTls({ ca: certificates.ca.cert, serverName: 'b.test' }));
    expect(after.session.connection.tls).toMatchObject({ peerSubject: 'server-b.test', authorized: true });
    before.session.send(Buffer.from('still here'));
    expect(await before.watch.textsIn(1)).toEqual(['still here']);
    expect(before.session.connection.tls?.peerSubject).toBe('server-a.test');
    expect(echo.troubles).toEqual([]);
  });

  it.each<[string, () => Promise<void>]>([
    ['a broken file', () => writeFile(certFile, 'junk')],
    ['an empty file', () => writeFile(certFile, '')],
    ['the key of another certificate', () => copyFile(certificates.serverB.keyFile, keyFile)],
    ['a file that is gone', () => rm(keyFile)],
  ])('rejects with INVALID_TLS for %s and keeps the last good pair', async (_what, spoil) => {
    await install(certificates.serverA);
    const echo = await scene.server(withTls(tlsFiles({ certFile, keyFile })));
    await spoil();
    expect(await rejectionOf(echo.server.reloadTls())).toMatchObject({ name: 'ConfigError', code: 'INVALID_TLS' });
    expect(await subjectNow(echo)).toBe('server-a.test');
    await install(certificates.serverB);
    await echo.server.reloadTls();
    expect(await subjectNow(echo)).toBe('server-b.test');
  });

  it('takes new names, drops those that are gone, and takes changed rules', async () => {
    const { server, serverA, serverB, ca } = certificates;
    let tls: TlsOptions = { ...server, sni: { 'a.test': serverA } };
    const echo = await scene.server(withTls(() => tls));
    expect(await subjectNow(echo, 'a.test')).toBe('server-a.test');
    tls = { ...server, sni: { 'b.test': serverB } };
    await echo.server.reloadTls();
    expect([await subjectNow(echo, 'a.test'), await subjectNow(echo, 'b.test')]).toEqual(['server.test', 'server-b.test']);
    tls = { ...server, ca: ca.cert, requireClientCert: true };
    await echo.server.reloadTls();
    const { client, watch } = scene.newClient(echo, withTls({ ca: ca.cert }));
    await client.connect().catch(() => {});
    await until(() => echo.lost.length === 1 && watch.opened.length === watch.reasons.length, 'the refusal');
    expect(echo.lost[0]).toMatchObject({ code: 'HANDSHAKE_FAILED' });
  });

  it('does nothing without TLS, before listen and after close', async () => {
    const plain = await scene.server();
    await plain.server.reloadTls();
    const { server } = certificates;
    const echo = await scene.server(withTls(server));
    await echo.server.close();
    await echo.server.reloadTls();
  });

  it('lets the call that began last win, however long a source takes', async () => {
    const { serverA, serverB } = certificates;
    const answers: ((options: TlsOptions) => void)[] = [];
    let isFirst = true;
    const echo = await scene.server(
      withTls(() => {
        if (!isFirst) return new Promise<TlsOptions>((resolve) => answers.push(resolve));
        isFirst = false;
        return certificates.server;
      }),
    );
    const reloads = [echo.server.reloadTls(), echo.server.reloadTls()];
    await until(() => answers.length === 2, 'both questions');
    answers[1]?.(serverB);
    await reloads[1];
    answers[0]?.(serverA);
    await reloads[0];
    expect(await subjectNow(echo)).toBe('server-b.test');
  });

  it('does not make clients forget the sessions they could resume when nothing has changed', async () => {
    await install(certificates.server);
    const echo = await scene.server(withTls(tlsFiles({ certFile, keyFile })));
    const acceptor = Reflect.get(echo.server, 'acceptor') as object;
    expect(acceptor).toBeDefined();
    for (let round = 0; round < 100; round++) await echo.server.reloadTls();
    expect(await subjectNow(echo)).toBe('server.test');
  });
});

describe('withTlsReloadMs', () => {
  it('looks again by itself, reports a broken file as an error event, and recovers', async () => {
    await install(certificates.serverA);
    const clock = new VirtualClock();
    const echo = await scene.server(withTls(tlsFiles({ certFile, keyFile })), withClock(clock), withTlsReloadMs(60_000));
    const before = await scene.client(echo, withTls({ ca: certificates.ca.cert, serverName: 'a.test' }));
    await writeFile(certFile, 'junk');
    await clock.advance(59_000);
    expect(echo.troubles).toEqual([]);
    for (const count of [1, 2]) {
      await clock.advance(60_000);
      await until(() => echo.troubles.length === count, 'the error event');
    }
    expect(echo.troubles[0]).toMatchObject({ name: 'ConfigError', code: 'INVALID_TLS' });
    expect(await subjectNow(echo)).toBe('server-a.test');
    await install(certificates.serverB);
    let subject: string | undefined;
    for (let look = 0; look < 20 && subject !== 'server-b.test'; look++) {
      await clock.advance(60_000);
      subject = await subjectNow(echo);
    }
    expect(subject).toBe('server-b.test');
    before.session.send(Buffer.from('still here'));
    expect(await before.watch.textsIn(1)).toEqual(['still here']);
  });

  it('ends with the server', async () => {
    let reads = 0;
    const clock = new VirtualClock();
    const echo = await scene.server(
      withTls(() => {
        reads++;
        return certificates.server;
      }),
      withClock(clock),
      withTlsReloadMs(1_000),
    );
    await clock.advance(2_100);
    expect(reads).toBe(3);
    await echo.server.stopAccepting();
    await clock.advance(10_000);
    expect(reads).toBe(3);
  });
});
