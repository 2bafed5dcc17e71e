import { existsSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ERROR_CATALOGUE } from '../src/base/errors.ts';
import {
  BlockFolder,
  codeBlocks,
  expectedOutput,
  filesUnder,
  finish,
  readText,
  relativeLinks,
  root,
  startForAMoment,
  startTsx,
  tableRows,
} from './helpers/docs.ts';

const runLimitMs = 15_000;
const maxExampleLines = 60;

const documents = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'AGENTS.md', ...filesUnder('docs', '.md')];
const blocks = [...documents.filter((file) => existsSync(path.join(root, file))), ...filesUnder('src', '.ts')].flatMap((file) =>
  codeBlocks(file, readText(file)),
);
const typescript = blocks.filter(({ language }) => language === 'ts');
const runnable = typescript.filter(({ meta }) => meta.split(' ').includes('run'));
const examples = filesUnder('examples', '.ts');

describe('docs/reference', () => {
  it('lists every error with its class and meaning, and no other', () => {
    const listed = tableRows(readText('docs/reference/errors.md')).map(([code, type, meaning]) => [code, [type, meaning]]);
    expect(Object.fromEntries(listed)).toEqual(ERROR_CATALOGUE);
    expect(listed).toHaveLength(Object.keys(ERROR_CATALOGUE).length);
  });

  it('describes every option, and no document names another', async () => {
    const entries = await Promise.all(
      filesUnder('src', 'index.ts').map(async (file) => [file, await import(path.join(root, file))] as const),
    );
    const namesOf = (exported: object): string[] => Object.keys(exported).filter((name) => /^with[A-Z]/.test(name));
    const core = entries.filter(([file]) => file === 'src/index.ts').flatMap(([, exported]) => namesOf(exported));
    const everywhere = entries.flatMap(([, exported]) => namesOf(exported));
    const namedIn = (file: string): string[] => [...readText(file).matchAll(/`(with[A-Z]\w*)/g)].map(([, name]) => name ?? '');
    const described = namedIn('docs/reference/options.md');
    expect(core.length).toBeGreaterThan(0);
    expect(core.filter((name) => !described.includes(name))).toEqual([]);
    expect(documents.flatMap(namedIn).filter((name) => name !== 'withX' && !everywhere.includes(name))).toEqual([]);
  });
});

describe('documents', () => {
  it.each(documents)('%s is there, and its relative links lead somewhere', (file) => {
    const broken = relativeLinks(readText(file)).filter((target) => !existsSync(path.join(root, path.dirname(file), target)));
    expect(broken).toEqual([]);
  });
});

describe('code blocks', () => {
  let folder: BlockFolder;
  beforeAll(() => {
    folder = new BlockFolder(typescript);
  });
  afterAll(() => folder.remove());

  it('type-check, in documents and in the comments of src', { timeout: 60_000 }, async () => {
    expect(typescript.length).toBeGreaterThan(0);
    expect(await folder.typeErrors()).toEqual([]);
  });

  it('of the README can be run', () => {
    expect(runnable.map(({ file }) => file)).toContain('README.md');
  });

  // One after the other, as the examples: they use the port numbers that readers are told.
  it.each(runnable)('$file:$line ends by itself and prints what is shown', { timeout: 30_000 }, async (block) => {
    const { code, output, errors, timedOut } = await finish(startTsx(folder.fileOf(block)), runLimitMs);
    expect({ code, timedOut, output }, errors).toEqual({ code: 0, timedOut: false, output: expectedOutput(blocks, block) ?? output });
  });
});

describe('examples', () => {
  const command = /^\/\/ (?:npx tsx (examples\/\S+)((?: \S+)*)|npm start)$/;

  it('are there', () => expect(examples.length).toBeGreaterThan(0));

  it.each(examples.filter((file) => !file.startsWith('examples/chat/')))('%s is short and starts with its command', (file) => {
    const text = readText(file);
    const line = text.split('\n', 1)[0] ?? '';
    expect(command.exec(line)?.[1], line).toBe(file);
    expect(text.trimEnd().split('\n').length).toBeLessThan(maxExampleLines);
  });

  it.each(examples.filter((file) => command.test(readText(file).split('\n', 1)[0] ?? '')))(
    '%s starts, prints something and stops when interrupted',
    { timeout: 30_000 },
    async (file) => {
      const args = command.exec(readText(file).split('\n', 1)[0] ?? '')?.[2]?.trim() ?? '';
      const { code, output, errors, timedOut } = await startForAMoment(file, args.split(' ').filter(Boolean), runLimitMs);
      expect({ code: code ?? 0, timedOut }, errors).toEqual({ code: 0, timedOut: false });
      expect(output, errors).not.toBe('');
    },
  );
});

describe('the checks themselves can fail', () => {
  const markdown = '# Title\n```ts run\nlet a;\n```\nprints\n```text\n1\n```\n````md\n```ts\nlet b;\n```\n````\n';

  it('finds the blocks, their lines and the output shown', () => {
    const found = codeBlocks('a.md', markdown);
    expect(found.map(({ language, meta, line }) => [language, meta, line])).toEqual([
      ['ts', 'run', 2],
      ['text', '', 6],
      ['md', '', 9],
    ]);
    expect(found[0] && expectedOutput(found, found[0])).toBe('1\n');
    expect(found[1] && expectedOutput(found, found[1])).toBeUndefined();
    expect(() => codeBlocks('a.md', '```ts\nlet a')).toThrow('a.md:1');
  });

  it('finds the blocks in comments, and none in code', () => {
    const text = '/**\n * @example\n * ```ts\n * let a;\n *\n * ```\n */\nconst s = `\n```ts\n```\n`;\n';
    expect(codeBlocks('a.ts', text).map((block) => block.text)).toEqual(['let a;\n\n']);
  });

  it('reports a type error at its line in the document, and runs a block', { timeout: 60_000 }, async () => {
    const found = codeBlocks('x.md', '\n```ts run\nconsole.log("hello");\n```\n\n```ts\nconst n: number = "text";\n```\n');
    const folder = new BlockFolder(found);
    try {
      expect(await folder.typeErrors()).toEqual([expect.stringMatching(/^x\.md:7: error TS2322/)]);
      const [good] = found;
      expect(good && (await finish(startTsx(folder.fileOf(good)), runLimitMs))).toMatchObject({ code: 0, output: 'hello\n' });
    } finally {
      folder.remove();
    }
  });

  it('reads tables and links', () => {
    expect(tableRows('| Code | Class |\n|---|---|\n| `A` | `X` | a \\| b |\n| B | C |')).toEqual([['A', 'X', 'a | b']]);
    expect(relativeLinks('[a](b.md#c) [d](https://e.f) `[g](h)` [i](#j)\n```\n[k](l)\n```\n')).toEqual(['b.md']);
  });
});
