import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { defineConfig, type ViteUserConfigFnObject } from 'vitest/config';

const ownMode = ['test/interop/**', 'test/soak/**', 'test/e2e/**'];
const all = ['test/**/*.test.ts'];
/** These make certificates with the openssl command; without it they are left out, except in CI, where they fail. */
const needsOpenssl = [
  'test/bad-input-tls.test.ts',
  'test/scenarios/tls.test.ts',
  'test/transport/tls*.test.ts',
  'test/endpoint/server.test.ts',
];
const isOpensslMissing = process.env['CI'] !== 'true' && spawnSync('openssl', ['version'], { stdio: 'ignore' }).status !== 0;
if (isOpensslMissing) console.warn('skipped: tests of TLS, because openssl is missing (apt-get install openssl)');

interface Suite {
  readonly include: string[];
  readonly exclude?: string[];
  readonly env?: Record<string, string>;
  readonly testTimeout: number;
}

/** `vitest run` is `npm test`; every other suite is a mode, so that it never runs by accident: `vitest run --mode interop`. */
const test: Suite = { include: all, exclude: isOpensslMissing ? [...ownMode, ...needsOpenssl] : ownMode, testTimeout: 10_000 };
const suites: Readonly<Record<string, Suite>> = {
  test,
  fallback: { ...test, env: { PORTICO_STATIC_READ: '0' } },
  long: { include: all, exclude: ['test/interop/**', 'test/e2e/**'], testTimeout: 600_000, env: { PORTICO_LONG: '1' } },
  interop: { include: ['test/interop/**/*.test.ts'], testTimeout: 60_000 },
};

const src = (file: string): string => path.join(import.meta.dirname, 'src', file);

const config: ViteUserConfigFnObject = defineConfig(({ mode }) => {
  const suite = suites[mode] ?? test;
  return {
    resolve: {
      alias: [
        { find: /^portico$/, replacement: src('index.ts') },
        { find: /^portico\/([a-z-]+)$/, replacement: src('$1/index.ts') },
      ],
    },
    test: {
      ...suite,
      // Forks, not threads: a test may exhaust file descriptors, change limits or end its process without taking the others along.
      pool: 'forks',
      hookTimeout: suite.testTimeout,
      restoreMocks: true,
      unstubEnvs: true,
      coverage: { provider: 'v8', include: ['src/**/*.ts'], reporter: ['text', 'html', 'json-summary'] },
    },
  };
});
export default config;
