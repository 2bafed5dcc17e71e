import type { RemoteInfo, Socket } from 'node:dgram';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { afterEach, describe, expect, it } from 'vitest';
import { DIAGNOSTICS_CHANNELS } from '../src/base/diagnostics.ts';
import { LengthFieldHandler } from '../src/codec/length-field.ts';
import { withAcceptRate, withBlockList, withClock, withLocalAddress } from '../src/endpoint/options.ts';
import { UdpEndpoint } from '../src/endpoint/udp.ts';
import { withAdmit, withMaxPeers, withNewPeerRate, withReceiveQueue } from '../src/endpoint/udp-options.ts';
import { withEventListener, withPkgHandler, withSendQueue, withWaterMarks } from '../src/session/options.ts';
import { seededRandom } from '../src/transport/memory-random.ts';
import { closeLater, virtualClock } from './helpers/endpoint-fixtures.ts';
import { eventually, Recorder, settle } from './helpers/session-recorder.ts';
import { echo, UdpPeer, udpClient, udpEndpoint } from './helpers/udp-scene.ts';

type Endpoint = UdpEndpoint<Buffer, Uint8Array>;
type Bytes = Recorder<Buffer, Uint8Array>;

/** A datagram as if it had come from this address: what a network that lets senders lie would deliver. */
function spoof(endpoint: Endpoint, host: string, port: number, bytes = Buffer.from('spoofed')): void {
  const info: RemoteInfo = { address: host, port, family: host.includes(':') ? 'IPv6' : 'IPv4', size: bytes.length };
  (endpoint.raw as Socket).emit('message', bytes, info);
}

const limits: unknown[] = [];
const onLimit = (message: unknown): void => void limits.push((message as { limit: string }).limit);

function watchLimits(): void {
  subscribe(DIAGNOSTICS_CHANNELS.limit, onLimit);
}

afterEach(() => {
  unsubscribe(DIAGNOSTICS_CHANNELS.limit, onLimit);
  limits.length = 0;
});

