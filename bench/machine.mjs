import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import os from 'node:os';

function output(command, args) {
  try {
    return execFileSync(command, args, { cwd: import.meta.dirname, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return '';
  }
}

/** What a reader needs to know to compare two result files. */
export function describeRun() {
  const script = (process.argv[1] ?? '').split('/').slice(-2).join('/');
  return {
    date: new Date().toISOString(),
    command: [script.endsWith('.ts') ? 'npx tsx' : 'node', script, ...process.argv.slice(2)].join(' '),
    commit: output('git', ['rev-parse', 'HEAD']) || 'unknown',
    uncommittedChanges: output('git', ['status', '--porcelain']) !== '',
    machine: {
      cpu: os.cpus()[0]?.model.trim() ?? 'unknown',
      cores: os.cpus().length,
      memoryGiB: Math.round(os.totalmem() / 2 ** 30),
      kernel: `${os.type()} ${os.release()}`,
      node: process.version,
      v8: process.versions.v8,
      cc: output('cc', ['--version']).split('\n')[0] || 'none',
      congestionControl: output('cat', ['/proc/sys/net/ipv4/tcp_congestion_control']) || 'unknown',
      loadAverage1m: os.loadavg()[0] ?? 0,
    },
  };
}

/** One line for the top of a table. */
export function headline(run) {
  const { machine } = run;
  const dirty = run.uncommittedChanges ? ' with uncommitted changes' : '';
  return (
    `${run.date} · commit ${run.commit.slice(0, 12)}${dirty} · Node ${machine.node} · ${machine.cpu}, ${machine.cores} cores, ` +
    `${machine.memoryGiB} GiB · ${machine.kernel} · load ${machine.loadAverage1m.toFixed(2)}\n\n\`${run.command}\``
  );
}

/** The limit this process already has; the benchmarks never raise it. */
export function openFileLimit() {
  const line = readFileSync('/proc/self/limits', 'utf8').match(/^Max open files\s+(\d+|unlimited)/m);
  return line?.[1] === undefined || line[1] === 'unlimited' ? Number.POSITIVE_INFINITY : Number(line[1]);
}

export function median(values) {
  if (values.length === 0) return Number.NaN;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
