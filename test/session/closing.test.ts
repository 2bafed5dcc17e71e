import { describe, expect, it } from 'vitest';
import { PeerError } from '../../src/base/errors.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { CLOSE_STATUS, closeCodeOf } from '../../src/session/close-reason.ts';
import { withConcurrentMessages, withDrainTimeoutMs } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { moveTo } from '../../src/session/session-state.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

describe('close()', () => {
  it('gives the reason it was called with, and one promise for all', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    const early = session.closed;
    const closing = session.close({ code: 'AUTH', reason: 'who are you?' });
    expect(session.state).toBe('closing');
    peer.socket.end();
    const reason = await closing;
    expect(reason).toEqual({
      code: 'AUTH',
      by: 'local',
      text: 'who are you?',
      status: 4401,
      error: undefined,
      truncatedBytes: 0,
      unsentBytes: 0,
    });
    expect([await early, await session.closed, await session.close(), listener.reasons[0]]).toEqual([reason, reason, reason, reason]);
    expect(session.state).toBe('closed');
  });

  it('refuses options that make no sense, and nothing is closed', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    await RawPeer.connect(server);
    const session = await listener.session();
    expect(await codeOf(() => session.close({ drainTimeoutMs: -1 }))).toBe('INVALID_OPTION');
    expect(await codeOf(() => session.close({ code: 'BORED' as 'NORMAL' }))).toBe('INVALID_OPTION');
    expect(session.state).toBe('open');
  });

  it('is what leaving an await using block does', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener, [withDrainTimeoutMs(20)]);
    await RawPeer.connect(server);
    const session = await listener.session();
    await session[Symbol.asyncDispose]();
    expect(listener.reasons).toMatchObject([{ code: 'NORMAL', by: 'local' }]);
  });

  it('that destroy() hurries tells what was not sent', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>();
    await world.server(line, listener);
    await world.connect(line, new Recorder<string>());
    const session = await listener.session();
    world.link().stall('client');
    for (let count = 0; count < 4; count++) session.send('x'.repeat(60_000));
    void session.close();
    session.destroy();
    await world.finish(session.closed);
    expect(listener.reasons[0]?.unsentBytes).toBeGreaterThan(100_000);
  });

  it('throws away what the peer still sends, and is not kept up by it', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    const closing = session.close();
    await peer.ended();
    for (let index = 0; index < 64; index++) peer.write('x'.repeat(65_536));
    peer.socket.end();
    await closing;
    expect(listener.events).toEqual(['open', 'close']);
    expect(session.stats()).toMatchObject({ bytesRead: 0, bufferedBytes: 0 });
  });

  it('during newSession: the session never opens, and the connection ends', async () => {
    const listener = new Recorder<string>();
    const made: Session<string>[] = [];
    const server = await tcpServer(line, listener, [withDrainTimeoutMs(50)], (session) => {
      made.push(session);
      void session.close();
    });
    const peer = await RawPeer.connect(server);
    await peer.ended();
    peer.socket.end();
    expect(await made[0]?.closed).toMatchObject({ code: 'NORMAL' });
    expect(listener.events).toEqual([]);
    expect(server.sessions.size).toBe(0);
  });
});

