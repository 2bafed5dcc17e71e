import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withConcurrentMessages, withListenerErrorPolicy } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { codeOf, Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

interface Scene {
  readonly listener: Recorder<string>;
  readonly peer: RawPeer;
  readonly session: Session<string>;
}

async function open(hooks: ConstructorParameters<typeof Recorder<string>>[0] = {}, concurrent = 1): Promise<Scene> {
  const listener = new Recorder<string>(hooks);
  const server = await tcpServer(line, listener, [withConcurrentMessages(concurrent)]);
  const peer = await RawPeer.connect(server);
  return { listener, peer, session: await listener.session() };
}

/** Runs a loop over the session and keeps what it saw; `each` may stop it. */
async function loop(session: Session<string>, seen: string[], each: (text: string) => unknown = () => undefined): Promise<string> {
  try {
    for await (const text of session) {
      seen.push(text);
      if ((await each(text)) === 'break') break;
    }
    return 'ended';
  } catch (thrown) {
    return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : String(thrown);
  }
}

describe('for await over a session', () => {
  it('gets the packages in order, in place of onMessage, until the peer finishes', async () => {
    const { listener, peer, session } = await open();
    const seen: string[] = [];
    const looping = loop(session, seen);
    peer.write('0\n1\n');
    peer.socket.end('2\n');
    expect(await looping).toBe('ended');
    expect(seen).toEqual(['0', '1', '2']);
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED' });
    expect(listener.events).toEqual(['open', 'close']);
    expect(await loop(session, seen)).toBe('ended');
  });

  it('holds the peer back while the body runs: one package at a time, and the rest is not handled', async () => {
    const { peer, session } = await open();
    const seen: string[] = [];
    const gates = [new Deferred(), new Deferred(), new Deferred()];
    const looping = loop(session, seen, (text) => gates[Number(text)]?.promise);
    peer.write('0\n1\n2\n');
    await eventually(() => seen.length === 1, 'the first is there');
    await settle();
    expect(seen).toEqual(['0']);
    expect(session.stats()).toMatchObject({ runningHandlers: 1, bufferedBytes: 4 });
    gates[0]?.resolve();
    await eventually(() => seen.length === 2, 'the second is there');
    await settle();
    expect(seen).toEqual(['0', '1']);
    for (const gate of gates) gate.resolve();
    await eventually(() => seen.length === 3, 'the third is there');
    peer.socket.end();
    expect(await looping).toBe('ended');
  });

  it('stops the socket when the body is slow for long', async () => {
    const { peer, session } = await open();
    const gate = new Deferred();
    const seen: string[] = [];
    const looping = loop(session, seen, () => gate.promise);
    for (let index = 0; index < 16; index++) peer.write(`${'x'.repeat(1_023)}\n`.repeat(1_024));
    await eventually(() => seen.length === 1, 'the first is there');
    await settle(100);
    expect(session.stats().bufferedBytes).toBeLessThanOrEqual(65_536 + 524_288);
    expect(peer.socket.writableLength).toBeGreaterThan(0);
    gate.resolve();
    await eventually(() => seen.length === 16_384, 'all are there');
    void session.close();
    expect(await looping).toBe('ended');
  });

  it('gives packages back to the listener after a break', async () => {
    const { listener, peer, session } = await open();
    const seen: string[] = [];
    const looping = loop(session, seen, (text) => (text === '1' ? 'break' : undefined));
    peer.write('0\n1\n2\n3\n');
    expect(await looping).toBe('ended');
    await listener.until('message', 2);
    expect([seen, listener.packages]).toEqual([
      ['0', '1'],
      ['2', '3'],
    ]);
    expect(session.state).toBe('open');
    const again = loop(session, seen, () => 'break');
    peer.write('4\n5\n');
    expect(await again).toBe('ended');
    await listener.until('message', 3);
    expect([seen, listener.packages]).toEqual([
      ['0', '1', '4'],
      ['2', '3', '5'],
    ]);
  });

  it('gives packages back after the body has thrown', async () => {
    const { listener, peer, session } = await open();
    const seen: string[] = [];
    const looping = loop(session, seen, () => Promise.reject(new Error('body')));
    peer.write('0\n1\n');
    expect(await looping).toBe('Error: body');
    await listener.until('message');
    expect([seen, listener.packages, session.state]).toEqual([['0'], ['1'], 'open']);
  });

  it('loses no package that had been offered when the loop was left', async () => {
    const { listener, peer, session } = await open();
    const iterator = session[Symbol.asyncIterator]();
    peer.write('0\n1\n');
    await eventually(() => session.stats().packagesRead === 1, 'a package is offered');
    await iterator.return?.();
    await listener.until('message', 2);
    expect(listener.packages).toEqual(['0', '1']);
    expect(await iterator.next()).toEqual({ value: undefined, done: true });
    const seen: string[] = [];
    const looping = loop(session, seen);
    await iterator.return?.();
    peer.socket.end('2\n');
    expect(await looping).toBe('ended');
    expect(seen).toEqual(['2']);
  });

  it('hands a failure of the listener for such a package to onError', async () => {
    const { listener, peer, session } = await open({ onMessage: () => Promise.reject(new Error('no')) });
    session.configure(withListenerErrorPolicy('continue'));
    const iterator = session[Symbol.asyncIterator]();
    peer.write('0\n');
    await eventually(() => session.stats().packagesRead === 1, 'a package is offered');
    await iterator.return?.();
    await listener.until('error');
    expect(listener.errors).toMatchObject([{ code: 'LISTENER_FAILED', phase: 'message', cause: { message: 'no' } }]);
  });

  it('gets every package also with concurrent messages', async () => {
    const { peer, session } = await open({}, 4);
    const seen: string[] = [];
    const looping = loop(session, seen, () => settle(1));
    const expected = Array.from({ length: 20 }, (_, index) => String(index));
    peer.socket.end(expected.join('\n').concat('\n'));
    expect(await looping).toBe('ended');
    expect(seen).toEqual(expected);
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED' });
  });

  it('throws what ended the session, behind the packages before it', async () => {
    const { listener, peer, session } = await open();
    const seen: string[] = [];
    const looping = loop(session, seen, () => settle(2));
    peer.write('0\n1\n');
    await eventually(() => seen.length === 2, 'both are there');
    peer.socket.resetAndDestroy();
    expect(await looping).toBe('CONNECTION_RESET');
    await session.closed;
    expect(seen).toEqual(['0', '1']);
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });

  it('ends when the session is closed here, and the package in hand stays', async () => {
    const { peer, session } = await open();
    const seen: string[] = [];
    const looping = loop(session, seen, () => void session.close());
    peer.write('0\n1\n');
    await peer.ended();
    peer.socket.end();
    expect(await looping).toBe('ended');
    expect(seen).toEqual(['0']);
    await session.closed;
  });

  it('lets the body wait for the end of the session', async () => {
    const { peer, session } = await open();
    const seen: string[] = [];
    const looping = loop(session, seen, () => session.close());
    peer.write('0\n');
    peer.socket.end();
    expect(await looping).toBe('ended');
  });

  it('over a session that has ended is over at once, with its error if there was one', async () => {
    const { session } = await open();
    await session.close({ drainTimeoutMs: 0 });
    expect(await loop(session, [])).toBe('ended');
    const other = await open();
    other.peer.socket.resetAndDestroy();
    await other.session.closed;
    expect(await loop(other.session, [])).toBe('CONNECTION_RESET');
    expect(await loop(other.session, [])).toBe('CONNECTION_RESET');
  });

  it('may be continued by a second loop over the same iterator', async () => {
    const { peer, session } = await open();
    const iterator = session[Symbol.asyncIterator]();
    peer.socket.end('0\n1\n2\n');
    const seen = [(await iterator.next()).value];
    for await (const text of iterator) seen.push(text);
    expect(seen).toEqual(['0', '1', '2']);
  });

  it('is allowed once at a time', async () => {
    const { peer, session } = await open();
    const seen: string[] = [];
    const looping = loop(session, seen);
    expect(await loop(session, [])).toBe('WRONG_STATE');
    peer.socket.end('0\n');
    expect(await looping).toBe('ended');
    expect(seen).toEqual(['0']);
  });

  it('may begin in onOpen or in newSession, before the first package', async () => {
    for (const where of ['onOpen', 'newSession']) {
      const seen: string[] = [];
      let looping: Promise<string> | undefined;
      const begin = (session: Session<string>): void => {
        looping = loop(session, seen);
      };
      const listener = new Recorder<string>(where === 'onOpen' ? { onOpen: begin } : {});
      const server = await tcpServer(line, listener, [], where === 'newSession' ? begin : undefined);
      const peer = await RawPeer.connect(server);
      peer.socket.end('0\n1\n');
      await listener.until('close');
      expect(await looping).toBe('ended');
      expect([seen, listener.events]).toEqual([
        ['0', '1'],
        ['open', 'close'],
      ]);
    }
  });

  it('asks for several packages at once when told to, in order', async () => {
    const { peer, session } = await open();
    const iterator = session[Symbol.asyncIterator]();
    const asked = [iterator.next(), iterator.next(), iterator.next()];
    peer.write('0\n1\n');
    expect(await asked[0]).toEqual({ value: '0', done: false });
    expect(await asked[1]).toEqual({ value: '1', done: false });
    peer.socket.end();
    expect(await asked[2]).toEqual({ value: undefined, done: true });
    expect(await codeOf(() => iterator.next())).toBe('no error');
  });
});
