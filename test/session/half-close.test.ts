import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withDrainTimeoutMs, withHalfOpen } from '../../src/session/options.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpClient, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

describe('session.end()', () => {
  it('finishes sending behind what is queued and goes on receiving', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.send('last words');
    session.end();
    session.end();
    await peer.ended();
    expect(peer.received.toString()).toBe('last words\n');
    peer.write('answer\n');
    await listener.until('message');
    expect(session.state).toBe('open');
    peer.socket.end();
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', error: undefined });
    expect(listener.events).toEqual(['open', 'message', 'close']);
  });

  it('drops later sends: nothing is sent or counted, and nobody waits for a drain that will not come', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    await session.writePkg('one');
    session.end();
    expect([session.send('two'), session.sendEncoded(Buffer.from('two\n')), session.isWritable]).toEqual([false, false, false]);
    expect(await codeOf(() => session.writePkg('two'))).toBe('SESSION_CLOSED');
    expect(await codeOf(() => session.writeBytes(Buffer.from('two\n')))).toBe('SESSION_CLOSED');
    expect(await codeOf(() => session.drained())).toBe('SESSION_CLOSED');
    await peer.ended();
    expect(peer.received.toString()).toBe('one\n');
    expect(session.stats()).toMatchObject({ state: 'open', packagesWritten: 1, bytesWritten: 4, packagesDropped: 0 });
  });

  it('on both sides closes both in order', async () => {
    const [serverSide, clientSide] = [new Recorder<string>(), new Recorder<string>()];
    const server = await tcpServer(line, serverSide);
    const client = await tcpClient(server, line, clientSide).connect();
    const accepted = await serverSide.session();
    client.end();
    expect(await accepted.closed).toMatchObject({ code: 'PEER_CLOSED' });
    expect(await client.closed).toMatchObject({ code: 'PEER_CLOSED', error: undefined });
    expect([serverSide.events, clientSide.events]).toEqual([
      ['open', 'close'],
      ['open', 'close'],
    ]);
  });
});

describe("the peer's FIN", () => {
  it('lets replies to what came before it go out, and then closes', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({
      onMessage: async (session, text) => {
        await gate.promise;
        session.send(`re: ${text}`);
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.socket.end('0\n1\n2\n');
    const session = await listener.session();
    await eventually(() => session.hasPeerEnded, 'the end has come');
    await settle();
    expect(session.state).toBe('open');
    gate.resolve();
    await peer.ended();
    expect(peer.received.toString()).toBe('re: 0\nre: 1\nre: 2\n');
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', unsentBytes: 0 });
  });

  it('makes a last package of the rest where the framing has one, and waits for its handler', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({
      onMessage: async (session, text) => {
        if (text === 'rest') await gate.promise;
        session.send(`re: ${text}`);
      },
    });
    const server = await tcpServer(new LineHandler({ lastLine: true }), listener);
    const peer = await RawPeer.connect(server);
    peer.socket.end('whole\nrest');
    await listener.until('message', 2);
    const session = await listener.session();
    await settle();
    expect(session.state).toBe('open');
    gate.resolve();
    await peer.ended();
    expect(peer.received.toString()).toBe('re: whole\nre: rest\n');
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', truncatedBytes: 0 });
  });

  it('that finds the rest to be no package after all is a failure of the peer', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(
      {
        read: line.read.bind(line),
        readEnd: () => {
          throw new Error('no rest');
        },
        write: line.write.bind(line),
      },
      listener,
    );
    const peer = await RawPeer.connect(server);
    peer.socket.end('whole\nrest');
    expect(await (await listener.session()).closed).toMatchObject({ code: 'PROTOCOL', error: { cause: { message: 'no rest' } } });
    expect(listener.events).toEqual(['open', 'message', 'error', 'close']);
  });

  it('lets a large reply go out to a peer that reads slowly', async () => {
    const listener = new Recorder<string>({ onMessage: (session) => void session.writeBytes(Buffer.alloc(4_000_000)) });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server, false);
    peer.socket.end('give me much\n');
    await listener.until('message');
    await settle();
    peer.socket.resume();
    await peer.ended();
    expect(peer.receivedBytes).toBe(4_000_000);
    expect(await (await listener.session()).closed).toMatchObject({ code: 'PEER_CLOSED', unsentBytes: 0 });
  });

  it('gives each handler the drain time-out, so a handler that never settles cannot keep the session', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>({
      onMessage: (_session, text) => new Promise((resolve) => void (text !== 'never' && world.clock.after(800, resolve))),
    });
    await world.server(line, listener, [withDrainTimeoutMs(1_000)]);
    const client = await world.connect(line, new Recorder<string>());
    for (const text of ['0', '1', '2', 'never', 'unseen']) client.send(text);
    client.end();
    const session = await listener.session();
    await world.clock.advance(3_000);
    expect(session.state).toBe('open');
    await world.finish(session.closed);
    expect(listener.packages).toEqual(['0', '1', '2', 'never']);
    expect(listener.count('close')).toBe(1);
  });
});

