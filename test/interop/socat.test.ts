import { randomUUID } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress, withTls } from '../../src/endpoint/options.ts';
import { withPkgHandler, withSendQueue } from '../../src/session/options.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { pattern, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { lineClient, lineServer, startTool } from '../helpers/text-scene.ts';
import { itWith } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('socat');
const itWithTls = itWith('socat', 'openssl');
/** Node 20 fills the name of an abstract socket up with zeros, as programs did once; later ones do not. */
const nameLength = `unix-tightsocklen=${Number.parseInt(process.versions.node, 10) >= 22 ? 1 : 0}`;
const newPath = (): string => path.join(os.tmpdir(), `portico-${randomUUID()}.sock`);

describe('socat', () => {
  it('over TCP, IPv4 and IPv6, gets its lines back', async () => {
    const { address } = await lineServer(scene, withLocalAddress(':0'));
    for (const host of ['TCP4:127.0.0.1', 'TCP6:[::1]']) {
      const socat = startTool(scene, 'socat', ['-t5', '-', `${host}:${address.port}`]);
      socat.end(`by ${host}\n`);
      expect(await socat.exited(), socat.errors).toBe(0);
      expect(socat.output).toBe(`by ${host}\n`);
    }
  });

  it('gets ten megabytes back unharmed', async () => {
    const { address } = await scene.server(withPkgHandler(new RawHandler()), withSendQueue(67_108_864));
    const sent = pattern(10_000_000);
    const socat = startTool(scene, 'socat', ['-t10', '-', `TCP:${address.text}`]);
    socat.end(sent);
    expect(await socat.exited()).toBe(0);
    expect(socat.bytes.equals(sent)).toBe(true);
  });

  it('over a Unix socket, with a path and abstract', async () => {
    const file = newPath();
    const name = `portico-${randomUUID()}`;
    await lineServer(scene, withLocalAddress(`unix:${file}`));
    await lineServer(scene, withLocalAddress(`unix:@${name}`));
    for (const target of [`UNIX-CONNECT:${file}`, `ABSTRACT-CONNECT:${name},${nameLength}`]) {
      const socat = startTool(scene, 'socat', ['-t5', '-', target]);
      socat.end('over a file\n');
      expect(await socat.exited(), socat.errors).toBe(0);
      expect(socat.output).toBe('over a file\n');
    }
  });

  it('as a server over TCP and Unix sockets echoes to our client', async () => {
    const file = newPath();
    const name = `portico-${randomUUID()}`;
    const tcp = startTool(scene, 'socat', ['-d', '-d', 'TCP-LISTEN:0,bind=127.0.0.1', 'EXEC:cat']);
    const port = await tcp.finds(/listening on AF=2 127\.0\.0\.1:(\d+)/);
    const onFile = startTool(scene, 'socat', ['-d', '-d', `UNIX-LISTEN:${file}`, 'EXEC:cat']);
    const abstract = startTool(scene, 'socat', ['-d', '-d', `ABSTRACT-LISTEN:${name},${nameLength}`, 'EXEC:cat']);
    await Promise.all([onFile.finds(/(listening)/), abstract.finds(/(listening)/)]);
    for (const address of [`127.0.0.1:${port}`, `unix:${file}`, `unix:@${name}`]) {
      const { session, lines } = await lineClient(scene, address);
      session.send('there and back');
      expect(await lines.linesIn(1)).toEqual(['there and back']);
      session.end();
      expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED' });
    }
  });

  itWithTls('over TLS on both sides, with certificates on both sides', async () => {
    const { ca, server, client } = await makeCertificates();
    const { address } = await lineServer(scene, withTls({ ...server, ca: ca.cert, requireClientCert: true }));
    const verified = `cafile=${ca.certFile},verify=1,commonname=localhost`;
    const pair = `cert=${client.certFile},key=${client.keyFile}`;
    const socat = startTool(scene, 'socat', ['-t5', '-', `OPENSSL:127.0.0.1:${address.port},${pair},${verified}`]);
    socat.write('encrypted\n');
    await until(() => socat.output !== '' || socat.exitCode !== undefined, 'an answer');
    // A version of socat that compares names only with the common name refuses us; any other talks.
    if (socat.output === '') expect(socat.errors).toMatch(/common|hostname|subject/i);
    else expect(socat.output).toBe('encrypted\n');

    const options = `bind=127.0.0.1,cert=${server.certFile},key=${server.keyFile},cafile=${ca.certFile},verify=1`;
    const listening = startTool(scene, 'socat', ['-d', '-d', `OPENSSL-LISTEN:0,${options}`, 'EXEC:cat']);
    const port = await listening.finds(/listening on AF=2 127\.0\.0\.1:(\d+)/);
    const { session, lines } = await lineClient(scene, `127.0.0.1:${port}`, withTls({ ca: ca.cert, cert: client.cert, key: client.key }));
    session.send('to socat');
    expect(await lines.linesIn(1)).toEqual(['to socat']);
    expect(session.connection.tls).toMatchObject({ authorized: true, peerSubject: 'server.test' });
  });
});
