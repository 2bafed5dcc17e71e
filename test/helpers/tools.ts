import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process';
import { it } from 'vitest';
import { until } from './raw-peer.ts';

/** How to get what a test needs beside Node. */
const INSTALL = {
  nc: 'apt-get install netcat-openbsd',
  socat: 'apt-get install socat',
  openssl: 'apt-get install openssl',
  curl: 'apt-get install curl',
  go: 'Go 1.22 or newer, https://go.dev/dl',
  prlimit: 'apt-get install util-linux',
  haproxy: 'apt-get install haproxy',
} as const;

export type ToolName = keyof typeof INSTALL;

export function hasTool(name: ToolName): boolean {
  return hasCommand(name);
}

export function hasCommand(name: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${name}`], { stdio: 'ignore' }).status === 0;
}

type ItBody = (name: string, body: () => Promise<void>, timeoutMs?: number) => void;

/** `it` for tests that need a tool. Where it is missing they are skipped with a line that says how to get it; in CI they fail. */
export function itWith(...names: readonly ToolName[]): ItBody {
  const missing = names.filter((name) => !hasTool(name));
  return itIf(missing.length === 0, names.join(', '), missing.map((tool) => `${tool} (${INSTALL[tool]})`).join(', '));
}

/** The same for anything else that may be missing: what it is, and how to get it. */
export function itIf(isThere: boolean, what: string, how: string): ItBody {
  const why = `missing: ${what}: ${how}`;
  if (!isThere) console.warn(why);
  return (name, body, timeoutMs) => {
    const title = `${name} (only with ${what})`;
    if (isThere) {
      it(title, body, timeoutMs);
      return;
    }
    it(title, (context) => {
      if (process.env['CI'] === 'true') throw new Error(why);
      context.skip(why);
    });
  };
}

/** A program at work, and what it has written. */
export class Tool {
  readonly child: ChildProcessWithoutNullStreams;
  exitCode: number | null | undefined;
  readonly #output: Buffer[] = [];
  #errors = '';

  constructor(command: string, args: readonly string[], cwd?: string) {
    this.child = spawn(command, args, cwd === undefined ? {} : { cwd });
    this.child.stdout.on('data', (bytes: Buffer) => this.#output.push(bytes));
    this.child.stderr.on('data', (bytes: Buffer) => {
      this.#errors += bytes.toString();
    });
    // A tool that has gone takes no more input, which its output tells better.
    this.child.stdin.on('error', () => {});
    this.child.on('close', (code) => {
      this.exitCode = code;
    });
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#output);
  }

  get output(): string {
    return this.bytes.toString();
  }

  get errors(): string {
    return this.#errors;
  }

  write(text: string | Uint8Array): this {
    this.child.stdin.write(text);
    return this;
  }

  end(text: string | Uint8Array = ''): this {
    this.child.stdin.end(text);
    return this;
  }

  async prints(text: string, limitMs = 10_000): Promise<void> {
    await until(() => this.output.includes(text) || this.exitCode !== undefined, `${JSON.stringify(text)}, not ${this.#all()}`, limitMs);
    if (!this.output.includes(text)) throw new Error(`the program ended with ${this.exitCode}: ${this.#all()}`);
  }

  /** What a pattern finds in all that was written: a port number, for example. */
  async finds(pattern: RegExp): Promise<string> {
    await until(() => pattern.test(this.#all()) || this.exitCode !== undefined, String(pattern));
    const found = pattern.exec(this.#all())?.[1];
    if (found === undefined) throw new Error(`the program ended with ${this.exitCode}: ${this.#all()}`);
    return found;
  }

  async exited(limitMs = 30_000): Promise<number | null> {
    await until(() => this.exitCode !== undefined, 'the program to end', limitMs);
    return this.exitCode ?? null;
  }

  stop(): void {
    this.child.kill('SIGKILL');
  }

  #all(): string {
    return `${this.output}${this.#errors}`;
  }
}
