import path from 'node:path';
import { expect } from 'vitest';
import type { CommandStressLine } from './command-stress-server.ts';
import type { Scene } from './scene.ts';
import { startTool } from './text-scene.ts';

/** What interop/go/knet prints at the end of a load; see report in its stress.go. */
export interface StressReport {
  readonly clients: number;
  readonly connected: number;
  readonly sent: number;
  readonly deliveries: number;
  readonly ownEchoes: number;
  readonly outOfOrder: number;
  readonly orders: number;
  readonly closes: Readonly<Record<string, number>>;
  readonly failures: Readonly<Record<string, number>>;
  readonly connectSeconds: number;
  readonly seconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly deliveriesPerSecond: number;
}

export interface CommandServer extends CommandStressLine {
  readonly pid: number;
  ask(): Promise<CommandStressLine>;
}

/** Starts a hub in a process of its own. `rate`, `burst`: of its limiter; 0: there is none. */
export async function startCommandServer(scene: Scene, rate = 0, burst = 0, sendQueueBytes = 0): Promise<CommandServer> {
  const program = path.join(import.meta.dirname, 'command-stress-server.ts');
  const args = ['--import', 'tsx', program, rate, burst, sendQueueBytes].map(String);
  const tool = startTool(scene, process.execPath, args);
  let asked = 0;
  const next = async (): Promise<CommandStressLine> => {
    asked++;
    const line = await tool.finds(new RegExp(`^(?:.*\\n){${asked - 1}}(.*)\\n`));
    return JSON.parse(line) as CommandStressLine;
  };
  return {
    ...(await next()),
    pid: tool.child.pid ?? 0,
    ask() {
      tool.write('\n');
      return next();
    },
  };
}

type Flags = Readonly<Record<string, number | boolean>>;

/** A load of the Go client on 127.0.0.1. */
export function stressWith(
  scene: Scene,
  program: string,
  port: number,
  flags: Flags,
  limitMs = 280_000,
): { readonly report: () => Promise<StressReport> } {
  const args = Object.entries(flags).map(([name, value]) => `-${name}=${value}`);
  const load = startTool(scene, program, ['stress', `ws://127.0.0.1:${port}/ws`, `-limit-s=${limitMs / 1_000}`, ...args]);
  return {
    report: async () => {
      expect(await load.exited(limitMs), load.errors).toBe(0);
      return JSON.parse(load.output) as StressReport;
    },
  };
}
