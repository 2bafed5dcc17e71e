import { expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withConnectionNumber, withReconnect } from '../../src/endpoint/options.ts';
import { withConcurrentMessages, withListenerErrorPolicy, withTaskPool } from '../../src/session/options.ts';
import { TaskPool, type TaskPoolOptions } from '../../src/session/task-pool.ts';
import { closeLater } from '../helpers/endpoint-fixtures.ts';
import { HeldTasks } from '../helpers/endpoint-held-tasks.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';

const lines = new LineHandler();

function makePool(options: TaskPoolOptions): TaskPool {
  return closeLater(new TaskPool(options));
}

it('waits for a handler that runs in the pool when its session closes, and calls onClose after it', async () => {
  const world = new MemoryWorld();
  const gate = new Deferred();
  const server = new Recorder<string>({
    async onMessage() {
      await gate.promise;
      server.events.push('handled');
    },
  });
  await world.server(lines, server, [withTaskPool(makePool({ concurrency: 2 }))]);
  const session = await world.connect(lines, new Recorder<string>());
  session.send('x');
  await server.until('message');
  const closing = await server.session();
  void closing.close();
  await settle();
  expect(server.events).toEqual(['open', 'message']);
  gate.resolve();
  await closing.closed;
  expect(server.events).toEqual(['open', 'message', 'handled', 'close']);
});

it('keeps the bound also when sessions close while their handlers run', async () => {
  const world = new MemoryWorld();
  const held = new HeldTasks();
  const pool = makePool({ concurrency: 2 });
  const server = new Recorder<string>({
    async onMessage(_session, line) {
      await held.task(line)(AbortSignal.any([]));
    },
  });
  await world.server(lines, server, [withTaskPool(pool)]);
  const client = world.client(lines, new Recorder<string>(), withConnectionNumber(4));
  await client.connect();
  for (const [index, session] of [...client.sessions.values()].entries()) session.send(String(index));
  await eventually(() => held.running === 2, 'two run');
  for (const session of server.sessions.slice(0, 2)) session.destroy();
  await settle();
  expect(held.running).toBe(2);
  await held.end('0', '1');
  await eventually(() => held.begun.length === 4, 'the others run');
  await held.end('2', '3');
  expect(held.most).toBe(2);
});

it.each([
  ['close', ['open', 'message', 'error', 'close']],
  ['continue', ['open', 'message', 'error', 'message']],
] as const)('treats a handler that takes too long as a failed one, with the policy %s', async (policy, events) => {
  const world = new MemoryWorld();
  const server = new Recorder<string>({ onMessage: (_session, line) => (line === 'slow' ? new Promise(() => {}) : undefined) });
  const pool = makePool({ timeoutMs: 100, clock: world.clock });
  await world.server(lines, server, [withTaskPool(pool), withListenerErrorPolicy(policy)]);
  const session = await world.connect(lines, new Recorder<string>());
  session.send('slow');
  session.send('next');
  await server.until('message');
  await world.clock.advance(200);
  await settle();
  expect(server.events).toEqual(events);
  expect(server.errors[0]).toMatchObject({ code: 'TASK_TIMEOUT' });
  expect(pool.timedOut).toBe(1);
  if (policy === 'close') expect(server.reasons[0]).toMatchObject({ code: 'OVERLOAD' });
});

it.each(['TASK_REJECTED', 'POOL_CLOSED', 'ABORTED'] as const)(
  'takes %s of another pool, thrown by a handler, for a failure of the handler',
  async (code) => {
    const world = new MemoryWorld();
    const other = makePool({ concurrency: 1, maxQueue: 0, overflow: 'reject' });
    const gate = new Deferred();
    const running = code === 'TASK_REJECTED' ? other.run(() => gate.promise) : undefined;
    if (code === 'POOL_CLOSED') await other.close();
    const options = code === 'ABORTED' ? { signal: AbortSignal.abort() } : {};
    const server = new Recorder<string>({ onMessage: () => other.run(() => {}, options) });
    await world.server(lines, server, [withTaskPool(makePool({ overflow: 'drop' }))]);
    const session = await world.connect(lines, new Recorder<string>());
    session.send('x');
    await server.until('close');
    expect(server.errors[0]).toMatchObject({ code: 'LISTENER_FAILED', phase: 'message', cause: { code } });
    expect(server.reasons[0]).toMatchObject({ code: 'INTERNAL' });
    expect((await server.session()).stats().packagesDropped).toBe(0);
    gate.resolve();
    await running;
  },
);

it('gives the warning of nobody when many handlers or connections depend on one signal', async () => {
  const warnings: string[] = [];
  const onWarning = (warning: Error): void => void warnings.push(warning.message);
  process.on('warning', onWarning);
  const world = new MemoryWorld();
  const gate = new Deferred();
  const server = new Recorder<string>({ onMessage: () => gate.promise });
  await world.server(lines, server, [withTaskPool(makePool({ concurrency: 1 })), withConcurrentMessages(50)]);
  const session = await world.connect(lines, new Recorder<string>());
  for (let count = 0; count < 50; count++) session.send('x');
  await eventually(() => server.sessions[0]?.stats().runningHandlers === 50, 'all handlers are under way');
  const offline = world.client(lines, new Recorder<string>(), withConnectionNumber(40), withReconnect({}));
  world.network.refuseDials = true;
  const connecting = codeOf(() => offline.connect());
  await world.clock.advance(5_000);
  await world.finish(offline.close());
  expect(await connecting).toBe('ENDPOINT_CLOSED');
  gate.resolve();
  await settle();
  process.off('warning', onWarning);
  expect(warnings).toEqual([]);
});
