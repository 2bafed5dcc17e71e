import { describe, expect, it } from 'vitest';
import { attributeKey } from '../../src/base/attributes.ts';
import type { Option } from '../../src/base/option.ts';
import { LineHandler } from '../../src/codec/line.ts';
import type { ServerOptions } from '../../src/endpoint/options.ts';
import {
  withCronPeriodMs,
  withHeartbeat,
  withIdleTimeoutMs,
  withReaderIdleMs,
  withReadTimeoutMs,
  withSessionName,
  withWriterIdleMs,
} from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { lineClient, listen } from '../helpers/endpoint-fixtures.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, Recorder, settle } from '../helpers/session-recorder.ts';

const lines = new LineHandler();

/** A session of a server, and the peer of it, in a world of its own. */
async function pair(
  server: Recorder<string>,
  options: readonly Option<ServerOptions<string, string>>[] = [],
  client: Recorder<string> = new Recorder(),
): Promise<{ world: MemoryWorld; session: Session<string>; peer: Session<string> }> {
  const world = new MemoryWorld();
  await world.server(lines, server, options);
  const peer = await world.connect(lines, client);
  return { world, session: await server.session(), peer };
}

describe('cron', () => {
  it('37. calls onCron every period: 20 times a second at 50 ms, never after close, and by a changed period at once', async () => {
    const server = new Recorder<string>();
    const { world, session } = await pair(server, [withCronPeriodMs(50)]);
    await world.clock.advance(1_000);
    expect(server.count('cron')).toBe(20);
    session.configure(withCronPeriodMs(500));
    await world.clock.advance(1_000);
    expect(server.count('cron')).toBe(22);
    session.configure(withCronPeriodMs(10));
    await world.clock.advance(100);
    expect(server.count('cron')).toBe(32);
    void session.close();
    await world.clock.advance(10_000);
    expect(server.count('cron')).toBe(32);
    expect(server.events.at(-1)).toBe('close');
  });

  it('38. lets a slow onCron neither overlap itself nor delay the ones of other sessions', async () => {
    const world = new MemoryWorld();
    let running = 0;
    let most = 0;
    const starts = new Map<number, number[]>();
    const server = new Recorder<string>({
      async onCron(session) {
        starts.set(session.id, [...(starts.get(session.id) ?? []), world.clock.now()]);
        if (session !== server.sessions[0]) return;
        running++;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => world.clock.after(310, resolve));
        running--;
      },
    });
    await world.server(lines, server, [withCronPeriodMs(50)]);
    await world.connect(lines, new Recorder<string>());
    await world.connect(lines, new Recorder<string>());
    const [slow, quick] = [await server.session(0), await server.session(1)];
    await world.clock.advance(1_000);
    expect(most).toBe(1);
    expect(starts.get(quick.id)).toEqual(Array.from({ length: 20 }, (_, index) => (index + 1) * 50));
    // 350 finds the one of 50 still at it; what was missed is skipped.
    expect(starts.get(slow.id)).toEqual([50, 400, 750]);
  });
});

