import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { withLocalAddress, withStaticRead, withTls } from '../../src/endpoint/options.ts';
import { withSendQueue } from '../../src/session/options.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { pattern } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith, Tool } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('go');
const seed = Number(process.env['PORTICO_SEED'] ?? 1);
const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-go-'));
const program = path.join(folder, 'peer');
let building: Promise<void> | undefined;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Builds the peer once; it stands on Go's standard library alone. */
function build(): Promise<void> {
  building ??= (async () => {
    const go = new Tool('go', ['build', '-o', program, '.'], path.join(import.meta.dirname, '../../interop/go'));
    expect(await go.exited(50_000), go.errors).toBe(0);
  })();
  return building;
}

describe('a Go client on plain net', () => {
  it('gets back what it sends, over eight connections at once', async () => {
    await build();
    for (const isStatic of [true, false]) {
      const echo = await scene.server(withStaticRead(isStatic), withSendQueue(67_108_864));
      const client = startTool(scene, program, ['client', '-address', echo.address.text, '-seed', String(seed)]);
      expect(await client.exited(), `seed ${seed}: ${client.errors}`).toBe(0);
      expect(client.output).toMatch(/^ok 1600 \d+\n$/);
      expect(await echo.watch.closes(8)).toMatchObject(Array(8).fill({ code: 'PEER_CLOSED', truncatedBytes: 0 }));
    }
  });

  it('over a Unix socket', async () => {
    await build();
    const file = path.join(folder, 'echo.sock');
    await scene.server(withLocalAddress(`unix:${file}`), withSendQueue(67_108_864));
    const client = startTool(scene, program, ['client', '-network', 'unix', '-address', file, '-seed', String(seed)]);
    expect(await client.exited(), `seed ${seed}: ${client.errors}`).toBe(0);
  });

  it('over TLS with certificates on both sides', async () => {
    await build();
    const { ca, server, client: pair } = await makeCertificates();
    const echo = await scene.server(withTls({ ...server, ca: ca.cert, requireClientCert: true }), withSendQueue(67_108_864));
    const args = ['client', '-address', echo.address.text, '-ca', ca.certFile, '-seed', String(seed)];
    const client = startTool(scene, program, [...args, '-cert', pair.certFile, '-key', pair.keyFile]);
    expect(await client.exited(), `seed ${seed}: ${client.errors}`).toBe(0);
    expect(await echo.watch.closes(8)).toMatchObject(Array(8).fill({ code: 'PEER_CLOSED' }));
    const refused = startTool(scene, program, args);
    expect(await refused.exited()).toBe(1);
  });
});

describe('a Go server on plain net', () => {
  const sizes = [0, 1, 100, 5000, 70_000, 500_000];

  /** Sends packages of many sizes through our client and checks what comes back. */
  async function echoThrough(address: string, tls?: Parameters<typeof withTls>[0]): Promise<void> {
    const { session, watch } = await scene.client(address, ...(tls === undefined ? [] : [withTls(tls)]));
    const packages = Array.from({ length: 60 }, (_, index) => pattern(sizes[index % sizes.length] ?? 0, seed * 1000 + index));
    for (const pkg of packages) if (!session.send(pkg)) await session.drained();
    await watch.packagesIn(packages.length);
    expect(watch.packages.findIndex((pkg, index) => !pkg.equals(packages[index] ?? Buffer.of(0)))).toBe(-1);
    expect(await session.close()).toMatchObject({ code: 'NORMAL', unsentBytes: 0 });
  }

  it('echoes to our client over TCP, TLS and a Unix socket', async () => {
    await build();
    const { ca, server, client } = await makeCertificates();
    const plain = startTool(scene, program, ['server']);
    await echoThrough(await plain.finds(/listening (\S+)/));
    const file = path.join(folder, 'go.sock');
    const unix = startTool(scene, program, ['server', '-network', 'unix', '-address', file]);
    await unix.finds(/(listening)/);
    await echoThrough(`unix:${file}`);
    const secure = startTool(scene, program, ['server', '-cert', server.certFile, '-key', server.keyFile, '-ca', ca.certFile]);
    await echoThrough(await secure.finds(/listening (\S+)/), { ca: ca.cert, cert: client.cert, key: client.key });
  });
});
