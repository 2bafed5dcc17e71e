import { createSocket, type Socket } from 'node:dgram';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import os, { networkInterfaces } from 'node:os';
import { describe, expect, it } from 'vitest';
import { DIAGNOSTICS_CHANNELS } from '../../src/base/diagnostics.ts';
import { ConnectionRecorder, ReceiptRecorder } from '../../src/testing/connection-recorder.ts';
import { AcceptorRecorder, NEVER } from '../../src/testing/contract-scene.ts';
import { UdpTransport } from '../../src/transport/udp.ts';
import { directSocket } from '../../src/transport/udp-direct.ts';
import type { UdpSettings } from '../../src/transport/udp-settings.ts';
import { rejection } from '../helpers/endpoint-fixtures.ts';
import { eventually, LogRecorder } from '../helpers/session-recorder.ts';
import { UdpPeer } from '../helpers/udp-scene.ts';

const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));

async function listen(address: string, settings: Partial<UdpSettings> = {}) {
  const accepted = new AcceptorRecorder();
  const acceptor = await new UdpTransport(settings).listen(address, accepted);
  return { acceptor, accepted };
}

async function dial(address: string, settings: Partial<UdpSettings> = {}): Promise<ConnectionRecorder> {
  return new ConnectionRecorder(await new UdpTransport(settings).dial(address, { signal: NEVER })).open();
}

describe('addresses', () => {
  it.runIf(hasIpv6)('listens on IPv6 and IPv4 at once, and answers both (only with IPv6)', async () => {
    const { acceptor, accepted } = await listen(':0');
    const { port } = acceptor.address;
    const peers = [await UdpPeer.bind('127.0.0.1'), await UdpPeer.bind('::1')];
    await peers[0]?.send('4', port);
    await peers[1]?.send('6', port, '::1');
    await eventually(() => accepted.connections.length === 2, 'both have come');
    const hosts = accepted.connections.map(({ remoteAddress }) => remoteAddress.host).sort();
    expect(hosts).toEqual(['::1', '::ffff:127.0.0.1']);
    for (const connection of accepted.connections) {
      const recorder = new ConnectionRecorder(connection).open();
      recorder.send(Buffer.from('answer'));
      recorder.connection.close();
    }
    for (const peer of peers) await peer.until(1);
    await acceptor.close();
  });

  it.runIf(hasIpv6)('leaves IPv4 alone with ipv6Only (only with IPv6)', async () => {
    const { acceptor } = await listen(':0', { ipv6Only: true });
    const { port } = acceptor.address;
    const other = await listen(`127.0.0.1:${port}`);
    await other.acceptor.close();
    await acceptor.close();
  });

  it('looks names up once, and never again for a datagram', async () => {
    const { acceptor, accepted } = await listen('localhost:0');
    const client = await dial(`localhost:${acceptor.address.port}`);
    client.send(Buffer.from('x'));
    await eventually(() => accepted.connections.length === 1, 'the peer has come');
    expect(client.connection.remoteAddress.host).toMatch(/^(127\.0\.0\.1|::1)$/);
    for (const connection of accepted.connections) connection.abort();
    client.connection.abort();
    await acceptor.close();
  });

  it('dials from the source address that it is given', async () => {
    const { acceptor, accepted } = await listen('127.0.0.1:0');
    const client = await dial(acceptor.address.text, { sourceAddress: '127.0.0.1' });
    client.send(Buffer.from('x'));
    await eventually(() => accepted.connections.length === 1, 'the peer has come');
    expect(accepted.connections[0]?.remoteAddress.text).toBe(client.connection.localAddress.text);
    for (const connection of accepted.connections) connection.abort();
    client.connection.abort();
    await acceptor.close();
  });

  it.each([
    ['unix:/tmp/x.sock', 'INVALID_ADDRESS'],
    ['127.0.0.1:9', 'CONNECT_FAILED'],
  ])('rejects to dial %s with %s', async (address, code) => {
    // From an address of another family, which cannot be.
    expect(await rejection(new UdpTransport({ sourceAddress: '::1' }).dial(address, { signal: NEVER }))).toMatchObject({ code });
  });

  it('dials a broadcast address where that is allowed', async () => {
    const client = await dial('255.255.255.255:9', { broadcast: true });
    expect(client.connection.remoteAddress.text).toBe('255.255.255.255:9');
    client.connection.abort();
  });

  it('several sockets share an address with reuseAddress', async () => {
    const { acceptor } = await listen('127.0.0.1:0', { reuseAddress: true });
    const other = await listen(acceptor.address.text, { reuseAddress: true });
    expect(other.acceptor.address.text).toBe(acceptor.address.text);
    await other.acceptor.close();
    await acceptor.close();
  });
});