describe('activity', () => {
  it('39. counts as active what was received as a whole package, not what was sent and not a part of a package', async () => {
    const server = new Recorder<string>();
    const { world, session, peer } = await pair(server, [withReadTimeoutMs(0)]);
    await world.clock.advance(1_000);
    peer.send('whole');
    await settle();
    expect(session.lastActiveMs).toBe(1_000);
    await world.clock.advance(500);
    session.send('out');
    await settle();
    expect(session.lastActiveMs).toBe(1_000);
    expect(peer.lastActiveMs).toBe(1_500);
    await world.clock.advance(500);
    await peer.writeBytes(Buffer.from('par'));
    await settle();
    expect(session.lastActiveMs).toBe(1_000);
    await world.clock.advance(500);
    await peer.writeBytes(Buffer.from('tial\n'));
    await settle();
    expect(session.lastActiveMs).toBe(2_500);
    await world.clock.advance(500);
    session.touch();
    expect(session.lastActiveMs).toBe(3_000);
    const wall = Date.now() - session.lastActive.getTime();
    expect(wall).toBeGreaterThanOrEqual(0);
    expect(wall).toBeLessThan(5_000);
  });

  it.each([
    ['no traffic', withIdleTimeoutMs(200), 'no traffic for 200 ms'],
    ['nothing received', withReaderIdleMs(200), 'no package received for 200 ms'],
    ['nothing sent', withWriterIdleMs(200), 'nothing sent for 200 ms'],
  ])('40. closes a session after %s for the idle time-out (IDLE), which is no error', async (_, option, text) => {
    const server = new Recorder<string>();
    const { world } = await pair(server, [option]);
    await world.clock.advance(190);
    expect(server.events).toEqual(['open']);
    await world.clock.advance(20);
    expect(server.events).toEqual(['open', 'close']);
    expect(server.reasons[0]).toMatchObject({ code: 'IDLE', by: 'local', text, error: undefined });
  });

  it.each([
    ['any traffic', withIdleTimeoutMs(200), [true, true]],
    ['what is received, and only that', withReaderIdleMs(200), [true, false]],
    ['what is sent, and only that', withWriterIdleMs(200), [false, true]],
  ])('40. begins to count anew with %s', async (_, option, [byReceiving, bySending]) => {
    for (const isReceiving of [true, false]) {
      const server = new Recorder<string>();
      const { world, session, peer } = await pair(server, [option]);
      for (let times = 0; times < 5; times++) {
        await world.clock.advance(150);
        if (isReceiving) peer.send('x');
        else session.send('x');
        await settle();
      }
      expect(session.isClosed).toBe(isReceiving ? !byReceiving : !bySending);
    }
  });

  it('40. takes touch() for a package received', async () => {
    const server = new Recorder<string>();
    const { world, session } = await pair(server, [withReaderIdleMs(200)]);
    for (let times = 0; times < 5; times++) {
      await world.clock.advance(150);
      session.touch();
    }
    expect(session.isClosed).toBe(false);
    await world.clock.advance(210);
    expect(session.isClosed).toBe(true);
  });

  it('41. closes a session whose peer stays silent in spite of the heartbeat (HEARTBEAT), with an error', async () => {
    const server = new Recorder<string>();
    const client = new Recorder<string>();
    const { world } = await pair(server, [withHeartbeat<string, string>({ intervalMs: 100, timeoutMs: 350, ping: () => 'ping' })], client);
    await world.clock.advance(340);
    expect(server.events).toEqual(['open']);
    expect(client.packages).toEqual(['ping', 'ping', 'ping']);
    await world.clock.advance(20);
    expect(server.events).toEqual(['open', 'error', 'close']);
    expect(server.errors[0]).toMatchObject({ name: 'PeerError', code: 'HEARTBEAT_TIMEOUT' });
    expect(server.reasons[0]).toMatchObject({ code: 'HEARTBEAT', by: 'peer' });
  });

  it('41. keeps a session whose peer answers, whatever it says', async () => {
    const server = new Recorder<string>();
    const client = new Recorder<string>({ onMessage: (session) => void session.send('pong') });
    const heartbeat = withHeartbeat<string, string>({ intervalMs: 100, timeoutMs: 150, ping: (session) => `ping ${session.id}` });
    const { world, session } = await pair(server, [heartbeat], client);
    await world.clock.advance(60_000);
    expect(session.state).toBe('open');
    expect(server.packages).toHaveLength(600);
    expect(new Set(client.packages)).toEqual(new Set([`ping ${session.id}`]));
  });
});

