import { describe, expect, it } from 'vitest';
import { withClock, withLogger } from '../../src/endpoint/options.ts';
import { KNET_RATE_LIMIT } from '../../src/rate-limit/options.ts';
import { rateLimit } from '../../src/rate-limit/rate-limit.ts';
import { withEventListener } from '../../src/session/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { frame, framesIn, type RawPeer, turns, until } from '../helpers/raw-peer.ts';
import { type BytesSession, Watch } from '../helpers/scene.ts';
import { LogRecorder } from '../helpers/session-recorder.ts';
import { OPCODE, wsFrame } from '../helpers/ws-peer.ts';
import { useWsScene } from '../helpers/ws-scene.ts';

const ws = useWsScene();
const { BINARY, PING } = OPCODE;
const many = (count: number, bytes: Buffer): Buffer => Buffer.concat(Array.from({ length: count }, () => bytes));

/** Sends as fast as the socket takes it, until told to stop; returns how many times. */
async function flood(peer: RawPeer, bytes: Buffer, isOver: () => boolean): Promise<number> {
  let rounds = 0;
  while (!isOver()) {
    if (peer.socket.writableLength < 1_000_000) {
      peer.pour(bytes);
      rounds++;
    }
    await turns(1);
    if (rounds > 20_000) throw new Error('flooded in vain');
  }
  return rounds;
}

