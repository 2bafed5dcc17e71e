import type { Socket } from 'node:dgram';
import { networkInterfaces } from 'node:os';
import { describe, expect, it } from 'vitest';
import { RawHandler } from '../../src/codec/raw.ts';
import { withClock, withLocalAddress, withServerAddress, withTls, withUpgrade } from '../../src/endpoint/options.ts';
import { UdpClient, UdpEndpoint } from '../../src/endpoint/udp.ts';
import * as options from '../../src/endpoint/udp-options.ts';
import {
  withConcurrentMessages,
  withCronPeriodMs,
  withEventListener,
  withHalfOpen,
  withHeartbeat,
  withIdleTimeoutMs,
  withPkgHandler,
  withTaskPool,
} from '../../src/session/options.ts';
import { TaskPool } from '../../src/session/task-pool.ts';
import { closeLater, rejection, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { echo, UdpPeer, udpClient, udpEndpoint } from '../helpers/udp-scene.ts';

type Bytes = Recorder<Buffer, Uint8Array>;

describe('peers come and go', () => {
  it('a peer without traffic for 60 s loses its session, and gets another when it sends again', async () => {
    const clock = virtualClock();
    const heard: Bytes = new Recorder(echo);
    const endpoint = await udpEndpoint(heard, withClock(clock));
    const peer = await UdpPeer.bind();
    await peer.send('1', endpoint.localAddress.port);
    await peer.until(1);
    await clock.advance(59_000);
    await peer.send('2', endpoint.localAddress.port);
    await peer.until(2);
    await clock.advance(59_000);
    expect(heard.count('close')).toBe(0);
    await clock.advance(2_000);
    await heard.until('close');
    expect(heard.reasons).toMatchObject([{ code: 'IDLE', error: undefined }]);
    await peer.send('3', endpoint.localAddress.port);
    await peer.until(3);
    expect(heard.sessions).toHaveLength(2);
    expect(peer.texts).toEqual(['1', '2', '3']);
    expect(endpoint.udpStats().peers).toBe(1);
  });

  it('one peer too many takes the place of the one used longest ago, sending counted', async () => {
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(heard, options.withMaxPeers(2));
    const peers = [await UdpPeer.bind(), await UdpPeer.bind(), await UdpPeer.bind()];
    const send = async (index: number, count: number): Promise<void> => {
      await peers[index]?.send('x', endpoint.localAddress.port);
      await heard.until('message', count);
    };
    await send(0, 1);
    await send(1, 2);
    // The first one is spoken to, so the second is the one used longest ago.
    heard.sessions[0]?.send(Buffer.from('y'));
    await send(2, 3);
    await heard.until('close');
    expect(heard.reasons).toMatchObject([{ code: 'OVERLOAD', by: 'local', error: undefined }]);
    expect([...endpoint.sessions.values()].map(({ remoteAddress }) => remoteAddress.port)).toEqual([peers[0]?.port, peers[2]?.port]);
    expect(endpoint.udpStats()).toMatchObject({ peers: 2, evictedPeers: 1 });
  });

  it('closing the endpoint sends what is queued, closes the socket, and takes no new peers meanwhile', async () => {
    const hold = new Deferred();
    const heard: Bytes = new Recorder({
      async onMessage(session, bytes) {
        await hold.promise;
        session.send(bytes);
      },
    });
    const endpoint = await udpEndpoint(heard);
    const { port } = endpoint.localAddress;
    const [peer, late] = [await UdpPeer.bind(), await UdpPeer.bind()];
    await peer.send('in time', port);
    await heard.until('message');
    const closed = endpoint.close();
    await late.send('too late', port);
    await settle();
    expect(endpoint.udpStats()).toMatchObject({ refusedPeers: 1, peers: 1 });
    hold.resolve();
    expect(await closed).toEqual({ sessions: 1, flushed: 1, unflushed: [] });
    await peer.until(1);
    expect(late.received).toEqual([]);
    const again = await UdpPeer.bind('127.0.0.1', port);
    expect(again.port).toBe(port);
  });

  it('a session that is evicted or closed leaves the others and the socket alone; stopAccepting keeps them, too', async () => {
    const heard: Bytes = new Recorder(echo);
    const endpoint = await udpEndpoint(heard);
    const [first, second] = [await UdpPeer.bind(), await UdpPeer.bind()];
    for (const peer of [first, second]) await peer.send('1', endpoint.localAddress.port);
    await heard.until('message', 2);
    heard.sessions[0]?.destroy();
    await heard.until('close');
    await endpoint.stopAccepting();
    await second.send('2', endpoint.localAddress.port);
    await second.until(2);
    await first.send('refused', endpoint.localAddress.port);
    await settle();
    expect(endpoint.sessions.size).toBe(1);
  });

  it('the endpoint with one session for all peers ends with it', async () => {
    const heard = new Recorder<unknown, never>();
    const endpoint = closeLater(
      UdpEndpoint.oneSession<Buffer, Uint8Array>(
        withLocalAddress('127.0.0.1:0'),
        withPkgHandler(new RawHandler()),
        withEventListener(heard as never),
        options.withReceiveQueue(1_000),
      ),
    );
    await endpoint.listen();
    const { port } = endpoint.localAddress;
    const [session] = [...endpoint.sessions.values()];
    await session?.close();
    await eventually(() => endpoint.isClosed, 'the endpoint closes');
    await endpoint.close();
    expect((await UdpPeer.bind('127.0.0.1', port)).port).toBe(port);
    expect(heard.events).toEqual(['open', 'close']);
  });
});

describe('what sessions do works on UDP', () => {
  it('cron, heartbeat and idle time-outs of a client', async () => {
    const clock = virtualClock();
    const silent = await UdpPeer.bind();
    const heard: Bytes = new Recorder();
    const client = udpClient(
      `127.0.0.1:${silent.port}`,
      heard,
      withClock(clock),
      withCronPeriodMs(1_000),
      withHeartbeat<Buffer, Uint8Array>({ intervalMs: 2_000, timeoutMs: 5_000, ping: () => Buffer.from('ping') }),
    );
    await client.connect();
    await clock.advance(4_500);
    await silent.until(2);
    expect([heard.count('cron'), silent.texts]).toEqual([4, ['ping', 'ping']]);
    await clock.advance(1_000);
    await heard.until('close');
    expect(heard.reasons).toMatchObject([{ code: 'HEARTBEAT' }]);
  });

  it('a task pool, the order of packages, pausing and loops', async () => {
    const pool = closeLater(new TaskPool({ concurrency: 2 }));
    const done: string[] = [];
    const heard: Bytes = new Recorder({
      async onMessage(_session, bytes) {
        await settle(bytes.length % 3);
        done.push(String(bytes));
      },
    });
    const endpoint = await udpEndpoint(heard, withTaskPool(pool));
    const peer = await UdpPeer.bind();
    const texts = Array.from({ length: 30 }, (_, index) => `${index}`.padStart((index % 5) + 2, '0'));
    for (const text of texts) await peer.send(text, endpoint.localAddress.port);
    await eventually(() => done.length === 30, 'all are handled');
    expect(done).toEqual(texts);
    const [session] = heard.sessions;
    session?.pause();
    await peer.send('later', endpoint.localAddress.port);
    await settle();
    expect(done).toHaveLength(30);
    session?.resume();
    await eventually(() => done.at(-1) === 'later', 'the paused one is handled');
    session?.configure(withConcurrentMessages(4), withIdleTimeoutMs(0));
    expect(session?.settings.idleTimeoutMs).toBe(0);
  });

  it('every way to send is a datagram for each package, counted exactly', async () => {
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(heard);
    const peer = await UdpPeer.bind();
    await peer.send('hello', endpoint.localAddress.port);
    const session = await heard.session();
    session.send(Buffer.from('send'));
    expect(await session.writePkg(Buffer.from('writePkg'))).toEqual({ total: 8, sent: 8 });
    expect(await session.writeBytes(Buffer.from('bytes'))).toEqual({ total: 5, sent: 5 });
    expect(await session.writeBytesArray([Buffer.from('a'), Buffer.from('bc'), Buffer.alloc(0)])).toEqual({ total: 3, sent: 3 });
    expect(endpoint.broadcast(Buffer.from('all'))).toEqual({ sent: 1, full: 0, refused: 0 });
    session.send(Buffer.alloc(0));
    await peer.until(8);
    expect(peer.texts).toEqual(['send', 'writePkg', 'bytes', 'a', 'bc', '', 'all', '']);
    expect(session.stats()).toMatchObject({ bytesWritten: 23, packagesWritten: 8, writes: 8, packagesDropped: 0, pendingBytes: 0 });
  });

  it('a package that is too large is told, rejected and not counted; the session goes on', async () => {
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(heard);
    const peer = await UdpPeer.bind();
    await peer.send('hello', endpoint.localAddress.port);
    const session = await heard.session();
    expect(await rejection(session.writePkg(Buffer.alloc(65_508)))).toMatchObject({ code: 'DATAGRAM_TOO_LARGE' });
    session.send(Buffer.alloc(65_508));
    session.send(Buffer.from('fine'));
    await peer.until(1);
    expect(peer.texts).toEqual(['fine']);
    expect(heard.errors.map(({ code }) => code)).toEqual(['DATAGRAM_TOO_LARGE', 'DATAGRAM_TOO_LARGE']);
    expect(session.stats()).toMatchObject({ bytesWritten: 4, packagesWritten: 1, packagesDropped: 2 });
  });

  it('a session that has ended sends no more and still receives', async () => {
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(heard);
    const peer = await UdpPeer.bind();
    await peer.send('1', endpoint.localAddress.port);
    const session = await heard.session();
    session.end();
    expect(session.send(Buffer.from('x'))).toBe(false);
    await peer.send('2', endpoint.localAddress.port);
    await heard.until('message', 2);
    expect([session.state, session.hasEnded, heard.count('end')]).toEqual(['open', true, 0]);
  });
});

describe('multicast and broadcast', () => {
  const loopback = networkInterfaces()['lo']?.some(({ address }) => address === '127.0.0.1') === true;
  const group = '239.255.77.7';

  it.runIf(loopback)('hears a group that it has joined on an interface, until it leaves (only where lo is 127.0.0.1)', async () => {
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(
      heard,
      withLocalAddress('0.0.0.0:0'),
      options.withMulticastGroups({ group, interfaceAddress: '127.0.0.1' }),
      options.withReuseAddress(true),
    );
    const { port } = endpoint.localAddress;
    const client = udpClient(
      `${group}:${port}`,
      new Recorder<Buffer, Uint8Array>(),
      options.withMulticastInterface('127.0.0.1'),
      options.withMulticastTtl(0),
      options.withMulticastLoopback(true),
    );
    const session = await client.connect();
    session.send(Buffer.from('to the group'));
    await heard.until('message');
    expect(String(heard.packages[0])).toBe('to the group');
    endpoint.leaveGroup({ group, interfaceAddress: '127.0.0.1' });
    await session.writePkg(Buffer.from('nobody'));
    const source = session.localAddress.host;
    endpoint.joinGroup({ group, source, interfaceAddress: '127.0.0.1' });
    await session.writePkg(Buffer.from('from the source'));
    await heard.until('message', 2);
    endpoint.leaveGroup({ group, source, interfaceAddress: '127.0.0.1' });
    expect(heard.packages.map(String)).toEqual(['to the group', 'from the source']);
  });

  it('sets what sockets have, while listening', async () => {
    const endpoint = await udpEndpoint(echo, options.withBroadcast(true), options.withTtl(3));
    endpoint.setBroadcast(false);
    endpoint.setMulticastTtl(2);
    endpoint.setMulticastLoopback(false);
    endpoint.setMulticastInterface('127.0.0.1');
    expect(() => endpoint.joinGroup({ group: '10.0.0.1' })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    expect(() => endpoint.leaveGroup({ group })).toThrow(expect.objectContaining({ code: 'TRANSPORT_FAILED' }));
    expect((endpoint.raw as Socket).getRecvBufferSize()).toBe(endpoint.udpStats().receiveBufferBytes);
  });

  it('needs an endpoint that listens', () => {
    const endpoint = new UdpEndpoint(withLocalAddress('127.0.0.1:0'));
    expect(() => endpoint.udpStats()).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
    expect(() => endpoint.joinGroup({ group })).toThrow(expect.objectContaining({ code: 'WRONG_STATE' }));
  });

  it('listening fails when a group cannot be joined, and leaves nothing behind', async () => {
    const endpoint = new UdpEndpoint(
      withLocalAddress('127.0.0.1:0'),
      options.withMulticastGroups({ group, interfaceAddress: '203.0.113.9' }),
    );
    expect(await rejection(endpoint.listen())).toMatchObject({ code: 'TRANSPORT_FAILED' });
  });
});

describe('options', () => {
  it('that make no sense on UDP are refused, also where nobody checks types', () => {
    const bad = [withTls({}), withHalfOpen(true), withUpgrade(async (connection) => connection)];
    for (const option of bad) {
      expect(() => new UdpEndpoint(option as never)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
      expect(() => new UdpClient(withServerAddress('127.0.0.1:1'), option as never)).toThrow(
        expect.objectContaining({ code: 'INVALID_OPTION' }),
      );
      expect(() => UdpEndpoint.oneSession(option as never)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    }
    // @ts-expect-error: there is no TLS on UDP
    expect(() => new UdpEndpoint(withTls({}))).toThrow();
    // @ts-expect-error: no side of a UDP session finishes alone
    expect(() => new UdpClient(withHalfOpen(true))).toThrow();
    // @ts-expect-error: one session for all peers has no peers to limit
    expect(() => UdpEndpoint.oneSession(options.withMaxPeers(1))).not.toThrow();
    expect(() => new UdpEndpoint(withLocalAddress('unix:/tmp/x'))).toThrow(expect.objectContaining({ code: 'INVALID_ADDRESS' }));
    expect(() => new UdpClient(withServerAddress('unix:/tmp/x'))).toThrow(expect.objectContaining({ code: 'INVALID_ADDRESS' }));
  });

  it('check what they are given', () => {
    const bad: (() => unknown)[] = [
      () => options.withMaxPeers(0),
      () => options.withNewPeerRate(0),
      () => options.withNewPeerRate(1, 0),
      () => options.withAdmit('x' as never),
      () => options.withReceiveQueue(0),
      () => options.withSocketBuffers(null as never),
      () => options.withSocketBuffers({ receiveBytes: 0 }),
      () => options.withSocketBuffers({ sendBytes: 1.5 }),
      () => options.withReuseAddress(1 as never),
      () => options.withBroadcast('x' as never),
      () => options.withTtl(0),
      () => options.withMulticastTtl(256),
      () => options.withMulticastLoopback(1 as never),
      () => options.withMulticastInterface('eth0'),
      () => options.withMulticastGroups(null as never),
      () => options.withMulticastGroups({ group: '223.0.0.1' }),
      () => options.withMulticastGroups({ group: '239.0.0.1', source: '::1' }),
      () => options.withMulticastGroups({ group: 'ff02::1', interfaceAddress: 'eth0' }),
    ];
    for (const call of bad) expect(call, String(call)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });
});
