import { describe, expect } from 'vitest';
import { goPeer } from '../helpers/go-peer.ts';
import { pattern } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith } from '../helpers/tools.ts';
import { udpClient, udpEcho } from '../helpers/udp-echo.ts';

const scene = useScene();
const it = itWith('go');
const seed = Number(process.env['PORTICO_SEED'] ?? 1);
const build = goPeer('udp');

describe('a Go client on plain net, over UDP', () => {
  it('gets back datagrams of 0 to 65507 bytes, from eight sockets at once', async () => {
    const { endpoint, watch } = await udpEcho(scene);
    const client = startTool(scene, await build(), ['client', '-address', endpoint.localAddress.text, '-seed', String(seed)]);
    await client.exited();
    expect(client.exitCode, `seed ${seed}: ${client.errors}`).toBe(0);
    expect(client.output).toMatch(/^ok 1600 \d+\n$/);
    expect(watch.opened).toHaveLength(8);
    expect(new Set(watch.opened.map(({ remoteAddress }) => remoteAddress.port)).size).toBe(8);
    expect(watch.errors).toEqual([]);
  });
});

describe('a Go server on plain net, over UDP', () => {
  it('echoes datagrams of 0 to 65507 bytes to our client', async () => {
    const server = startTool(scene, await build(), ['server']);
    const { session, watch } = await udpClient(scene, await server.finds(/listening (\S+)/));
    const sizes = [0, 1, 100, 1472, 9000, 65_507];
    for (const [index, size] of sizes.entries()) {
      session.send(pattern(size, seed + size));
      await watch.packagesIn(index + 1);
      expect(watch.packages[index]?.equals(pattern(size, seed + size)), `${size} bytes, seed ${seed}`).toBe(true);
    }
    expect(await session.close()).toMatchObject({ code: 'NORMAL', unsentBytes: 0 });
  });
});
