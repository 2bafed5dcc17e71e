import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { Client, type ClientEvents } from '../../src/endpoint/client.ts';
import {
  withClock,
  withConnectionNumber,
  withLocalAddress,
  withReconnect,
  withServerAddress,
  withTls,
} from '../../src/endpoint/options.ts';
import type { Transport } from '../../src/transport/transport.ts';
import { closeLater, lineClient, lineServer, listen, rejection, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';

const lines = new LineHandler();

type Told<Name extends keyof ClientEvents<string, string>> = ClientEvents<string, string>[Name][0];

/** What a client says of its connections, and how many were open at most. */
function watch(client: Client<string>) {
  const told = {
    reconnecting: [] as Told<'reconnecting'>[],
    reconnected: [] as Told<'reconnected'>[],
    gaveUp: [] as Told<'gaveUp'>[],
    mostOpen: 0,
  };
  client.on('reconnecting', (info) => told.reconnecting.push(info));
  client.on('reconnected', (info) => told.reconnected.push(info));
  client.on('gaveUp', (info) => told.gaveUp.push(info));
  client.on('session', () => {
    told.mostOpen = Math.max(told.mostOpen, client.sessions.size);
  });
  return told;
}

describe('a pool of 5 connections', () => {
  async function pool() {
    const clock = virtualClock();
    const server = new Recorder<string>();
    const endPoint = await listen(server, [withClock(clock)]);
    const client = lineClient(endPoint, new Recorder<string>(), withClock(clock), withConnectionNumber(5), withReconnect({}));
    return { clock, server, endPoint, client, told: watch(client) };
  }

  it('66. is ready when all 5 are open, side by side, without any waiting', async () => {
    const { server, client, told } = await pool();
    const started = performance.now();
    const session = await client.connect();
    expect(client.sessions.size).toBe(5);
    expect(session.state).toBe('open');
    await client.ready;
    // The clock has not moved, so nothing was waited for. Loosely, in real time:
    expect(performance.now() - started).toBeLessThan(5_000);
    await server.until('open', 5);
    expect(told).toEqual({ reconnecting: [], reconnected: [], gaveUp: [], mostOpen: 5 });
  });

  it('67. gets the one back that the server kills, and never has more than 5', async () => {
    const { clock, server, client, told } = await pool();
    await client.connect();
    for (let round = 1; round <= 3; round++) {
      await clock.advance(5_000);
      (await server.session(3 + round)).destroy();
      await eventually(() => told.reconnecting.length === round, 'the loss is noticed');
      expect(client.sessions.size).toBe(4);
      await clock.advance(300);
      await eventually(() => client.sessions.size === 5, 'all are back');
    }
    await settle();
    expect(told.mostOpen).toBe(5);
    expect(told.reconnected.map(({ failures }) => failures)).toEqual([0, 0, 0]);
    expect(told.reconnected[0]?.session.state).not.toBe('opening');
  });

  it('68. gets exactly 5 back when all die at once', async () => {
    const { clock, server, client, told } = await pool();
    await client.connect();
    await server.until('open', 5);
    for (const session of server.sessions) session.destroy();
    await eventually(() => told.reconnecting.length === 5, 'all losses are noticed');
    expect(client.sessions.size).toBe(0);
    await clock.advance(300);
    await eventually(() => client.sessions.size === 5, 'all are back');
    await clock.advance(60_000);
    await settle();
    expect(client.sessions.size).toBe(5);
    expect(told.mostOpen).toBe(5);
    expect(told.reconnected.map(({ slot }) => slot).sort()).toEqual([0, 1, 2, 3, 4]);
    expect(client.stats()).toMatchObject({ openSessions: 5, totalSessions: 10 });
  });
});

describe('a server that is down', () => {
  it('69. is tried again after times that grow, in full jitter, until the attempts are used up', async () => {
    const world = new MemoryWorld();
    world.network.refuseDials = true;
    const parts = [0.5, 0.999, 0, 0.25, 0.5];
    const random = (): number => parts.shift() ?? 0;
    const client = world.client(lines, new Recorder<string>(), withReconnect({ attempts: 6, baseMs: 100, maxMs: 1_000, random }));
    const told = watch(client);
    const failed = rejection(client.connect());
    await world.clock.advance(60_000);
    expect(await failed).toMatchObject({ name: 'StateError', code: 'RECONNECT_EXHAUSTED', cause: { code: 'CONNECT_FAILED' } });
    expect(await rejection(client.ready)).toMatchObject({ code: 'RECONNECT_EXHAUSTED' });
    // Of 100, 200, 400, 800 and then 1000 ms at most.
    expect(told.reconnecting.map(({ slot, failures, delayMs }) => [slot, failures, delayMs])).toEqual([
      [0, 1, 50],
      [0, 2, 199],
      [0, 3, 0],
      [0, 4, 200],
      [0, 5, 500],
    ]);
    expect(told.reconnecting[0]?.cause).toMatchObject({ name: 'TransportError', code: 'CONNECT_FAILED' });
    expect(told.gaveUp).toEqual([{ slot: 0, failures: 6, error: await failed }]);
    expect(told.reconnected).toEqual([]);
    // For good.
    world.network.refuseDials = false;
    await world.server(lines, new Recorder<string>());
    await world.clock.advance(600_000);
    expect(client.sessions.size).toBe(0);
  });

  it('69. waits as long as it said before each attempt', async () => {
    const world = new MemoryWorld();
    const dials: number[] = [];
    const transport: Transport = {
      name: 'nobody',
      listen: () => Promise.reject(new Error('not used')),
      dial: () => {
        dials.push(world.clock.now());
        return Promise.reject(new Error('nobody'));
      },
    };
    const options = [withClock(world.clock), withServerAddress('x'), withReconnect({ attempts: 4, random: () => 0.5 })];
    const client = closeLater(Client.over<string, string>(transport, ...options));
    const failed = rejection(client.connect());
    await world.clock.advance(10_000);
    expect(await failed).toMatchObject({ cause: { code: 'CONNECT_FAILED', cause: { message: 'nobody' } } });
    expect(dials).toEqual([0, 150, 450, 1_050]);
  });

  it('70. is found again before the limit, and failures are counted anew from then on', async () => {
    const world = new MemoryWorld();
    world.network.refuseDials = true;
    const server = new Recorder<string>();
    await world.server(lines, server);
    const client = world.client(lines, new Recorder<string>(), withReconnect({ attempts: 4, random: () => 0.5 }));
    const told = watch(client);
    const connected = client.connect();
    await world.clock.advance(500);
    expect(told.reconnecting.map(({ failures }) => failures)).toEqual([1, 2, 3]);
    world.network.refuseDials = false;
    await world.clock.advance(1_000);
    const session = await connected;
    expect(told.reconnected).toEqual([{ slot: 0, failures: 3, session }]);
    await world.clock.advance(5_000);
    world.network.refuseDials = true;
    (await server.session()).destroy();
    await world.clock.advance(500);
    expect(told.reconnecting.slice(3).map(({ failures }) => failures)).toEqual([0, 1, 2]);
    expect(told.gaveUp).toEqual([]);
  });

  it('70. that takes connections only to drop them is one that fails: waits grow, until the attempts are used up', async () => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>({ onOpen: (session) => session.destroy() }));
    const client = world.client(lines, new Recorder<string>(), withReconnect({ attempts: 5, random: () => 0.5 }));
    const told = watch(client);
    await client.connect();
    await world.clock.advance(60_000);
    expect(told.reconnecting.map(({ failures, delayMs }) => [failures, delayMs])).toEqual([
      [1, 150],
      [2, 300],
      [3, 600],
      [4, 1_200],
    ]);
    expect(told.gaveUp).toMatchObject([{ failures: 5, error: { code: 'RECONNECT_EXHAUSTED' } }]);
    expect(client.stats()).toMatchObject({ totalSessions: 5, openSessions: 0 });
  });

  it('70. that has sent a package, or that this side leaves, has not failed', async () => {
    const world = new MemoryWorld();
    const server = new Recorder<string>({
      onOpen: (session) => {
        if (server.sessions.length > 3) return;
        session.send('no room');
        session.end();
      },
    });
    await world.server(lines, server);
    const heard = new Recorder<string>();
    const client = world.client(lines, heard, withReconnect({ attempts: 2, random: () => 0.5 }));
    const told = watch(client);
    await client.connect();
    await world.clock.advance(2_000);
    expect(heard.packages).toEqual(['no room', 'no room', 'no room']);
    void client.pick().close();
    await world.clock.advance(2_000);
    expect(told.reconnecting.map(({ failures, delayMs }) => [failures, delayMs])).toEqual(Array(4).fill([0, 150]));
    expect([client.sessions.size, told.gaveUp]).toEqual([1, []]);
  });

  it('71. that was restarted in order is found again, over real sockets', async () => {
    const clock = virtualClock();
    const first = await listen(new Recorder<string>(), [withClock(clock)]);
    const heard = new Recorder<string>();
    const client = lineClient(first, heard, withClock(clock), withReconnect({ random: () => 0.5 }));
    const told = watch(client);
    await client.connect();
    const address = first.localAddress.text;
    await clock.advance(5_000);
    await first.close();
    await heard.until('close');
    expect(heard.reasons[0]).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', error: undefined });
    // 72. That came at once: time stands still, and nobody listens.
    const server = new Recorder<string>();
    await lineServer(server, withClock(clock), withLocalAddress(address)).listen();
    await clock.advance(300);
    await server.until('open');
    await eventually(() => told.reconnected.length === 1, 'the client is back');
    expect(told.reconnecting[0]).toMatchObject({ failures: 0, delayMs: 150, cause: { code: 'PEER_CLOSED' } });
    client.send('hello');
    await server.until('message');
  });

  it('72. does not hold up onClose of the session that it has ended', async () => {
    const world = new MemoryWorld();
    const server = await world.server(lines, new Recorder<string>());
    const heard = new Recorder<string>();
    const client = world.client(lines, heard, withReconnect({}));
    await client.connect();
    world.network.refuseDials = true;
    const before = world.clock.now();
    await server.close();
    await heard.until('close');
    expect(world.clock.now()).toBe(before);
    expect(heard.events).toEqual(['open', 'close']);
  });
});

