import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { StateError } from '../../src/base/errors.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { PkgHandler } from '../../src/codec/pkg-handler.ts';
import type { TcpClient, TcpServer } from '../../src/endpoint/tcp.ts';
import {
  withCronPeriodMs,
  withDrainTimeoutMs,
  withHalfOpen,
  withHeartbeat,
  withSendQueue,
  withTaskPool,
  withWaterMarks,
} from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { TaskPool } from '../../src/session/task-pool.ts';
import { PROPERTY_TIMEOUT_MS, propertyRuns } from '../helpers/codec-property.ts';
import { CLIENT_CALLS, CONNECTION_CALLS, callsOf, POOL_CALLS, SERVER_CALLS, SESSION_CALLS } from '../helpers/session-calls.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpClient, tcpServer } from '../helpers/session-tcp.ts';

interface Subjects {
  /** Undefined as long as there is none. */
  session: Session<string> | undefined;
  peer: Session<string> | undefined;
  readonly server: TcpServer<string>;
  readonly client: TcpClient<string>;
  readonly pool: TaskPool;
}

interface Command {
  readonly name: string;
  run(subjects: Subjects): unknown;
}

/** Everything that may be called at any time. */
const COMMANDS: readonly Command[] = [
  ...callsOf(SESSION_CALLS).flatMap(({ name, call }) => [
    { name: `session.${name}`, run: ({ session }: Subjects) => session && call(session) },
    { name: `peer.${name}`, run: ({ peer }: Subjects) => peer && call(peer) },
  ]),
  ...callsOf(SERVER_CALLS).map(({ name, call }) => ({ name: `server.${name}`, run: ({ server }: Subjects) => call(server) })),
  ...callsOf(CLIENT_CALLS).map(({ name, call }) => ({ name: `client.${name}`, run: ({ client }: Subjects) => call(client) })),
  ...callsOf(POOL_CALLS).map(({ name, call }) => ({ name: `pool.${name}`, run: ({ pool }: Subjects) => call(pool) })),
];

/** Everything that may be called on what has ended. */
const LATE_COMMANDS: readonly Command[] = [
  ...COMMANDS,
  ...callsOf(CONNECTION_CALLS).map(({ name, call }) => ({
    name: `connection.${name}`,
    run: ({ session }: Subjects) => session && call(session.connection),
  })),
];

/** What StateErrors say: too late, too early or too much. */
const DOCUMENTED = new Set<string>([
  'SESSION_CLOSED',
  'WRONG_STATE',
  'SEND_QUEUE_FULL',
  'ENDPOINT_CLOSED',
  'NO_SESSION',
  'RECONNECT_EXHAUSTED',
  'POOL_CLOSED',
  'TASK_REJECTED',
]);
/** A write under way, and the first connect, reject with what ended the connection as well. */
const UNDER_WAY = new Set(['CONNECTION_RESET', 'TRANSPORT_FAILED', 'WRITE_TIMEOUT', 'CONNECT_FAILED', 'LISTEN_FAILED']);

/** Performs commands, and keeps what they throw against the documents and which of their promises are open. */
class Performer {
  readonly faults: string[] = [];
  readonly open = new Set<string>();
  readonly #codes: ReadonlySet<string>;
  #count = 0;

  constructor(codes: ReadonlySet<string>) {
    this.#codes = codes;
  }

  perform(command: Command, subjects: Subjects): Promise<void> | undefined {
    try {
      const result = command.run(subjects);
      if (!(result instanceof Promise)) return undefined;
      const name = `${++this.#count} ${command.name}`;
      this.open.add(name);
      return result.then(
        () => void this.open.delete(name),
        (thrown: unknown) => {
          this.open.delete(name);
          this.#check(command, thrown);
        },
      );
    } catch (thrown) {
      this.#check(command, thrown);
      return undefined;
    }
  }

  #check({ name }: Command, thrown: unknown): void {
    const code = thrown instanceof Error && 'code' in thrown ? String(thrown.code) : '';
    const isDocumented = (thrown instanceof StateError && DOCUMENTED.has(code)) || this.#codes.has(code);
    if (!isDocumented) this.faults.push(`${name}: ${thrown instanceof Error ? thrown.stack : String(thrown)}`);
  }
}

const escaped: unknown[] = [];
const note = (thrown: unknown): void => void escaped.push(thrown);

