import type { Measured, Workload } from './echo-sample.ts';
import { median } from './machine.mjs';

export interface Sample extends Measured {
  readonly workload: string;
  readonly server: string;
  readonly round: number;
  /** Neither side used its core: the host was busy with something else. */
  readonly idle: boolean;
  readonly rerun: boolean;
}

export interface Ratio {
  /** Median over the rounds of (this server / base) of the same round. */
  readonly paired: number;
  readonly pairedMin: number;
  readonly pairedMax: number;
  readonly ofMedians: number;
}

export interface Row {
  readonly workload: string;
  readonly server: string;
  readonly samples: number;
  readonly messagesPerSecond: { readonly median: number; readonly min: number; readonly max: number };
  readonly megabytesPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly serverCpuUsPerMessage: number;
  readonly generatorBoundSamples: number;
  readonly idleSamples: number;
  readonly errors: number;
  readonly ratios: Readonly<Record<string, Ratio>>;
}

export const busyPercent = 92;

export function isIdle(measured: Measured): boolean {
  return measured.serverCpuPercent < busyPercent && measured.generatorCpuPercent < busyPercent;
}

function ratioTo(own: readonly Sample[], base: readonly Sample[]): Ratio | undefined {
  const paired: number[] = [];
  for (const sample of own) {
    const other = base.find((candidate) => candidate.round === sample.round);
    if (other !== undefined && other.messagesPerSecond > 0) paired.push(sample.messagesPerSecond / other.messagesPerSecond);
  }
  if (paired.length === 0) return undefined;
  const rate = (samples: readonly Sample[]): number => median(samples.map((sample) => sample.messagesPerSecond));
  return { paired: median(paired), pairedMin: Math.min(...paired), pairedMax: Math.max(...paired), ofMedians: rate(own) / rate(base) };
}

export function summarize(samples: readonly Sample[], workload: Workload, servers: readonly string[], bases: readonly string[]): Row[] {
  const of = (server: string): Sample[] => samples.filter((sample) => sample.workload === workload.name && sample.server === server);
  return servers.map((server) => {
    const own = of(server);
    const middle = (pick: (sample: Sample) => number): number => median(own.map(pick));
    const rates = own.map((sample) => sample.messagesPerSecond);
    const ratios: Record<string, Ratio> = {};
    for (const base of bases) {
      const ratio = base === server ? undefined : ratioTo(own, of(base));
      if (ratio !== undefined) ratios[base] = ratio;
    }
    return {
      workload: workload.name,
      server,
      samples: own.length,
      messagesPerSecond: { median: median(rates), min: Math.min(...rates), max: Math.max(...rates) },
      megabytesPerSecond: middle((sample) => sample.megabytesPerSecond),
      p50Us: middle((sample) => sample.p50Us),
      p99Us: middle((sample) => sample.p99Us),
      p999Us: middle((sample) => sample.p999Us),
      serverCpuUsPerMessage: middle((sample) => (sample.serverCpuPercent * 1e4) / Math.max(1, sample.messagesPerSecond)),
      generatorBoundSamples: own.filter((sample) => sample.generatorBound).length,
      idleSamples: own.filter((sample) => sample.idle).length,
      errors: own.reduce((sum, sample) => sum + sample.errors, 0),
      ratios,
    };
  });
}

function count(value: number): string {
  if (value >= 1e6) return `${(value / 1e6).toFixed(2)}M`;
  return value >= 1e3 ? `${(value / 1e3).toFixed(value >= 1e5 ? 0 : 1)}k` : value.toFixed(0);
}

function micros(value: number): string {
  return value >= 10_000 ? `${(value / 1_000).toFixed(1)}ms` : value.toFixed(0);
}

function ratioCell(ratio: Ratio | undefined): string {
  if (ratio === undefined) return '-';
  return `**${ratio.paired.toFixed(2)}** [${ratio.pairedMin.toFixed(2)}-${ratio.pairedMax.toFixed(2)}] (${ratio.ofMedians.toFixed(2)})`;
}

export function markdown(rows: readonly Row[], workloads: readonly Workload[], bases: readonly string[]): string {
  const heads = ['workload', 'server', 'msgs/s median [min-max]', 'MB/s', 'p50 us', 'p99 us', 'server CPU us/msg', 'errors'];
  heads.push(...bases.map((base) => `x ${base}`));
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  const lines = [line(heads), line(heads.map(() => '---'))];
  for (const row of rows) {
    const { median: middle, min, max } = row.messagesPerSecond;
    const limited = row.generatorBoundSamples > 0 ? ` (generator was the limit in ${row.generatorBoundSamples} of ${row.samples})` : '';
    const disturbed = row.idleSamples > 0 ? ` (host was busy in ${row.idleSamples} of ${row.samples})` : '';
    lines.push(
      line([
        row.workload,
        row.server,
        `**${count(middle)}** [${count(min)}-${count(max)}]${limited}${disturbed}`,
        row.megabytesPerSecond.toFixed(0),
        micros(row.p50Us),
        micros(row.p99Us),
        row.serverCpuUsPerMessage.toFixed(2),
        String(row.errors),
        ...bases.map((base) => ratioCell(row.ratios[base])),
      ]),
    );
  }
  const legend = workloads.map((workload) => `${workload.name}: ${workload.title}`).join(' · ');
  return `${lines.join('\n')}\n\n${legend}\n\nRatios: **median of the ratios of each round** [min-max] (ratio of the medians).`;
}