describe('UDP: hostile peers', () => {
  it('D32. datagrams of 0, 1 and 65 507 bytes that make no package are told and dropped without a reply', async () => {
    const heard: Bytes = new Recorder(echo);
    const endpoint = closeLater(
      new UdpEndpoint<Buffer, Uint8Array>(
        withLocalAddress('127.0.0.1:0'),
        withPkgHandler(new LengthFieldHandler()),
        withEventListener(heard),
      ),
    );
    await endpoint.listen();
    const peer = await UdpPeer.bind();
    const good = Buffer.from([0, 0, 0, 1, 65]);
    for (const bytes of [Buffer.alloc(0), Buffer.of(1), Buffer.alloc(65_507, 255), good])
      await peer.send(bytes, endpoint.localAddress.port);
    await peer.until(1);
    expect(peer.received).toEqual([good]);
    expect(heard.errors.map(({ code }) => code)).toEqual(['MALFORMED_PACKAGE', 'MALFORMED_PACKAGE', 'PACKAGE_TOO_LARGE']);
    expect(heard.errors[0]?.message).toBe('expected a message of whole packages, given an empty one');
    expect(heard.count('close')).toBe(0);
    expect(endpoint.stats()).toMatchObject({ packagesRead: 1, packagesWritten: 1, openSessions: 1 });
  });

  it('D33. a flood from invented addresses stays inside the caps, and a peer that talks is not lost', async () => {
    watchLimits();
    const clock = virtualClock();
    const random = seededRandom(33);
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(heard, withClock(clock), withMaxPeers(50), withNewPeerRate(100, 200));
    const peer = await UdpPeer.bind();
    await peer.send('mine', endpoint.localAddress.port);
    const mine = await heard.session();
    let most = 0;
    for (let round = 0; round < 40; round++) {
      for (let count = 0; count < 250; count++) {
        const host = `10.${[0, 0, 0].map(() => Math.floor(random() * 256)).join('.')}`;
        // Many with one port, which is what an attacker would choose to make looking up slow.
        spoof(endpoint, host, count % 2 === 0 ? 4000 : 1 + Math.floor(random() * 65_535));
        most = Math.max(most, endpoint.udpStats().peers);
      }
      await peer.send('mine', endpoint.localAddress.port);
      await settle(3);
      await clock.advance(100);
    }
    expect(most).toBe(50);
    // The burst, and what the rate gave in 4 s; my own is one of them.
    const admitted = endpoint.stats().totalSessions;
    expect(admitted).toBeGreaterThan(200);
    expect(admitted).toBeLessThanOrEqual(200 + 400 + 1);
    const { refusedPeers } = endpoint.udpStats();
    expect(refusedPeers).toBeGreaterThanOrEqual(10_000 + 1 - admitted);
    expect(endpoint.stats().refusedConnections).toBe(refusedPeers);
    expect([...new Set(limits)]).toEqual(expect.arrayContaining(['udp-peer-rate', 'udp-peers']));
    // With 250 in a round, the one that is heard in each of them is not always among the last 50; it always comes back.
    expect(heard.sessions.filter(({ remoteAddress }) => remoteAddress.port === peer.port).length).toBeGreaterThanOrEqual(1);
    expect(mine.remoteAddress.port).toBe(peer.port);
    await eventually(() => endpoint.sessions.size <= 50, 'the evicted sessions are over');
    expect(heard.reasons.every(({ code }) => code === 'OVERLOAD')).toBe(true);
    // C40: nothing was sent to anybody.
    expect(endpoint.stats().bytesWritten).toBe(0);
  });

  it('D33. peers that are slow to close do not make room for others without end', async () => {
    watchLimits();
    const never = new Promise<void>(() => {});
    const clock = virtualClock();
    const heard: Bytes = new Recorder({ onMessage: () => never });
    const endpoint = await udpEndpoint(heard, withClock(clock), withMaxPeers(10), withNewPeerRate(false));
    for (let port = 1; port <= 200; port++) spoof(endpoint, '10.0.0.1', port);
    await settle();
    expect(endpoint.stats().totalSessions).toBe(20);
    expect(endpoint.udpStats()).toMatchObject({ peers: 10, evictedPeers: 10, refusedPeers: 180 });
    expect(limits.filter((limit) => limit === 'udp-closing-peers')).toHaveLength(180);
  });

  it('C40, D34. withAdmit sees the first datagram before there is anything: what it refuses is never answered', async () => {
    const asked: string[] = [];
    const heard: Bytes = new Recorder(echo);
    const endpoint = await udpEndpoint(
      heard,
      withAdmit((address, bytes) => {
        asked.push(`${address.host} ${bytes}`);
        if (String(bytes) === 'throw') throw new Error('a test');
        return String(bytes) === 'cookie';
      }),
    );
    const errors: unknown[] = [];
    endpoint.on('error', (error) => errors.push(error.code));
    const peer = await UdpPeer.bind();
    for (const text of ['junk', 'throw', 'cookie', 'junk again']) await peer.send(text, endpoint.localAddress.port);
    await peer.until(2);
    expect(peer.texts).toEqual(['cookie', 'junk again']);
    expect(asked).toEqual(['127.0.0.1 junk', '127.0.0.1 throw', '127.0.0.1 cookie']);
    expect(errors).toEqual(['ACCEPT_FAILED']);
    expect(endpoint.udpStats()).toMatchObject({ refusedPeers: 2, peers: 1 });
    expect(endpoint.stats()).toMatchObject({ totalSessions: 1, refusedConnections: 2 });
  });

  it('D34. an endpoint does not talk to itself, whoever says so', async () => {
    const heard: Bytes = new Recorder(echo);
    const endpoint = await udpEndpoint(heard);
    const { port } = endpoint.localAddress;
    spoof(endpoint, '127.0.0.1', port);
    const everywhere = await udpEndpoint(heard, withLocalAddress('0.0.0.0:0'));
    spoof(everywhere, '127.0.0.5', everywhere.localAddress.port);
    await settle();
    expect(endpoint.udpStats()).toMatchObject({ invalidSources: 1, peers: 0 });
    expect(everywhere.udpStats()).toMatchObject({ invalidSources: 1, peers: 0 });
    expect(heard.events).toEqual([]);
  });

  it('D35. sources that nobody can have are dropped and counted', async () => {
    const endpoint = await udpEndpoint(new Recorder<Buffer, Uint8Array>(echo));
    const bad: [string, number][] = [
      ['10.0.0.1', 0],
      ['255.255.255.255', 9],
      ['224.0.0.1', 9],
      ['239.1.2.3', 9],
      ['0.0.0.0', 9],
      ['::', 9],
      ['ff02::1', 9],
    ];
    for (const [host, port] of bad) spoof(endpoint, host, port);
    expect(endpoint.udpStats()).toMatchObject({ invalidSources: bad.length, peers: 0 });
  });

  it('D36. an ICMP error is told and counted; the session goes on', async () => {
    const gone = await UdpPeer.bind();
    const { port } = gone;
    gone.close();
    const heard: Bytes = new Recorder();
    const client = udpClient(`127.0.0.1:${port}`, heard);
    const session = await client.connect();
    session.send(Buffer.from('into the void'));
    await heard.until('error');
    expect(heard.errors[0]).toMatchObject({ name: 'TransportError', code: 'DATAGRAM_FAILED', cause: { code: 'ECONNREFUSED' } });
    expect(session.state).toBe('open');
    const back = await UdpPeer.bind('127.0.0.1', port);
    await session.writePkg(Buffer.from('again'));
    await back.until(1);
    expect(back.texts).toEqual(['again']);
    expect(heard.count('close')).toBe(0);
  });

  it('D37. above the cap of the send queue, the policy decides and drops are counted', async () => {
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(heard, withSendQueue(10_000, 'drop-newest'), withWaterMarks(2_000, 5_000));
    const peer = await UdpPeer.bind();
    await peer.send('hello', endpoint.localAddress.port);
    const session = await heard.session();
    const blocked = blockSending(endpoint);
    const results = Array.from({ length: 30 }, () => session.send(Buffer.alloc(1_000)));
    expect(results.indexOf(false)).toBeLessThanOrEqual(7);
    expect(session.pendingBytes).toBeLessThanOrEqual(10_000);
    const { packagesDropped, packagesWritten } = session.stats();
    expect(packagesDropped).toBeGreaterThanOrEqual(19);
    expect(packagesDropped + packagesWritten).toBe(30);
    expect(peer.received).toEqual([]);
    const held = blocked.release();
    await heard.until('drain');
    expect(session.pendingBytes).toBe(0);
    // Those that the kernel that is none held never leave.
    expect(held).toBeLessThanOrEqual(7);
    await peer.until(packagesWritten - held);
    expect(session.isClosed).toBe(false);
  });

  it('drops and counts what a paused session cannot keep, and delivers the rest in order', async () => {
    watchLimits();
    const heard: Bytes = new Recorder();
    const endpoint = await udpEndpoint(heard, withReceiveQueue(10_000));
    const peer = await UdpPeer.bind();
    await peer.send('0', endpoint.localAddress.port);
    const session = await heard.session();
    await heard.until('message');
    session.pause();
    for (let index = 1; index <= 20; index++) spoof(endpoint, '127.0.0.1', peer.port, Buffer.alloc(936, index));
    expect(heard.packages).toHaveLength(1);
    expect(session.stats().packagesDropped).toBe(10);
    expect(limits).toEqual(Array(10).fill('udp-receive-queue'));
    session.resume();
    await heard.until('message', 11);
    expect(heard.packages.slice(1).map(([first]) => first)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    spoof(endpoint, '127.0.0.1', peer.port, Buffer.of(99));
    expect(heard.packages).toHaveLength(12);
  });

  it('counts new peers by address, and refuses those on the block list', async () => {
    const endpoint = await udpEndpoint(
      new Recorder<Buffer, Uint8Array>(),
      withClock(virtualClock()),
      withAcceptRate(1, 2),
      withBlockList(['10.6.6.0/24']),
    );
    const refused: string[] = [];
    endpoint.on('refused', (_address, why) => refused.push(why));
    for (let port = 1; port <= 4; port++) spoof(endpoint, '10.0.0.1', port);
    spoof(endpoint, '10.0.0.2', 1);
    spoof(endpoint, '10.6.6.6', 1);
    expect(refused).toEqual(['accept-rate', 'accept-rate', 'blocked']);
    expect(endpoint.udpStats().peers).toBe(3);
    expect(endpoint.stats().refusedConnections).toBe(3);
  });
});

/** Makes the kernel seem full: what is sent waits, and is said to have left when it is released, which tells how many there were. */
function blockSending(endpoint: Endpoint): { release(): number } {
  const raw: object = endpoint.raw as Socket;
  const symbol = Object.getOwnPropertySymbols(raw).find(({ description }) => description === 'state symbol');
  if (symbol === undefined) throw new Error('expected the state of a socket');
  const { handle }: { handle: object } = Reflect.get(raw, symbol);
  const requests: { oncomplete(error: number, size: number): void }[] = [];
  Reflect.set(handle, 'send', (request: (typeof requests)[number]): number => {
    requests.push(request);
    return 0;
  });
  return {
    release() {
      Reflect.deleteProperty(handle, 'send');
      for (const request of requests) request.oncomplete(0, 0);
      return requests.length;
    },
  };
}