beforeEach(() => {
  escaped.length = 0;
  process.on('unhandledRejection', note);
  process.on('uncaughtException', note);
});
afterEach(() => {
  process.off('unhandledRejection', note);
  process.off('uncaughtException', note);
});

describe('after the close', () => {
  it('every method of everything is safe, in any order, over TCP', async () => {
    for (const order of [(list: readonly Command[]) => list, (list: readonly Command[]) => list.toReversed()]) {
      const listener = new Recorder<string>();
      const pool = new TaskPool();
      const server = await tcpServer(new LineHandler(), listener, [withTaskPool(pool), withDrainTimeoutMs(50)]);
      const client = tcpClient(server, new LineHandler(), new Recorder<string>());
      const peer = await client.connect();
      const session = await listener.session();
      await Promise.all([server.close(), client.close(), pool.close()]);
      const performer = new Performer(new Set());
      const subjects = { session, peer, server, client, pool };
      for (const command of order(LATE_COMMANDS)) void performer.perform(command, subjects);
      await eventually(() => performer.open.size === 0, `${[...performer.open].join(', ')} have settled`);
      await settle();
      expect(performer.faults).toEqual([]);
      expect(escaped).toEqual([]);
      expect(session.state).toBe('closed');
      expect(listener.events).toEqual(['open', 'close']);
    }
  });

  it('a session whose socket is gone by force is as safe', async () => {
    const listener = new Recorder<string>();
    const pool = new TaskPool();
    const server = await tcpServer(new LineHandler(), listener, [withDrainTimeoutMs(50)]);
    const client = tcpClient(server, new LineHandler(), new Recorder<string>());
    const raw = await RawPeer.connect(server);
    const session = await listener.session();
    raw.socket.resetAndDestroy();
    await session.closed;
    const performer = new Performer(UNDER_WAY);
    for (const command of LATE_COMMANDS) {
      if (!/^(server|client)/.test(command.name)) void performer.perform(command, { session, peer: undefined, server, client, pool });
    }
    await eventually(() => performer.open.size === 0, `${[...performer.open].join(', ')} have settled`);
    await settle();
    expect([performer.faults, escaped]).toEqual([[], []]);
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });
});

const PLACES = [
  ...['newSession', 'onOpen', 'onMessage', 'onCron', 'onDrain', 'onEnd', 'onError', 'onClose'],
  ...['closeCallback', 'read', 'write', 'ping', 'task'],
] as const;
type Place = (typeof PLACES)[number];

const ENDINGS = ['session.close', 'session.destroy', 'peer.close', 'peer.destroy', 'server.close', 'client.close'] as const;

const command = fc.constantFrom(...COMMANDS);
const program = fc.record({
  /** What is called from inside which callback, and whether the callback waits for it. */
  inside: fc.array(fc.record({ place: fc.constantFrom(...PLACES), command, isAwaited: fc.boolean() }), { maxLength: 6 }),
  before: fc.array(command, { maxLength: 4 }),
  ending: fc.constantFrom(...ENDINGS),
  after: fc.array(fc.constantFrom(...LATE_COMMANDS), { maxLength: 8 }),
  hasPool: fc.boolean(),
  isHalfOpen: fc.boolean(),
});
type Program = typeof program extends fc.Arbitrary<infer T> ? T : never;

