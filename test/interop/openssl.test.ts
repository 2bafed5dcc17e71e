import { describe, expect } from 'vitest';
import { withTls } from '../../src/endpoint/options.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { type LineServer, lineClient, lineServer, startTool } from '../helpers/text-scene.ts';
import { itWith, type Tool } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('openssl');

/** `openssl s_client` as a peer that verifies us. */
async function sClient({ address }: LineServer, ...args: readonly string[]): Promise<Tool> {
  const { ca } = await makeCertificates();
  const verify = ['-CAfile', ca.certFile, '-verify_return_error', '-verify_hostname', 'localhost'];
  return startTool(scene, 'openssl', ['s_client', '-quiet', '-connect', address.text, ...verify, ...args]);
}

describe('openssl s_client', () => {
  it('verifies us, gets its lines back, and ends when we close', async () => {
    const { server } = await makeCertificates();
    for (const version of ['-tls1_3', '-tls1_2']) {
      const own = await lineServer(scene, withTls(server));
      const client = await sClient(own, version);
      client.write('encrypted\n');
      await client.prints('encrypted\n');
      client.write('quit\n');
      expect(await client.exited(), client.errors).toBe(0);
      expect(await own.lines.closed()).toMatchObject({ code: 'NORMAL' });
    }
  });

  it('is refused below TLS 1.2', async () => {
    const { server } = await makeCertificates();
    const own = await lineServer(scene, withTls(server));
    const lost: string[] = [];
    own.server.on('connectionLost', (_address, error) => void lost.push(error.code));
    const client = await sClient(own, '-tls1_1', '-cipher', 'ALL@SECLEVEL=0');
    expect(await client.exited()).not.toBe(0);
    await until(() => lost.length === 1, 'the refusal');
    expect(lost).toEqual(['HANDSHAKE_FAILED']);
  });

  it('shows its certificate when we ask for one, and is refused without', async () => {
    const { server, ca, client: pair } = await makeCertificates();
    const own = await lineServer(scene, withTls({ ...server, ca: ca.cert, requireClientCert: true }));
    const good = await sClient(own, '-cert', pair.certFile, '-key', pair.keyFile);
    good.write('it is me\n');
    await good.prints('it is me\n');
    expect([...own.server.sessions.values()][0]?.connection.tls).toMatchObject({ authorized: true, peerSubject: 'client.test' });
    const bad = await sClient(own);
    bad.write('let me in\n');
    await bad.exited();
    expect(own.lines.lines).toEqual(['it is me']);
    expect(own.server.stats().totalSessions).toBe(1);
  });

  it('is shown the certificate of the name it asks for, and agrees on a protocol', async () => {
    const { server, serverA } = await makeCertificates();
    const own = await lineServer(scene, withTls({ ...server, sni: { 'a.test': serverA }, alpnProtocols: ['lines/1'] }));
    const client = await sClient(own, '-servername', 'a.test', '-verify_hostname', 'a.test', '-alpn', 'chat/1,lines/1');
    client.write('hello\n');
    await client.prints('hello\n');
    expect([...own.server.sessions.values()][0]?.connection.tls).toMatchObject({ serverName: 'a.test', alpnProtocol: 'lines/1' });
    const other = await sClient(own, '-alpn', 'chat/1');
    expect(await other.exited()).not.toBe(0);
  });

  it('asks for new keys in the middle of a session', async () => {
    const { server, ca } = await makeCertificates();
    const own = await lineServer(scene, withTls(server));
    // Without -quiet, a line "K" is a command: update the keys of TLS 1.3.
    const args = ['s_client', '-connect', own.address.text, '-CAfile', ca.certFile, '-tls1_3'];
    const client = startTool(scene, 'openssl', args);
    client.write('before\n');
    await own.lines.linesIn(1);
    client.write('K\n');
    await client.finds(/(KEYUPDATE)/);
    client.write('after\n');
    expect(await own.lines.linesIn(2)).toEqual(['before', 'after']);
  });
});

describe('openssl s_server', () => {
  it('is verified by our client, and turns its lines round', async () => {
    const { server, ca } = await makeCertificates();
    const args = ['s_server', '-accept', '127.0.0.1:0', '-cert', server.certFile, '-key', server.keyFile, '-rev'];
    const other = startTool(scene, 'openssl', args);
    const port = await other.finds(/ACCEPT \S+:(\d+)/);
    const { session, lines } = await lineClient(scene, `127.0.0.1:${port}`, withTls({ ca: ca.cert }));
    session.send('stressed');
    expect(await lines.linesIn(1)).toEqual(['desserts']);
    expect(session.connection.tls).toMatchObject({ authorized: true, protocol: 'TLSv1.3' });
    await session.close();
  });
});
