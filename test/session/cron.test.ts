import { describe, expect, it } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { type ServerOptions, withClock } from '../../src/endpoint/options.ts';
import { EventListener } from '../../src/session/event-listener.ts';
import {
  withCronPeriodMs,
  withEventListener,
  withHeartbeat,
  withIdleTimeoutMs,
  withListenerErrorPolicy,
  withReaderIdleMs,
  withReadTimeoutMs,
  withSendQueue,
  withWriterIdleMs,
  withWriteTimeoutMs,
} from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { listen, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer } from '../helpers/session-tcp.ts';

const lines = new LineHandler();

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

describe('onCron', () => {
  it('costs no timer when the listener has none of its own, and neither does anything else that is off', async () => {
    const world = new MemoryWorld();
    class Silent extends EventListener<string> {
      onMessage(): void {}
    }
    await world.server(lines, new Silent());
    const session = await world.connect(lines, { onMessage() {} });
    session.send('x');
    await settle();
    expect(world.clock.pendingTimers).toBe(0);
  });

  it('skips the periods that were missed, and keeps to its times', async () => {
    const times: number[] = [];
    const server = new Recorder<string>({ onCron: () => void times.push(world.clock.now()) });
    const { world } = await pair(server, [withCronPeriodMs(100)]);
    await world.clock.advance(200);
    world.clock.block(550);
    await world.clock.advance(0);
    await world.clock.advance(300);
    expect(times).toEqual([100, 200, 750, 800, 900, 1_000]);
  });

  it('may change its own period', async () => {
    const times: number[] = [];
    const server = new Recorder<string>({
      onCron(session) {
        times.push(world.clock.now());
        session.configure(withCronPeriodMs(session.settings.cronPeriodMs * 2));
      },
    });
    const { world } = await pair(server, [withCronPeriodMs(100)]);
    await world.clock.advance(1_600);
    expect(times).toEqual([100, 300, 700, 1_500]);
  });

  it('is not put off when something else is changed meanwhile', async () => {
    const server = new Recorder<string>();
    const { world, session } = await pair(server, [withCronPeriodMs(100), withIdleTimeoutMs(1_000)]);
    for (let times = 0; times < 20; times++) {
      session.configure(withIdleTimeoutMs(1_000 + times));
      await world.clock.advance(50);
    }
    expect(server.count('cron')).toBe(10);
  });

  it('begins when a listener that has it takes over, and ends with it', async () => {
    const server = new Recorder<string>();
    const { world, session } = await pair(new Recorder<string>());
    session.configure(withEventListener<string, string>({ onMessage() {} }), withCronPeriodMs(100));
    await world.clock.advance(10_000);
    session.configure(withEventListener<string, string>(server));
    await world.clock.advance(90);
    expect(server.events).toEqual([]);
    await world.clock.advance(10);
    expect(server.events).toEqual(['cron']);
    session.configure(withEventListener<string, string>({ onMessage() {} }));
    await world.clock.advance(1_000);
    expect(server.events).toEqual(['cron']);
  });

  it('may close the session, after which nothing of the watch runs', async () => {
    let pings = 0;
    const heartbeat = withHeartbeat<string, string>({ intervalMs: 100, timeoutMs: 10_000, ping: () => `${++pings}` });
    const server = new Recorder<string>({ onCron: (session) => session.destroy() });
    const { world } = await pair(server, [withCronPeriodMs(100), heartbeat]);
    await world.clock.advance(1_000);
    expect(server.events).toEqual(['open', 'cron', 'close']);
    expect(pings).toBe(0);
  });
});

