// npx tsx bench/echo.ts [--rounds 5] [--seconds 3] [--workload W1,W2] [--server naive,tuned] [--smoke] [--out file]
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { isIdle, markdown, type Row, type Sample, summarize } from './echo-report.ts';
import { buildGenerators, type Measured, type ServerEntry, type Timing, takeSample, type Workload } from './echo-sample.ts';
import { describeRun, headline } from './machine.mjs';

const tcp = { protocol: 'tcp', generator: 'generator' } as const;
const ws = { protocol: 'ws', generator: 'generator' } as const;
const udp = { protocol: 'udp', generator: 'generator-udp' } as const;
const broadcast = { protocol: 'ws', generator: 'generator-broadcast' } as const;

const allWorkloads: readonly Workload[] = [
  { ...tcp, name: 'W1', title: 'ping-pong, 50 connections x 1 frame of 64 B', connections: 50, outstanding: 1, payloadBytes: 64 },
  { ...tcp, name: 'W2', title: 'pipelined, 50 connections x 64 frames of 64 B', connections: 50, outstanding: 64, payloadBytes: 64 },
  { ...tcp, name: 'W5', title: 'many, 1000 connections x 16 frames of 64 B', connections: 1000, outstanding: 16, payloadBytes: 64 },
  { ...tcp, name: 'W3', title: 'bulk, 10 connections x 8 frames of 64 KiB', connections: 10, outstanding: 8, payloadBytes: 64 * 1024 },
  { ...ws, name: 'WS1', title: 'WebSocket ping-pong, 50 x 1 message of 64 B', connections: 50, outstanding: 1, payloadBytes: 64 },
  { ...ws, name: 'WS2', title: 'WebSocket pipelined, 50 x 64 messages of 64 B', connections: 50, outstanding: 64, payloadBytes: 64 },
  { ...ws, name: 'WS3', title: 'WebSocket bulk, 10 x 8 messages of 64 KiB', connections: 10, outstanding: 8, payloadBytes: 64 * 1024 },
  { ...broadcast, name: 'WSB', title: 'WebSocket broadcast of 64 B to 1000', connections: 1000, outstanding: 0, payloadBytes: 64 },
  { ...udp, name: 'U1', title: 'UDP, 50 peers x 1 datagram of 64 B', connections: 50, outstanding: 1, payloadBytes: 64 },
  { ...udp, name: 'U4', title: 'UDP, 50 peers x 4 datagrams of 64 B', connections: 50, outstanding: 4, payloadBytes: 64 },
];

function script(name: string, serves: string, file: string, ...flags: readonly string[]): ServerEntry {
  return { name, serves: serves.split(' '), command: [process.execPath, `bench/servers/${file}`, ...flags] };
}

const allServers: readonly ServerEntry[] = [
  script('naive', 'W1 W2 W5 W3', 'net-naive.mjs'),
  script('tuned', 'W1 W2 W5 W3', 'net-tuned.mjs'),
  script('portico', 'W1 W2 W5 W3', 'portico-echo.mjs'),
  // Packages are views of the read buffer, valid during onMessage, as those of a server written by hand for this benchmark are.
  script('portico-borrow', 'W1 W2 W5 W3', 'portico-echo.mjs', '--borrow'),
  script('ws', 'WS1 WS2 WS3', 'ws-naive.mjs'),
  script('portico-ws', 'WS1 WS2 WS3', 'portico-ws.mjs'),
  script('ws-loop', 'WSB', 'ws-broadcast-naive.mjs'),
  script('portico-broadcast', 'WSB', 'portico-ws.mjs', '--broadcast'),
  script('portico-command', 'WSB', 'command-broadcast.mjs'),
  script('dgram', 'U1 U4', 'dgram-naive.mjs'),
  script('portico-udp', 'U1 U4', 'portico-udp.mjs'),
];

/** What portico is compared with, where it was run. */
const ratioBases = ['naive', 'tuned', 'ws', 'ws-loop', 'dgram'];

interface Plan {
  readonly workloads: readonly Workload[];
  readonly servers: readonly ServerEntry[];
  readonly rounds: number;
  readonly timing: Timing;
  readonly smoke: boolean;
  readonly pinned: boolean;
  readonly out: string | undefined;
}

function choose<T extends { readonly name: string }>(all: readonly T[], wanted: string | undefined, flag: string): readonly T[] {
  if (wanted === undefined) return all;
  return wanted.split(',').map((name) => {
    const found = all.find((item) => item.name.toLowerCase() === name.trim().toLowerCase());
    if (found === undefined) throw new Error(`--${flag} ${name}: known are ${all.map((item) => item.name).join(', ')}`);
    return found;
  });
}

function positive(text: string | undefined, standard: number, flag: string): number {
  const value = text === undefined ? standard : Number(text);
  if (!Number.isFinite(value) || value <= 0) throw new Error(`--${flag} must be a number above 0`);
  return value;
}

