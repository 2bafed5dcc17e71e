import { expect, it } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { LineHandler } from '../../src/codec/line.ts';
import type { PkgHandler } from '../../src/codec/pkg-handler.ts';
import { type ServerOptions, withConnectionNumber } from '../../src/endpoint/options.ts';
import type { Server } from '../../src/endpoint/server.ts';
import { withMaxPackageBytes, withPkgHandler, withSendQueue, withWaterMarks } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, Recorder, settle } from '../helpers/session-recorder.ts';

/** Lines, counting how often one is written. */
class CountingHandler extends LineHandler {
  written = 0;

  override write(...args: Parameters<LineHandler['write']>): void {
    this.written++;
    super.write(...args);
  }
}

interface Scene {
  readonly world: MemoryWorld;
  readonly server: Server<string>;
  readonly sessions: readonly Session<string>[];
  /** What the clients have received, in the order of the server's sessions. */
  received(): Promise<readonly (readonly string[])[]>;
}

async function scene(
  count: number,
  handler: PkgHandler<string>,
  options: readonly Option<ServerOptions<string, string>>[] = [],
): Promise<Scene> {
  const world = new MemoryWorld();
  const listener = new Recorder<string>();
  const server = await world.server(handler, listener, options);
  const lines = new Map<string, string[]>();
  const client = world.client<string, string>(
    new LineHandler(),
    { onMessage: (session, line) => void lines.get(session.localAddress.text)?.push(line) },
    withConnectionNumber(count),
  );
  client.on('session', (session) => lines.set(session.localAddress.text, []));
  await client.connect();
  await listener.until('open', count);
  const { sessions } = listener;
  const received = async () => {
    await settle();
    return sessions.map((session) => lines.get(session.remoteAddress.text) ?? []);
  };
  return { world, server, sessions, received };
}

it('reaches every open session, and is encoded once', async () => {
  const handler = new CountingHandler();
  const { server, received } = await scene(5, handler);
  expect(server.broadcast('news')).toEqual({ sent: 5, full: 0, refused: 0 });
  expect(server.broadcast('more')).toEqual({ sent: 5, full: 0, refused: 0 });
  expect(await received()).toEqual(Array(5).fill(['news', 'more']));
  expect(handler.written).toBe(2);
  expect(server.stats()).toMatchObject({ packagesWritten: 10, bytesWritten: 50 });
});

it('reaches those that the filter picks, in between what they are sent otherwise', async () => {
  const handler = new CountingHandler();
  const { server, sessions, received } = await scene(4, handler);
  for (const session of sessions) session.send('before');
  const [, second, , fourth] = sessions;
  expect(server.broadcast('news', (session) => session === second || session === fourth)).toEqual({ sent: 2, full: 0, refused: 0 });
  for (const session of sessions) session.send('after');
  expect(await received()).toEqual([
    ['before', 'after'],
    ['before', 'news', 'after'],
    ['before', 'after'],
    ['before', 'news', 'after'],
  ]);
  expect(handler.written).toBe(9);
});

it('to nobody encodes nothing', async () => {
  const handler = new CountingHandler();
  const { server } = await scene(1, handler);
  expect(server.broadcast('news', () => false)).toEqual({ sent: 0, full: 0, refused: 0 });
  expect(handler.written).toBe(0);
});

it('encodes once for each PkgHandler among the sessions', async () => {
  const [plain, crlf] = [new CountingHandler(), new CountingHandler({ lineEnd: '\r\n' })];
  const { server, sessions, received } = await scene(4, plain);
  for (const session of sessions.slice(2)) session.configure(withPkgHandler<string, string>(crlf));
  expect(server.broadcast('news')).toEqual({ sent: 4, full: 0, refused: 0 });
  expect(await received()).toEqual(Array(4).fill(['news']));
  expect([plain.written, crlf.written]).toEqual([1, 1]);
  expect(sessions.map((session) => session.stats().bytesWritten)).toEqual([5, 5, 6, 6]);
});

it('goes on when sessions close while it runs', async () => {
  const { world, server, sessions, received } = await scene(5, new LineHandler());
  const result = server.broadcast('news', (session) => {
    if (session === sessions[1]) session.destroy();
    if (session === sessions[2]) void session.close();
    if (session === sessions[3]) sessions[4]?.destroy();
    return true;
  });
  // The fifth had closed before it was its turn.
  expect(result).toEqual({ sent: 2, full: 0, refused: 2 });
  await world.clock.advance(10_000);
  expect(await received()).toEqual([['news'], [], [], ['news'], []]);
  expect(server.sessions.size).toBe(2);
});

