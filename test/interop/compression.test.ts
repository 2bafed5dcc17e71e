import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { withCompression } from '../../src/endpoint/compression-options.ts';
import { withSendQueue } from '../../src/session/options.ts';
import type { Compression } from '../../src/transport/compression.ts';
import { pattern } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith, Tool } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('go');
const seed = Number(process.env['PORTICO_SEED'] ?? 1);
const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-go-compression-'));
const program = path.join(folder, 'peer');
let building: Promise<void> | undefined;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Builds the peer once. It needs github.com/golang/snappy from a Go module proxy. */
function build(): Promise<void> {
  building ??= (async () => {
    const go = new Tool('go', ['build', '-o', program, '.'], path.join(import.meta.dirname, '../../interop/go/compression'));
    expect(await go.exited(50_000), go.errors).toBe(0);
  })();
  return building;
}

/** What we are set up for, and what the Go program is. */
const kinds: readonly (readonly [ours: Compression, theirs: string])[] = [
  [{ type: 'zip', level: 0 }, 'store'],
  ['zip', 'zip'],
  ['best-speed', 'speed'],
  ['best-compression', 'best'],
  ['huffman', 'huffman'],
  ['zip', 'huffman'],
  ['huffman', 'best'],
  ['snappy', 'snappy'],
];

describe('a Go client that compresses', () => {
  it('gets back what it sends, over four connections at once', async () => {
    await build();
    for (const [ours, theirs] of kinds) {
      const what = `${JSON.stringify(ours)} and ${theirs}, seed ${seed}`;
      const echo = await scene.server(withCompression(ours), withSendQueue(67_108_864));
      const client = startTool(scene, program, ['client', '-address', echo.address.text, '-compress', theirs, '-seed', String(seed)]);
      expect(await client.exited(), `${what}: ${client.errors}`).toBe(0);
      expect(client.output, what).toMatch(/^ok 400 \d+\n$/);
      expect(await echo.watch.closes(4), what).toMatchObject(Array(4).fill({ code: 'PEER_CLOSED', truncatedBytes: 0 }));
    }
  });

  it('may close without the last block of its stream, as many programs do', async () => {
    await build();
    const echo = await scene.server(withCompression('zip'), withSendQueue(67_108_864));
    const client = startTool(scene, program, ['client', '-address', echo.address.text, '-unfinished', '-seed', String(seed)]);
    expect(await client.exited(), `seed ${seed}: ${client.errors}`).toBe(0);
    expect(await echo.watch.closes(4)).toMatchObject(Array(4).fill({ code: 'PEER_CLOSED' }));
    expect(echo.watch.errors).toEqual([]);
  });
});

describe('a Go server that compresses', () => {
  const sizes = [0, 1, 100, 5000, 70_000, 500_000];

  it('echoes to our client', async () => {
    await build();
    for (const [ours, theirs] of kinds) {
      const what = `${JSON.stringify(ours)} and ${theirs}, seed ${seed}`;
      const peer = startTool(scene, program, ['server', '-compress', theirs]);
      const { session, watch } = await scene.client(await peer.finds(/listening (\S+)/), withCompression(ours));
      const packages = Array.from({ length: 60 }, (_, index) => {
        const size = sizes[index % sizes.length] ?? 0;
        return index % 2 === 0 ? pattern(size, seed * 1000 + index) : Buffer.alloc(size, 'to be compressed ');
      });
      for (const pkg of packages) if (!session.send(pkg)) await session.drained();
      await watch.packagesIn(packages.length);
      expect(
        watch.packages.findIndex((pkg, index) => !pkg.equals(packages[index] ?? Buffer.of(0))),
        what,
      ).toBe(-1);
      expect(await session.close(), what).toMatchObject({ code: 'NORMAL', unsentBytes: 0 });
      expect(watch.errors, what).toEqual([]);
      peer.stop();
      await peer.exited();
      expect(peer.errors, what).toBe('');
    }
  });
});