function canPin(): boolean {
  if (os.availableParallelism() < 2) return false;
  try {
    execFileSync('taskset', ['-c', '1', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function readPlan(): Plan {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      workload: { type: 'string' },
      server: { type: 'string' },
      out: { type: 'string' },
      smoke: { type: 'boolean', default: false },
    },
  });
  const smoke = values.smoke;
  const whole = values.workload === undefined && values.server === undefined && !smoke;
  // A slice must not overwrite the published result of a whole run.
  const standardOut = smoke ? undefined : path.join(import.meta.dirname, 'results', whole ? 'echo.json' : 'echo.json.tmp');
  return {
    workloads: choose(allWorkloads, values.workload, 'workload'),
    servers: choose(allServers, values.server, 'server'),
    rounds: Math.ceil(positive(values.rounds, smoke ? 1 : 5, 'rounds')),
    timing: { warmupSeconds: smoke ? 0.1 : 1, measureSeconds: positive(values.seconds, smoke ? 0.5 : 3, 'seconds') },
    smoke,
    pinned: canPin(),
    out: values.out ?? standardOut,
  };
}

async function measure(plan: Plan, samples: Sample[], discarded: Sample[]): Promise<void> {
  for (const workload of plan.workloads) {
    for (let round = 0; round < plan.rounds; round++) {
      const servers = plan.servers.filter(({ serves }) => serves.includes(workload.name));
      for (let turn = 0; turn < servers.length; turn++) {
        const server = servers[(turn + round) % servers.length];
        if (server === undefined) continue;
        const take = async (rerun: boolean): Promise<Sample> => {
          const measured = await takeSample(server, workload, plan.timing, plan.pinned);
          return { workload: workload.name, server: server.name, round, rerun, idle: isIdle(measured), ...measured };
        };
        let sample = await take(false);
        if (sample.idle && !plan.smoke) {
          discarded.push(sample);
          report(sample, 'neither side was busy, measured again');
          sample = await take(true);
        }
        samples.push(sample);
        report(sample, '');
      }
    }
  }
}

function report(sample: Sample, note: string): void {
  const rate = Math.round(sample.messagesPerSecond).toLocaleString('en');
  const cpu = `server ${sample.serverCpuPercent.toFixed(0)} %, generator ${sample.generatorCpuPercent.toFixed(0)} %`;
  const bound = sample.generatorBound ? ', generator was the limit' : '';
  const remark = note === '' ? '' : ` (${note})`;
  console.error(
    `${sample.workload} round ${sample.round + 1} ${sample.server}: ${rate} msgs/s, ${cpu}${bound}, ${sample.errors} errors${remark}`,
  );
}

function problems(samples: readonly Measured[]): string[] {
  const found: string[] = [];
  const sum = (pick: (sample: Measured) => number): number => samples.reduce((total, sample) => total + pick(sample), 0);
  const errors = sum((sample) => sample.errors);
  if (errors > 0) {
    const parts = [sum((sample) => sample.mismatches), sum((sample) => sample.disconnects), sum((sample) => sample.missing)];
    found.push(`${errors} errors: ${parts[0]} mismatches, ${parts[1]} disconnects, ${parts[2]} frames that never came back`);
  }
  const silent = samples.filter((sample) => sample.messages === 0).length;
  if (silent > 0) found.push(`${silent} samples without a single message`);
  return found;
}

async function main(): Promise<void> {
  const plan = readPlan();
  const needsBuild = plan.servers.some((server) => server.name.startsWith('portico'));
  if (needsBuild && !existsSync(path.join(import.meta.dirname, '..', 'dist', 'index.js'))) {
    throw new Error('dist/index.js is missing: run `npm run build` first, or choose servers with --server naive,tuned');
  }
  buildGenerators();
  const run = describeRun();
  if (!plan.pinned) console.error('not pinned: taskset or a second core is missing, figures will be poor');
  const samples: Sample[] = [];
  const discarded: Sample[] = [];
  await measure(plan, samples, discarded);

  const groups = new Map<string, Workload[]>();
  for (const workload of plan.workloads) {
    const key = `${workload.protocol} ${workload.generator}`;
    groups.set(key, [...(groups.get(key) ?? []), workload]);
  }
  const rows: Row[] = [];
  console.log(headline(run));
  for (const workloads of groups.values()) {
    const serving = plan.servers.filter(({ serves }) => workloads.some(({ name }) => serves.includes(name)));
    const bases = ratioBases.filter((base) => serving.some(({ name }) => name === base));
    const own = workloads.flatMap((workload) => {
      const names = serving.filter(({ serves }) => serves.includes(workload.name)).map(({ name }) => name);
      return summarize(samples, workload, names, bases);
    });
    rows.push(...own);
    if (own.length > 0) console.log(`\n${markdown(own, workloads, bases)}`);
  }
  const stillIdle = samples.filter((sample) => sample.idle).length;
  const { rounds, pinned, timing } = plan;
  console.log(`\n${rounds} rounds of ${timing.measureSeconds} s after ${timing.warmupSeconds} s; ${samples.length} samples.`);
  if (!plan.smoke) console.log(`${discarded.length} measured again because neither side was busy, ${stillIdle} of them still idle.`);
  if (plan.out !== undefined) {
    mkdirSync(path.dirname(plan.out), { recursive: true });
    const result = { ...run, pinned, rounds, ...timing, workloads: plan.workloads, servers: plan.servers, rows, samples, discarded };
    writeFileSync(plan.out, `${JSON.stringify(result, undefined, 1)}\n`);
  }
  const found = problems([...samples, ...discarded]);
  for (const problem of found) console.error(problem);
  if (found.length > 0) process.exitCode = 1;
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(1));
await main();