describe('idle time-outs', () => {
  it.each([
    ['idle', withIdleTimeoutMs(200)],
    ['reader idle', withReaderIdleMs(200)],
    ['writer idle', withWriterIdleMs(200)],
    ['heartbeat', withHeartbeat<string, string>({ intervalMs: 100, timeoutMs: 200 })],
  ])('that are set while the session lives count from then on: %s', async (_, option) => {
    const server = new Recorder<string>();
    const { world, session } = await pair(server);
    await world.clock.advance(60_000);
    session.configure(option);
    await world.clock.advance(190);
    expect(session.state).toBe('open');
    await world.clock.advance(20);
    expect(session.isClosed).toBe(true);
  });

  it('are not put off by a change of the cron period', async () => {
    const server = new Recorder<string>();
    const { world, session } = await pair(server, [withIdleTimeoutMs(500)]);
    for (let times = 0; times < 6; times++) {
      session.configure(withCronPeriodMs(1_000 + times));
      await world.clock.advance(100);
    }
    expect(server.reasons[0]).toMatchObject({ code: 'IDLE' });
  });

  it('can be switched off while the session lives', async () => {
    const server = new Recorder<string>();
    const { world, session } = await pair(server, [withIdleTimeoutMs(200), withReaderIdleMs(200), withWriterIdleMs(200)]);
    await world.clock.advance(100);
    session.configure(withIdleTimeoutMs(0), withReaderIdleMs(0), withWriterIdleMs(0));
    await world.clock.advance(10_000);
    expect(session.state).toBe('open');
  });

  it('do not take a session for silent whose own handler keeps it from reading', async () => {
    const gate = new Deferred();
    const server = new Recorder<string>({ onMessage: (_session, line) => (line === 'block' ? gate.promise : undefined) });
    const options = [withReaderIdleMs(500), withHeartbeat<string, string>({ intervalMs: 100, timeoutMs: 500 })];
    const { world, session, peer } = await pair(server, options);
    peer.send('block');
    await server.until('message');
    for (let times = 0; times < 10; times++) {
      peer.send('still here');
      await world.clock.advance(200);
    }
    expect(session.state).toBe('open');
    gate.resolve();
    await server.until('message', 11);
    peer.send('and here');
    await world.clock.advance(490);
    expect(session.state).toBe('open');
    await world.clock.advance(20);
    expect(session.isClosed).toBe(true);
  });
});

describe('the heartbeat', () => {
  it('may send nothing, and only listen', async () => {
    const server = new Recorder<string>();
    const client = new Recorder<string>();
    const heartbeat = withHeartbeat<string, string>({ intervalMs: 100, timeoutMs: 300, ping: () => undefined });
    const { world, peer } = await pair(server, [heartbeat], client);
    for (let times = 0; times < 10; times++) {
      await world.clock.advance(250);
      peer.send('x');
      await settle();
    }
    expect(server.packages).toHaveLength(10);
    expect(client.packages).toEqual([]);
    await world.clock.advance(310);
    expect(server.reasons[0]).toMatchObject({ code: 'HEARTBEAT' });
  });

  it('whose ping throws fails as any user code does', async () => {
    const server = new Recorder<string>();
    const ping = (): string => {
      throw new Error('no ping');
    };
    const heartbeat = withHeartbeat<string, string>({ intervalMs: 100, timeoutMs: 1_000, ping });
    const { world } = await pair(server, [heartbeat, withListenerErrorPolicy('continue')]);
    await world.clock.advance(250);
    expect(server.events).toEqual(['open', 'error', 'error']);
    expect(server.errors[0]).toMatchObject({ code: 'LISTENER_FAILED', phase: 'heartbeat' });
  });

  it('with another period begins anew', async () => {
    const client = new Recorder<string>();
    const heartbeat = (intervalMs: number) => withHeartbeat<string, string>({ intervalMs, timeoutMs: 100_000, ping: () => 'ping' });
    const { world, session } = await pair(new Recorder<string>(), [heartbeat(10_000)], client);
    await world.clock.advance(9_000);
    session.configure(heartbeat(100));
    await world.clock.advance(350);
    expect(client.packages).toHaveLength(3);
  });
});

