import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import {
  cycles,
  IMPORT_RULES,
  importsOf,
  importsOfAll,
  LAYERS,
  looseTypes,
  ruleOf,
  rulesAsText,
  type Sources,
  violations,
} from './helpers/import-rules.ts';

const root = path.join(import.meta.dirname, '..');
const maxLines = 400;

function sourcesUnder(folder: string, relativeTo = folder): Map<string, string> {
  const absolute = path.join(root, folder);
  if (!existsSync(absolute)) return new Map();
  const files = readdirSync(absolute, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
  const names = files.map((file) => path.join(folder, file));
  return new Map(names.map((name) => [toPosix(path.relative(relativeTo, name)), readFileSync(path.join(root, name), 'utf8')]));
}

function toPosix(file: string): string {
  return file.split(path.sep).join('/');
}

function readJson<T>(file: string): T {
  return JSON.parse(readFileSync(path.join(root, file), 'utf8')) as T;
}

const src = sourcesUnder('src');
const edges = importsOfAll(src);
const entryPoints = [...src.keys()].filter((file) => path.posix.basename(file) === 'index.ts');

describe('the tree is the architecture', () => {
  it('imports only what the table allows, types included', () => {
    expect(src.size).toBeGreaterThan(0);
    expect(violations(edges)).toEqual([]);
  });

  it('imports only files that exist, by their .ts name', () => {
    expect(edges.filter(({ target }) => target !== undefined && !src.has(target))).toEqual([]);
  });

  it('has no import cycle; two contracts of one layer may name each other as types', () => {
    expect(cycles(edges.filter(({ typeOnly }) => !typeOnly))).toEqual([]);
  });

  it('has a table without cycles', () => {
    const arrows = Object.entries(IMPORT_RULES).flatMap(([file, allowed]) => allowed.map((target) => ({ file, target: ruleOf(target) })));
    expect(cycles(arrows)).toEqual([]);
  });

  it('has no index.ts in a layer', () => {
    expect(LAYERS.filter((layer) => src.has(`${layer}/index.ts`))).toEqual([]);
  });

  it('exports exactly its index files', () => {
    const { exports } = readJson<{ exports: Record<string, string | { types: string; default: string }> }>('package.json');
    const expected = entryPoints.map((file) => {
      const folder = path.posix.dirname(file);
      const built = file.replace(/\.ts$/, '');
      const key = folder === '.' ? '.' : `./${folder}`;
      return [key, { types: `./dist/${built}.d.ts`, default: `./dist/${built}.js` }];
    });
    expect(exports).toEqual({ ...Object.fromEntries(expected), './package.json': './package.json' });
  });

  it('maps its own name to src for every entry point, as tests, docs and examples import it', () => {
    const { compilerOptions } = readJson<{ compilerOptions: { paths: Record<string, string[]> } }>('tsconfig.json');
    const expected = entryPoints.map((file) => [path.posix.join('portico', path.posix.dirname(file)), [`./src/${file}`]]);
    expect(compilerOptions.paths).toEqual(Object.fromEntries(expected));
  });

  it('depends on four packages', () => {
    const { dependencies } = readJson<{ dependencies: Record<string, string> }>('package.json');
    expect(Object.keys(dependencies).sort()).toEqual(['debug', 'eventemitter3', 'p-queue', 'ws']);
  });
});

describe('every file', () => {
  const all: Sources = new Map(['src', 'test', 'examples', 'bench'].flatMap((folder) => [...sourcesUnder(folder, '.')]));

  it(`has at most ${maxLines} lines`, () => {
    const long = [...all].filter(([, text]) => text.trimEnd().split('\n').length > maxLines);
    expect(long.map(([file]) => file)).toEqual([]);
  });

  it('is strictly typed: no any, no !, no silenced compiler error', () => {
    expect([...all].flatMap(([file, text]) => looseTypes(file, text))).toEqual([]);
  });
});

describe('test helpers', () => {
  it('have no hooks at their top level: of the files that share a process only the first would meet them', () => {
    const hooks = /^(?:export )?(?:before|after)(?:Each|All)\(/m;
    const helpers = [...sourcesUnder('test/helpers'), ...sourcesUnder('src/testing')];
    expect(helpers.length).toBeGreaterThan(0);
    expect(helpers.filter(([, text]) => hooks.test(text)).map(([file]) => file)).toEqual([]);
  });
});

describe('AGENTS.md', () => {
  const text = existsSync(path.join(root, 'AGENTS.md')) ? readFileSync(path.join(root, 'AGENTS.md'), 'utf8') : '';

  it('shows the import table', () => {
    expect(text).toContain(rulesAsText());
  });

  it('names only paths and scripts that exist', () => {
    const { scripts } = readJson<{ scripts: Record<string, string> }>('package.json');
    const quoted = [...text.matchAll(/`([^`\s]+)`/g)].map(([, word]) => word ?? '');
    const paths = quoted.filter((word) => /^[\w.-]+(?:\/|\.(?:md|json|ts|yml)$)/.test(word) && !/[*<>(]/.test(word));
    const commands = [...text.matchAll(/npm (?:run )?(test(?::[a-z0-9]+)?|[a-z0-9]+(?::[a-z0-9]+)*)/g)].map(([, name]) => name ?? '');
    expect(paths.length).toBeGreaterThan(5);
    expect(paths.filter((word) => !existsSync(path.join(root, word)))).toEqual([]);
    expect(commands.filter((name) => name !== 'install' && scripts[name] === undefined)).toEqual([]);
  });
});

describe('the checks themselves can fail', () => {
  const rules = { low: [], high: ['low', 'mid/contract.ts'], mid: ['low'] };
  const check = (files: Record<string, string>): string[] =>
    violations(importsOfAll(new Map(Object.entries(files))), rules, { low: ['debug'] });

  it('finds an import against the table in every form of import', () => {
    const forms = [
      "import { a } from '../high/a.ts';",
      "import type { A } from '../high/a.ts';",
      "import '../high/a.ts';",
      "export * from '../high/a.ts';",
      "export type { A } from '../high/a.ts';",
      "const a = await import('../high/a.ts');",
      "type A = import('../high/a.ts').A;",
      "import {\n  a,\n} from '../high/a.ts';",
    ];
    for (const form of forms) expect(check({ 'low/b.ts': form }), form).toHaveLength(1);
  });

  it('accepts what the table allows and reads no import out of a comment or a string', () => {
    const allowed = "import '../low/a.ts';\nimport './own.ts';\nimport '../mid/contract.ts';\nimport 'node:net';";
    expect(check({ 'high/a.ts': allowed })).toEqual([]);
    expect(check({ 'low/a.ts': "// import '../high/a.ts';\nconst text = `import '../high/a.ts'`;\nimport 'debug';" })).toEqual([]);
  });

  it('finds the other file of a layer of which one is allowed, foreign packages, entry points and folders without a row', () => {
    expect(check({ 'high/a.ts': "import '../mid/inner.ts';" })).toHaveLength(1);
    expect(check({ 'low/a.ts': "import 'left-pad';" })).toHaveLength(1);
    expect(check({ 'low/a.ts': "import '../index.ts';" })).toHaveLength(1);
    expect(check({ 'new/a.ts': "import '../low/a.ts';" })).toHaveLength(1);
  });

  it('finds a cycle of three and none in a diamond', () => {
    const graph = (files: Record<string, string>): string[] => cycles(importsOfAll(new Map(Object.entries(files))));
    expect(graph({ 'a.ts': "import './b.ts';", 'b.ts': "import './c.ts';", 'c.ts': "import './a.ts';" })).toEqual([
      'a.ts > b.ts > c.ts > a.ts',
    ]);
    expect(graph({ 'a.ts': "import './b.ts'; import './c.ts';", 'b.ts': "import './d.ts';", 'c.ts': "import './d.ts';" })).toEqual([]);
  });

  it('tells type imports from value imports', () => {
    const text = "import type { A } from './a.ts';\nimport { type B } from './b.ts';\nexport type { C } from './c.ts';";
    expect(importsOf('x.ts', text).map(({ typeOnly }) => typeOnly)).toEqual([true, false, true]);
  });

  it('finds loose types, not the words', () => {
    expect(looseTypes('a.ts', 'let a: any;\nconst b = a!;\n// @ts-ignore\nlet c = a as any;')).toHaveLength(4);
    expect(looseTypes('a.ts', "// any!\nconst any = 'any';\nconst b = !any;\nif (any !== b) run();\n")).toEqual([]);
  });
});