describe('a peer that floods', () => {
  it('znet-knet scenario 36: 200 messages pass, the 201st closes with 1008, which arrives while the peer keeps sending', async () => {
    const watch = new Watch(true);
    const limiter = rateLimit<Buffer, Uint8Array>(watch, KNET_RATE_LIMIT);
    const log = new LogRecorder();
    const server = await ws.server(withEventListener<Buffer, Uint8Array>(limiter), withClock(new VirtualClock()), withLogger(log));
    const other = await ws.peer(server);
    const peer = await ws.peer(server);
    peer.pour(many(200, wsFrame(BINARY, 'm')));
    await peer.messagesIn(200);
    expect([watch.packages.length, peer.close, limiter.stats().exceeded.session]).toEqual([200, undefined, 0]);

    const burst = many(2000, wsFrame(BINARY, 'too much of it'));
    const rounds = await flood(peer.raw, burst, () => peer.close !== undefined || peer.raw.isClosed);
    expect(peer.close).toEqual({ status: 1008, text: 'Rate limit exceeded' });
    expect(rounds).toBeGreaterThan(0);
    expect(watch.packages.length).toBe(200);
    const [reason] = await watch.closes(1);
    expect(reason).toMatchObject({ code: 'RATE', status: 1008 });
    expect(log.warnings).toEqual([
      expect.stringMatching(/^Rate limit exceeded: session \d+ \([a-z-]+\) at 127\.0\.0\.1:\d+: limit session/),
    ]);

    other.pour(wsFrame(BINARY, 'still here'));
    expect(await other.messagesIn(1)).toEqual(['still here']);
  });

  it('znet-knet scenario 36: the close also reaches a peer that sends before it reads anything', async () => {
    const limiter = rateLimit<Buffer, Uint8Array>(new Watch(false), KNET_RATE_LIMIT);
    const server = await ws.server(withEventListener<Buffer, Uint8Array>(limiter), withClock(new VirtualClock()));
    const peer = await ws.peer(server);
    peer.raw.socket.pause();
    for (let round = 0; round < 200; round++) {
      peer.pour(many(500, wsFrame(BINARY, 'x'.repeat(100))));
      await turns(2);
    }
    await until(() => limiter.stats().closed === 1, 'the close');
    peer.raw.socket.resume();
    expect(await peer.closed()).toBe(1008);
  });

  it('znet-knet scenario 37: pings cost nothing', async () => {
    const limiter = rateLimit<Buffer, Uint8Array>(new Watch(true), { perSession: { messagesPerSecond: 1, burst: 2 } });
    const clock = new VirtualClock();
    const server = await ws.server(withEventListener<Buffer, Uint8Array>(limiter), withClock(clock));
    const peer = await ws.peer(server);
    peer.pour(many(50, wsFrame(PING, 'p')), many(2, wsFrame(BINARY, 'm')));
    await peer.messagesIn(2);
    expect([limiter.stats().passed, limiter.stats().closed]).toEqual([2, 0]);
  });

  it('over TCP is told by a package, then by the end of the stream, while it keeps sending', async () => {
    const watch = new Watch(false);
    const limiter = rateLimit<Buffer, Uint8Array>(watch, {
      ...KNET_RATE_LIMIT,
      onExceeded: (session: BytesSession) => void session.send(Buffer.from('rate limit exceeded')),
    });
    const server = await ws.scene.server(withEventListener<Buffer, Uint8Array>(limiter), withClock(new VirtualClock()));
    const peer = await ws.scene.peer(server);
    const burst = many(2000, frame('too much of it'));
    await flood(peer, burst, () => peer.hasEnded || peer.isClosed);
    expect(framesIn(peer.received).map(String)).toEqual(['rate limit exceeded']);
    expect([peer.hasEnded, peer.error]).toEqual([true, undefined]);
    peer.end();
    const [reason] = await watch.closes(1);
    expect(reason).toMatchObject({ code: 'RATE' });
    expect([watch.packages.length, watch.errors.map(({ code }) => code)]).toEqual([200, ['RATE_EXCEEDED']]);
  });

  it('and is delayed instead does not make the server buffer what it sends', async () => {
    const clock = new VirtualClock();
    const watch = new Watch(false);
    const limiter = rateLimit<Buffer, Uint8Array>(watch, { perSession: { messagesPerSecond: 100, burst: 10 }, policy: 'delay' });
    const server = await ws.scene.server(withEventListener<Buffer, Uint8Array>(limiter), withClock(clock));
    const peer = await ws.scene.peer(server);
    const burst = many(1000, frame('x'.repeat(100)));
    // Far more than sockets hold.
    for (let round = 0; round < 150; round++) peer.pour(burst);
    const session = await watch.session();
    await until(() => session.stats().bufferedBytes > 65_536, 'the server to read ahead');
    await turns(50);
    expect(session.stats().bufferedBytes).toBeLessThan(1_000_000);
    expect(peer.socket.writableLength).toBeGreaterThan(1_000_000);
    await clock.advance(1000);
    expect(watch.packages.length).toBeGreaterThanOrEqual(108);
    expect(watch.packages.length).toBeLessThanOrEqual(112);
    session.destroy();
    await watch.closes(1);
  });

  it('is held to the limit of its address also when it comes again, and the next address is not', async () => {
    const clock = new VirtualClock();
    const limiter = rateLimit<Buffer, Uint8Array>(new Watch(true), {
      perIp: { messagesPerSecond: 1, burst: 5, maxAddresses: 2 },
      policy: 'reject',
      onExceeded: (session: BytesSession) => void session.send(Buffer.from('no')),
    });
    const server = await ws.scene.server(withEventListener<Buffer, Uint8Array>(limiter), withClock(clock));
    const answersFrom = async (localAddress: string, count: number): Promise<string> => {
      const peer = await ws.scene.peer(server, { localAddress });
      peer.pour(many(count, frame('ok')));
      const bodies = framesIn(await peer.receive(6 * count)).map(String);
      peer.end();
      await peer.closed();
      return bodies.join(' ');
    };
    expect(await answersFrom('127.0.0.1', 3)).toBe('ok ok ok');
    expect(await answersFrom('127.0.0.1', 4)).toBe('ok ok no no');
    expect(await answersFrom('127.0.0.2', 2)).toBe('ok ok');
    await clock.advance(1000);
    expect(await answersFrom('127.0.0.1', 2)).toBe('ok no');
    expect(limiter.stats()).toMatchObject({ addresses: 2, forgottenAddresses: 0, exceeded: { ip: 3 } });
    // The third address takes the place of the second, which was seen longest ago.
    expect(await answersFrom('127.0.0.3', 1)).toBe('ok');
    expect(await answersFrom('127.0.0.1', 1)).toBe('no');
    expect(await answersFrom('127.0.0.2', 5)).toBe('ok ok ok ok ok');
    expect(limiter.stats()).toMatchObject({ addresses: 2, forgottenAddresses: 2 });
  });
});