it('leaves those out that have finished sending', async () => {
  const { server, sessions, received } = await scene(2, new LineHandler());
  sessions[0]?.end();
  expect(server.broadcast('news')).toEqual({ sent: 1, full: 0, refused: 1 });
  expect(await received()).toEqual([[], ['news']]);
});

it.each(['reject', 'drop-newest', 'close'] as const)('counts who is full and who refuses, with the overflow policy %s', async (policy) => {
  const { world, server, sessions } = await scene(3, new LineHandler(), [withWaterMarks(10_000, 20_000), withSendQueue(100_000, policy)]);
  const [quick, slow, stuck] = sessions;
  for (const link of world.network.links.slice(1)) link.stall('client');
  const block = 'x'.repeat(60_000);
  slow?.send(block);
  slow?.send('x'.repeat(20_000));
  stuck?.send(block);
  stuck?.send(block);
  await settle(2);
  stuck?.send('x'.repeat(40_000));
  const before = stuck?.pendingBytes ?? 0;
  expect(before).toBeGreaterThan(90_000);
  expect(server.broadcast('x'.repeat(20_000))).toEqual({ sent: 2, full: 1, refused: 1 });
  expect([quick?.state, slow?.state]).toEqual(['open', 'open']);
  expect(stuck?.isClosed).toBe(policy === 'close');
  if (policy !== 'close') expect(stuck?.stats().packagesDropped).toBe(1);
});

it('keeps the limit of each session, and only that', async () => {
  const { server, sessions, received } = await scene(3, new LineHandler(), [withMaxPackageBytes(15)]);
  sessions[0]?.configure(withMaxPackageBytes(5));
  sessions[2]?.configure(withMaxPackageBytes(0));
  expect(server.broadcast('too long')).toEqual({ sent: 2, full: 0, refused: 1 });
  sessions[2]?.configure(withMaxPackageBytes(9));
  expect(() => server.broadcast('too long for all')).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
  expect(server.broadcast('fits')).toEqual({ sent: 3, full: 0, refused: 0 });
  expect(await received()).toEqual([['fits'], ['too long', 'fits'], ['too long', 'fits']]);
});

it('of what cannot be encoded, or of nothing, throws, and nothing is sent', async () => {
  const { server, received } = await scene(2, new LineHandler());
  expect(() => server.broadcast('two\nlines')).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED' }));
  expect(() => server.broadcast(undefined as never)).toThrow(expect.objectContaining({ code: 'NO_PACKAGE' }));
  expect(await received()).toEqual([[], []]);
  expect(server.stats().packagesWritten).toBe(0);
});

it('that one PkgHandler of several cannot encode reaches the others', async () => {
  const { server, sessions, received } = await scene(3, new LineHandler());
  const broken = new LineHandler();
  broken.write = () => {
    throw new Error('broken');
  };
  sessions[1]?.configure(withPkgHandler<string, string>(broken));
  expect(server.broadcast('news')).toEqual({ sent: 2, full: 0, refused: 1 });
  expect(await received()).toEqual([['news'], [], ['news']]);
});

it('throws only what holds for all: too large for one and refused by the queue of another is a result', async () => {
  const { world, server, sessions } = await scene(2, new LineHandler(), [withWaterMarks(10, 20), withSendQueue(40_000, 'reject')]);
  sessions[0]?.configure(withMaxPackageBytes(5));
  world.link(1).stall('client');
  for (let count = 0; count < 2; count++) sessions[1]?.send('x'.repeat(60_000));
  await settle(2);
  expect(() => sessions[1]?.send('x')).toThrow(expect.objectContaining({ code: 'SEND_QUEUE_FULL' }));
  expect(server.broadcast('too long')).toEqual({ sent: 0, full: 0, refused: 2 });
});

it('from inside a handler does not reach into what that handler sends', async () => {
  const world = new MemoryWorld();
  const listener = new Recorder<string>({
    onMessage(session, line) {
      session.send(`you: ${line}`);
      server.broadcast(`all: ${line}`);
      session.send('done');
    },
  });
  const server = await world.server(new LineHandler(), listener);
  const heard = new Recorder<string>();
  const client = world.client(new LineHandler(), heard, withConnectionNumber(2));
  await client.connect();
  await listener.until('open', 2);
  client.send('hi');
  await eventually(() => heard.packages.length === 4, 'all has come');
  expect(heard.packages.filter((line) => line === 'all: hi')).toHaveLength(2);
  expect(heard.packages.filter((line) => line !== 'all: hi')).toEqual(['you: hi', 'done']);
});
