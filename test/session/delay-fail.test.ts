import { describe, expect, it } from 'vitest';
import { PeerError } from '../../src/base/errors.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { withDrainTimeoutMs } from '../../src/session/options.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Recorder } from '../helpers/session-recorder.ts';

const line = new LineHandler();

async function pair(listener: Recorder<string>) {
  const world = new MemoryWorld();
  await world.server(line, listener, [withDrainTimeoutMs(1000)]);
  const client = new Recorder<string>();
  const session = await world.connect(line, client);
  return { world, session, client, peer: await listener.session() };
}

describe('delay', () => {
  it('handles no further package for so long, in the middle of a chunk, and the longer of two counts', async () => {
    const listener = new Recorder<string>({ onMessage: (session, text) => void (text === 'a' && session.delay(100)) });
    const { world, session, peer } = await pair(listener);
    for (const text of ['a', 'b', 'c']) session.send(text);
    await world.clock.advance(0);
    expect(listener.packages).toEqual(['a']);
    peer.delay(300);
    peer.delay(10);
    peer.pause();
    peer.resume();
    await world.clock.advance(290);
    expect(listener.packages).toEqual(['a']);
    await world.clock.advance(20);
    expect(listener.packages).toEqual(['a', 'b', 'c']);
    expect(await codeOf(() => peer.delay(-1))).toBe('INVALID_OPTION');
    expect(await codeOf(() => peer.delay(Number.NaN))).toBe('INVALID_OPTION');
  });

  it('lasts beyond the end of the peer, whose packages are still handled', async () => {
    const listener = new Recorder<string>({ onMessage: (session) => session.delay(3000) });
    const { world, session } = await pair(listener);
    session.send('a');
    session.send('b');
    void session.close();
    await world.clock.advance(2900);
    expect([listener.packages, listener.count('close')]).toEqual([['a'], 0]);
    await world.clock.advance(4000);
    expect([listener.packages, listener.reasons[0]?.code]).toEqual([['a', 'b'], 'PEER_CLOSED']);
  });

  it('is over when the session closes', async () => {
    const listener = new Recorder<string>({ onMessage: (session) => session.delay(60_000) });
    const { world, session, peer } = await pair(listener);
    session.send('a');
    session.send('b');
    await world.clock.advance(0);
    await world.finish(peer.close());
    expect([listener.packages, world.clock.pendingTimers]).toEqual([['a'], 0]);
  });
});

describe('fail', () => {
  it('closes in order for a fault of the peer: onError, then onClose, behind what is queued', async () => {
    const listener = new Recorder<string>({
      onMessage(session) {
        session.send('last words');
        void session.fail(new PeerError('RATE_EXCEEDED', 'too fast', { status: 1008 }));
        void session.fail(new PeerError('MALFORMED_PACKAGE', 'and wrong'));
      },
    });
    const { world, session, client } = await pair(listener);
    session.send('a');
    session.send('b');
    await world.clock.advance(0);
    expect(client.packages).toEqual(['last words']);
    expect(listener.events).toEqual(['open', 'message', 'error', 'close']);
    expect(listener.errors).toMatchObject([{ code: 'RATE_EXCEEDED', message: 'too fast' }]);
    expect(listener.reasons).toMatchObject([{ code: 'RATE', status: 1008, text: 'too fast', by: 'peer', unsentBytes: 0 }]);
  });
});
