import { describe, expect } from 'vitest';
import { withCompression } from '../../src/endpoint/compression-options.ts';
import { withTls } from '../../src/endpoint/options.ts';
import { withPermessageDeflate } from '../../src/endpoint/ws-options.ts';
import { withEventListener } from '../../src/session/options.ts';
import type { Compression } from '../../src/transport/compression.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { goPeer } from '../helpers/go-peer.ts';
import { pattern } from '../helpers/raw-peer.ts';
import { useScene, Watch } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith } from '../helpers/tools.ts';
import { udpClient, udpEcho } from '../helpers/udp-echo.ts';
import { messagesOf } from '../helpers/ws-checks.ts';
import { wsClient, wsEcho, wssEcho } from '../helpers/ws-echo.ts';

/** getty itself, github.com/apache/dubbo-getty, as the Go program interop/go/getty. */
const scene = useScene();
const it = itWith('go');
const seed = Number(process.env['PORTICO_SEED'] ?? 1);
const build = goPeer('getty');
/** What TCP may be compressed with, under our name and getty's. */
const compressions: readonly (readonly [ours: Compression, theirs: string])[] = [
  ['zip', 'zip'],
  ['best-speed', 'speed'],
  ['best-compression', 'best'],
  ['huffman', 'huffman'],
  ['snappy', 'snappy'],
];

/** Sends 100 packages one after the other, gets them back and closes. It stays until the test is over. */
async function gettyClient(transport: string, address: string, ...flags: readonly string[]): Promise<void> {
  const args = ['client', '-transport', transport, '-address', address, '-seed', String(seed), ...flags];
  const client = startTool(scene, await build(), args);
  await client.finds(/(ok 100 \d+\n)/);
}

async function gettyServer(transport: string, ...flags: readonly string[]): Promise<string> {
  const server = startTool(scene, await build(), ['server', '-transport', transport, ...flags]);
  return server.finds(/listening (\S+)/);
}

describe('a getty client', () => {
  it('over TCP gets its packages back, compressed or not', async () => {
    const plain = await scene.server();
    await gettyClient('tcp', plain.address.text, '-max-bytes', '30000');
    expect(await plain.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED', truncatedBytes: 0 }]);
    for (const [ours, theirs] of compressions.filter(([, name]) => name !== 'snappy')) {
      const { address } = await scene.server(withCompression(ours));
      await gettyClient('tcp', address.text, '-max-bytes', '30000', '-compress', theirs);
    }
  });

  it('over TCP and snappy, which getty flushes only when it closes, reaches us whole', async () => {
    const watch = new Watch(false);
    const { address } = await scene.server(withCompression('snappy'), withEventListener<Buffer, Uint8Array>(watch));
    await gettyClient('tcp', address.text, '-compress', 'snappy', '-one-way');
    await watch.packagesIn(100);
    expect(await watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED', truncatedBytes: 0 }]);
  });

  it('over UDP gets its datagrams back', async () => {
    const { endpoint, watch } = await udpEcho(scene);
    await gettyClient('udp', endpoint.localAddress.text);
    // The first is how getty finds out whether anybody is there; the echo of it is the answer that it waits for.
    expect(watch.texts[0]).toBe('connect-ping');
    expect(watch.packages).toHaveLength(101);
  });

  it('over WebSocket gets its messages back, compressed or not, and its end is in order', async () => {
    const plain = await wsEcho(scene);
    await gettyClient('ws', new URL(plain.url).host);
    expect(await plain.watch.closed()).toMatchObject({ code: 'PEER_CLOSED', status: 1000, text: 'bye-bye!!!', error: undefined });
    const compressed = await wsEcho(scene, withPermessageDeflate({ thresholdBytes: 0 }));
    await gettyClient('ws', new URL(compressed.url).host, '-compress', 'zip');
  });

  it('over WebSocket and TLS too', async () => {
    const { ca, server } = await makeCertificates();
    const { url } = await wssEcho(scene, withTls(server));
    await gettyClient('wss', new URL(url).host, '-cert', ca.certFile);
  });
});

describe('a getty server', () => {
  it('over TCP echoes to our client, compressed or not', async () => {
    for (const [ours, theirs] of [[undefined, ''] as const, ...compressions]) {
      const { session, watch } = await scene.client(
        await gettyServer('tcp', '-compress', theirs),
        ...(ours === undefined ? [] : [withCompression(ours)]),
      );
      // With snappy, getty keeps small packages back until a large one comes.
      const packages = [1, 100, 5000, 200_000].map((size) => pattern(size, seed + size));
      for (const pkg of packages) session.send(pkg);
      await watch.packagesIn(packages.length);
      expect(Buffer.concat(watch.packages).equals(Buffer.concat(packages)), `${theirs}, seed ${seed}`).toBe(true);
      await session.close({ drainTimeoutMs: 0 });
    }
  });

  it('over UDP echoes to our client', async () => {
    const { session, watch } = await udpClient(scene, await gettyServer('udp'));
    for (let count = 1; count <= 20; count++) {
      session.send(pattern(count * 100, seed + count));
      await watch.packagesIn(count);
      expect(watch.packages[count - 1]?.equals(pattern(count * 100, seed + count))).toBe(true);
    }
  });

  it('over WebSocket answers our messages with binary ones', async () => {
    const address = await gettyServer('ws');
    const { session, watch } = await wsClient(scene, `ws://${address}/echo`);
    const messages = messagesOf(seed);
    for (const message of messages) session.send(message);
    await watch.messagesIn(messages.length);
    // getty forgets whether a message was text.
    expect(watch.messages.map(({ isText, bytes }) => [isText, bytes.length])).toEqual(messages.map(({ bytes }) => [false, bytes.length]));
    await session.close();
  });
});
