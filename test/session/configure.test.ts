import { describe, expect, it } from 'vitest';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { LineHandler } from '../../src/codec/line.ts';
import type { PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';
import {
  withConcurrentMessages,
  withCronPeriodMs,
  withEventListener,
  withHalfOpen,
  withListenerErrorPolicy,
  withMaxPackageBytes,
  withPkgHandler,
  withSendQueue,
  withSessionName,
  withWaterMarks,
} from '../../src/session/options.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Deferred, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();
const lengths = new LengthFieldHandler({ lengthFieldBytes: 1 });
/** One byte of length, then text. */
const texts: PkgReader<string> & PkgWriter<string> = {
  read: (bytes) => lengths.read(bytes)?.toString(),
  write: (text, session, out) => lengths.write(Buffer.from(text), session, out),
};

describe('configure() while the session lives', () => {
  it('changes the framing in the middle of a chunk, in both directions', async () => {
    const listener = new Recorder<string>({
      onMessage: (session, text) => {
        session.send(text);
        if (text === 'upgrade') session.configure(withPkgHandler(texts));
        if (text === 'downgrade') session.configure(withPkgHandler(line));
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const stream = 'plain\nupgrade\n\x05first\x09downgradeplain\nend\n';
    peer.write(stream);
    await listener.until('message', 6);
    expect(listener.packages).toEqual(['plain', 'upgrade', 'first', 'downgrade', 'plain', 'end']);
    expect((await peer.receive(stream.length)).toString()).toBe(stream);
  });

  it('changes the framing of the rest of a chunk while the handler is waiting', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({ onMessage: (_session, text) => (text === 'upgrade' ? gate.promise : undefined) });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('upgrade\n\x02hi');
    await listener.until('message');
    (await listener.session()).configure(withPkgHandler(texts));
    gate.resolve();
    await listener.until('message', 2);
    expect(listener.packages).toEqual(['upgrade', 'hi']);
  });

  it('gives the next package to another listener, and later events too', async () => {
    const first = new Recorder<string>({
      onMessage: (session, text) => void (text === 'go' && session.configure(withEventListener(second))),
    });
    const second = new Recorder<string>();
    const server = await tcpServer(line, first);
    const peer = await RawPeer.connect(server);
    peer.socket.end('go\nnext\n');
    await (await first.session()).closed;
    expect([first.events, second.events]).toEqual([
      ['open', 'message'],
      ['message', 'close'],
    ]);
  });

  it('changes limits: the next package is held to them', async () => {
    const listener = new Recorder<string>({ onMessage: (session) => void session.configure(withMaxPackageBytes(8)) });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.socket.end('long enough\nshort\nlong enough\n');
    expect(await (await listener.session()).closed).toMatchObject({ code: 'TOO_LARGE' });
    expect(listener.packages).toEqual(['long enough', 'short']);
  });

  it('changes the bounds of the send queue', async () => {
    const world = new MemoryWorld({ bufferBytes: 1_000 });
    const listener = new Recorder<string>();
    await world.server(line, listener);
    await world.connect(line, new Recorder<string>());
    const session = await listener.session();
    world.link().stall('client');
    session.send('x'.repeat(2_999));
    await settle(2);
    expect([session.isWritable, session.pendingBytes]).toEqual([true, 2_000]);
    session.configure(withWaterMarks(100, 1_500), withSendQueue(3_000, 'reject'));
    expect(session.isWritable).toBe(false);
    expect(session.send('x')).toBe(false);
    expect(await codeOf(() => session.send('x'.repeat(1_000)))).toBe('SEND_QUEUE_FULL');
  });

  it('changes the period of onCron, which counts from then on', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>();
    await world.server(line, listener, [withCronPeriodMs(1_000)]);
    await world.connect(line, new Recorder<string>());
    const session = await listener.session();
    await world.clock.advance(2_500);
    expect(listener.count('cron')).toBe(2);
    session.configure(withCronPeriodMs(100));
    await world.clock.advance(550);
    expect(listener.count('cron')).toBe(7);
    session.configure(withCronPeriodMs(10_000));
    await world.clock.advance(9_900);
    expect(listener.count('cron')).toBe(7);
    await world.clock.advance(200);
    expect(listener.count('cron')).toBe(8);
  });

  it('changes the error policy, half-open and the number of concurrent messages', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({
      onMessage: (_session, text) => (text === 'bad' ? Promise.reject(new Error('bad')) : gate.promise),
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.configure(withListenerErrorPolicy('continue'), withHalfOpen(true), withConcurrentMessages(2));
    peer.socket.end('0\n1\nbad\n2\n');
    await listener.until('message', 2);
    await settle();
    expect(listener.packages).toEqual(['0', '1']);
    gate.resolve();
    await listener.until('end');
    expect([listener.packages, listener.count('error'), listener.events.at(-1)]).toEqual([['0', '1', 'bad', '2'], 1, 'end']);
    expect(session.state).toBe('open');
  });

  it('touches no other session, and settings show what is in force', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener, [withMaxPackageBytes(100)]);
    const peers = [await RawPeer.connect(server), await RawPeer.connect(server)];
    const [one, other] = [await listener.session(0), await listener.session(1)];
    expect(one.configure(withMaxPackageBytes(1_000), withSessionName('special'))).toBe(one);
    expect([one.settings.maxPackageBytes, one.name, other.settings.maxPackageBytes, other.name]).toEqual([
      1_000,
      'special',
      100,
      'tcp-session',
    ]);
    for (const peer of peers) peer.write(`${'x'.repeat(500)}\n`);
    await listener.until('close');
    expect([one.state, other.isClosed]).toEqual(['open', true]);
  });

  it('throws ConfigError for what does not fit together, and nothing is changed', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    await RawPeer.connect(server);
    const session = await listener.session();
    const before = session.settings;
    expect(await codeOf(() => session.configure(withSessionName('x'), withWaterMarks(100, 10)))).toBe('INVALID_OPTION');
    expect(await codeOf(() => session.configure(withWaterMarks(10, 10_000_000)))).toBe('INVALID_OPTION');
    expect(session.settings).toBe(before);
  });

  it('in newSession it sets up one session before it opens', async () => {
    const listener = new Recorder<string>();
    const special = new Recorder<string>();
    const server = await tcpServer(line, listener, [], (session) => {
      if (special.sessions.length === 0) session.configure(withEventListener(special), withPkgHandler(texts), withSessionName('special'));
    });
    const peers = [await RawPeer.connect(server)];
    expect((await special.session()).name).toBe('special');
    peers.push(await RawPeer.connect(server));
    await listener.session();
    peers[0]?.write('\x02hi');
    peers[1]?.write('hello\n');
    await special.until('message');
    await listener.until('message');
    expect([special.packages, listener.packages]).toEqual([['hi'], ['hello']]);
  });

  it('in newSession a pause holds until resume, and takes a resume back', async () => {
    const listener = new Recorder<string>();
    let isFirst = true;
    const server = await tcpServer(line, listener, [], (session) => {
      session.pause();
      if (!isFirst) session.resume();
      isFirst = false;
    });
    const paused = await RawPeer.connect(server);
    const session = await listener.session();
    paused.write('held\n');
    const other = await RawPeer.connect(server);
    other.write('not held\n');
    await listener.until('message');
    await settle();
    expect(listener.packages).toEqual(['not held']);
    expect(session.connection.bytesRead).toBe(0);
    session.resume();
    await listener.until('message', 2);
    expect(listener.packages).toEqual(['not held', 'held']);
  });

  it('after the close it does no harm', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    peer.socket.end();
    await session.closed;
    session.configure(withPkgHandler(texts), withCronPeriodMs(1), withEventListener(new Recorder<string>()));
    expect(session.state).toBe('closed');
    expect(listener.events).toEqual(['open', 'close']);
  });
});
