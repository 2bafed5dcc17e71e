import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestProject } from 'vitest/node';

declare module 'vitest' {
  export interface ProvidedContext {
    /** For files that outlive one test file; gone after the run. */
    folder: string;
  }
}

let folder: string | undefined;

/** Once before all tests. */
export function setup(project: TestProject): void {
  folder ??= mkdtempSync(path.join(os.tmpdir(), 'portico-tests-'));
  project.provide('folder', folder);
}

/** Once after all tests. Not in the test workers, which are killed. */
export function teardown(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  folder = undefined;
}
