import { describe, expect, it, vi } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { Client } from '../../src/endpoint/client.ts';
import {
  type ClientOptions,
  withClock,
  withConnectionNumber,
  withConnectTimeoutMs,
  withLogger,
  withPickStrategy,
  withReconnect,
  withServerAddress,
} from '../../src/endpoint/options.ts';
import { TcpClient } from '../../src/endpoint/tcp.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import type { Transport } from '../../src/transport/transport.ts';
import { closeLater, lineClient, listen, rejection, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, eventually, LogRecorder, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer } from '../helpers/session-tcp.ts';

const lines = new LineHandler();

/** A client over a transport whose dials the test answers. */
function clientOver(world: MemoryWorld, dial: Transport['dial'], ...options: readonly Option<ClientOptions<string, string>>[]) {
  const transport: Transport = { name: 'test', listen: () => Promise.reject(new Error('not used')), dial };
  const client = Client.over<string, string>(
    transport,
    withClock(world.clock),
    withServerAddress('server:1'),
    withPkgHandler(lines),
    withEventListener<string, string>({ onMessage() {} }),
    ...options,
  );
  return closeLater(client);
}

describe('connect', () => {
  it('dials at most 16 connections at a time', async () => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const network = world.network.transport();
    let underWay = 0;
    let most = 0;
    const client = clientOver(
      world,
      async (address, options) => {
        underWay++;
        most = Math.max(most, underWay);
        await settle(2);
        const connection = await network.dial(address, options);
        underWay--;
        return connection;
      },
      withConnectionNumber(50),
    );
    await client.connect();
    expect(client.sessions.size).toBe(50);
    expect(most).toBe(16);
    await world.finish(client.close());
  });

  it('called again waits for the same, whatever it is given', async () => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const client = world.client(lines, new Recorder<string>());
    const named: string[] = [];
    const [first, second] = await Promise.all([
      client.connect(() => void named.push('first')),
      client.connect(() => void named.push('second')),
    ]);
    expect(first).toBe(second);
    expect(await client.connect()).toBe(first);
    expect(named).toEqual(['first']);
  });

  it('resolves with a session that was closed as soon as it was open, which says why', async () => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const recorder = new Recorder<string>();
    recorder.onOpen = (session) => void session.close({ code: 'OVERLOAD', reason: 'no room' });
    const client = world.client(lines, recorder, withReconnect(false));
    const gaveUp = new Promise<{ error: unknown }>((resolve) => void client.on('gaveUp', resolve));
    const session = await client.connect();
    expect(session.isClosed).toBe(true);
    await world.clock.advance(10_000);
    const reason = await session.closed;
    expect(reason).toMatchObject({ code: 'OVERLOAD', by: 'local', text: 'no room' });
    expect((await gaveUp).error).toMatchObject({ code: 'RECONNECT_EXHAUSTED', cause: reason });
    // Later there is no session to be had, and the errors say what became of the last one.
    const text = 'the client has no open session; the last one ended with OVERLOAD: no room';
    expect(await rejection(client.connect())).toMatchObject({ code: 'NO_SESSION', message: `connect: ${text}`, cause: reason });
    expect(() => client.send('x')).toThrow(expect.objectContaining({ code: 'NO_SESSION', message: `pick: ${text}`, cause: reason }));
  });

  it('is refused after close, and ready before connect', async () => {
    const world = new MemoryWorld();
    const client = world.client(lines, new Recorder<string>());
    expect(await rejection(client.ready)).toMatchObject({ name: 'StateError', code: 'WRONG_STATE' });
    await client.close();
    expect(client.isClosed).toBe(true);
    expect(await rejection(client.connect())).toMatchObject({ name: 'StateError', code: 'ENDPOINT_CLOSED' });
  });

  it('rejects when one connection is given up, and keeps the others', async () => {
    const world = new MemoryWorld();
    const server = new Recorder<string>();
    await world.server(lines, server);
    const network = world.network.transport();
    let dials = 0;
    const dial: Transport['dial'] = (address, options) =>
      ++dials === 2 ? Promise.reject(new Error('no')) : network.dial(address, options);
    const client = clientOver(world, dial, withConnectionNumber(3), withReconnect(false));
    expect(await rejection(client.connect())).toMatchObject({ code: 'RECONNECT_EXHAUSTED', cause: { message: 'no' } });
    await eventually(() => client.sessions.size === 2, 'the others are open');
    expect(client.send('hello')).toBe(true);
    await server.until('message');
    await world.finish(client.close());
  });

  it('gives a dial up after the connect time-out, and aborts it', async () => {
    const world = new MemoryWorld();
    const signals: AbortSignal[] = [];
    const dial: Transport['dial'] = (_, { signal }) =>
      new Promise((_resolve, reject) => {
        signals.push(signal);
        signal.addEventListener('abort', () => reject(signal.reason));
      });
    const client = clientOver(world, dial, withConnectTimeoutMs(2_000), withReconnect({ attempts: 2, random: () => 0.5 }));
    const failed = rejection(client.connect());
    await world.clock.advance(1_990);
    expect(signals.map(({ aborted }) => aborted)).toEqual([false]);
    await world.clock.advance(5_000);
    expect(await failed).toMatchObject({ cause: { name: 'TransportError', code: 'CONNECT_TIMEOUT' } });
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true]);
    expect(world.clock.pendingTimers).toBe(0);
  });

  it('does not try for ever what was set up wrongly', async () => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const transport = world.network.transport();
    const client = closeLater(Client.over(transport, withClock(world.clock), withServerAddress('server:1')));
    expect(await rejection(client.connect())).toMatchObject({
      code: 'RECONNECT_EXHAUSTED',
      message: expect.stringContaining('withPkgHandler and withEventListener'),
      cause: { name: 'ConfigError', code: 'MISSING_OPTION' },
    });
    await world.finish(client.close());
  });

  it.each(['nowhere:port', '127.0.0.9999', 'host:70000', '', 'unix:', '::1:80'])('refuses the address %j in the constructor', (address) => {
    const message = expect.stringMatching(/^withServerAddress: expected .*, given "/);
    expect(() => new TcpClient(withServerAddress(address))).toThrow(expect.objectContaining({ name: 'ConfigError', message }));
  });

  it('needs an address', () => {
    expect(() => new TcpClient()).toThrow(expect.objectContaining({ name: 'ConfigError', code: 'MISSING_OPTION' }));
  });
});