describe('sizes', () => {
  it.each([['127.0.0.1', 65_507], ...(hasIpv6 ? ([['[::1]', 65_527]] as const) : [])] as const)(
    'sends datagrams to %s of up to %i bytes, and tells of one that is larger',
    async (host, max) => {
      const { acceptor, accepted } = await listen(`${host}:0`);
      const client = await dial(acceptor.address.text);
      const notices: unknown[] = [];
      Object.assign(client, { onNotice: (error: unknown) => notices.push(error) });
      const receipts = [new ReceiptRecorder(), new ReceiptRecorder()];
      client.send(Buffer.alloc(max + 1), receipts[0]);
      client.send(Buffer.alloc(max + 1));
      client.send(Buffer.alloc(max, 7), receipts[1]);
      await eventually(() => receipts[1]?.sent === 1 && accepted.connections.length === 1, 'the largest has left');
      expect(receipts[0]?.errors).toMatchObject([{ code: 'DATAGRAM_TOO_LARGE', message: expect.stringContaining(`${max + 1}`) }]);
      expect(notices).toMatchObject([{ code: 'DATAGRAM_TOO_LARGE' }, { code: 'DATAGRAM_TOO_LARGE' }]);
      expect(client.connection).toMatchObject({ bytesWritten: max, writes: 1, droppedPackages: 2, lostPackages: 2 });
      const server = new ConnectionRecorder(accepted.connections[0] ?? client.connection).open();
      await eventually(() => server.length === max, 'it has come whole');
      server.connection.abort();
      client.connection.abort();
      await acceptor.close();
    },
  );

  it('reads the sizes of the kernel back, and warns when it gave less', async () => {
    const told: unknown[] = [];
    const onLimit = (message: unknown): void => void told.push(message);
    subscribe(DIAGNOSTICS_CHANNELS.limit, onLimit);
    const logger = new LogRecorder();
    const enough = await listen('127.0.0.1:0', { logger, receiveBufferBytes: 20_000, sendBufferBytes: 20_000 });
    expect(logger.warnings).toEqual([]);
    expect(enough.acceptor.stats().receiveBufferBytes).toBeGreaterThanOrEqual(20_000);
    const greedy = await listen('127.0.0.1:0', { logger, receiveBufferBytes: 2_000_000_000 });
    unsubscribe(DIAGNOSTICS_CHANNELS.limit, onLimit);
    expect(logger.warnings).toEqual([expect.stringMatching(/receive buffer of \d+ bytes instead of 2000000000/)]);
    expect(told).toMatchObject([{ limit: 'udp-receive-buffer', wantedBytes: 2_000_000_000 }]);
    await enough.acceptor.close();
    await greedy.acceptor.close();
  });
});

describe('the way around Socket.send', () => {
  it('is found on this runtime, leaves the socket as it was, and sends nothing to find out', async () => {
    for (const type of hasIpv6 ? (['udp4', 'udp6'] as const) : (['udp4'] as const)) {
      const socket = createSocket(type);
      await new Promise<void>((resolve) => socket.bind(0, resolve));
      const before = sendOf(socket);
      const direct = await directSocket(socket, false);
      if (process.env['PORTICO_UDP_DIRECT'] === '0') expect(direct).toBeUndefined();
      else expect(direct?.Request.name).toBe('SendWrap');
      expect(sendOf(socket)).toBe(before);
      socket.close();
    }
  });

  it('is left alone when Node calls something else', async () => {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, resolve));
    const odd = Object.assign(Object.create(socket) as Socket, {
      send: (_bytes: unknown, ...rest: unknown[]) => {
        sendOf(socket)({}, ['not the probe'], 1, 'other');
        const done = rest.at(-1);
        if (typeof done === 'function') done();
      },
    });
    expect(await directSocket(odd, false)).toBeUndefined();
    socket.close();
  });
});

const isDirect = process.env['PORTICO_UDP_DIRECT'] !== '0';

it.runIf(isDirect)(
  'what is sent from the news of an error spoils nothing that is on its way (only without PORTICO_UDP_DIRECT=0)',
  async () => {
    const client = await dial('127.0.0.1:9');
    const handle = handleOf(client.connection.raw as Socket);
    const sent: string[] = [];
    let hasFailed = false;
    handle.send = (_request: unknown, list: unknown): number => {
      if (!hasFailed) {
        hasFailed = true;
        return -os.constants.errno.ECONNREFUSED;
      }
      sent.push(Buffer.concat(list as Buffer[]).toString());
      return 1;
    };
    Object.assign(client, {
      onNotice: () => {
        for (const letter of ['b', 'c', 'd']) client.send(Buffer.from(letter.repeat(20)));
      },
    });
    client.send(Buffer.from('a'.repeat(20)));
    expect(sent.map((text) => text.slice(0, 3))).toEqual(['bbb', 'ccc', 'ddd', 'aaa']);
    expect(client.connection).toMatchObject({ writes: 4, bytesWritten: 80, droppedPackages: 0 });
    Reflect.deleteProperty(handle, 'send');
    client.connection.abort();
  },
);

