import { connect } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { PeerError } from '../../src/base/errors.ts';
import { LineHandler } from '../../src/codec/line.ts';
import {
  withAcceptRate,
  withBlockList,
  withClock,
  withLocalAddress,
  withLogger,
  withMaxSessions,
  withMaxSessionsPerIp,
  withTls,
} from '../../src/endpoint/options.ts';
import { Server } from '../../src/endpoint/server.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { withSendQueue, withWriteTimeoutMs } from '../../src/session/options.ts';
import type { Address } from '../../src/transport/connection.ts';
import type { Acceptor, AcceptorSink, Transport } from '../../src/transport/transport.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { lineServer, listen, rejection, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, eventually, LogRecorder, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer } from '../helpers/session-tcp.ts';

describe('listen', () => {
  it('is refused a second time, and after close', async () => {
    const server = await listen(new Recorder<string>());
    expect(await rejection(server.listen())).toMatchObject({ name: 'StateError', code: 'WRONG_STATE' });
    await server.stopAccepting();
    expect(await rejection(server.listen())).toMatchObject({ code: 'WRONG_STATE' });
    await server.close();
    expect(await rejection(server.listen())).toMatchObject({ name: 'StateError', code: 'ENDPOINT_CLOSED' });
  });

  it('is not needed before close', async () => {
    const server = lineServer(new Recorder<string>());
    expect(() => server.localAddress).toThrow(expect.objectContaining({ name: 'StateError', code: 'WRONG_STATE' }));
    expect(server.raw).toBeUndefined();
    await server.stopAccepting();
    expect(await server.close()).toEqual({ sessions: 0, flushed: 0, unflushed: [] });
  });

  it('tells where it listens, and has a raw socket as long as it does', async () => {
    const server = lineServer(new Recorder<string>());
    const addresses: string[] = [];
    server.on('listening', ({ text }) => addresses.push(text));
    expect(await server.listen()).toBe(server);
    expect(addresses).toEqual([server.localAddress.text]);
    expect(server.localAddress).toMatchObject({ host: '127.0.0.1', family: 'IPv4' });
    expect(server.localAddress.port).toBeGreaterThan(0);
    expect(server.raw).toHaveProperty('listening', true);
    await server.stopAccepting();
    expect(server.raw).toBeUndefined();
    // Still known, for those who want to write it down.
    expect(server.localAddress.text).toBe(addresses[0]);
  });

  it('rejects when the server is closed meanwhile, and close waits until the port is free', async () => {
    const bound = new Deferred<Acceptor>();
    let closes = 0;
    const acceptor: Acceptor = {
      address: { text: 'x:1', host: 'x', port: 1, family: 'memory' },
      raw: undefined,
      close: async () => void closes++,
    };
    const transport: Transport = { name: 'slow', listen: () => bound.promise, dial: () => Promise.reject(new Error('not used')) };
    const server = Server.over(transport, withLocalAddress('x:1'));
    const failed = rejection(server.listen());
    let isClosed = false;
    const closed = server.close().then(() => {
      isClosed = true;
    });
    await settle(5);
    expect(isClosed).toBe(false);
    bound.resolve(acceptor);
    expect(await failed).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    await closed;
    expect(closes).toBeGreaterThan(0);
  });

  it('that fails does not hold close up', async () => {
    const bound = new Deferred<Acceptor>();
    const transport: Transport = { name: 'slow', listen: () => bound.promise, dial: () => Promise.reject(new Error('not used')) };
    const server = Server.over(transport);
    const failed = rejection(server.listen());
    const closed = server.close();
    bound.reject(new Error('no'));
    expect(await failed).toMatchObject({ message: 'no' });
    await closed;
  });

  it.each(['127.0.0.9999', 'host:70000', '[::1', 'unix:'])('refuses the address %j in the constructor', (address) => {
    const message = expect.stringMatching(/^withLocalAddress: expected .*, given "/);
    expect(() => new TcpServer(withLocalAddress(address))).toThrow(expect.objectContaining({ code: 'INVALID_ADDRESS', message }));
  });
});

describe('close', () => {
  it('lets handlers in flight reply, and handles no further package', async () => {
    const gate = new Deferred();
    const server = new Recorder<string>({
      async onMessage(session, line) {
        await gate.promise;
        session.send(`done ${line}`);
      },
    });
    const endPoint = await listen(server);
    const peer = await RawPeer.connect(endPoint);
    peer.write('one\ntwo\n');
    await server.until('message');
    const closed = endPoint.close();
    await settle();
    expect(server.events).toEqual(['open', 'message']);
    gate.resolve();
    await peer.ended();
    peer.socket.end();
    expect(peer.received.toString()).toBe('done one\n');
    expect(await closed).toEqual({ sessions: 1, flushed: 1, unflushed: [] });
    expect(server.events).toEqual(['open', 'message', 'close']);
    expect(server.reasons[0]).toMatchObject({ code: 'GOING_AWAY', text: 'the endpoint is closing' });
  });

  it('gives up at its deadline, and reports who was not flushed and how much was lost', async () => {
    const clock = virtualClock();
    const server = new Recorder<string>();
    const endPoint = await listen(server, [withClock(clock), withSendQueue(100_000_000), withWriteTimeoutMs(0)]);
    const [stuck, quick] = [await RawPeer.connect(endPoint, false), await RawPeer.connect(endPoint)];
    const [toStuck, toQuick] = [await server.session(0), await server.session(1)];
    while (toStuck.pendingBytes < 2_000_000) {
      toStuck.writeBytes(Buffer.alloc(1_000_000)).catch(() => {});
      await settle(2);
    }
    toQuick.send('bye');
    const closed = endPoint.close({ drainTimeoutMs: 500, reason: 'maintenance' });
    await quick.ended();
    quick.socket.end();
    await eventually(() => server.reasons.length === 1, 'the quick one is closed');
    await clock.advance(490);
    expect(toStuck.state).toBe('closing');
    await clock.advance(10);
    const report = await closed;
    expect(report).toEqual({
      sessions: 2,
      flushed: 1,
      unflushed: [{ id: toStuck.id, remoteAddress: toStuck.remoteAddress.text, unsentBytes: expect.any(Number) }],
    });
    expect(report.unflushed[0]?.unsentBytes).toBeGreaterThan(1_000_000);
    expect(server.reasons.map(({ text }) => text)).toEqual(['maintenance', 'maintenance']);
    stuck.socket.destroy();
  });

  it('takes its time once, also for a handler that does not end and a peer that does not read', async () => {
    const clock = virtualClock();
    const logger = new LogRecorder();
    const server = new Recorder<string>({ onMessage: () => new Promise(() => {}) });
    const endPoint = await listen(server, [withClock(clock), withLogger(logger), withSendQueue(100_000_000), withWriteTimeoutMs(0)]);
    const peer = await RawPeer.connect(endPoint, false);
    const session = await server.session();
    peer.write('x\n');
    await server.until('message');
    while (session.pendingBytes < 2_000_000) {
      session.writeBytes(Buffer.alloc(1_000_000)).catch(() => {});
      await settle(2);
    }
    let report: object | undefined;
    void endPoint.close({ drainTimeoutMs: 500 }).then((result) => {
      report = result;
    });
    await clock.advance(480);
    expect(report).toBeUndefined();
    await clock.advance(40);
    await settle();
    expect(report).toMatchObject({ sessions: 1, flushed: 0 });
    expect(logger.warnings).toEqual([expect.stringContaining('a handler did not settle')]);
  });

  it('may be called any number of times, which is one close', async () => {
    const server = await listen(new Recorder<string>());
    const reports: unknown[] = [];
    server.on('close', (report) => reports.push(report));
    expect(() => server.close({ drainTimeoutMs: -1 })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(server.isClosed).toBe(false);
    const [first, second] = await Promise.all([server.close(), server.close({ drainTimeoutMs: 0 })]);
    expect(second).toBe(first);
    expect(await server.close()).toBe(first);
    await server[Symbol.asyncDispose]();
    expect(reports).toEqual([first]);
  });

  it('ends a session that is still being set up', async () => {
    const world = new MemoryWorld();
    const gate = new Deferred();
    const recorder = new Recorder<string>();
    let begun = 0;
    const server = await world.server(new LineHandler(), recorder, [], () => {
      begun++;
      return gate.promise;
    });
    void world.connect(new LineHandler(), new Recorder<string>());
    await eventually(() => begun === 1, 'the session is being set up');
    await world.finish(server.close());
    gate.resolve();
    await settle();
    expect(recorder.events).toEqual([]);
    expect(world.network.links).toHaveLength(0);
  });
});

describe('admission', () => {
  it.each([
    ['max-sessions-per-ip', withMaxSessionsPerIp(1)],
    ['accept-rate', withAcceptRate(1)],
  ] as const)('refuses the second connection of an address: %s', async (why, option) => {
    const clock = virtualClock();
    const server = new Recorder<string>();
    const endPoint = await listen(server, [option, withClock(clock)]);
    const refused: string[] = [];
    endPoint.on('refused', (_, reason) => refused.push(reason));
    const first = await RawPeer.connect(endPoint);
    await server.until('open');
    const second = await RawPeer.connect(endPoint);
    await second.ended();
    expect(refused).toEqual([why]);
    expect(endPoint.stats()).toMatchObject({ openSessions: 1, refusedConnections: 1 });
    first.socket.destroy();
    await eventually(() => endPoint.sessions.size === 0, 'the first is forgotten');
    await clock.advance(1_000);
    await RawPeer.connect(endPoint);
    await server.until('open', 2);
  });

  it('refuses the addresses of the block list', async () => {
    const server = new Recorder<string>();
    const endPoint = await listen(server, [withBlockList(['10.0.0.0/8', '127.0.0.0/8'])]);
    const refused: string[] = [];
    endPoint.on('refused', (_, why) => refused.push(why));
    await (await RawPeer.connect(endPoint)).ended();
    expect(refused).toEqual(['blocked']);
    expect(server.events).toEqual([]);
  });

  it('gives the place of an address back also when its connection has gone before the session opens', async () => {
    const { cert, key } = (await makeCertificates()).server;
    const server = new Recorder<string>();
    let gate = new Deferred();
    let settingUp = 0;
    const endPoint = await listen(server, [withTls({ cert, key }), withMaxSessionsPerIp(1)], () => {
      settingUp++;
      return gate.promise;
    });
    const hosts: string[] = [];
    endPoint.on('sessionClosed', ({ remoteAddress }) => hosts.push(remoteAddress.host));
    const { port } = endPoint.localAddress;
    for (let round = 1; round <= 3; round++) {
      const socket = connect({ port, host: '127.0.0.1' });
      const secured = connectTls({ socket, rejectUnauthorized: false });
      secured.on('error', () => {});
      await eventually(() => settingUp === round, 'the session is being set up');
      socket.resetAndDestroy();
      await settle(10);
      gate.resolve();
      gate = new Deferred();
      await eventually(() => hosts.length === round, 'the session is over');
    }
    expect(hosts).toEqual(Array(3).fill('127.0.0.1'));
    expect(endPoint.stats().refusedConnections).toBe(0);
  });

  it('gives the place of a connection back that does not become a session, and tells', async () => {
    let sink: AcceptorSink | undefined;
    const transport: Transport = {
      name: 'test',
      listen: async (_, given) => {
        sink = given;
        return { address: { text: 'x:1', host: 'x', port: 1, family: 'memory' }, raw: undefined, close: async () => {} };
      },
      dial: () => Promise.reject(new Error('not used')),
    };
    const server = Server.over(transport, withMaxSessions(2), withMaxSessionsPerIp(2));
    const lost: unknown[] = [];
    server.on('connectionLost', ({ host }, error) => lost.push([host, error.code]));
    await server.listen();
    const peer: Address = { text: '192.0.2.7:1', host: '192.0.2.7', port: 1, family: 'IPv4' };
    for (let times = 0; times < 5; times++) {
      expect([sink?.admit(peer), sink?.admit(peer), sink?.admit(peer)]).toEqual([undefined, undefined, 'max-sessions']);
      for (let count = 0; count < 2; count++) sink?.onConnectionLost(peer, new PeerError('HANDSHAKE_FAILED', 'no'));
    }
    expect(lost).toEqual(Array(10).fill(['192.0.2.7', 'HANDSHAKE_FAILED']));
    expect(server.stats().refusedConnections).toBe(5);
    await server.close();
  });
});
