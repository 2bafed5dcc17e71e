import { spawn } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { DIAGNOSTICS_CHANNELS } from '../src/base/diagnostics.ts';
import type { Option } from '../src/base/option.ts';
import { LineHandler } from '../src/codec/line.ts';
import { type ServerOptions, withMaxSessions, withReconnect } from '../src/endpoint/options.ts';
import type { Server } from '../src/endpoint/server.ts';
import { withMaxPackageBytes, withSendQueue, withTaskPool, withWaterMarks } from '../src/session/options.ts';
import { TaskPool } from '../src/session/task-pool.ts';
import { hasOpenssl } from './helpers/certificates.ts';
import { closeLater, rejection } from './helpers/endpoint-fixtures.ts';
import { MemoryWorld } from './helpers/session-memory.ts';
import { Deferred, Recorder, settle } from './helpers/session-recorder.ts';

/** The messages that were made, by channel. */
const made: string[] = [];

vi.mock('../src/base/diagnostics.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../src/base/diagnostics.ts')>();
  const publish: typeof original.publish = (name, message) =>
    original.publish(name, () => {
      made.push(name);
      return message();
    });
  return { ...original, publish };
});

type Channel = keyof typeof DIAGNOSTICS_CHANNELS;
const channels = Object.keys(DIAGNOSTICS_CHANNELS) as Channel[];

/** What is published on the channels, from now on until the test is over. */
function listenTo(...names: readonly Channel[]): [Channel, object][] {
  const heard: [Channel, object][] = [];
  for (const name of names) {
    const onMessage = (message: unknown): void => void heard.push([name, message as object]);
    subscribe(DIAGNOSTICS_CHANNELS[name], onMessage);
    stops.push(() => unsubscribe(DIAGNOSTICS_CHANNELS[name], onMessage));
  }
  return heard;
}

const stops: (() => unknown)[] = [];
beforeEach(() => made.splice(0));
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

const lines = new LineHandler();

/** Everything that is published, once at least. */
async function everything() {
  const world = new MemoryWorld();
  const recorder = new Recorder<string>({
    onMessage(session, line) {
      if (line === 'fail') throw new Error('user code');
      if (line === 'reply') session.send('reply');
    },
  });
  const server = await world.server(lines, recorder, [withMaxSessions(1)]);
  const client = world.client(lines, new Recorder<string>(), withReconnect({ attempts: 3, random: () => 0.5 }));
  const first = await client.connect();
  const refused = world.client(lines, new Recorder<string>());
  await refused.connect().catch(() => {});
  await world.clock.advance(10);
  first.send('fail');
  await recorder.until('close');
  await world.clock.advance(1_000);
  await recorder.until('open', 2);
  world.network.refuseDials = true;
  await world.finish(server.close());
  await world.clock.advance(60_000);
  return { world, server, client, refused, recorder, first };
}

describe('the diagnostics channels', () => {
  it('have names that begin with portico', () => {
    expect(Object.values(DIAGNOSTICS_CHANNELS).every((name) => name.startsWith('portico:'))).toBe(true);
    expect(new Set(Object.values(DIAGNOSTICS_CHANNELS)).size).toBe(channels.length);
  });

  it('tell those who subscribe everything, with its fields', async () => {
    const heard = listenTo(...channels);
    const { server, client, refused, recorder, first } = await everything();
    const of = (name: Channel) => heard.filter(([channel]) => channel === name).map(([, message]) => message);
    const [opened, reopened] = recorder.sessions;

    expect(of('endpointOpen')).toEqual([
      { endPoint: server, address: server.localAddress },
      { endPoint: client, address: 'server:1' },
      { endPoint: refused, address: 'server:1' },
    ]);
    expect(of('sessionOpen')).toContainEqual({ session: opened });
    expect(of('sessionOpen')).toContainEqual({ session: first });
    expect(of('refuse')[0]).toEqual({
      endPoint: server,
      remoteAddress: expect.objectContaining({ family: 'memory' }),
      why: 'max-sessions',
    });
    const failure = expect.objectContaining({ code: 'LISTENER_FAILED', phase: 'message' });
    expect(of('sessionError')).toContainEqual({ session: opened, error: failure });
    expect(of('sessionClose')).toContainEqual({ session: opened, reason: expect.objectContaining({ code: 'INTERNAL', error: failure }) });
    expect(of('sessionClose')).toContainEqual({ session: reopened, reason: expect.objectContaining({ code: 'GOING_AWAY' }) });
    expect(of('reconnect')).toEqual([{ endPoint: client, slot: 0, failures: 1, session: expect.objectContaining({ name: 'session' }) }]);
    expect(of('endpointClose')).toContainEqual({ endPoint: server, report: { sessions: 1, flushed: 1, unflushed: [] } });
    expect(of('limit')).toContainEqual({
      endPoint: client,
      limit: 'reconnect-attempts',
      error: expect.objectContaining({ code: 'RECONNECT_EXHAUSTED' }),
    });
    expect(channels.filter((name) => of(name).length === 0)).toEqual([]);
    expect(made).toHaveLength(heard.length);
  });

  it('cost nothing when nobody listens: no message is made', async () => {
    await everything();
    expect(made).toEqual([]);
  });

  it.each(channels)('make messages only for the channel that somebody listens to: %s', async (name) => {
    const heard = listenTo(name);
    await everything();
    expect(heard.length).toBeGreaterThan(0);
    expect(made).toEqual(heard.map(([channel]) => channel));
  });
});

