import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';

export interface Workload {
  readonly name: string;
  readonly protocol: 'tcp' | 'ws' | 'udp';
  readonly generator: 'generator' | 'generator-udp' | 'generator-broadcast';
  readonly title: string;
  readonly connections: number;
  readonly outstanding: number;
  readonly payloadBytes: number;
}

export interface ServerEntry {
  readonly name: string;
  /** The workloads that it serves. */
  readonly serves: readonly string[];
  readonly command: readonly [string, ...string[]];
}

export interface Timing {
  readonly warmupSeconds: number;
  readonly measureSeconds: number;
}

export interface Measured {
  readonly messages: number;
  readonly seconds: number;
  readonly messagesPerSecond: number;
  readonly megabytesPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly errors: number;
  readonly mismatches: number;
  readonly disconnects: number;
  readonly missing: number;
  readonly generatorCpuPercent: number;
  readonly serverCpuPercent: number;
  readonly generatorBound: boolean;
}

const benchFolder = import.meta.dirname;
const generators = ['generator', 'generator-udp', 'generator-broadcast'] as const;
const readyTimeoutMs = 15_000;
const exitTimeoutMs = 3_000;

function binaryOf(generator: string): string {
  return path.join(benchFolder, 'build', generator);
}

export function buildGenerators(): void {
  mkdirSync(path.join(benchFolder, 'build'), { recursive: true });
  for (const generator of generators) {
    const source = path.join(benchFolder, `${generator}.c`);
    execFileSync('cc', ['-O3', '-std=gnu11', '-Wall', '-Wextra', '-o', binaryOf(generator), source], { stdio: 'inherit' });
  }
}

function spawnOnCore(core: number | undefined, command: readonly [string, ...string[]]): ChildProcess {
  const line: readonly [string, ...string[]] = core === undefined ? command : ['taskset', '-c', String(core), ...command];
  const [file, ...args] = line;
  const child = spawn(file, args, {
    cwd: path.dirname(benchFolder),
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_ENV: 'production', NODE_OPTIONS: '', DEBUG: '' },
  });
  // A run that is cut short must not leave a load behind that spoils every later figure.
  const kill = (): void => {
    child.kill('SIGKILL');
  };
  process.once('exit', kill);
  child.once('close', () => process.off('exit', kill));
  return child;
}

function collect(child: ChildProcess): () => string {
  let text = '';
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => {
    text = (text + piece).slice(-4_000);
  });
  return () => text.trim();
}

function parseObject(line: string): Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(line);
  if (typeof value !== 'object' || value === null) throw new Error(`not a JSON object: ${line}`);
  return { ...value };
}

function numberIn(object: Readonly<Record<string, unknown>>, key: string): number {
  const value = object[key];
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new Error(`'${key}' is not a number in ${JSON.stringify(object)}`);
  return value;
}

/** Resolves with the first line of stdout, rejects when the process ends or stays silent. */
function firstLine(child: ChildProcess, what: string, timeoutMs: number, complaints: () => string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`${what} ${why}\n${complaints()}`));
    };
    const timer = setTimeout(() => fail('printed nothing in time'), timeoutMs);
    child.once('error', (error) => fail(`did not start: ${error.message}`));
    child.once('close', (code, signal) => fail(`ended without a result (${signal ?? code})`));
    if (child.stdout === null) return fail('has no output');
    createInterface({ input: child.stdout }).once('line', (line) => {
      clearTimeout(timer);
      resolve(line);
    });
  });
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(() => child.kill('SIGKILL'), exitTimeoutMs);
    child.once('exit', () => {
      clearTimeout(timer);
      resolve();
    });
    child.kill('SIGTERM');
  });
}

async function load(port: number, pid: number, workload: Workload, timing: Timing, core: number | undefined): Promise<Measured> {
  const { protocol, generator, connections, outstanding, payloadBytes } = workload;
  const numbers = [port, connections, outstanding, payloadBytes, timing.warmupSeconds, timing.measureSeconds, pid];
  const child = spawnOnCore(core, [binaryOf(generator), protocol, ...numbers.map(String)]);
  const complaints = collect(child);
  try {
    const timeoutMs = (timing.warmupSeconds + timing.measureSeconds) * 1_000 + 60_000;
    const { generatorBound, ...result } = parseObject(await firstLine(child, 'the generator', timeoutMs, complaints));
    if (complaints() !== '') console.error(`  ${complaints()}`);
    return {
      messages: numberIn(result, 'messages'),
      seconds: numberIn(result, 'seconds'),
      messagesPerSecond: numberIn(result, 'messagesPerSecond'),
      megabytesPerSecond: numberIn(result, 'megabytesPerSecond'),
      p50Us: numberIn(result, 'p50Us'),
      p99Us: numberIn(result, 'p99Us'),
      p999Us: numberIn(result, 'p999Us'),
      errors: numberIn(result, 'errors'),
      mismatches: numberIn(result, 'mismatches'),
      disconnects: numberIn(result, 'disconnects'),
      missing: numberIn(result, 'missing'),
      generatorCpuPercent: numberIn(result, 'generatorCpuPercent'),
      serverCpuPercent: numberIn(result, 'serverCpuPercent'),
      generatorBound: generatorBound === true,
    };
  } finally {
    await stop(child);
  }
}

/** One sample: a fresh server process on its own core, one generator on another, both gone afterwards. */
export async function takeSample(server: ServerEntry, workload: Workload, timing: Timing, pinned: boolean): Promise<Measured> {
  const child = spawnOnCore(pinned ? 0 : undefined, server.command);
  const complaints = collect(child);
  try {
    const ready = parseObject(await firstLine(child, `server ${server.name}`, readyTimeoutMs, complaints));
    return await load(numberIn(ready, 'port'), numberIn(ready, 'pid'), workload, timing, pinned ? 1 : undefined);
  } finally {
    await stop(child);
  }
}
