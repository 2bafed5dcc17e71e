import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import type { PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';
import { withConcurrentMessages, withDrainTimeoutMs, withListenerErrorPolicy } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, index) => String(index));
}

describe('order', () => {
  it('is kept whatever time each handler takes, however the stream is cut, one handler at a time', async () => {
    const delays = fc.array(fc.nat({ max: 30 }), { minLength: 1, maxLength: 40 });
    const property = fc.asyncProperty(delays, fc.constantFrom('none', 'random', 'bytes'), fc.integer(), async (waits, split, seed) => {
      const world = new MemoryWorld({ split, seed });
      let [running, most] = [0, 0];
      const handled: string[] = [];
      const listener = new Recorder<string>({
        onMessage: async (_session, text) => {
          most = Math.max(most, ++running);
          const waitMs = waits[Number(text)] ?? 0;
          if (waitMs > 0) await new Promise<void>((resolve) => world.clock.after(waitMs, resolve));
          handled.push(text);
          running--;
        },
      });
      const server = await world.server(line, listener);
      const client = await world.connect(line, new Recorder<string>());
      for (const text of numbers(waits.length)) client.send(text);
      client.end();
      const session = await listener.session();
      await world.finish(session.closed);
      expect(handled).toEqual(numbers(waits.length));
      expect(most).toBe(1);
      expect((await session.closed).code).toBe('PEER_CLOSED');
      expect(server.sessions.size).toBe(0);
    });
    await fc.assert(property, { numRuns: 25 });
  });

  it('holds for handlers that return at once and handlers that return a promise, mixed', async () => {
    const order: string[] = [];
    const listener = new Recorder<string>({
      onMessage: (_session, text) => {
        order.push(`${text} begins`);
        if (Number(text) % 2 === 0) return undefined;
        return Promise.resolve().then(() => void order.push(`${text} ends`));
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('0\n1\n2\n3\n4\n');
    await listener.until('message', 5);
    expect(order).toEqual(['0 begins', '1 begins', '1 ends', '2 begins', '3 begins', '3 ends', '4 begins']);
  });

  it('is given up with withConcurrentMessages, up to so many handlers', async () => {
    const gates = numbers(6).map(() => new Deferred());
    const listener = new Recorder<string>({ onMessage: (_session, text) => gates[Number(text)]?.promise });
    const server = await tcpServer(line, listener, [withConcurrentMessages(3)]);
    const peer = await RawPeer.connect(server);
    peer.write(numbers(6).join('\n').concat('\n'));
    await listener.until('message', 3);
    await settle();
    expect(listener.packages).toEqual(['0', '1', '2']);
    const session = await listener.session();
    expect(session.stats().runningHandlers).toBe(3);
    gates[1]?.resolve();
    await listener.until('message', 4);
    for (const gate of gates) gate.resolve();
    await listener.until('message', 6);
    expect(listener.packages).toEqual(numbers(6));
    await eventually(() => session.stats().runningHandlers === 0, 'all handlers are done');
  });

  it('goes on behind a handler that has failed, with the policy continue', async () => {
    const listener = new Recorder<string>({
      onMessage: (_session, text) => (text === '1' ? Promise.reject(new Error('no')) : settle(2)),
    });
    const server = await tcpServer(line, listener, [withListenerErrorPolicy('continue')]);
    const peer = await RawPeer.connect(server);
    peer.socket.end('0\n1\n2\n');
    await (await listener.session()).closed;
    expect(listener.events).toEqual(['open', 'message', 'message', 'error', 'message', 'close']);
  });

  it('waits for onOpen, also when it is slow', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({ onOpen: () => gate.promise });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('early\n');
    const session = await listener.session();
    await settle();
    expect([listener.events, session.stats().packagesRead]).toEqual([['open'], 0]);
    gate.resolve();
    await listener.until('message');
    expect(listener.packages).toEqual(['early']);
  });
});

describe('close()', () => {
  it('lets no further package be handled, also of those that were received already', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({ onMessage: () => gate.promise });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('0\n1\n2\n');
    await listener.until('message');
    const session = await listener.session();
    void session.close();
    peer.socket.end('3\n');
    gate.resolve();
    await session.closed;
    expect(listener.packages).toEqual(['0']);
    expect(listener.events).toEqual(['open', 'message', 'close']);
    expect(session.stats().bufferedBytes).toBe(0);
  });

  it('waits for a running handler before onClose, and not longer than the drain time-out', async () => {
    for (const settlesAfterMs of [500, undefined]) {
      const world = new MemoryWorld();
      let closedAtMs = 0;
      const listener = new Recorder<string>({
        onMessage: () =>
          new Promise((resolve) => {
            if (settlesAfterMs !== undefined) world.clock.after(settlesAfterMs, resolve);
          }),
        onClose: () => {
          closedAtMs = world.clock.now();
        },
      });
      await world.server(line, listener, [withDrainTimeoutMs(2_000)]);
      const client = await world.connect(line, new Recorder<string>());
      client.send('slow');
      await listener.until('message');
      await world.finish((await listener.session()).close());
      expect(closedAtMs).toBe(settlesAfterMs ?? 2_000);
    }
  });

  it('in a handler lets that handler run to its end before onClose', async () => {
    const order: string[] = [];
    const listener = new Recorder<string>({
      onMessage: async (session) => {
        void session.close();
        order.push(`closing: ${session.signal.aborted}, send: ${session.send('too late')}`);
        await settle(3);
        order.push('handler ends');
      },
      onClose: () => void order.push('onClose'),
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('go\n');
    await peer.ended();
    peer.socket.end();
    await (await listener.session()).closed;
    expect(order).toEqual(['closing: true, send: false', 'handler ends', 'onClose']);
    expect(peer.receivedBytes).toBe(0);
  });
});

describe('pause() and resume()', () => {
  it('work in the middle of a chunk: the packages behind wait and come in order', async () => {
    const listener = new Recorder<string>({
      onMessage: (session, text) => {
        if (text === '1' || text === '3') session.pause();
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('0\n1\n2\n3\n4\n');
    await listener.until('message', 2);
    const session = await listener.session();
    await settle();
    expect(listener.packages).toEqual(['0', '1']);
    expect(session.stats()).toMatchObject({ packagesRead: 2, bufferedBytes: 6 });
    session.resume();
    expect(listener.packages).toEqual(['0', '1', '2', '3']);
    session.pause();
    session.pause();
    session.resume();
    expect(listener.packages).toEqual(['0', '1', '2', '3', '4']);
    session.resume();
    peer.write('5\n');
    await listener.until('message', 6);
  });

  it('stop the socket from being read, so that the peer is held back', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.pause();
    const text = `${'x'.repeat(65_535)}\n`;
    for (let index = 0; index < 256; index++) peer.write(text);
    await settle(200);
    expect(peer.socket.writableLength).toBeGreaterThan(0);
    expect(session.stats().bytesRead).toBeLessThanOrEqual(524_288);
    expect(listener.packages).toEqual([]);
    session.resume();
    await listener.until('message', 256);
    expect(session.stats()).toMatchObject({ bytesRead: 256 * 65_536, bufferedBytes: 0 });
  });

  it('a handler that is busy holds the peer back too, at 64 KiB and one read', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({ onMessage: () => gate.promise });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const text = `${'x'.repeat(1_023)}\n`.repeat(1_024);
    for (let index = 0; index < 16; index++) peer.write(text);
    await listener.until('message');
    const session = await listener.session();
    await settle(200);
    expect(session.stats().bufferedBytes).toBeLessThanOrEqual(65_536 + 524_288);
    expect(peer.socket.writableLength).toBeGreaterThan(0);
    gate.resolve();
    await listener.until('message', 16 * 1_024);
    await eventually(() => session.stats().bufferedBytes === 0, 'all is decoded');
  });

  it('in one handler lose nothing when the peer has finished meanwhile', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({
      onMessage: (session, text) => {
        if (text === '0') return gate.promise;
        session.pause();
        session.resume();
        return undefined;
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.socket.end('0\n1\n2\n3\n');
    const session = await listener.session();
    await eventually(() => session.hasPeerEnded, 'the end has come');
    gate.resolve();
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', truncatedBytes: 0 });
    expect(listener.packages).toEqual(['0', '1', '2', '3']);
  });

  it('pause() in onOpen holds back the first package', async () => {
    const listener = new Recorder<string>({ onOpen: (session) => session.pause() });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('0\n');
    const session: Session<string> = await listener.session();
    await settle();
    expect(listener.packages).toEqual([]);
    session.resume();
    await listener.until('message');
  });

  it('a session that is paused when its peer finishes delivers everything before it closes', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.pause();
    peer.socket.end('0\n1\n');
    await settle();
    expect(listener.events).toEqual(['open']);
    session.resume();
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED' });
    expect(listener.packages).toEqual(['0', '1']);
  });
});

describe('a handler that hogs the event loop', () => {
  it('shares it: a session with thousands of packages does not keep another from its turn', async () => {
    const order: string[] = [];
    const listener = new Recorder<string>({
      onMessage: (_session, text) => {
        if (text === 'other') order.push('other');
        const until = performance.now() + (text === 'busy' ? 0.2 : 0);
        while (performance.now() < until);
        if (text === 'busy') order.push('busy');
      },
    });
    const server = await tcpServer(line, listener);
    const [busy, other] = [await RawPeer.connect(server), await RawPeer.connect(server)];
    await listener.session(1);
    busy.write('busy\n'.repeat(1_000));
    other.write('other\n');
    await listener.until('message', 1_001);
    expect(order.indexOf('other')).toBeLessThan(500);
    expect(order).toHaveLength(1_001);
  });
});

describe('what a PkgHandler remembers of a stream', () => {
  /** The first byte of a stream says what every line of it begins with; then nothing of it is kept but `bytes.state`. */
  const greeted: PkgReader<string> & PkgWriter<string> = {
    read(bytes, session) {
      if (bytes.state === 0) {
        bytes.state = bytes.uint8At(0);
        bytes.skip(1);
        return undefined;
      }
      const text = line.read(bytes);
      return text === undefined ? undefined : `${String.fromCharCode(bytes.state)}${text} of ${session.id}`;
    },
    write: line.write.bind(line),
  };

  it('stays with the stream, also when nothing is buffered and other sessions are read in between', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(greeted, listener);
    const peers = [await RawPeer.connect(server), await RawPeer.connect(server), await RawPeer.connect(server)];
    const sessions = [await listener.session(0), await listener.session(1), await listener.session(2)];
    const expected: string[] = [];
    for (const text of ['<', 'one\n', 'tw', 'o\n', 'three\nfour\nfi', 've\n']) {
      for (const [index, peer] of peers.entries()) {
        const before = sessions[index]?.stats().bytesRead ?? 0;
        const bytes = text === '<' ? ['<', '=', '>'][index] : text;
        peer.write(bytes ?? '');
        await eventually(() => sessions[index]?.stats().bytesRead === before + text.length, 'the bytes have come');
      }
    }
    for (const text of ['one', 'two', 'three', 'four', 'five']) {
      for (const [index, session] of sessions.entries()) expected.push(`${['<', '=', '>'][index]}${text} of ${session.id}`);
    }
    expect(listener.packages.toSorted()).toEqual(expected.toSorted());
  });
});
