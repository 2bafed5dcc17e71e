import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = path.join(import.meta.dirname, '..');
const maxPackedBytes = 1_300_000;

interface Manifest {
  readonly exports: Readonly<Record<string, unknown>>;
  readonly scripts: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies: Readonly<Record<string, string>>;
}

interface Lock {
  readonly packages: Readonly<Record<string, { resolved?: string; hasInstallScript?: boolean; dev?: boolean; peer?: boolean }>>;
}

function readJson<T>(file: string): T {
  return JSON.parse(readFileSync(path.join(root, file), 'utf8')) as T;
}

function run(command: string, args: readonly string[], cwd = root): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    shell: command === 'npm' && process.platform === 'win32',
  });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}\n${stdout}${stderr}`, { cause: error });
  return stdout;
}

const compilers = ['typescript', 'typescript-7'].map((name) => [name, path.join(root, 'node_modules', name, 'bin/tsc')] as const);
const manifest = readJson<Manifest>('package.json');

describe('what users install', () => {
  const { packages } = readJson<Lock>('package-lock.json');

  it('runs no script on their machine', () => {
    const own = Object.keys(manifest.scripts).filter((name) => ['preinstall', 'install', 'postinstall', 'prepare'].includes(name));
    const theirs = Object.entries(packages).filter(([, { hasInstallScript, dev }]) => hasInstallScript === true && dev !== true);
    expect(own).toEqual([]);
    expect(theirs.map(([name]) => name)).toEqual([]);
  });

  it('is small', () => {
    const names = Object.entries(packages).filter(([name, { dev, peer }]) => name !== '' && dev !== true && peer !== true);
    expect(names.map(([name]) => name).sort()).toEqual(
      ['debug', 'eventemitter3', 'ms', 'p-queue', 'p-timeout', 'ws'].map((name) => `node_modules/${name}`),
    );
  });

  it('comes from wherever their npm is told to look', () => {
    expect(Object.entries(packages).filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
  });

  it('holds the built and the written code and the documents, and nothing else', () => {
    const [packed] = JSON.parse(run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'])) as {
      size: number;
      files: { path: string }[];
    }[];
    const files = packed?.files.map((file) => file.path) ?? [];
    expect(files.filter((file) => !/^(?:dist|src)\//.test(file)).sort()).toEqual(['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json']);
    expect(files.filter((file) => /\.test\.|\.tmp$/.test(file))).toEqual([]);
    expect(packed?.size).toBeLessThan(maxPackedBytes);
  });
});

describe('the built package, as a user has it', () => {
  const user = mkdtempSync(path.join(os.tmpdir(), 'portico-user-'));
  const installed = path.join(user, 'node_modules/portico');
  const entryPoints = Object.keys(manifest.exports).filter((name) => name !== './package.json');
  const modules = entryPoints.map((name) => path.posix.join('portico', name));
  const optionalPeers = Object.keys(manifest.peerDependencies);

  beforeAll(() => {
    const [tsc] = compilers.map(([, file]) => file);
    // What is emitted is the same without the checking of types, which has its own place (`npm run check`) and takes longer than all the rest.
    run(process.execPath, [tsc ?? '', '-p', 'tsconfig.build.json', '--noCheck', '--outDir', path.join(installed, 'dist')]);
    cpSync(path.join(root, 'package.json'), path.join(installed, 'package.json'));
    mkdirSync(path.join(user, 'node_modules/@types'));
    for (const name of [...Object.keys(manifest.dependencies), ...optionalPeers, '@types/node']) link(name);
    writeFileSync(path.join(user, 'package.json'), '{ "type": "module" }');
    const all = modules.map((name, index) => `import * as m${index} from '${name}';`).join('\n');
    writeFileSync(path.join(user, 'all.ts'), `${all}\nexport const all: object[] = [${modules.map((_, index) => `m${index}`).join()}];\n`);
  }, 60_000);

  afterAll(() => rmSync(user, { recursive: true, force: true }));

  function link(name: string): void {
    const target = path.join(user, 'node_modules', name);
    mkdirSync(path.dirname(target), { recursive: true });
    symlinkSync(path.join(root, 'node_modules', name), target, 'junction');
  }

  it.each(compilers)('type-checks strictly with %s, without our @types packages', { timeout: 60_000 }, (_, tsc) => {
    const options = [
      '--noEmit',
      '--strict',
      '--exactOptionalPropertyTypes',
      '--module',
      'nodenext',
      '--target',
      'es2023',
      '--types',
      'node',
    ];
    expect(run(process.execPath, [tsc, ...options, '--lib', 'es2023,esnext.disposable', 'all.ts'], user)).toBe('');
  });

  it.each(['import', 'require'])('loads in plain Node by %s, with the exports of its source', { timeout: 60_000 }, async (way) => {
    const sourceOf = (name: string): string => (name === 'portico' ? 'index.ts' : `${name.replace('portico/', '')}/index.ts`);
    const exportsOf = async (name: string): Promise<string[]> =>
      Object.keys((await import(path.join(root, 'src', sourceOf(name)))) as object).sort();
    const expected = await Promise.all(modules.map(async (name) => [name, await exportsOf(name)]));
    const load = way === 'import' ? 'await import(name)' : 'require(name)';
    const keys = `Object.keys(${load}).filter((key) => key !== '__esModule' && key !== 'module.exports').sort()`;
    const collect = `const found = {}; for (const name of ${JSON.stringify(modules)}) found[name] = ${keys};`;
    const inputType = way === 'import' ? 'module' : 'commonjs';
    const script = `${collect} console.log(JSON.stringify(found));`;
    expect(JSON.parse(run(process.execPath, [`--input-type=${inputType}`, '-e', script], user))).toEqual(Object.fromEntries(expected));
  });

  it('loads without the optional peers', () => {
    for (const name of optionalPeers) rmSync(path.join(user, 'node_modules', name), { recursive: true });
    run(process.execPath, ['--input-type=module', '-e', "await import('portico')"], user);
  });
});
