import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { LimitedServerLine } from './limited-server.ts';
import { until } from './raw-peer.ts';

const program = path.join(import.meta.dirname, 'limited-server.ts');

export interface ServerProcess extends LimitedServerLine {
  readonly pid: number;
  hasExited(): boolean;
  /** How it is now. */
  ask(): Promise<LimitedServerLine>;
  stop(): Promise<void>;
}

/** Starts an echo server in a process of its own; `prefix` is the command that runs node, such as prlimit with its options. */
export async function startServerProcess(prefix: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<ServerProcess> {
  const [command = process.execPath, ...args] = [...prefix, process.execPath, '--import', 'tsx', program];
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], env });
  const lines: LimitedServerLine[] = [];
  let exit: number | null | undefined;
  child.on('exit', (code) => {
    exit = code;
  });
  createInterface(child.stdout).on('line', (line) => lines.push(JSON.parse(line) as LimitedServerLine));
  const next = async (): Promise<LimitedServerLine> => {
    await until(() => lines.length > 0 || exit !== undefined, 'a line of the server process');
    const line = lines.shift();
    if (line === undefined) throw new Error(`the server process ended with ${exit}`);
    return line;
  };
  return {
    ...(await next()),
    pid: child.pid ?? 0,
    hasExited: () => exit !== undefined,
    ask() {
      child.stdin.write('\n');
      return next();
    },
    async stop() {
      child.stdin.end();
      await until(() => exit !== undefined, 'the server process to end');
    },
  };
}