describe('closing a client', () => {
  it('73. ends a wait for the next attempt at once, and nothing is tried any more', async () => {
    const world = new MemoryWorld();
    world.network.refuseDials = true;
    const client = world.client(
      lines,
      new Recorder<string>(),
      withConnectionNumber(3),
      withReconnect({ baseMs: 30_000, random: () => 0.9 }),
    );
    const told = watch(client);
    const failed = rejection(client.connect());
    await eventually(() => told.reconnecting.length === 3, 'the client waits');
    expect(await client.close()).toEqual({ sessions: 0, flushed: 0, unflushed: [] });
    expect(await failed).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    expect(world.clock.pendingTimers).toBe(0);
    world.network.refuseDials = false;
    await world.clock.advance(100_000);
    expect(told).toMatchObject({ reconnected: [], gaveUp: [], mostOpen: 0 });
    expect(told.reconnecting).toHaveLength(3);
  });

  it('73. ends a dial that is under way at once, and leaves no socket', async () => {
    // A TLS client waits for a server that does not speak TLS, and does not speak at all.
    const server = new Recorder<string>();
    const endPoint = await listen(server);
    const clock = virtualClock();
    const client = lineClient(
      endPoint,
      new Recorder<string>(),
      withClock(clock),
      withTls({ rejectUnauthorized: false }),
      withReconnect({}),
    );
    const told = watch(client);
    const failed = rejection(client.connect());
    await server.until('open');
    await client.close();
    expect(await failed).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    await server.until('close');
    expect(clock.pendingTimers).toBe(0);
    expect(told).toEqual({ reconnecting: [], reconnected: [], gaveUp: [], mostOpen: 0 });
  });

  it('73. ends a session that is still being set up', async () => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const heard = new Recorder<string>();
    const client = world.client(lines, heard, withReconnect({}));
    const gate = new Deferred();
    let isSettingUp = false;
    const failed = rejection(
      client.connect(() => {
        isSettingUp = true;
        return gate.promise;
      }),
    );
    await eventually(() => isSettingUp, 'the session is being set up');
    await world.finish(client.close());
    expect(await failed).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    gate.resolve();
    await settle();
    expect(heard.events).toEqual([]);
    expect(client.sessions.size).toBe(0);
    expect(world.network.links).toHaveLength(0);
  });

  it('73. ends its sessions, and none is replaced', async () => {
    const world = new MemoryWorld();
    const server = new Recorder<string>();
    await world.server(lines, server);
    const heard = new Recorder<string>();
    const client = world.client(lines, heard, withConnectionNumber(4), withReconnect({}));
    const told = watch(client);
    await client.connect();
    const report = await client.close();
    expect(report).toEqual({ sessions: 4, flushed: 4, unflushed: [] });
    expect(heard.reasons.map(({ code, by }) => [code, by])).toEqual(Array(4).fill(['GOING_AWAY', 'local']));
    await world.clock.advance(100_000);
    expect(told.reconnecting).toEqual([]);
    expect(server.count('open')).toBe(4);
    expect(world.network.links).toHaveLength(0);
  });
});
