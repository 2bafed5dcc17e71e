import { describe, expect, it } from 'vitest';
import { TransportError } from '../../src/base/errors.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { Client } from '../../src/endpoint/client.ts';
import { openFileLimit } from '../../src/endpoint/open-files.ts';
import { withClock, withLocalAddress, withLogger, withMaxSessions, withServerAddress } from '../../src/endpoint/options.ts';
import { Server } from '../../src/endpoint/server.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { Connection } from '../../src/transport/connection.ts';
import type { AcceptorSink, Transport } from '../../src/transport/transport.ts';
import { closeLater, rejection } from '../helpers/endpoint-fixtures.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, eventually, LogRecorder, Recorder, settle } from '../helpers/session-recorder.ts';

const lines = new LineHandler();

describe('the events of an endpoint', () => {
  it('come to every listener, once or until it is taken off', async () => {
    const world = new MemoryWorld();
    const server = await world.server(lines, new Recorder<string>());
    const heard: string[] = [];
    const taken = (): void => void heard.push('taken off');
    server.on('session', () => heard.push('on')).once('session', () => heard.push('once'));
    server.on('session', taken).off('session', taken);
    await world.connect(lines, new Recorder<string>());
    await world.connect(lines, new Recorder<string>());
    await eventually(() => server.sessions.size === 2, 'both are open');
    expect(heard).toEqual(['on', 'once', 'on']);
  });

  it('tell of a session that opens, and that it is over when its callbacks are', async () => {
    const world = new MemoryWorld();
    const server = await world.server(lines, new Recorder<string>());
    const heard: unknown[] = [];
    server.on('session', (session) => heard.push(['session', session.id, server.sessions.has(session.id)]));
    server.on('sessionClosed', (session, reason) => heard.push(['over', session.id, session.state, reason.code, server.sessions.size]));
    const recorder = new Recorder<string>();
    await world.connect(lines, recorder);
    await eventually(() => server.sessions.size === 1, 'the session is open');
    const [session] = server.sessions.values();
    const gate = new Deferred();
    session?.addCloseCallback('test', 1, () => gate.promise);
    const closed = session?.close();
    await settle();
    expect(heard).toEqual([['session', session?.id, true]]);
    // Until then it can be looked up, and is sent nothing.
    expect([...server.sessions.values()].map(({ state }) => state)).toEqual(['closing']);
    expect(server.broadcast('news')).toEqual({ sent: 0, full: 0, refused: 0 });
    gate.resolve();
    await closed;
    expect(heard).toEqual([
      ['session', session?.id, true],
      ['over', session?.id, 'closed', 'NORMAL', 0],
    ]);
  });
});

/** A transport whose acceptor the test drives. */
class ManualTransport implements Transport {
  readonly name = 'manual';
  sink: AcceptorSink | undefined;

  async listen(_address: string, sink: AcceptorSink) {
    this.sink = sink;
    return { address: { text: 'x:1', host: 'x', port: 1, family: 'memory' } as const, raw: undefined, close: async () => {} };
  }

  dial(): Promise<Connection> {
    return Promise.reject(new Error('not used'));
  }
}

describe('a server', () => {
  it('tells of trouble with accepting, and logs it when nobody listens', async () => {
    const transport = new ManualTransport();
    const logger = new LogRecorder();
    const server = closeLater(Server.over(transport, withLocalAddress('x:1'), withLogger(logger)));
    await server.listen();
    const error = new TransportError('ACCEPT_FAILED', 'accept: out of files');
    transport.sink?.onAcceptError(error);
    expect(logger.errors).toEqual(["unhandled 'error' event: accept: out of files"]);
    const heard: unknown[] = [];
    server.on('error', (told) => heard.push(told));
    transport.sink?.onAcceptError(error);
    expect(heard).toEqual([error]);
    expect(logger.errors).toHaveLength(1);
  });

  it('drops a connection that is handed to it after close', async () => {
    const world = new MemoryWorld();
    const transport = new ManualTransport();
    const server = Server.over<string, string>(transport, withClock(world.clock), withMaxSessions(1), withPkgHandler(lines));
    await server.listen();
    const inner = world.network.transport();
    await inner.listen('real:1', {
      admit: () => undefined,
      onConnection: (connection) => connection.abort(),
      onConnectionLost: () => {},
      onAcceptError: () => {},
    });
    const connection = await inner.dial('real:1', { signal: new AbortController().signal });
    expect(transport.sink?.admit(connection.remoteAddress)).toBeUndefined();
    await server.close();
    transport.sink?.onConnection(connection);
    await settle();
    expect(world.network.links).toHaveLength(0);
    expect(server.stats()).toMatchObject({ openSessions: 0, totalSessions: 0 });
  });

  it('keeps files for the rest of the process by default', () => {
    expect(openFileLimit()).toBeGreaterThan(0);
    expect(Number.isInteger(openFileLimit())).toBe(true);
  });
});

describe('a client', () => {
  it('drops a connection that is made although the dial was aborted', async () => {
    const world = new MemoryWorld();
    const server = new Recorder<string>();
    await world.server(lines, server);
    const network = world.network.transport();
    const gate = new Deferred();
    let dials = 0;
    const deaf: Transport = {
      ...network,
      dial: async (address) => {
        dials++;
        await gate.promise;
        return network.dial(address, { signal: new AbortController().signal });
      },
    };
    const heard = new Recorder<string>();
    const client = Client.over<string, string>(
      deaf,
      withClock(world.clock),
      withServerAddress('server:1'),
      withPkgHandler(lines),
      withEventListener(heard),
    );
    const failed = rejection(client.connect());
    await eventually(() => dials === 1, 'it dials');
    await client.close();
    gate.resolve();
    expect(await failed).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    await settle();
    expect(heard.events).toEqual([]);
    expect(client.stats().totalSessions).toBe(0);
    expect(world.network.links).toHaveLength(0);
  });
});
