import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { until } from './raw-peer.ts';
import type { Scene } from './scene.ts';
import { Tool } from './tools.ts';

/** What the suite says about one case: 'OK', 'NON-STRICT', 'INFORMATIONAL', 'UNIMPLEMENTED', 'FAILED' and others. */
export interface CaseResult {
  readonly behavior: string;
  readonly behaviorClose: string;
}

/** By the number of the case, such as '1.1.1'. */
export type Results = Readonly<Record<string, CaseResult>>;

const folder = path.join(import.meta.dirname, '../../.cache/interop/autobahn');
const agent = 'portico';

/** Name and version, as the list of what is installed has them. */
export const SUITE = 'autobahntestsuite 25.10.1';

export const hasAutobahn = existsSync(path.join(folder, 'requirements.txt'));

/** `wstest` at work: its settings are a file in a folder that also takes its reports. */
class Wstest {
  readonly folder = mkdtempSync(path.join(os.tmpdir(), 'portico-autobahn-'));
  readonly tool: Tool;

  constructor(scene: Scene, mode: 'fuzzingclient' | 'fuzzingserver', settings: object) {
    const file = path.join(this.folder, 'settings.json');
    const common = { outdir: this.folder, 'exclude-cases': [], 'exclude-agent-cases': {}, options: { failByDrop: false } };
    writeFileSync(file, JSON.stringify({ ...common, ...settings }));
    const python = path.join(folder, 'bin/python');
    const args = [`PYTHONUSERBASE=${folder}`, python, path.join(folder, 'bin/wstest'), '-m', mode, '-s', file];
    // It needs no web server of its own.
    this.tool = new Tool('env', mode === 'fuzzingserver' ? [...args, '-u', '0'] : args);
    scene.atEnd(async () => {
      this.tool.stop();
      await this.tool.exited();
      rmSync(this.folder, { recursive: true, force: true });
    });
  }

  /** The verdicts, when they are written. */
  results(): Results {
    const index = JSON.parse(readFileSync(path.join(this.folder, 'index.json'), 'utf8')) as Record<string, Results>;
    return index[agent] ?? {};
  }
}

/** Runs cases against an echo server. */
export async function testServer(scene: Scene, url: string, cases: readonly string[], limitMs: number): Promise<Results> {
  const wstest = new Wstest(scene, 'fuzzingclient', { servers: [{ agent, url }], cases });
  const code = await wstest.tool.exited(limitMs);
  if (code !== 0) throw new Error(`wstest ended with ${code}: ${wstest.tool.errors}`);
  return wstest.results();
}

/**
 * Runs cases against an echo client, several at a time. `visit` connects to a URL, echoes until the other side closes, and resolves
 * with the texts that came.
 */
export async function testClient(
  scene: Scene,
  cases: readonly string[],
  laneCount: number,
  visit: (url: string) => Promise<readonly string[]>,
): Promise<Results> {
  const port = await freePort();
  const url = `ws://127.0.0.1:${port}`;
  const wstest = new Wstest(scene, 'fuzzingserver', { url, cases });
  await wstest.tool.finds(/(Ok, will run)/);
  await listening(port);
  const [count] = await visit(`${url}/getCaseCount`);
  const numbers = Array.from({ length: Number(count) }, (_, index) => index + 1);
  const lane = async (): Promise<void> => {
    for (let number = numbers.shift(); number !== undefined; number = numbers.shift()) {
      await visit(`${url}/runCase?case=${number}&agent=${agent}`);
    }
  };
  await Promise.all(Array.from({ length: laneCount }, lane));
  await visit(`${url}/updateReports?agent=${agent}`);
  return wstest.results();
}

/** The suite does not tell when it listens. */
async function listening(port: number): Promise<void> {
  let isListening = false;
  const knock = (): void => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => {
      isListening = true;
      socket.destroy();
    });
    socket.on('error', () => setImmediate(knock));
  };
  knock();
  await until(() => isListening, 'wstest to listen');
}

/**
 * One that was free just now: the suite does not tell which one it was given. Below those that the system gives to clients, where a
 * client that knocks could meet itself.
 */
async function freePort(): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createServer();
    const isFree = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!isFree) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}
