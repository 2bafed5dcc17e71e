import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { afterAll, describe, expect } from 'vitest';
import { withTls } from '../../src/endpoint/options.ts';
import { PROXY_INFO, type ProxyInfo, withProxyHeader, withProxyProtocol } from '../../src/endpoint/proxy-options.ts';
import { makeCertificates, type TestCertificates } from '../helpers/certificates.ts';
import { frame, pattern, RawPeer, until } from '../helpers/raw-peer.ts';
import { type EchoServer, type ServerOptionOf, useScene } from '../helpers/scene.ts';
import { itWith } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('haproxy');
const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-haproxy-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let configs = 0;

/** Starts haproxy with one frontend and one backend, and returns the port of the frontend. */
async function startHaproxy(bind: string, server: string, backend: readonly string[] = []): Promise<number> {
  // haproxy inherits the listening socket: nobody has to think of a port, and connections made at once wait for it.
  const listening = createServer().listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const address = listening.address();
  const file = path.join(folder, `${++configs}.cfg`);
  const lines = [
    'defaults',
    '  mode tcp',
    '  timeout connect 5s',
    '  timeout client 30s',
    '  timeout server 30s',
    'frontend front',
    `  bind fd@3 ${bind}`,
    '  unique-id-format portico-%ci-%cp',
    '  default_backend back',
    'backend back',
    ...backend.map((line) => `  ${line}`),
    `  server server1 ${server}`,
  ];
  writeFileSync(file, `${lines.join('\n')}\n`);
  const fd: unknown = Reflect.get(Reflect.get(listening, '_handle'), 'fd');
  const haproxy = spawn('haproxy', ['-db', '-f', file], { stdio: ['ignore', 'ignore', 'pipe', Number(fd)] });
  let errors = '';
  haproxy.stderr?.on('data', (bytes) => {
    errors += bytes;
  });
  haproxy.on('exit', (code) => {
    if (code) console.error(`haproxy ended with ${code}: ${errors}`);
  });
  listening.close();
  scene.atEnd(async () => {
    haproxy.kill('SIGKILL');
    if (haproxy.exitCode === null && haproxy.signalCode === null) await once(haproxy, 'close');
  });
  return typeof address === 'object' && address !== null ? address.port : 0;
}

function behindProxy(...options: readonly ServerOptionOf[]): Promise<EchoServer> {
  return scene.server(withProxyProtocol({ mode: 'require', trustedSources: ['127.0.0.1'] }), ...options);
}

async function infoOf(echo: EchoServer): Promise<ProxyInfo> {
  const info = (await echo.watch.session()).attributes.get(PROXY_INFO);
  if (info === undefined) throw new Error('expected a session with a PROXY header');
  return info;
}

async function expectEcho(peer: RawPeer): Promise<void> {
  const body = pattern(200_000, 7);
  peer.pour(frame(body));
  expect((await peer.receive(body.length + 4)).equals(frame(body))).toBe(true);
}

/** A TLS client with the certificate of the test's client. */
async function tlsPeer(port: number, { ca, client }: TestCertificates): Promise<{ peer: RawPeer; socket: TLSSocket }> {
  const socket = connectTls({ port, host: '127.0.0.1', ca: ca.cert, cert: client.cert, key: client.key, servername: 'localhost' });
  scene.atEnd(() => socket.destroy());
  await once(socket, 'secureConnect');
  return { peer: new RawPeer(socket), socket };
}