describe('a pause when the peer has finished', () => {
  it('lasts as long as the program likes, and no package is lost', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>({
      onMessage: (session, text) => {
        if (text === '0') session.pause();
      },
    });
    await world.server(line, listener, [withDrainTimeoutMs(1_000)]);
    const client = await world.connect(line, new Recorder<string>(), withDrainTimeoutMs(1_000_000));
    await client.writeBytes(Buffer.from('0\n1\n2\n'));
    client.end();
    const session = await listener.session();
    await world.clock.advance(100_000);
    expect([session.state, listener.packages]).toEqual(['open', ['0']]);
    session.resume();
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', truncatedBytes: 0 });
    expect(listener.packages).toEqual(['0', '1', '2']);
  });

  it('that came first is told of nothing until it is over', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener, [withDrainTimeoutMs(20)]);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.pause();
    peer.socket.end('0\n1\n');
    await settle(50);
    expect([session.state, listener.packages]).toEqual(['open', []]);
    session.resume();
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', truncatedBytes: 0 });
    expect(listener.packages).toEqual(['0', '1']);
  });

  it('is not had by a handler that never settles: what it kept from being handled is counted', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>({ onMessage: () => new Promise(() => {}) });
    await world.server(line, listener, [withDrainTimeoutMs(1_000)]);
    const client = await world.connect(line, new Recorder<string>());
    client.send('never');
    client.send('unseen');
    client.end();
    const session = await listener.session();
    await world.finish(session.closed);
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', truncatedBytes: 7 });
  });
});

describe('withHalfOpen(true)', () => {
  it('calls onEnd once behind the last package, and the session can send until it is closed here', async () => {
    const listener = new Recorder<string>({ onMessage: () => settle(2) });
    const server = await tcpServer(line, listener, [withHalfOpen(true), withDrainTimeoutMs(10)]);
    const peer = await RawPeer.connect(server);
    peer.socket.end('0\n1\n');
    await listener.until('end');
    const session = await listener.session();
    expect(listener.events).toEqual(['open', 'message', 'message', 'end']);
    expect([session.state, session.hasPeerEnded, session.isWritable]).toEqual(['open', true, true]);
    await session.writePkg('still here');
    expect((await peer.receive(11)).toString()).toBe('still here\n');
    session.pause();
    session.resume();
    await settle();
    expect(listener.count('end')).toBe(1);
    expect(await session.close()).toMatchObject({ code: 'NORMAL', by: 'local' });
    await peer.ended();
    expect(listener.events).toEqual(['open', 'message', 'message', 'end', 'close']);
  });

  it('a session that ends its side too is closed', async () => {
    const listener = new Recorder<string>({
      onEnd: (session) => {
        session.send('bye');
        session.end();
      },
    });
    const server = await tcpServer(line, listener, [withHalfOpen(true)]);
    const peer = await RawPeer.connect(server);
    peer.socket.end();
    await peer.ended();
    expect(peer.received.toString()).toBe('bye\n');
    expect(await (await listener.session()).closed).toMatchObject({ code: 'PEER_CLOSED', error: undefined });
    expect(listener.events).toEqual(['open', 'end', 'close']);
  });

  it('a package that was cut is TRUNCATED here as well', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener, [withHalfOpen(true)]);
    const peer = await RawPeer.connect(server);
    peer.socket.end('whole\nhal');
    expect(await (await listener.session()).closed).toMatchObject({ code: 'TRUNCATED', truncatedBytes: 3 });
    expect(listener.events).toEqual(['open', 'message', 'close']);
  });
});
