import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';
import { describe, expect, it, onTestFinished } from 'vitest';

const root = path.join(import.meta.dirname, '../..');

interface Bundle {
  readonly text: string;
  readonly gzippedBytes: number;
  readonly files: readonly string[];
}

async function bundle(names: string): Promise<Bundle> {
  const { outputFiles, metafile } = await build({
    stdin: { contents: `export { ${names} } from './src/browser/index.ts';`, resolveDir: root, loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
    metafile: true,
    logLevel: 'silent',
  });
  const text = outputFiles[0]?.text ?? '';
  const [output] = Object.values(metafile.outputs);
  const files = Object.entries(output?.inputs ?? {}).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [file] : []));
  return { text, gzippedBytes: gzipSync(text, { level: 9 }).length, files };
}

describe('portico/browser in a bundle', () => {
  it('is below 10,000 bytes gzipped with rooms, presence and streams, without anything of Node and without JSON-RPC', async () => {
    const { text, gzippedBytes, files } = await bundle('createClient, roomOf, stream');
    const alone = await bundle('createClient');
    const every = await bundle('createClient, roomOf, stream, handle, statsOf');
    console.log(`createClient, roomOf, stream: ${text.length} bytes minified, ${gzippedBytes} gzipped`);
    console.log(`createClient alone: ${alone.gzippedBytes} gzipped; with handle and statsOf too: ${every.gzippedBytes}`);
    expect(gzippedBytes).toBeLessThan(10_000);
    expect(every.gzippedBytes).toBeLessThan(10_240);
    expect(alone.files.filter((file) => /rpc|kephas|room|stream|handle/.test(file))).toEqual([]);
    expect(files.filter((file) => /rpc|kephas/.test(file))).toEqual([]);
    expect(every.text).not.toMatch(/\bnode:|\bBuffer\b|\brequire\(|\bprocess\b/);
  });

  it('brings knet compatibility and JSON-RPC where they are used', async () => {
    const all = await bundle('createClient, roomOf, KephasClient, attachRpc');
    console.log(`with KephasClient and attachRpc: ${all.gzippedBytes} gzipped`);
    expect(all.files).toContain('src/rpc/rpc-peer.ts');
    expect(all.text).not.toMatch(/\bnode:|\bBuffer\b|\brequire\(/);
  });

  it('imports no module of Node in any of its files', async () => {
    const { files } = await bundle('createClient, roomOf, KephasClient, attachRpc');
    expect(files.length).toBeGreaterThan(20);
    for (const file of files.filter((name) => name.startsWith('src/'))) {
      expect(readFileSync(path.join(root, file), 'utf8'), file).not.toMatch(/from '(node:|debug|ws|eventemitter3)/);
    }
  });

  it('compiles for pages, whose compiler knows nothing of Node', () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-page-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const config = path.join(folder, 'tsconfig.json');
    // JSON-RPC is left out: the types of its contexts name sessions.
    const files = ['rooms', 'stream', 'handle', 'kephas-client', 'stats', 'reserved'].map((name) =>
      path.join(root, `src/browser/${name}.ts`),
    );
    const compilerOptions = { lib: ['es2023', 'dom', 'esnext.disposable'], types: [], paths: {} };
    writeFileSync(config, JSON.stringify({ extends: path.join(root, 'tsconfig.json'), compilerOptions, include: [], files }));
    const { status, stdout } = spawnSync(process.execPath, [path.join(root, 'node_modules/typescript-7/bin/tsc'), '-p', config], {
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  });
});