async function play({ inside, before, ending, after, hasPool, isHalfOpen }: Program): Promise<void> {
  const world = new MemoryWorld({ bufferBytes: 500 }, () => {});
  const performer = new Performer(UNDER_WAY);
  const left = [...inside];
  /** Performs what is to be called from there; each command once, since one may lead to the place again. */
  const at = (place: Place): void | Promise<void> => {
    const awaited: (Promise<void> | undefined)[] = [];
    for (let index = left.findIndex((step) => step.place === place); index !== -1; index = left.findIndex((step) => step.place === place)) {
      const [step] = left.splice(index, 1);
      if (step === undefined) break;
      const result = performer.perform(step.command, subjects);
      if (step.isAwaited) awaited.push(result);
    }
    return awaited.length === 0 ? undefined : Promise.all(awaited).then(() => {});
  };
  class Lines extends PkgHandler<string> {
    readonly #line = new LineHandler();
    read(...[bytes]: Parameters<LineHandler['read']>): string | undefined {
      void at('read');
      return this.#line.read(bytes);
    }
    write(...[text, context, out]: Parameters<LineHandler['write']>): void {
      void at('write');
      this.#line.write(text, context, out);
    }
  }
  const listener = new Recorder<string>({
    onOpen: () => at('onOpen'),
    onMessage: (_session, text) => {
      const result = at('onMessage');
      if (text === 'fail') throw new Error('told to');
      return result;
    },
    onCron: () => at('onCron'),
    onDrain: () => at('onDrain'),
    onEnd: () => at('onEnd'),
    onError: () => void at('onError'),
    onClose: () => at('onClose'),
  });
  const pool = new TaskPool({ clock: world.clock, concurrency: 2 });
  const ping = (): string => {
    void at('ping');
    return 'ping';
  };
  const heartbeat = withHeartbeat<string, string>({ intervalMs: 60, timeoutMs: 100_000, ping });
  const options = [withDrainTimeoutMs(100), withCronPeriodMs(50), heartbeat, withHalfOpen(isHalfOpen)];
  const limits = [withWaterMarks(100, 200), withSendQueue(20_000, 'reject'), ...(hasPool ? [withTaskPool(pool)] : [])];
  const server = (await world.server(new Lines(), listener, [...options, ...limits], (session) => {
    subjects.session ??= session;
    session.addCloseCallback('test', 1, () => at('closeCallback'));
    return at('newSession');
  })) as TcpServer<string>;
  const clientListener = new Recorder<string>();
  const client = world.client(new LineHandler(), clientListener, withDrainTimeoutMs(100)) as TcpClient<string>;
  const subjects: Subjects = { session: undefined, peer: undefined, server, client, pool };
  const doing = (name: string, run: () => unknown): void => void performer.perform({ name, run }, subjects);

  doing('connect', async () => {
    subjects.peer = await client.connect();
  });
  doing('task', () => pool.run(() => at('task')));
  await world.clock.advance(1);
  doing('messages', () => ['one', 'two', 'three'].map((text) => subjects.peer?.send(text)));
  await world.clock.advance(130);
  const link = world.network.links[0];
  link?.stall('client');
  for (const text of ['x'.repeat(2_000), 'y'.repeat(2_000)]) {
    doing('fill', () => subjects.session?.state !== 'opening' && subjects.session?.send(text));
    await settle(1);
  }
  for (const step of before) void performer.perform(step, subjects);
  link?.unstall('client');
  doing('end', () => subjects.peer?.end());
  doing('fail', () => subjects.session?.id !== undefined && subjects.session.id % 3 === 0 && subjects.peer?.send('fail'));
  await world.clock.advance(130);
  const last = COMMANDS.find(({ name }) => name === ending);
  if (last !== undefined) void performer.perform(last, subjects);
  await world.clock.advance(1_000);
  for (const step of after) void performer.perform(step, subjects);
  await world.clock.advance(1_000);
  for (const end of [() => server.close(), () => client.close(), () => pool.close()]) doing('the end', end);
  for (const { closed } of [...listener.sessions, ...clientListener.sessions]) doing('closed', () => closed);
  await world.clock.advance(10_000);
  await settle();

  expect({ faults: performer.faults, open: [...performer.open], escaped }).toEqual({ faults: [], open: [], escaped: [] });
  for (const { events } of [listener, clientListener]) {
    expect(events.filter((event) => event === 'close')).toHaveLength(events.filter((event) => event === 'open').length);
    expect(events.lastIndexOf('message')).toBeLessThan(events.includes('close') ? events.lastIndexOf('close') : events.length);
  }
  expect([server.sessions.size, client.sessions.size, pool.running, pool.queued]).toEqual([0, 0, 0, 0]);
  expect(subjects.session === undefined || subjects.session.state === 'closed').toBe(true);
}

describe('any calls in any order', () => {
  const title = 'before, after and from inside every callback throw nothing but StateErrors, leave nothing open and end the session';
  it(title, { timeout: PROPERTY_TIMEOUT_MS }, async () => {
    await fc.assert(fc.asyncProperty(program, play), {
      ...propertyRuns(150, 20_000),
      reporter: (details) => {
        if (!details.failed) return;
        const [example] = details.counterexample ?? [];
        const named = JSON.stringify(example, (_key, value: unknown) =>
          value instanceof Object && 'run' in value ? Reflect.get(value, 'name') : value,
        );
        throw new Error(`seed ${details.seed}, path ${details.counterexamplePath}: ${named}`, { cause: details.errorInstance });
      },
    });
  });
});