it.runIf(isDirect)(
  'waits for a datagram that the kernel could not take, sends what came after it behind it, and then ends (only without PORTICO_UDP_DIRECT=0)',
  async () => {
    const client = await dial('127.0.0.1:9');
    const handle = handleOf(client.connection.raw as Socket);
    const held: { oncomplete(error: number): void; list: Buffer[] }[] = [];
    handle.send = (request: unknown, list: unknown): number => {
      held.push(Object.assign(request as (typeof held)[number], { list: list as Buffer[] }));
      return 0;
    };
    const receipt = new ReceiptRecorder();
    for (const letter of ['a', 'b', 'c']) client.send(Buffer.from(letter.repeat(20)));
    client.send(Buffer.from('d'), receipt);
    client.connection.close();
    expect(client.connection.pendingBytes).toBe(61);
    for (let count = 0; count < 4; count++) {
      await eventually(() => held.length > count, `datagram ${count} is handed over`);
      expect([client.closes, receipt.settled]).toEqual([0, 0]);
      held[count]?.oncomplete(0);
    }
    await eventually(() => client.closes === 1, 'the close');
    expect(held.map(({ list }) => Buffer.concat(list).toString()[0])).toEqual(['a', 'b', 'c', 'd']);
    expect([receipt.sent, client.closeError]).toEqual([1, undefined]);
  },
);

it.runIf(isDirect)(
  'one that waits for the kernel is pending until it is gone, and a refusal is told (only without PORTICO_UDP_DIRECT=0)',
  async () => {
    const client = await dial('127.0.0.1:9');
    const { connection } = client;
    const handle = handleOf(connection.raw as Socket);
    const held: { oncomplete(error: number): void }[] = [];
    handle.send = (request: unknown): number => {
      held.push(request as (typeof held)[number]);
      return 0;
    };
    const notices: unknown[] = [];
    Object.assign(client, { onNotice: (error: unknown) => notices.push(error) });
    client.send(Buffer.alloc(20));
    expect(connection).toMatchObject({ pendingBytes: 20, writes: 1, bytesWritten: 20 });
    connection.isDrainExpected = true;
    held[0]?.oncomplete(0);
    expect([connection.pendingBytes, client.drains]).toEqual([0, 1]);
    client.send(Buffer.alloc(30));
    held[1]?.oncomplete(-os.constants.errno.EPERM);
    expect(notices).toMatchObject([{ code: 'DATAGRAM_FAILED', cause: { code: 'EPERM' } }]);
    expect(connection).toMatchObject({ pendingBytes: 0, writes: 1, bytesWritten: 20, droppedPackages: 1, lostPackages: 1 });
    Reflect.deleteProperty(handle, 'send');
    connection.abort();
  },
);

interface Handle {
  send(...args: unknown[]): number;
}

/** What Node keeps of a socket inside. */
function handleOf(socket: Socket): Handle {
  const symbol = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol') ?? Symbol();
  return (Reflect.get(socket, symbol) as { handle: Handle }).handle;
}

function sendOf(socket: Socket): Handle['send'] {
  return handleOf(socket).send;
}

describe('the end', () => {
  it('of a shared socket that the program closes itself is that of its connections', async () => {
    const { acceptor, accepted } = await listen('127.0.0.1:0');
    const client = await dial(acceptor.address.text);
    client.send(Buffer.from('x'));
    await eventually(() => accepted.connections.length === 1, 'the peer has come');
    const server = new ConnectionRecorder(accepted.connections[0] ?? client.connection).open();
    (acceptor.raw as Socket).close();
    await eventually(() => server.closes === 1, 'the connection is over');
    expect(server.closeError?.code).toBe('TRANSPORT_FAILED');
    await acceptor.close();
    (client.connection.raw as Socket).close();
    await eventually(() => client.closes === 1, 'the client is over, too');
    expect(client.closeError?.code).toBe('TRANSPORT_FAILED');
  });

  it('of a connection without a session to close it comes at once when its place is needed', async () => {
    const { acceptor, accepted } = await listen('127.0.0.1:0', { maxPeers: 1 });
    const peers = [await UdpPeer.bind(), await UdpPeer.bind()];
    await peers[0]?.send('1', acceptor.address.port);
    await eventually(() => accepted.connections.length === 1, 'the first has come');
    const first = new ConnectionRecorder(accepted.connections[0] as never).open();
    await peers[1]?.send('2', acceptor.address.port);
    await eventually(() => first.closes === 1, 'the first is over');
    expect(first.closeError?.code).toBe('TRANSPORT_FAILED');
    for (const connection of accepted.connections) connection.abort();
    await acceptor.close();
  });
});
