import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, expect } from 'vitest';
import { Tool } from './tools.ts';

/** A Go program of interop/go, by its folder there: built once in a test file, when it is first asked for. Resolves with its path. */
export function goPeer(name: string): () => Promise<string> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-go-'));
  const program = path.join(folder, 'peer');
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let building: Promise<string> | undefined;
  return () => {
    building ??= (async () => {
      const go = new Tool('go', ['build', '-o', program, '.'], path.join(import.meta.dirname, '../../interop/go', name));
      expect(await go.exited(100_000), go.errors).toBe(0);
      return program;
    })();
    return building;
  };
}
