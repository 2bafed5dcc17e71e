import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect as connectPlain, type Socket } from 'node:net';
import path from 'node:path';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import type { ErrorCode } from '../src/base/errors.ts';
import { withHandshakeTimeoutMs, withTls } from '../src/endpoint/options.ts';
import type { CloseCode } from '../src/session/close-reason.ts';
import { closeCodeOf } from '../src/session/close-reason.ts';
import type { TlsOptions } from '../src/transport/tls-options.ts';
import { Attack } from './helpers/attack.ts';
import { makeCertificates, type TestCertificates } from './helpers/certificates.ts';
import { clientHello, inRecords } from './helpers/client-hello.ts';
import { frame, pattern, RawPeer, turns, until } from './helpers/raw-peer.ts';
import { type EchoServer, useScene } from './helpers/scene.ts';

const scene = useScene();
const run = promisify(execFile);
let certificates: TestCertificates;
beforeAll(async () => {
  certificates = await makeCertificates();
}, 30_000);

/** A TLS client made by Node, over a TCP socket that the test can also use directly. */
interface TlsPeer {
  readonly peer: RawPeer;
  readonly secure: TLSSocket;
  readonly plain: Socket;
}

function tlsPeer(echo: EchoServer, options: ConnectionOptions = {}): TlsPeer {
  const plain = connectPlain({ port: echo.address.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  plain.on('error', () => {});
  const secure = connect({ socket: plain, ca: certificates.ca.cert, servername: 'localhost', ...options });
  scene.atEnd(() => {
    secure.destroy();
    plain.destroy();
  });
  return { peer: new RawPeer(secure), secure, plain };
}

/** An attack on a TLS server whose honest client speaks TLS. */
function begin(tls: Partial<TlsOptions> = {}, honest: ConnectionOptions = {}): Promise<Attack> {
  const { server, serverA } = certificates;
  return Attack.begin(scene, {
    options: [withTls({ cert: server.cert, key: server.key, sni: { 'a.test': serverA }, ...tls }), withHandshakeTimeoutMs(150)],
    connect: async (echo) => tlsPeer(echo, honest).peer,
  });
}

/** An offender that speaks TLS. */
function offend(attack: Attack, options: ConnectionOptions = {}): TlsPeer {
  const offender = tlsPeer(attack.echo, options);
  attack.offenders.push(offender.secure, offender.plain);
  return offender;
}

/** The offenders were let in and never had a session; the code says whose fault it is. */
async function lost(attack: Attack, code: ErrorCode = 'HANDSHAKE_FAILED', count = 1): Promise<void> {
  await attack.end({ closes: [], errors: [], lost: count });
  expect(attack.watch.opened).toHaveLength(1);
  for (const error of attack.echo.lost) expect(error).toMatchObject({ name: 'PeerError', code });
}

const ALERT = 0x15;
const HANDSHAKE = 0x16;

describe('9 plain bytes on a TLS port', () => {
  it.each(['GET / HTTP/1.1\r\nHost: a.test\r\n\r\n', 'SSH-2.0-OpenSSH_9.6\r\n', '\0\0\0\x05hello'])(
    '9 %j: an alert at most, and the socket is gone',
    async (text) => {
      const attack = await begin();
      const peer = await attack.offender();
      peer.pour(Buffer.from(text, 'latin1'));
      await peer.closed();
      expect(peer.length).toBeLessThanOrEqual(7);
      await lost(attack);
    },
  );

  it('9 a few bytes and silence: gone at the handshake time-out', async () => {
    const attack = await begin();
    const peer = await attack.offender();
    peer.pour(Buffer.of(0x16, 3));
    await turns(5);
    await attack.pass(160);
    await peer.closed();
    await lost(attack, 'HANDSHAKE_TIMEOUT');
  });
});

describe('104 server names', () => {
  it.each<[string, Buffer]>([
    ['with a zero byte', Buffer.from('a.test\0.evil')],
    ['of one zero byte', Buffer.of(0)],
    ['of 255 bytes', Buffer.alloc(255, 'a')],
    ['of 300 bytes', Buffer.alloc(300, 'a')],
    ['of 60 000 bytes', Buffer.alloc(60_000, 'a')],
    ['of no bytes', Buffer.alloc(0)],
    ['that are an IP address', Buffer.from('127.0.0.1')],
    ['that nobody knows', Buffer.from('unknown.test')],
    ['of dots', Buffer.from('...')],
    ['that are no UTF-8', Buffer.of(0xff, 0xfe, 0xc0, 0x80)],
    ['that are names of Object', Buffer.from('__proto__')],
    ['with line ends', Buffer.from('a\r\nb')],
  ])('104 %s: the default certificate or an alert', async (_what, serverName) => {
    const attack = await begin();
    const peer = await attack.offender();
    peer.pour(inRecords(clientHello({ serverName, supportedVersions: [0x0304, 0x0303] })));
    await until(() => peer.length > 0 || peer.hasEnded || peer.isClosed, 'an answer or the end');
    if (peer.length > 0) expect([ALERT, HANDSHAKE]).toContain(peer.received[0]);
    await attack.honest();
    peer.destroy();
    await lost(attack);
    for (const { message } of attack.echo.lost) expect(message).not.toMatch(/[\p{Cc}]/u);
  });
});

describe('105 hellos', () => {
  const hello = { supportedVersions: [0x0304, 0x0303] };

  it.each<[string, () => Buffer]>([
    ['of TLS 1.0', () => inRecords(clientHello({ version: 0x0301 }))],
    ['of TLS 1.1', () => inRecords(clientHello({ version: 0x0302 }))],
    ['of SSL 3', () => inRecords(clientHello({ version: 0x0300 }))],
    ['without a common cipher', () => inRecords(clientHello({ ciphers: [0x0001, 0x0002] }))],
    ['without any cipher', () => inRecords(clientHello({ ciphers: [] }))],
    ['that announce 16 MB', () => inRecords(Buffer.concat([Buffer.of(1, 0xff, 0xff, 0xff), Buffer.alloc(16_000)]))],
    ['with a record above the limit', () => Buffer.concat([Buffer.of(0x16, 3, 1, 0x7f, 0xff), Buffer.alloc(0x7fff)])],
    ['that are cut by another record', () => Buffer.concat([inRecords(clientHello(hello)).subarray(0, 50), Buffer.alloc(500, 0x17)])],
  ])('105 %s: an alert, and the socket is gone', async (_what, make) => {
    const attack = await begin();
    const peer = await attack.offender();
    peer.pour(make());
    await peer.closed();
    expect(peer.length).toBeLessThanOrEqual(14);
    if (peer.length > 0) expect(peer.received[0]).toBe(ALERT);
    await attack.end({ closes: [], errors: [], lost: 1 });
    expect(attack.echo.lost[0]?.code).toMatch(/^HANDSHAKE_/);
  });

  it.each<[string, () => Buffer]>([
    ['over four records', () => inRecords(clientHello(hello), Math.ceil(clientHello(hello).length / 4))],
    ['of one byte a record', () => inRecords(clientHello(hello), 1)],
    ['of 64 KB', () => inRecords(clientHello({ ...hello, paddingBytes: 64_000 }))],
  ])('105 %s: an answer or an alert; a client that then falls silent is gone at the time-out', async (_what, make) => {
    const attack = await begin();
    const peer = await attack.offender();
    peer.pour(make());
    await until(() => peer.length > 0 || peer.isClosed || peer.hasEnded, 'an answer');
    if (peer.length > 0) expect([ALERT, HANDSHAKE]).toContain(peer.received[0]);
    await attack.honest();
    await peer.closed();
    await attack.end({ closes: [], errors: [], lost: 1 });
  });

  it('105 with protocols that the server has not: refused', async () => {
    const attack = await begin({ alpnProtocols: ['game/1'] }, { ALPNProtocols: ['game/1'] });
    const { peer } = offend(attack, { ALPNProtocols: ['chat/1'] });
    await peer.closed();
    expect((peer.error as NodeJS.ErrnoException | undefined)?.code).toContain('NO_APPLICATION_PROTOCOL');
    await lost(attack);
  });

  it('105 a hundred that announce a record and send none of it: all gone at the time-out', async () => {
    const attack = await begin();
    for (let count = 0; count < 100; count++) (await attack.offender()).pour(Buffer.of(0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc));
    await attack.honest();
    await attack.pass(160);
    await until(() => attack.echo.lost.length === 100, 'all to be given up');
    await lost(attack, 'HANDSHAKE_TIMEOUT', 100);
  });

  it('105 a flood of renegotiations: the session ends, or they are refused one by one', async () => {
    const attack = await begin();
    const { peer, secure } = offend(attack, { maxVersion: 'TLSv1.2' });
    peer.pour(frame('hello'));
    await peer.receive(9);
    let done = 0;
    const again = (): void => {
      if (secure.destroyed) return;
      secure.renegotiate({ rejectUnauthorized: true }, () => {
        done++;
        if (done < 50) setImmediate(again);
      });
    };
    again();
    const session = await attack.session();
    await until(() => session.state === 'closed' || done >= 50, 'the flood to end');
    await attack.honest();
    expect(done).toBeLessThanOrEqual(10);
    expect(attack.watch.reasonOf.get(session.id)?.code).toMatch(/^(RESET|PEER_CLOSED)$/);
  });
});

describe('106 certificates of clients', () => {
  const mutual = (): Promise<Attack> => {
    const { ca, client } = certificates;
    return begin({ ca: ca.cert, requireClientCert: true }, { cert: client.cert, key: client.key });
  };

  /** A certificate at the end of a chain of ten, with the whole chain; its root is `root`. */
  async function deepChain(root: 'ca' | 'otherCa'): Promise<{ cert: string; key: string }> {
    const folder = path.dirname(certificates.ca.certFile);
    const inFolder = (...args: string[]) => run('openssl', args, { cwd: folder });
    let [signerCert, signerKey] = [certificates[root].certFile, certificates[root].keyFile];
    const chain: string[] = [];
    for (let depth = 1; depth <= 10; depth++) {
      const name = `${root}-${depth}`;
      const isLeaf = depth === 10;
      writeFileSync(path.join(folder, `${name}.ext`), `basicConstraints=critical,CA:${isLeaf ? 'FALSE' : 'TRUE'}\n`);
      await inFolder('ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', `${name}.key`);
      await inFolder('req', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-config', 'ca.cnf', '-out', `${name}.csr`);
      const signing = ['-CA', signerCert, '-CAkey', signerKey, '-set_serial', String(depth), '-extfile', `${name}.ext`];
      await inFolder('x509', '-req', '-sha256', '-days', '2', '-in', `${name}.csr`, ...signing, '-out', `${name}.crt`);
      [signerCert, signerKey] = [path.join(folder, `${name}.crt`), path.join(folder, `${name}.key`)];
      chain.unshift(readFileSync(signerCert, 'utf8'));
    }
    return { cert: chain.join(''), key: readFileSync(signerKey, 'utf8') };
  }

  it.each<[string, () => Promise<ConnectionOptions>]>([
    ['none', async () => ({})],
    ['expired', async () => ({ cert: certificates.expiredClient.cert, key: certificates.expiredClient.key })],
    ['of another CA', async () => ({ cert: certificates.foreignClient.cert, key: certificates.foreignClient.key })],
    ['ten deep, of another CA', () => deepChain('otherCa')],
    [
      'with a chain of a megabyte',
      async () => ({ cert: certificates.client.cert + certificates.otherCa.cert.repeat(2500), key: certificates.client.key }),
    ],
  ])('106 %s: refused in the handshake, no event of a session', async (_what, make) => {
    const attack = await mutual();
    const { peer } = offend(attack, await make());
    peer.pour(frame('let me in'));
    await peer.closed();
    expect(peer.length).toBe(0);
    await lost(attack);
    expect(attack.echo.lost.map((error) => closeCodeOf(error))).toEqual(['AUTH']);
  });

  it('106 ten deep, of the CA: it is vouched for, and there is no limit to set', async () => {
    const attack = await mutual();
    const { peer } = offend(attack, await deepChain('ca'));
    peer.pour(frame('let me in'));
    await peer.receive(13);
    expect((await attack.session()).connection.tls).toMatchObject({ authorized: true, peerSubject: 'ca-10' });
  });
});

describe('107 ends of TLS streams', () => {
  const half = frame(pattern(1000)).subarray(0, 500);

  it.each<[string, Buffer, (peer: TlsPeer) => void, CloseCode, ErrorCode | undefined, number]>([
    ['FIN without close_notify, in the middle of a frame', half, ({ plain }) => plain.end(), 'TRUNCATED', undefined, 500],
    ['close_notify in the middle of a frame', half, ({ secure }) => secure.end(), 'TRUNCATED', undefined, 500],
    ['RST in the middle of a frame', half, ({ plain }) => plain.resetAndDestroy(), 'RESET', 'CONNECTION_RESET', 500],
    ['a record that is not of this stream', half, ({ plain }) => plain.write(Buffer.alloc(600, 0x17)), 'RESET', 'TRANSPORT_FAILED', 500],
    ['a record with a wrong checksum', half, ({ plain }) => plain.write(inRecord(0x17, pattern(64))), 'RESET', 'TRANSPORT_FAILED', 500],
    ['a record above the limit', half, ({ plain }) => plain.write(inRecord(0x17, pattern(20_000))), 'RESET', 'TRANSPORT_FAILED', 500],
    ['close_notify between frames', frame('whole'), ({ secure }) => secure.end(), 'PEER_CLOSED', undefined, 0],
  ])('107 %s: %#', async (_what, bytes, ending, code, error, truncatedBytes) => {
    const attack = await begin();
    const offender = offend(attack);
    offender.peer.pour(bytes);
    await attack.read(bytes.length);
    ending(offender);
    await attack.watch.closes(1);
    expect(attack.watch.reasons[0]).toMatchObject({ code, truncatedBytes });
    await turns(3);
    await attack.end({ closes: [code], errors: error === undefined ? [] : [error] });
  });
});

function inRecord(type: number, body: Buffer): Buffer {
  return Buffer.concat([Buffer.of(type, 3, 3, body.length >> 8, body.length & 255), body]);
}
