import { describe, expect, it } from 'vitest';
import { withClock } from '../../src/endpoint/options.ts';
import { withMessageType, withPing } from '../../src/endpoint/ws-options.ts';
import { withHalfOpen, withSendQueue, withWaterMarks } from '../../src/session/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { pattern, turns, until } from '../helpers/raw-peer.ts';
import { closeFrame, OPCODE, wsFrame } from '../helpers/ws-peer.ts';
import { useWsScene } from '../helpers/ws-scene.ts';

const ws = useWsScene();
const { BINARY, TEXT, PING, PONG } = OPCODE;

describe('messages of a turn', () => {
  it('leave in one write: the answers to all messages of a chunk', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    const session = await echo.watch.session();
    peer.pour(...Array.from({ length: 64 }, (_, index) => wsFrame(BINARY, `message ${index}`)));
    expect(await peer.messagesIn(64)).toHaveLength(64);
    expect(session.stats()).toMatchObject({ writes: 1, packagesRead: 64, packagesWritten: 64 });
    expect(session.stats().bytesWritten).toBe(session.stats().bytesRead);
  });

  it('leave in one write, those sent after an await included, and receipts settle', async () => {
    const echo = await ws.server();
    const { session } = await ws.client(echo.url);
    session.send(Buffer.from('a'));
    await null;
    const written = session.writePkg(Buffer.from('b'));
    session.send(Buffer.alloc(0));
    expect(session.stats().writes).toBe(0);
    expect(await written).toEqual({ total: 1, sent: 1 });
    expect(session.stats().writes).toBe(1);
    expect(await echo.watch.textsIn(3)).toEqual(['a', 'b', '']);
  });

  it.each([0, 1, 125, 126, 127, 8191, 8192, 16_384, 16_385, 65_535, 65_536, 200_000])(
    '%i bytes go both ways as one message',
    async (size) => {
      const echo = await ws.server();
      const { session, watch } = await ws.client(echo.url);
      const bodies = [pattern(size, 1), pattern(size, 2), pattern(size, 3)];
      for (const body of bodies) session.send(body);
      const back = await watch.packagesIn(3);
      expect(back.map((pkg, index) => pkg.equals(bodies[index] ?? Buffer.of(0)))).toEqual([true, true, true]);
      expect(echo.watch.packages).toHaveLength(3);
    },
  );

  it('of many sessions do not get mixed up', async () => {
    const echo = await ws.server();
    const peers = await Promise.all(Array.from({ length: 20 }, () => ws.peer(echo)));
    const sessions = await echo.watch.sessions(20);
    for (let round = 0; round < 50; round++) for (const session of sessions) session.send(Buffer.from(`${session.id} ${round}`));
    for (const peer of peers) {
      const messages = await peer.messagesIn(50);
      const [id] = (messages[0] ?? '').split(' ');
      expect(messages).toEqual(Array.from({ length: 50 }, (_, round) => `${id} ${round}`));
    }
  });

  it('are framed once for a broadcast', async () => {
    const echo = await ws.server(withMessageType('text'));
    const peers = await Promise.all(Array.from({ length: 5 }, () => ws.peer(echo)));
    await echo.watch.sessions(5);
    for (const text of ['one', 'x'.repeat(70_000)]) expect(echo.server.broadcast(Buffer.from(text))).toMatchObject({ sent: 5 });
    for (const peer of peers) {
      const frames = await peer.framesIn(2);
      expect(frames.map(({ opcode, payload }) => [opcode, payload.length])).toEqual([
        [TEXT, 3],
        [TEXT, 70_000],
      ]);
    }
  });

  it('wait in the queue of a peer that does not read, which is closed at the hard cap', async () => {
    const echo = await ws.server(withWaterMarks(1000, 100_000), withSendQueue(400_000, 'close'));
    const peer = await ws.peer(echo);
    peer.raw.socket.pause();
    const session = await echo.watch.session();
    let isFull = false;
    while (!session.isClosed) {
      if (!session.send(pattern(50_000))) isFull = true;
      await turns(1);
    }
    expect([isFull, (await session.closed).code]).toEqual([true, 'SLOW']);
  });

  it('come again when the peer reads on', async () => {
    const echo = await ws.server(withWaterMarks(1000, 100_000));
    const peer = await ws.peer(echo);
    peer.raw.socket.pause();
    const session = await echo.watch.session();
    let count = 0;
    while (session.send(pattern(20_000, count++))) await turns(1);
    const drained = session.drained();
    peer.raw.socket.resume();
    await drained;
    session.send(Buffer.from('last'));
    expect((await peer.messagesIn(count + 1)).at(-1)).toBe('last');
  });
});