describe('behind haproxy', () => {
  describe.each([
    ['send-proxy', 1, 0],
    ['send-proxy-v2', 2, 0],
    ['send-proxy-v2 proxy-v2-options crc32c,unique-id', 2, 2],
  ] as const)('with %s', (send, version, tlvs) => {
    it('the client is seen', async () => {
      const echo = await behindProxy();
      const port = await startHaproxy('', `${echo.address.text} ${send}`);
      const peer = await scene.peer({ port });
      await expectEcho(peer);
      const session = await echo.watch.session();
      const clientPort = peer.socket.localPort;
      expect([session.remoteAddress.text, session.localAddress.text]).toEqual([`127.0.0.1:${clientPort}`, `127.0.0.1:${port}`]);
      const info = await infoOf(echo);
      expect(info).toMatchObject({ version, command: 'PROXY', protocol: 'TCP4' });
      expect(info.tlvs).toHaveLength(tlvs);
      expect(info.proxyAddress.port).not.toBe(clientPort);
      if (tlvs > 0) expect(Buffer.from(info.uniqueId ?? '').toString()).toBe(`portico-127.0.0.1-${clientPort}`);
      peer.end();
      await peer.closed();
      expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
    });
  });

  it('TLS is passed through behind the header', async () => {
    const certificates = await makeCertificates();
    const { ca, server } = certificates;
    const echo = await behindProxy(withTls({ ...server, ca: ca.cert, requireClientCert: true }));
    const port = await startHaproxy('', `${echo.address.text} send-proxy-v2 proxy-v2-options crc32c`);
    const { peer, socket } = await tlsPeer(port, certificates);
    await expectEcho(peer);
    const session = await echo.watch.session();
    expect(session.remoteAddress.port).toBe(socket.localPort);
    expect(session.connection.tls?.authorized).toBe(true);
  });

  it('what it says of the TLS that it ends is read', async () => {
    const certificates = await makeCertificates();
    const { ca, server } = certificates;
    const pem = path.join(folder, 'server.pem');
    writeFileSync(pem, readFileSync(server.certFile, 'utf8') + readFileSync(server.keyFile, 'utf8'));
    const echo = await behindProxy();
    const options = 'crc32c,unique-id,authority,ssl,cert-cn,ssl-cipher,cert-sig,cert-key';
    const port = await startHaproxy(
      `ssl crt ${pem} ca-file ${ca.certFile} verify optional`,
      `${echo.address.text} send-proxy-v2 proxy-v2-options ${options}`,
    );
    const { peer, socket } = await tlsPeer(port, certificates);
    await expectEcho(peer);
    expect(await infoOf(echo)).toMatchObject({
      authority: 'localhost',
      ssl: {
        isTls: true,
        hasClientCert: true,
        isVerified: true,
        version: 'TLSv1.3',
        commonName: expect.any(String),
        cipher: socket.getCipher().name,
        signatureAlgorithm: expect.stringMatching(/\w/),
        keyAlgorithm: expect.stringMatching(/\w/),
      },
    });
  });

  it('its health checks are sessions of their own', async () => {
    const echo = await behindProxy();
    const hello = frame('hello').toString('hex');
    const steps = [
      'option tcp-check',
      'tcp-check connect send-proxy',
      `tcp-check send-binary ${hello}`,
      `tcp-check expect binary ${hello}`,
    ];
    await startHaproxy('', `${echo.address.text} check inter 100ms send-proxy-v2 proxy-v2-options crc32c`, steps);
    expect(await infoOf(echo)).toMatchObject({ command: 'LOCAL', source: undefined });
    expect((await echo.watch.session()).remoteAddress.host).toBe('127.0.0.1');
    expect(await echo.watch.textsIn(2)).toEqual(['hello', 'hello']);
  });
});

describe('in front of haproxy', () => {
  describe.each([1, 2] as const)('with version %d', (version) => {
    it('our client tells whom it stands for, and the server behind both sees that', async () => {
      const echo = await behindProxy();
      const port = await startHaproxy('accept-proxy', `${echo.address.text} send-proxy-v2`);
      const ends = { source: { host: '2001:db8::1', port: 56_324 }, destination: { host: '2001:db8::2', port: 443 } };
      const { session, watch } = await scene.client(`127.0.0.1:${port}`, withProxyHeader({ version, ...ends, crc32c: version === 2 }));
      session.send(Buffer.from('hello'));
      expect(await watch.textsIn(1)).toEqual(['hello']);
      const seen = await echo.watch.session();
      expect([seen.remoteAddress.text, seen.localAddress.text]).toEqual(['[2001:db8::1]:56324', '[2001:db8::2]:443']);
    });
  });

  it('over TLS', async () => {
    const { ca, server } = await makeCertificates();
    const pem = path.join(folder, 'front.pem');
    writeFileSync(pem, readFileSync(server.certFile, 'utf8') + readFileSync(server.keyFile, 'utf8'));
    const echo = await behindProxy();
    const port = await startHaproxy(`accept-proxy ssl crt ${pem}`, `${echo.address.text} send-proxy`);
    const ends = { source: { host: '192.0.2.1', port: 5 }, destination: { host: '192.0.2.2', port: 6 } };
    const { session, watch } = await scene.client(
      `127.0.0.1:${port}`,
      withTls({ ca: ca.cert, serverName: 'localhost' }),
      withProxyHeader({ version: 2, ...ends }),
    );
    session.send(pattern(100_000));
    await until(() => watch.packages.length > 0, 'the echo');
    expect((await echo.watch.session()).remoteAddress.text).toBe('192.0.2.1:5');
  });
});
