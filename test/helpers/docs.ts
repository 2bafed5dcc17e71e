import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

export const root: string = path.join(import.meta.dirname, '../..');

export interface CodeBlock {
  readonly file: string;
  /** Line of the opening fence. */
  readonly line: number;
  readonly language: string;
  /** What stands behind the language: `ts run`. */
  readonly meta: string;
  readonly text: string;
}

export function readText(file: string): string {
  const absolute = path.join(root, file);
  if (!existsSync(absolute)) throw new Error(`${file} is missing`);
  return readFileSync(absolute, 'utf8');
}

/** Names of the files below a folder, relative to the repository, with forward slashes; none when the folder does not exist. */
export function filesUnder(folder: string, extension: string): string[] {
  const absolute = path.join(root, folder);
  if (!existsSync(absolute)) return [];
  const files = readdirSync(absolute, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith(extension));
  return files.map((file) => path.posix.join(folder, ...file.split(path.sep))).sort();
}

/** The fenced blocks of a Markdown text, or of the comments of a TypeScript text. */
export function codeBlocks(file: string, text: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  const prefix = file.endsWith('.ts') ? /^\s*\* ?/ : /^/;
  let open: { fence: string; line: number; language: string; meta: string; lines: string[] } | undefined;
  for (const [index, raw] of text.split('\n').entries()) {
    const content = raw.replace(prefix, '');
    const fence = /^(`{3,})(\S*) *(.*)$/.exec(content);
    if (open === undefined && fence !== null && prefix.test(raw)) {
      open = { fence: fence[1] ?? '', line: index + 1, language: fence[2] ?? '', meta: fence[3] ?? '', lines: [] };
    } else if (open !== undefined && content.trimEnd() === open.fence) {
      blocks.push({
        file,
        line: open.line,
        language: open.language,
        meta: open.meta,
        text: open.lines.map((line) => `${line}\n`).join(''),
      });
      open = undefined;
    } else open?.lines.push(content);
  }
  if (open !== undefined) throw new Error(`${file}:${open.line}: the code block is not closed`);
  return blocks;
}

/** What a `ts run` block must print: the block after it, when that one is `text`. */
export function expectedOutput(blocks: readonly CodeBlock[], block: CodeBlock): string | undefined {
  const next = blocks[blocks.indexOf(block) + 1];
  return next?.file === block.file && next.language === 'text' ? next.text : undefined;
}

/** The cells of the table rows whose first cell is one piece of code; a cell that is all code loses its backticks. */
export function tableRows(markdown: string): string[][] {
  const rows = markdown.split('\n').filter((line) => /^\| *`[^`]+` *\|/.test(line));
  const cellsOf = (row: string): string[] => row.slice(1, row.lastIndexOf('|')).split(/(?<!\\)\|/);
  return rows.map((row) =>
    cellsOf(row).map((cell) =>
      cell
        .trim()
        .replace(/^`([^`]*)`$/, '$1')
        .replaceAll('\\|', '|'),
    ),
  );
}

/** Relative link targets, without the part after #. */
export function relativeLinks(markdown: string): string[] {
  const prose = markdown.replace(/^(`{3,})[\s\S]*?^\1/gm, '').replace(/`[^`\n]*`/g, '');
  const targets = [...prose.matchAll(/\]\(([^)\s#]+)(?:#[^)]*)?\)/g)].map(([, target]) => target ?? '');
  return targets.filter((target) => !/^[a-z]+:/.test(target));
}

/**
 * A folder of TypeScript files inside the repository, so that packages and tsconfig paths resolve, but outside node_modules, where
 * neither tsc nor tsx would treat them as source. Each block keeps the line numbers it has in its document.
 */
export class BlockFolder {
  readonly #folder: string;
  readonly #blocks: readonly CodeBlock[];

  constructor(blocks: readonly CodeBlock[]) {
    mkdirSync(path.join(root, '.cache'), { recursive: true });
    this.#folder = mkdtempSync(path.join(root, '.cache', 'docs-'));
    this.#blocks = blocks;
    for (const block of blocks) writeFileSync(this.fileOf(block), `${'\n'.repeat(block.line)}${block.text}export {};\n`);
    const compilerOptions = { noUnusedLocals: false, noUnusedParameters: false };
    const config = { extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'] };
    writeFileSync(path.join(this.#folder, 'tsconfig.json'), JSON.stringify(config));
  }

  fileOf(block: CodeBlock): string {
    return path.join(this.#folder, `${block.file.replaceAll('/', '__').replace(/\.\w+$/, '')}--${block.line}.ts`);
  }

  /** What the compiler says about the blocks, each line with the document's name in place of the block's. */
  async typeErrors(): Promise<string[]> {
    const compiler = path.join(root, 'node_modules/typescript-7/bin/tsc');
    const { output } = await finish(startNode([compiler, '-p', this.#folder, '--pretty', 'false'], root), 60_000);
    const names = new Map(this.#blocks.map((block) => [path.relative(root, this.fileOf(block)), block.file]));
    const lines = output.split('\n').filter((line) => !/^(?:src\/|\s|$)/.test(line));
    return lines.map((line) =>
      line.replace(/^([^(]+)\((\d+),\d+\)/, (whole, file: string, at: string) => `${names.get(file) ?? whole}:${at}`),
    );
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** Starts a TypeScript file with tsx; `portico` is the source of this repository. */
export function startTsx(file: string, args: readonly string[] = []): ChildProcess {
  return startNode(['--import', 'tsx', file, ...args], root, { TSX_TSCONFIG_PATH: path.join(root, 'tsconfig.json') });
}

function startNode(args: readonly string[], cwd: string, env: NodeJS.ProcessEnv = {}): ChildProcess {
  const { NODE_OPTIONS, VITEST, NODE_ENV, ...inherited } = process.env;
  return spawn(process.execPath, args, { cwd, env: { ...inherited, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
}

export interface Finished {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
  readonly timedOut: boolean;
}

/** Waits for the end of a process and kills it when that takes too long. */
export async function finish(child: ChildProcess, limitMs: number): Promise<Finished> {
  let output = '';
  let errors = '';
  let timedOut = false;
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    errors += text;
  });
  const timer = setTimeout(() => {
    timedOut = true;
    child.kill('SIGKILL');
  }, limitMs);
  await once(child, 'close');
  clearTimeout(timer);
  return { code: child.exitCode, output, errors, timedOut };
}

/** Runs an example until it prints something, then interrupts it, as a reader would. It must have started and must stop. */
export async function startForAMoment(file: string, args: readonly string[], limitMs: number): Promise<Finished> {
  const child = startTsx(file, args);
  child.stdout?.once('data', () => child.kill('SIGINT'));
  return finish(child, limitMs);
}