describe('a paused session', () => {
  it('gets nothing until it goes on, and does not blame its peer for silence', async () => {
    const clock = new VirtualClock();
    const echo = await ws.server(withClock(clock), withPing({ periodMs: 1000, misses: 2 }));
    const peer = await ws.peer(echo);
    const session = await echo.watch.session();
    expect(() => session.configure(withHalfOpen(true))).toThrow('cannot half-close');
    session.pause();
    for (let second = 0; second < 5; second++) {
      peer.pour(wsFrame(BINARY, `message ${second}`));
      await clock.advance(1000);
      await turns(3);
    }
    expect([session.state, echo.watch.packages.length]).toEqual(['open', 0]);
    session.resume();
    expect(await peer.messagesIn(5)).toEqual([0, 1, 2, 3, 4].map((second) => `message ${second}`));
  });
});

describe('closing', () => {
  it('cuts the reason at 123 bytes, between characters', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    void (await echo.watch.session()).close({ reason: `a${'ü'.repeat(100)}` });
    expect(await peer.closed()).toBe(1000);
    expect(peer.close?.text).toBe(`a${'ü'.repeat(61)}`);
  });

  it('tells the peer nothing of why this side failed', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    const session = await echo.watch.session();
    echo.watch.onMessage = () => {
      throw new Error('the password is secret');
    };
    peer.pour(wsFrame(BINARY, 'x'));
    expect(await peer.closed()).toBe(1011);
    peer.raw.end();
    expect([peer.close?.text, (await session.closed).code]).toEqual(['', 'INTERNAL']);
  });

  it('answers a close frame behind the replies to what came before it', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    echo.watch.onMessage = async (session, pkg) => {
      await turns(2);
      session.send(pkg);
    };
    peer.pour(wsFrame(BINARY, 'a'), wsFrame(BINARY, 'b'), closeFrame(4000, 'enough'));
    expect(await peer.closed()).toBe(4000);
    expect([peer.messages, peer.close?.text]).toEqual([['a', 'b'], 'enough']);
    const [reason] = await echo.watch.closes(1);
    expect(reason).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', status: 4000, error: { code: 'CLOSED_WITH_ERROR', status: 4000 } });
  });

  it('answers a close frame without a status with one without, and it is no error', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    peer.pour(closeFrame(undefined));
    expect(await peer.closed()).toBe(1005);
    expect((await echo.watch.closes(1))[0]).toMatchObject({ code: 'PEER_CLOSED', status: 1005, error: undefined });
    expect(echo.watch.errors).toEqual([]);
  });

  it('does not wait for ever for the close frame of the peer', async () => {
    const clock = new VirtualClock();
    const echo = await ws.server(withClock(clock));
    await ws.peer(echo);
    const session = await echo.watch.session();
    const closed = session.close();
    await turns(5);
    expect(session.state).toBe('closing');
    await clock.advance(3020);
    expect((await closed).code).toBe('NORMAL');
  });

  it('takes a peer that ends without a close frame as gone', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    peer.raw.end();
    expect((await echo.watch.closes(1))[0]).toMatchObject({ code: 'RESET', by: 'network', status: 1006 });
  });

  it('refuses a status of its own that is no such', async () => {
    const echo = await ws.server();
    const { session } = await ws.client(echo.url);
    for (const status of [1005, 1006, 999, 2999, 5000, 1.5]) expect(() => session.close({ status })).toThrow('3000 to 4999');
  });
});

describe('pings', () => {
  it('are timed, and their answers shown in the statistics', async () => {
    const clock = new VirtualClock();
    const echo = await ws.server(withClock(clock), withPing({ periodMs: 100 }));
    const peer = await ws.peer(echo);
    const session = await echo.watch.session();
    expect(session.stats().roundTripMs).toBeUndefined();
    await clock.advance(110);
    const [ping] = await peer.framesIn(1);
    expect(ping?.opcode).toBe(PING);
    await clock.advance(30);
    peer.pour(wsFrame(PONG, 'not asked for'), wsFrame(PONG, ping?.payload));
    await until(() => session.stats().roundTripMs !== undefined, 'the pong');
    // It was sent at 100 ms.
    expect(session.stats().roundTripMs).toBe(40);
  });
});