describe('portico:limit', () => {
  async function served(
    options: readonly Option<ServerOptions<string, string>>[],
    hooks: ConstructorParameters<typeof Recorder<string>>[0] = {},
  ) {
    const world = new MemoryWorld();
    const recorder = new Recorder<string>(hooks);
    const server: Server<string> = await world.server(lines, recorder, options);
    const peer = await world.connect(lines, new Recorder<string>());
    return { world, recorder, server, session: await recorder.session(), peer };
  }

  it.each(['close', 'reject', 'drop-oldest', 'drop-newest'] as const)('tells of a full send queue, with the policy %s', async (policy) => {
    const { world, session } = await served([withWaterMarks(1_000, 2_000), withSendQueue(100_000, policy)]);
    const heard = listenTo('limit');
    world.link().stall('client');
    const send = (): void => {
      for (let times = 0; times < 4; times++) session.send('x'.repeat(60_000));
    };
    if (policy === 'reject') expect(send).toThrow(expect.objectContaining({ code: 'SEND_QUEUE_FULL' }));
    else send();
    await settle();
    expect(heard[0]).toEqual(['limit', { limit: 'send-queue', connection: session.connection, policy, message: expect.any(String) }]);
    expect(session.stats().packagesDropped).toBeGreaterThan(0);
  });

  it('tells of a package that is too large to be received', async () => {
    const { recorder, session, peer } = await served([withMaxPackageBytes(100)]);
    const heard = listenTo('limit');
    peer.send('x'.repeat(200));
    await recorder.until('close');
    expect(heard).toEqual([['limit', { limit: 'package', session, error: recorder.errors[0] }]]);
    expect(recorder.errors[0]).toMatchObject({ code: 'PACKAGE_TOO_LARGE' });
  });

  it('tells of a package that is too large to be sent', async () => {
    const { server, session } = await served([withMaxPackageBytes(100)]);
    const heard = listenTo('limit');
    expect(() => session.send('x'.repeat(200))).toThrow();
    expect(() => server.broadcast('x'.repeat(200))).toThrow();
    const error = expect.objectContaining({ code: 'ENCODED_TOO_LARGE' });
    expect(heard).toEqual(Array(2).fill(['limit', { limit: 'package', session, error }]));
  });

  it.each(['wait', 'reject', 'drop'] as const)('tells of a full task pool, with the policy %s', async (overflow) => {
    const heard = listenTo('limit');
    const gate = new Deferred();
    const pool = closeLater(new TaskPool({ concurrency: 1, maxQueue: 0, overflow }));
    const running = pool.run(() => gate.promise);
    const { peer } = await served([withTaskPool(pool)]);
    peer.send('x');
    await settle();
    const error = overflow === 'wait' ? undefined : expect.objectContaining({ code: 'TASK_REJECTED' });
    expect(heard).toEqual([['limit', { limit: 'task-pool', pool, error }]]);
    gate.resolve();
    await running;
  });

  it('tells of a full worker pool', async () => {
    const { WorkerPool } = await import('../src/worker-pool/worker-pool.ts');
    const heard = listenTo('limit');
    const filename = path.join(import.meta.dirname, 'worker-pool/worker.mjs');
    const pool = closeLater(new WorkerPool({ filename, maxThreads: 1, maxQueue: 0 }));
    const taken = pool.run(undefined, 1);
    const error = await rejection(pool.run(undefined, 1));
    expect(heard).toEqual([['limit', { limit: 'worker-pool', pool, error }]]);
    await taken;
  });
});

describe('the debug namespaces', () => {
  const tls = hasOpenssl() ? ['tls'] : [];
  const namespaces = ['transport', 'codec', 'session', 'pool', 'endpoint', ...tls];
  const root = path.join(import.meta.dirname, '..');

  /** Runs a program that gives every layer something to say; returns what it wrote. */
  async function run(debug: string | undefined): Promise<{ code: number | null; output: string }> {
    const { DEBUG, NODE_OPTIONS, VITEST, ...inherited } = process.env;
    const env = { ...inherited, TSX_TSCONFIG_PATH: path.join(root, 'tsconfig.json'), ...(debug === undefined ? {} : { DEBUG: debug }) };
    const program = new URL('./helpers/endpoint-talkative.ts', import.meta.url);
    const child = spawn(process.execPath, ['--import', 'tsx', fileURLToPath(program), ...tls], {
      cwd: root,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    return { code, output };
  }

  it('print what they have to say when DEBUG names them, each by itself, and nothing otherwise', { timeout: 30_000 }, async () => {
    const [all, one, none] = await Promise.all([run('portico:*'), run('portico:pool'), run(undefined)]);
    expect([all.code, one.code], all.output).toEqual([0, 0]);
    expect(namespaces.filter((name) => !all.output.includes(`portico:${name} `))).toEqual([]);
    expect(namespaces.filter((name) => one.output.includes(`portico:${name} `))).toEqual(['pool']);
    expect(none).toEqual({ code: 0, output: '' });
  });
});
