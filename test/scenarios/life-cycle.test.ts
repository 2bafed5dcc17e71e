import { connect } from 'node:net';
import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withClock, withLogger, withReconnect } from '../../src/endpoint/options.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import { withCronPeriodMs, withDrainTimeoutMs, withListenerErrorPolicy, withReadTimeoutMs } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Deferred, eventually, LogRecorder, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpClient, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

describe('opening', () => {
  it('1. a client connects: both sides see newSession, then onOpen, once each, with an id and an open session', async () => {
    const [serverSide, clientSide]: [string[], string[]] = [[], []];
    const note = (events: string[], name: string) => (session: Session<string>) => {
      events.push(`${name} ${session.state} ${session.isClosed}`);
    };
    const serverListener = new Recorder<string>({ onOpen: note(serverSide, 'onOpen') });
    const clientListener = new Recorder<string>({ onOpen: note(clientSide, 'onOpen') });
    const server = await tcpServer(line, serverListener, [], note(serverSide, 'newSession'));
    const session = await tcpClient(server, line, clientListener).connect(note(clientSide, 'newSession'));
    const accepted = await serverListener.session();

    expect(serverSide).toEqual(['newSession opening false', 'onOpen open false']);
    expect(clientSide).toEqual(['newSession opening false', 'onOpen open false']);
    expect(session.id).toBeGreaterThan(0);
    expect(accepted.id).toBeGreaterThan(0);
    expect(accepted.id).not.toBe(session.id);
    expect(accepted.remoteAddress.text).toBe(session.localAddress.text);
    expect([...server.sessions.values()]).toEqual([accepted]);
  });

  it('5. onOpen throws: the socket is closed, onError has the phase, onClose follows, and neither cron nor message comes', async () => {
    for (const policy of ['close', 'continue'] as const) {
      for (const fail of [() => Promise.reject(new Error('no')), thrower('no')]) {
        const clock = new VirtualClock();
        const listener = new Recorder<string>({ onOpen: fail });
        const options = [withClock(clock), withCronPeriodMs(10), withListenerErrorPolicy(policy)];
        const server = await tcpServer(line, listener, options);
        const peer = await RawPeer.connect(server);
        peer.write('too late\n');
        await peer.ended();
        peer.socket.end();
        await listener.until('close');
        await clock.advance(1_000);
        expect(listener.events).toEqual(['open', 'error', 'close']);
        expect(listener.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase: 'open', cause: { message: 'no' } }]);
        expect(listener.reasons).toMatchObject([{ code: 'INTERNAL', by: 'local', error: listener.errors[0] }]);
        await eventually(() => server.sessions.size === 0, 'the server has forgotten the session');
      }
    }
  });

  it('6. newSession throws on the server: that connection is closed without onOpen and onClose, later ones are served', async () => {
    const failures = [thrower('no'), () => Promise.reject(new Error('no'))];
    const listener = new Recorder<string>({ onMessage: (session, text) => void session.send(text) });
    const refused: Promise<CloseReason>[] = [];
    const server = await tcpServer(line, listener, [], (session) => {
      const fail = failures.shift();
      if (fail === undefined) return undefined;
      refused.push(session.closed);
      return fail();
    });
    for (let index = 0; index < 2; index++) {
      const peer = await RawPeer.connect(server);
      await peer.closed();
    }
    const peer = await RawPeer.connect(server);
    peer.write('hello\n');
    expect((await peer.receive(6)).toString()).toBe('hello\n');
    expect(listener.events).toEqual(['error', 'error', 'open', 'message']);
    expect(listener.errors).toMatchObject([{ phase: 'newSession' }, { phase: 'newSession' }]);
    expect(await Promise.all(refused)).toMatchObject([{ code: 'INTERNAL' }, { code: 'INTERNAL' }]);
    expect(server.stats()).toMatchObject({ openSessions: 1, totalSessions: 3 });
  });

  it('7. newSession throws on the client: attempts are counted, delays grow, and the client gives up', async () => {
    const world = new MemoryWorld();
    await world.server(line, new Recorder<string>());
    const reconnect = withReconnect({ baseMs: 100, maxMs: 1_000, attempts: 6, random: () => 1 });
    const client = world.client(line, new Recorder<string>(), reconnect);
    const attempts: [failures: number, delayMs: number, cause: unknown][] = [];
    client.on('reconnecting', ({ failures, delayMs, cause }) => attempts.push([failures, delayMs, 'phase' in cause && cause.phase]));
    const gaveUp: number[] = [];
    client.on('gaveUp', ({ failures }) => gaveUp.push(failures));
    const connected = codeOf(() => client.connect(thrower('no')));
    await world.clock.advance(100 + 200 + 400 + 800 + 1_000 - 1);
    expect(gaveUp).toEqual([]);
    await world.clock.advance(1_000);
    expect(await connected).toBe('RECONNECT_EXHAUSTED');
    expect(attempts).toEqual([100, 200, 400, 800, 1_000].map((delayMs, index) => [index + 1, delayMs, 'newSession']));
    expect(gaveUp).toEqual([6]);
    expect(world.network.links).toEqual([]);
  });

  it('12. a slow onOpen of one connection does not keep others from being accepted and served', async () => {
    const slow = new Deferred();
    const listener: Recorder<string> = new Recorder({
      onOpen: (session) => (session === listener.sessions[0] ? slow.promise : undefined),
      onMessage: (session, text) => void session.send(text),
    });
    const server = await tcpServer(line, listener);
    const first = await RawPeer.connect(server);
    first.write('first\n');
    await listener.until('open');
    for (let index = 0; index < 3; index++) {
      const peer = await RawPeer.connect(server);
      peer.write('other\n');
      expect((await peer.receive(6)).toString()).toBe('other\n');
    }
    expect(first.receivedBytes).toBe(0);
    slow.resolve();
    expect((await first.receive(6)).toString()).toBe('first\n');
    expect(listener.events.slice(0, 1)).toEqual(['open']);
  });
});