describe('the package time-out', () => {
  it('closes the session of a peer that sends a byte now and then and completes nothing', async () => {
    const server = new Recorder<string>();
    const { world, peer } = await pair(server, [withReadTimeoutMs(1_000)]);
    peer.send('whole');
    for (let times = 0; times < 4; times++) {
      await world.clock.advance(300);
      await peer.writeBytes(Buffer.from('x'));
      await settle();
    }
    expect(server.events).toEqual(['open', 'message']);
    await world.clock.advance(110);
    expect(server.events).toEqual(['open', 'message', 'error', 'close']);
    expect(server.errors[0]).toMatchObject({ name: 'PeerError', code: 'PACKAGE_TIMEOUT' });
    expect(server.reasons[0]).toMatchObject({ code: 'TIMEOUT', by: 'peer' });
  });

  it('counts from the beginning of each package', async () => {
    const server = new Recorder<string>();
    const { world, peer } = await pair(server, [withReadTimeoutMs(1_000)]);
    for (let times = 0; times < 5; times++) {
      await peer.writeBytes(Buffer.from('a'));
      await world.clock.advance(900);
      await peer.writeBytes(Buffer.from('b\nc'));
      await world.clock.advance(900);
      await peer.writeBytes(Buffer.from('d\n'));
      await world.clock.advance(5_000);
    }
    expect(server.packages).toEqual(Array(5).fill(['ab', 'cd']).flat());
    expect(server.errors).toEqual([]);
  });

  it('does not blame the peer while a handler holds the session up', async () => {
    const gate = new Deferred();
    const server = new Recorder<string>({ onMessage: (_session, line) => (line === 'block' ? gate.promise : undefined) });
    const { world, peer } = await pair(server, [withReadTimeoutMs(1_000)]);
    await peer.writeBytes(Buffer.from('block\npart'));
    await server.until('message');
    await world.clock.advance(10_000);
    gate.resolve();
    await world.clock.advance(900);
    await peer.writeBytes(Buffer.from('ial\n'));
    await server.until('message', 2);
    expect(server.packages).toEqual(['block', 'partial']);
  });

  it('that is made shorter while a package is incomplete holds at once', async () => {
    const server = new Recorder<string>();
    const { world, session, peer } = await pair(server, [withReadTimeoutMs(0)]);
    await peer.writeBytes(Buffer.from('x'));
    await settle();
    session.configure(withReadTimeoutMs(500));
    await world.clock.advance(510);
    expect(server.reasons[0]).toMatchObject({ code: 'TIMEOUT' });
  });

  it('can be switched off', async () => {
    const server = new Recorder<string>();
    const { world, peer } = await pair(server, [withReadTimeoutMs(0)]);
    await peer.writeBytes(Buffer.from('x'));
    await world.clock.advance(3_600_000);
    expect(server.reasons).toEqual([]);
  });
});

describe('the write time-out', () => {
  /** A session that has more to send than the kernel takes, to a peer that reads when it is told. */
  async function blocked(server: Recorder<string>, pendingBytes = 2_000_000) {
    const clock = virtualClock();
    const endPoint = await listen(server, [withClock(clock), withWriteTimeoutMs(1_000), withSendQueue(100_000_000)]);
    const peer = await RawPeer.connect(endPoint, false);
    const session = await server.session();
    const chunk = Buffer.alloc(1_000_000);
    // What the system takes at once differs.
    while (session.pendingBytes < pendingBytes) {
      void session.writeBytes(chunk).catch(() => {});
      await settle(2);
    }
    return { clock, peer, session };
  }

  it('closes a session whose peer takes nothing (SLOW)', async () => {
    const server = new Recorder<string>();
    const { clock, session } = await blocked(server);
    await clock.advance(900);
    expect(session.state).toBe('open');
    await clock.advance(700);
    expect(server.errors[0]).toMatchObject({ name: 'PeerError', code: 'WRITE_TIMEOUT' });
    await eventually(() => server.reasons.length === 1, 'the session is closed');
    expect(server.reasons[0]).toMatchObject({ code: 'SLOW', by: 'peer' });
    expect(server.reasons[0]?.unsentBytes).toBeGreaterThan(1_000_000);
  });

  it('closes it also when more and more is sent to it', async () => {
    const server = new Recorder<string>();
    const { clock, session } = await blocked(server);
    for (let times = 0; times < 20; times++) {
      session.send('more');
      await clock.advance(100);
    }
    await eventually(() => server.reasons.length === 1, 'the session is closed');
    expect(server.reasons[0]).toMatchObject({ code: 'SLOW', error: { code: 'WRITE_TIMEOUT' } });
  });

  it('does not close one whose peer takes a little, however slow, and however much is sent to it', async () => {
    const server = new Recorder<string>();
    const { clock, peer, session } = await blocked(server, 10_000_000);
    const { connection } = session;
    const taken = (): number => connection.bytesWritten - connection.stalledBytes;
    // A socket may read much more than that in one turn of the event loop.
    peer.socket.on('data', () => peer.socket.pause());
    for (let round = 0; round < 10; round++) {
      const before = taken();
      await eventually(() => {
        peer.socket.resume();
        return taken() > before;
      }, 'the peer has read enough for the system to take more');
      peer.socket.pause();
      void session.writeBytes(Buffer.alloc(taken() - before)).catch(() => {});
      // Twice this is less than the time-out, three times are more.
      await clock.advance(400);
      expect(connection.stalledBytes).toBeGreaterThan(0);
    }
    expect(server.reasons).toEqual([]);
    expect(session.state).toBe('open');
  });
});