describe('close({ afterHandlers: true })', () => {
  it('lets the running handler reply, and handles nothing behind it', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({
      onMessage: async (session, text) => {
        await gate.promise;
        session.send(`re: ${text}`);
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('0\n1\n');
    await listener.until('message');
    const session = await listener.session();
    const closing = session.close({ afterHandlers: true });
    await settle();
    expect(session.state).toBe('open');
    gate.resolve();
    await peer.ended();
    peer.socket.end();
    expect(await closing).toMatchObject({ code: 'NORMAL' });
    expect(peer.received.toString()).toBe('re: 0\n');
    expect(listener.events).toEqual(['open', 'message', 'close']);
  });

  it('waits for all of several handlers', async () => {
    const gates = [new Deferred(), new Deferred()];
    const listener = new Recorder<string>({
      onMessage: async (session, text) => {
        await gates[Number(text)]?.promise;
        session.send(`re: ${text}`);
      },
    });
    const server = await tcpServer(line, listener, [withConcurrentMessages(2)]);
    const peer = await RawPeer.connect(server);
    peer.write('0\n1\n2\n');
    await listener.until('message', 2);
    const session = await listener.session();
    void session.close({ afterHandlers: true });
    gates[1]?.resolve();
    await peer.receive(6);
    expect(session.state).toBe('open');
    gates[0]?.resolve();
    await peer.ended();
    peer.socket.end();
    await session.closed;
    expect(peer.received.toString()).toBe('re: 1\nre: 0\n');
  });

  it('called by the handler itself waits for that handler', async () => {
    const listener = new Recorder<string>({
      onMessage: async (session, text) => {
        void session.close({ afterHandlers: true });
        await settle(2);
        session.send(`re: ${text}`);
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('0\n1\n');
    await peer.ended();
    peer.socket.end();
    await (await listener.session()).closed;
    expect(peer.received.toString()).toBe('re: 0\n');
    expect(listener.events).toEqual(['open', 'message', 'close']);
  });

  it('called by a handler that returns at once closes behind it', async () => {
    const listener = new Recorder<string>({
      onMessage: (session, text) => {
        void session.close({ afterHandlers: true });
        session.send(`re: ${text}`);
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('0\n1\n');
    await peer.ended();
    peer.socket.end();
    await (await listener.session()).closed;
    expect(peer.received.toString()).toBe('re: 0\n');
    expect(listener.count('message')).toBe(1);
  });

  it('is bounded by the drain time-out', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>({ onMessage: () => new Promise(() => {}) });
    await world.server(line, listener);
    const client = await world.connect(line, new Recorder<string>());
    client.send('never');
    await listener.until('message');
    const session = await listener.session();
    const closing = session.close({ afterHandlers: true, drainTimeoutMs: 500 });
    await world.clock.advance(490);
    expect(session.state).toBe('open');
    await world.clock.advance(40);
    expect(await closing).toMatchObject({ code: 'NORMAL' });
  });

  it('is hurried by destroy()', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>({ onMessage: () => new Promise(() => {}) });
    await world.server(line, listener, [withDrainTimeoutMs(1_000)]);
    const client = await world.connect(line, new Recorder<string>());
    client.send('never');
    await listener.until('message');
    const session = await listener.session();
    void session.close({ afterHandlers: true });
    session.destroy(new PeerError('HEARTBEAT_TIMEOUT', 'enough'));
    expect(session.state).toBe('closing');
    await world.finish(session.closed);
    expect(await session.closed).toMatchObject({ code: 'HEARTBEAT', error: { code: 'HEARTBEAT_TIMEOUT' } });
    expect(await client.closed).toMatchObject({ code: 'RESET' });
  });

  it('is what server.close() does, called from a handler too', async () => {
    const listener = new Recorder<string>({
      onMessage: async (session, text) => {
        void server.close();
        await settle(3);
        session.send(`re: ${text}`);
      },
    });
    const server = await tcpServer(line, listener);
    const peers = [await RawPeer.connect(server), await RawPeer.connect(server)];
    await listener.session(1);
    peers[0]?.write('0\n');
    for (const peer of peers) {
      await peer.ended();
      peer.socket.end();
    }
    expect(await server.close()).toMatchObject({ sessions: 2, flushed: 2, unflushed: [] });
    expect(peers.map((peer) => peer.received.toString())).toEqual(['re: 0\n', '']);
    expect(listener.reasons).toMatchObject([{ code: 'GOING_AWAY' }, { code: 'GOING_AWAY' }]);
  });
});

describe('destroy()', () => {
  it('resets the connection at once; with an error, onError gets it as the cause of a TransportError', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server, false);
    const session = await listener.session();
    session.send('lost');
    const cause = new Error('enough');
    session.destroy(cause);
    peer.socket.resume();
    await peer.closed();
    expect(peer.receivedBytes).toBe(0);
    expect(await session.closed).toMatchObject({ code: 'RESET', by: 'local', error: { code: 'TRANSPORT_FAILED', cause }, unsentBytes: 5 });
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });

  it('ends a close that waits for its peer', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener, [withDrainTimeoutMs(60_000)]);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    const closing = session.close();
    await peer.ended();
    session.destroy();
    expect(await closing).toMatchObject({ code: 'NORMAL', text: 'closed by this side' });
  });
});

describe('signal', () => {
  it('is aborted when the session begins to close, also when nobody had asked for it before', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peers = [await RawPeer.connect(server), await RawPeer.connect(server)];
    const [asked, unasked] = [await listener.session(0), await listener.session(1)];
    const { signal } = asked;
    expect(signal.aborted).toBe(false);
    for (const peer of peers) peer.socket.end();
    await Promise.all([asked.closed, unasked.closed]);
    expect([signal.aborted, asked.signal === signal, unasked.signal.aborted]).toEqual([true, true, true]);
    expect(signal.reason).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(unasked.signal.reason).toMatchObject({ code: 'SESSION_CLOSED' });
  });

  it('has the error that ended the session as its reason', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const { signal, closed } = await listener.session();
    peer.socket.resetAndDestroy();
    await closed;
    expect(signal.reason).toBe(listener.errors[0]);
    await eventually(() => signal.aborted, 'the signal is aborted');
  });
});

describe('the tables', () => {
  it('let a session move forward only', () => {
    expect(moveTo('opening', 'open')).toBe('open');
    expect(moveTo('opening', 'closing')).toBe('closing');
    expect(() => moveTo('closed', 'open')).toThrow('expected one of');
    expect(() => moveTo('closing', 'open')).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
  });

  it('know a status for every code, and a code for every error', () => {
    expect(CLOSE_STATUS).toMatchObject({ NORMAL: 1000, GOING_AWAY: 1001, TOO_LARGE: 1009, INTERNAL: 1011 });
    expect(closeCodeOf(new PeerError('PACKAGE_TOO_LARGE', ''))).toBe('TOO_LARGE');
    expect(closeCodeOf(new PeerError('SLOW_READER', ''))).toBe('SLOW');
  });
});