describe('a session that is lost', () => {
  const endings: Record<string, (served: Session<string>, own: Session<string>) => void> = {
    'the server has closed it (FIN)': (served) => void served.close(),
    'the server has reset it (RST)': (served) => served.destroy(),
    'this side has closed it': (_, own) => void own.close(),
    'this side has destroyed it': (_, own) => own.destroy(new Error('of no use')),
  };

  it.each(Object.keys(endings))('comes back when %s', async (how) => {
    const clock = virtualClock();
    const server = new Recorder<string>();
    const endPoint = await listen(server);
    const heard = new Recorder<string>();
    const client = lineClient(endPoint, heard, withClock(clock), withReconnect({ random: () => 0 }));
    const reconnected = new Deferred<Session<string>>();
    client.on('reconnected', ({ session }) => reconnected.resolve(session));
    const own = await client.connect();
    endings[how]?.(await server.session(), own);
    await heard.until('close');
    await eventually(() => own.state === 'closed', 'the session is over');
    await clock.advance(20);
    const next = await reconnected.promise;
    expect(next).not.toBe(own);
    expect(client.pick()).toBe(next);
    next.send('back');
    await server.until('message');
  });

  it('stays lost when shouldReconnect says so, which is asked with the reason', async () => {
    const world = new MemoryWorld();
    const server = new Recorder<string>();
    await world.server(lines, server);
    const asked: string[] = [];
    const shouldReconnect = (reason: { code: string }): boolean => {
      asked.push(reason.code);
      return reason.code === 'RESET';
    };
    const client = world.client(lines, new Recorder<string>(), withReconnect({ shouldReconnect, random: () => 0 }));
    const gaveUp: unknown[] = [];
    client.on('gaveUp', (info) => gaveUp.push(info));
    await client.connect();
    world.link().cut();
    await world.clock.advance(1_000);
    expect(gaveUp).toEqual([]);
    void (await server.session(1)).close();
    await world.clock.advance(1_000);
    expect(asked).toEqual(['RESET', 'PEER_CLOSED']);
    expect(gaveUp).toEqual([{ slot: 0, failures: 0, error: expect.objectContaining({ code: 'RECONNECT_EXHAUSTED' }) }]);
    await world.clock.advance(600_000);
    expect(server.count('open')).toBe(2);
  });

  it('comes back when shouldReconnect fails, which is logged', async () => {
    const world = new MemoryWorld();
    const server = new Recorder<string>();
    await world.server(lines, server);
    const logger = new LogRecorder();
    const shouldReconnect = (): boolean => {
      throw new Error('no idea');
    };
    const client = world.client(lines, new Recorder<string>(), withReconnect({ shouldReconnect }), withLogger(logger));
    await client.connect();
    world.link().cut();
    await world.clock.advance(1_000);
    await server.until('open', 2);
    expect(logger.errors).toEqual(['shouldReconnect failed: no idea']);
  });

  it('comes back whatever the listeners of the events do', async () => {
    const world = new MemoryWorld();
    const server = new Recorder<string>();
    await world.server(lines, server);
    const client = world.client(lines, new Recorder<string>(), withReconnect({ random: () => 0.5 }));
    const fail = (): never => {
      throw new Error('listener');
    };
    client.on('reconnecting', fail).on('reconnected', fail).on('session', fail).on('sessionClosed', fail);
    await client.connect();
    for (let times = 1; times <= 3; times++) {
      world.link().cut();
      await world.clock.advance(1_000);
      await server.until('open', times + 1);
    }
  });
});

