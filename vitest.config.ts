import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { defineConfig, type ViteUserConfigFnObject } from 'vitest/config';

const ownMode = ['test/interop/**', 'test/soak/**', 'test/e2e/**'];
const all = ['test/**/*.test.ts'];
const testFiles = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.ts'))
  .map((file) => `test/${file.split(path.sep).join('/')}`);
const filesWith = (isIt: (text: string) => boolean): string[] => testFiles.filter((file) => isIt(readFileSync(file, 'utf8')));

/**
 * These make certificates with the openssl command; without it they are left out, except in CI, where they fail. A file that asks
 * `hasOpenssl` leaves out by itself what needs it.
 */
const isOpensslMissing = process.env['CI'] !== 'true' && spawnSync('openssl', ['version'], { stdio: 'ignore' }).status !== 0;
const needsOpenssl = isOpensslMissing ? filesWith((text) => /helpers\/certificates\.ts'/.test(text) && !/\bhasOpenssl\b/.test(text)) : [];
// This file is loaded once for each project.
if (isOpensslMissing && process.env['PORTICO_TOLD'] !== '1') {
  process.env['PORTICO_TOLD'] = '1';
  console.warn('skipped: tests of TLS, because openssl is missing (apt-get install openssl)');
}

/**
 * Files that replace modules or weigh the memory of their process get a process each. The others share a few, because starting one
 * takes longer than most files: so helpers MUST NOT have hooks at their top level (test/architecture.test.ts), where only the first
 * file of a process would meet them.
 */
const ownProcess = filesWith((text) => /vi\.mock\(|helpers\/attack\.ts'/.test(text));

interface Suite {
  readonly include: string[];
  readonly exclude?: string[];
  readonly env?: Record<string, string>;
  readonly testTimeout: number;
  /** Whether each file has a process of its own. */
  readonly isolate?: boolean;
}

/** `vitest run` is `npm test`; every other suite is a mode, so that it never runs by accident: `vitest run --mode interop`. */
const test: Suite = {
  include: all,
  exclude: [...ownMode, ...needsOpenssl],
  testTimeout: 10_000,
  isolate: false,
};
const suites: Readonly<Record<string, Suite>> = {
  test,
  fallback: { ...test, env: { PORTICO_STATIC_READ: '0', PORTICO_UDP_DIRECT: '0', PORTICO_DIRECT_WRITE: '0' } },
  long: { include: all, exclude: ['test/interop/**', 'test/e2e/**'], testTimeout: 600_000, env: { PORTICO_LONG: '1' } },
  interop: { include: ['test/interop/**/*.test.ts'], testTimeout: 60_000 },
  e2e: { include: ['test/e2e/**/*.test.ts'], testTimeout: 60_000 },
};

const src = (file: string): string => path.join(import.meta.dirname, 'src', file);

const config: ViteUserConfigFnObject = defineConfig(({ mode }) => {
  const { include, exclude = [], isolate = true, ...suite } = suites[mode] ?? test;
  // Projects take the mode 'test' for what they extend, so they are told.
  const own = { ...suite, hookTimeout: suite.testTimeout };
  return {
    resolve: {
      alias: [
        { find: /^portico$/, replacement: src('index.ts') },
        { find: /^portico\/([a-z-]+)$/, replacement: src('$1/index.ts') },
      ],
    },
    test: {
      ...own,
      // Forks, not threads: a test may exhaust file descriptors, change limits or end its process without taking the others along.
      pool: 'forks',
      maxWorkers: os.availableParallelism(),
      globalSetup: 'test/helpers/global-setup.ts',
      projects: isolate
        ? [{ extends: true, test: { ...own, name: mode, include, exclude } }]
        : [
            { extends: true, test: { ...own, name: 'shared', include, exclude: [...exclude, ...ownProcess], isolate } },
            { extends: true, test: { ...own, name: 'own', include: ownProcess, exclude } },
          ],
      restoreMocks: true,
      unstubEnvs: true,
      coverage: { provider: 'v8', include: ['src/**/*.ts'], reporter: ['text', 'html', 'json-summary'] },
    },
  };
});
export default config;