describe('closing', () => {
  it('2. the server closes a session: FIN within 100 ms whatever the read time-out, one onClose on the client and no onError', async () => {
    const serverListener = new Recorder<string>();
    const clientListener = new Recorder<string>();
    const server = await tcpServer(line, serverListener, [withReadTimeoutMs(3_600_000)]);
    const client = await tcpClient(server, line, clientListener, withReadTimeoutMs(3_600_000)).connect();
    const session = await serverListener.session();
    const closing = session.close();
    expect(await closing).toMatchObject({ code: 'NORMAL', by: 'local', error: undefined });
    expect(await client.closed).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', error: undefined });
    expect(serverListener.events).toEqual(['open', 'close']);
    expect(clientListener.events).toEqual(['open', 'close']);
    expect(await session.closed).toBe(await closing);

    const peer = await RawPeer.connect(server);
    const again = await serverListener.session(1);
    const start = performance.now();
    void again.close();
    await peer.ended();
    expect(performance.now() - start).toBeLessThan(100);
    peer.socket.end();
    await again.closed;
  });

  it('3. close() five times at once is one close and one onClose', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    const closings = Array.from({ length: 5 }, () => session.close());
    await peer.ended();
    peer.socket.end();
    const reasons = await Promise.all(closings);
    expect(new Set(reasons).size).toBe(1);
    expect(listener.events).toEqual(['open', 'close']);
    expect([session.state, session.isClosed]).toEqual(['closed', true]);
  });

  it('4. the peer resets the connection: onError, then onClose, once each', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    peer.socket.resetAndDestroy();
    expect(await session.closed).toMatchObject({ code: 'RESET', by: 'network', error: { code: 'CONNECTION_RESET' } });
    expect(listener.events).toEqual(['open', 'error', 'close']);
    expect(listener.errors).toMatchObject([{ name: 'TransportError', code: 'CONNECTION_RESET', cause: { code: 'ECONNRESET' } }]);
  });

  it('10. after close nothing can be written, and in onClose ids, addresses and attributes can be read', async () => {
    const seen: unknown[] = [];
    const listener = new Recorder<string>({
      onClose: async (session) => {
        seen.push(session.id, session.remoteAddress.text, session.localAddress.text, session.attributes.get('user'), session.state);
        seen.push(session.isClosed, session.send('no'), await codeOf(() => session.writePkg('no')));
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.attributes.set('user', 'ada');
    const before = [session.id, session.remoteAddress.text, session.localAddress.text];
    expect(before[1]).toBe(`127.0.0.1:${peer.socket.localPort}`);
    peer.socket.end();
    await session.closed;
    expect(seen).toEqual([...before, 'ada', 'closing', true, false, 'SESSION_CLOSED']);
    expect([session.id, session.remoteAddress.text, session.localAddress.text]).toEqual(before);
    expect(session.send('no')).toBe(false);
    expect(session.sendEncoded(Buffer.from('no'))).toBe(false);
    for (const call of [
      () => session.writePkg('no'),
      () => session.writeBytes(Buffer.from('no')),
      () => session.writeBytesArray([Buffer.from('no')]),
      () => session.drained(),
    ]) {
      expect(await codeOf(call)).toBe('SESSION_CLOSED');
    }
    expect(peer.receivedBytes).toBe(0);
  });

  it('11. a message that arrives after close() is not delivered, whether it comes later or in the same chunk', async () => {
    const listener = new Recorder<string>({
      onMessage: (session, text) => {
        if (text === 'bye') void session.close();
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('one\nbye\nthree\n');
    await peer.ended();
    peer.write('four\n');
    await settle();
    peer.socket.end('five\n');
    await (await listener.session()).closed;
    expect(listener.packages).toEqual(['one', 'bye']);
    expect(listener.events).toEqual(['open', 'message', 'message', 'close']);
  });
});

describe('listeners that fail', () => {
  it.each([
    ['throws', thrower('bad')],
    ['rejects', () => Promise.reject(new Error('bad'))],
  ])('8. onMessage %s: onError has the phase, and the policy decides between closing and going on', async (_how, fail) => {
    for (const policy of ['close', 'continue'] as const) {
      const listener = new Recorder<string>({ onMessage: (_session, text) => (text === 'bad' ? fail() : undefined) });
      const server = await tcpServer(line, listener, [withListenerErrorPolicy(policy)]);
      const peer = await RawPeer.connect(server);
      peer.write('good\nbad\ngood\n');
      if (policy === 'continue') {
        await listener.until('message', 3);
        expect(listener.events).toEqual(['open', 'message', 'message', 'error', 'message']);
        expect((await listener.session()).state).toBe('open');
      }
      peer.socket.end();
      const reason = await (await listener.session()).closed;
      expect(listener.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase: 'message', cause: { message: 'bad' } }]);
      expect(reason.code).toBe(policy === 'close' ? 'INTERNAL' : 'PEER_CLOSED');
      expect(listener.packages).toEqual(policy === 'close' ? ['good', 'bad'] : ['good', 'bad', 'good']);
      expect(listener.count('close')).toBe(1);
    }
  });

  it('9. onCron, onError and onClose throw: the process lives, failures are logged and the cleanup is complete', async () => {
    const world = new MemoryWorld();
    const logs = new LogRecorder();
    const fail = (session: Session<string>): void => {
      if (session === listener.sessions[0]) throw new Error('bad');
    };
    const listener = new Recorder<string>({
      onCron: fail,
      onError: fail,
      onClose: fail,
      onMessage: (session, text) => void session.send(text),
    });
    const server = await world.server(line, listener, [withLogger(logs), withCronPeriodMs(1_000), withDrainTimeoutMs(100)]);
    const clients = [await world.connect(line, new Recorder<string>()), await world.connect(line, new Recorder<string>())];
    const doomed = await listener.session();
    await listener.session(1);
    let callbacks = 0;
    doomed.addCloseCallback('test', 1, () => void callbacks++);
    await world.clock.advance(1_500);
    expect(await doomed.closed).toMatchObject({ code: 'INTERNAL', error: { phase: 'cron', cause: { message: 'bad' } } });
    expect(callbacks).toBe(1);
    expect(logs.errors).toHaveLength(2);
    expect(logs.errors.every((text) => text.includes(`session ${doomed.id}:`) && text.endsWith('bad'))).toBe(true);
    expect(server.sessions.size).toBe(1);
    clients[1]?.send('still there');
    await listener.until('message');
    expect(listener.count('cron')).toBe(2);
  });

  it('2. a peer that never ends its side does not keep a closed session alive', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener, [withDrainTimeoutMs(50)]);
    const { port, host } = server.localAddress;
    const socket = connect({ port, host, allowHalfOpen: true });
    socket.on('error', () => {});
    socket.resume();
    const session = await listener.session();
    expect(await session.close()).toMatchObject({ code: 'NORMAL', unsentBytes: 0 });
    expect(server.sessions.size).toBe(0);
    socket.destroy();
  });
});

function thrower(message: string): () => never {
  return () => {
    throw new Error(message);
  };
}