describe('a session that cannot be set up', () => {
  it.each([
    ['throws', (): void => fail()],
    ['rejects', (): Promise<void> => Promise.reject(new Error('no session'))],
  ])('counts as a failed attempt when newSession %s, with delays that grow', async (_, newSession) => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const heard = new Recorder<string>();
    const client = world.client(lines, heard, withReconnect({ attempts: 4, random: () => 0.5 }));
    const delays: [number, number][] = [];
    client.on('reconnecting', ({ failures, delayMs }) => delays.push([failures, delayMs]));
    const failed = rejection(client.connect(newSession));
    await world.clock.advance(60_000);
    expect(await failed).toMatchObject({ cause: { code: 'LISTENER_FAILED', phase: 'newSession', cause: { message: 'no session' } } });
    expect(delays).toEqual([
      [1, 150],
      [2, 300],
      [3, 600],
    ]);
    expect(heard.events).not.toContain('open');
    expect(heard.events).not.toContain('close');
    expect(world.network.links).toHaveLength(0);
  });

  function fail(): never {
    throw new Error('no session');
  }

  it('counts as a failed attempt when onOpen fails', async () => {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const heard = new Recorder<string>({ onOpen: fail });
    const client = world.client(lines, heard, withReconnect({ attempts: 3, random: () => 0.5 }));
    const gaveUp: unknown[] = [];
    client.on('gaveUp', (info) => gaveUp.push(info));
    await client.connect().catch(() => {});
    await world.clock.advance(60_000);
    expect(gaveUp).toEqual([{ slot: 0, failures: 3, error: expect.objectContaining({ code: 'RECONNECT_EXHAUSTED' }) }]);
    expect(heard.events).toEqual(Array(3).fill(['open', 'error', 'close']).flat());
  });

  it('closes with the connection when the peer goes away meanwhile', async () => {
    const server = new Recorder<string>();
    const gate = new Deferred();
    const begun = new Deferred();
    const endPoint = await listen(server, [], () => {
      begun.resolve();
      return gate.promise;
    });
    const peer = await RawPeer.connect(endPoint);
    await begun.promise;
    peer.socket.destroy();
    gate.resolve();
    await eventually(() => endPoint.stats().openSessions === 0 && endPoint.stats().totalSessions === 1, 'the session is forgotten');
    await settle();
    expect(server.count('open')).toBe(server.count('close'));
  });
});

describe('pick', () => {
  async function pool(...options: readonly Option<ClientOptions<string, string>>[]) {
    const world = new MemoryWorld();
    await world.server(lines, new Recorder<string>());
    const client = world.client(lines, new Recorder<string>(), withConnectionNumber(3), ...options);
    await client.connect();
    return { world, client, sessions: [...client.sessions.values()] };
  }

  it('takes the sessions in turn, also as others close', async () => {
    const { world, client, sessions } = await pool();
    const offset = sessions.indexOf(client.pick()) + 1;
    const picked = [client.pick(), client.pick(), client.pick(), client.pick()].map((session) => sessions.indexOf(session));
    expect(picked).toEqual([0, 1, 2, 3].map((index) => (index + offset) % 3));
    const [first] = sessions;
    await world.finish(first?.close() ?? Promise.resolve());
    expect(new Set([client.pick(), client.pick(), client.pick(), client.pick()])).toEqual(new Set(sessions.slice(1)));
  });

  it('takes the session with the fewest bytes waiting', async () => {
    const { world, client, sessions } = await pool(withPickStrategy('least-pending'));
    for (const link of world.network.links) link.stall('server');
    for (const [index, session] of sessions.entries()) {
      for (let times = 0; times < 5 - index; times++) session.send('x'.repeat(60_000));
    }
    await settle();
    expect(sessions.map((session) => session.pendingBytes > 0)).toEqual([true, true, true]);
    expect(client.pick()).toBe(sessions[2]);
    expect(client.pick()).toBe(sessions[2]);
  });

  it('takes one at random', async () => {
    const { client, sessions } = await pool(withPickStrategy('random'));
    const random = vi.spyOn(Math, 'random');
    for (const [value, index] of [
      [0, 0],
      [0.34, 1],
      [0.999, 2],
    ] as const) {
      random.mockReturnValue(value);
      expect(client.pick()).toBe(sessions[index]);
    }
    random.mockReturnValue(0);
    expect(client.pick('round-robin')).not.toBe(undefined);
  });

  it('throws NO_SESSION when none is open, and so does send', async () => {
    const { world, client, sessions } = await pool();
    for (const session of sessions) void session.close();
    // Closing sessions are not picked, before they have closed.
    expect(() => client.pick()).toThrow(expect.objectContaining({ name: 'StateError', code: 'NO_SESSION' }));
    expect(() => client.send('x')).toThrow(expect.objectContaining({ code: 'NO_SESSION' }));
    await world.clock.advance(10_000);
    const unconnected = world.client(lines, new Recorder<string>());
    expect(() => unconnected.pick()).toThrow(expect.objectContaining({ code: 'NO_SESSION' }));
  });
});