describe('statistics', () => {
  it('42. are exact after known traffic, for the session and its endpoint', async () => {
    const server = new Recorder<string>({ onMessage: (session, line) => void session.send(line) });
    const endPoint = await listen(server, [withSessionName('echo')]);
    const client = new Recorder<string>();
    const session = await lineClient(endPoint, client).connect();
    for (let size = 0; size < 100; size++) session.send('x'.repeat(size));
    await client.until('message', 100);
    const bytes = 100 + (99 * 100) / 2;
    const traffic = { bytesRead: bytes, bytesWritten: bytes, packagesRead: 100, packagesWritten: 100, packagesDropped: 0 };
    const served = await server.session();
    const { localAddress, remoteAddress } = served;
    expect(served.stats()).toMatchObject({
      ...traffic,
      id: served.id,
      name: 'echo',
      type: 'TCP_SERVER',
      state: 'open',
      localAddress: localAddress.text,
      remoteAddress: remoteAddress.text,
      pendingBytes: 0,
      bufferedBytes: 0,
      runningHandlers: 0,
    });
    expect(session.stats()).toMatchObject({ ...traffic, type: 'TCP_CLIENT' });
    expect(String(served)).toBe(
      `session {echo:TCP_SERVER:${served.id}:${localAddress.text}<->${remoteAddress.text}}, ` +
        `Read Bytes: ${bytes}, Write Bytes: ${bytes}, Read Pkgs: 100, Write Pkgs: 100`,
    );
    expect(endPoint.stats()).toMatchObject({ ...traffic, openSessions: 1, totalSessions: 1, refusedConnections: 0 });
    await session.close();
    await server.until('close');
    await eventually(() => endPoint.stats().openSessions === 0, 'the session is forgotten');
    expect(endPoint.stats()).toMatchObject({ ...traffic, openSessions: 0, totalSessions: 1 });
    expect(served.stats()).toMatchObject({ ...traffic, state: 'closed' });
  });

  it('42. count on beyond 4 GiB', async () => {
    const server = new Recorder<string>({ onMessage: (session, line) => void session.send(line) });
    const { world, session, peer } = await pair(server);
    const connection = session.connection;
    Reflect.set(connection, 'bytesRead', 2 ** 32 - 3);
    Reflect.set(connection, 'bytesWritten', 2 ** 40 - 3);
    peer.send('12345');
    await settle();
    expect(session.stats()).toMatchObject({ bytesRead: 2 ** 32 + 3, bytesWritten: 2 ** 40 + 3 });
    expect(String(session)).toContain(`Read Bytes: ${2 ** 32 + 3}, Write Bytes: ${2 ** 40 + 3}`);
    expect(session.endPoint.sessions.size).toBe(1);
    await world.finish(session.close());
  });
});

describe('attributes', () => {
  it('43. are set, read and deleted by keys of any kind, and a value that is undefined is not an absent one', async () => {
    const { session } = await pair(new Recorder());
    const { attributes } = session;
    const user = attributeKey<{ name: string }>('user');
    const other = attributeKey<number>('user');
    const [symbol, object] = [Symbol('key'), {}];
    attributes.set(user, { name: 'ada' }).set(other, 1).set(symbol, 2).set(object, 3).set('__proto__', 4).set(Number.NaN, 5);
    const name: string | undefined = attributes.get(user)?.name;
    expect([name, attributes.get(other)]).toEqual(['ada', 1]);
    expect([attributes.get(symbol), attributes.get(object), attributes.get({})]).toEqual([2, 3, undefined]);
    expect([attributes.get('__proto__'), attributes.get(Number.NaN), attributes.get('toString')]).toEqual([4, 5, undefined]);
    attributes.set('empty', undefined);
    expect([attributes.has('empty'), attributes.has('absent')]).toEqual([true, false]);
    expect([attributes.delete(user), attributes.delete(user), attributes.has(user)]).toEqual([true, false, false]);
  });

  it('43. hold nothing of portico, and nothing of other sessions; deleting all of them changes no behaviour', async () => {
    const server = new Recorder<string>();
    const { session, peer } = await pair(server);
    expect([session.attributes.size, peer.attributes.size]).toEqual([0, 0]);
    session.attributes.set('mine', 1);
    expect(peer.attributes.has('mine')).toBe(false);
    expect(session.attributes).toBe(session.attributes);
    session.attributes.clear();
    peer.attributes.clear();
    peer.send('still');
    await server.until('message');
  });

  it('43. can be read in onClose and afterwards', async () => {
    let seen: unknown;
    const server = new Recorder<string>({
      onClose: (session) => {
        seen = session.attributes.get('key');
      },
    });
    const { world, session } = await pair(server);
    session.attributes.set('key', 'value');
    await world.finish(session.close());
    expect([seen, session.attributes.get('key')]).toEqual(['value', 'value']);
  });
});
