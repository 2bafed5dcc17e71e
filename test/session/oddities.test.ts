import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withLogger } from '../../src/endpoint/options.ts';
import type { EventListenerLike } from '../../src/session/event-listener.ts';
import {
  withCronPeriodMs,
  withDrainTimeoutMs,
  withHalfOpen,
  withHeartbeat,
  withSendQueue,
  withWaterMarks,
} from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, LogRecorder, Recorder } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

/** What a program without types may return where a promise or nothing is asked for. */
const odd = (): void => true as unknown as undefined;

describe('a listener', () => {
  it('may return anything that is no promise', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>({
      onOpen: odd,
      onMessage: odd,
      onCron: odd,
      onDrain: odd,
      onEnd: odd,
      onError: odd,
      onClose: odd,
    });
    const logs = new LogRecorder();
    await world.server(line, listener, [withCronPeriodMs(1_000), withHalfOpen(true), withLogger(logs)]);
    const client = await world.connect(line, new Recorder<string>());
    const session = await listener.session();
    client.send('hello');
    client.end();
    await world.clock.advance(2_500);
    expect(listener.events).toEqual(['open', 'message', 'end', 'cron', 'cron']);
    session.addCloseCallback('h', 1, odd);
    await world.finish(session.close());
    expect(listener.events.at(-1)).toBe('close');
    expect([listener.errors, logs.errors, logs.warnings]).toEqual([[], [], []]);
  });

  it('may return a thenable that is no Promise', async () => {
    const order: string[] = [];
    const listener = new Recorder<string>({
      onMessage: (_session, text) => {
        const thenable: PromiseLike<void> = {
          // biome-ignore lint/suspicious/noThenProperty: a foreign kind of promise
          then: (resolve) =>
            Promise.resolve()
              .then(() => order.push(text))
              .then(resolve as () => never),
        };
        return thenable as Promise<void>;
      },
    });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.socket.end('0\n1\n');
    await (await listener.session()).closed;
    expect(order).toEqual(['0', '1']);
  });

  it('needs nothing but onMessage, and may keep private fields', async () => {
    class Private implements EventListenerLike<string> {
      readonly #seen: string[] = [];
      onMessage(_session: Session<string>, text: string): void {
        this.#seen.push(text);
      }
      onClose(): void {
        this.#seen.push('closed');
      }
      get seen(): readonly string[] {
        return this.#seen;
      }
    }
    const listener = new Private();
    const opened: Session<string>[] = [];
    const server = await tcpServer(line, listener, [], (session) => void opened.push(session));
    const peer = await RawPeer.connect(server);
    peer.write('0\n');
    await eventually(() => listener.seen.length === 1, 'the first has come');
    const [session] = opened;
    peer.write('1\n');
    for await (const text of session ?? []) if (text === '1') break;
    peer.socket.end();
    await session?.closed;
    expect(listener.seen).toEqual(['0', 'closed']);
  });

  it('without onError leaves errors to the logger', async () => {
    const logs = new LogRecorder();
    const server = await tcpServer(line, { onMessage: () => Promise.reject(new Error('two\nlines')) }, [withLogger(logs)]);
    const peer = await RawPeer.connect(server);
    peer.write('x\n');
    await peer.ended();
    peer.socket.end();
    await eventually(() => logs.warnings.length > 0, 'the error is logged');
    expect(logs.warnings).toHaveLength(1);
    expect(logs.warnings[0]).toContain('LISTENER_FAILED: message: two\\nlines');
  });
});

describe('a logger that throws', () => {
  it('is no reason for anything else to fail', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>({
      onClose: () => Promise.reject(new Error('bad')),
      onError: () => {
        throw new Error('bad');
      },
    });
    const broken = (): never => {
      throw new Error('disk full');
    };
    const server = await world.server(line, listener, [withLogger({ warn: broken, error: broken }), withDrainTimeoutMs(100)]);
    server.on('session', broken);
    await world.connect(line, new Recorder<string>());
    const session = await listener.session();
    session.addCloseCallback('h', 1, () => new Promise(() => {}));
    session.addCloseCallback('h', 2, broken);
    session.destroy(new Error('any'));
    await world.finish(session.closed);
    expect(await session.closed).toMatchObject({ code: 'RESET', error: { code: 'TRANSPORT_FAILED' } });
    expect([session.state, server.sessions.size]).toEqual(['closed', 0]);
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });
});

describe('a ping', () => {
  it('that does not fit into the queue is left out, and the session lives', async () => {
    const world = new MemoryWorld({ bufferBytes: 1_000 });
    const listener = new Recorder<string>();
    const heartbeat = withHeartbeat<string, string>({ intervalMs: 1_000, timeoutMs: 1_000_000, ping: () => 'ping'.padEnd(500) });
    await world.server(line, listener, [heartbeat, withWaterMarks(100, 200), withSendQueue(2_000, 'reject')]);
    const client = new Recorder<string>();
    await world.connect(line, client);
    const session = await listener.session();
    world.link().stall('client');
    await world.clock.advance(10_500);
    expect([session.state, listener.errors]).toEqual(['open', []]);
    world.link().unstall('client');
    await client.until('message', 5);
    expect(session.stats().packagesWritten).toBe(client.packages.length);
  });
});
