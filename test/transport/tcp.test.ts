import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';
import os from 'node:os';
import { describe, expect, it, vi } from 'vitest';
import {
  withBacklog,
  withConnectTimeoutMs,
  withIpv6Only,
  withKeepAliveMs,
  withLocalAddress,
  withNoDelay,
  withSourceAddress,
  withStaticRead,
  withTls,
} from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { withCronPeriodMs, withDrainTimeoutMs } from '../../src/session/options.ts';
import { TcpTransport } from '../../src/transport/tcp.ts';
import { frame, pattern, RawPeer, turns, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const scene = useScene();
const hasIpv6 = Object.values(os.networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));

/** Spies on what Node asks of libuv; the methods stand on a prototype that all handles share. */
async function spyOnHandles() {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const serverHandle: unknown = Reflect.get(probe, '_handle');
  const prototype = Object.getPrototypeOf(serverHandle) as Record<string, (...args: unknown[]) => unknown>;
  probe.close();
  return {
    listen: vi.spyOn(prototype, 'listen'),
    setNoDelay: vi.spyOn(prototype, 'setNoDelay'),
    setKeepAlive: vi.spyOn(prototype, 'setKeepAlive'),
  };
}

/** Later versions of Node have more to say, and leave it out. */
function keptAlive({ setKeepAlive }: { setKeepAlive: { mock: { calls: unknown[][] } } }): unknown[][] {
  return setKeepAlive.mock.calls.map(([isOn, seconds]) => [isOn, seconds]);
}

describe('listening', () => {
  it('takes a free port for port 0 and tells which', async () => {
    const first = await scene.server();
    const second = await scene.server();
    expect(first.address).toMatchObject({ host: '127.0.0.1', family: 'IPv4' });
    expect(first.address.port).toBeGreaterThan(0);
    expect(first.address.port).not.toBe(second.address.port);
    expect(first.address.text).toBe(`127.0.0.1:${first.address.port}`);
  });

  it('takes a free port for a host without a port', async () => {
    const { address } = await scene.server(withLocalAddress('127.0.0.1'));
    expect(address.port).toBeGreaterThan(0);
  });

  it('rejects with LISTEN_FAILED when the port is in use, and can be tried again', async () => {
    const first = await scene.server();
    const second = new TcpServer(withLocalAddress(first.address.text));
    scene.atEnd(() => second.close());
    expect(await rejectionOf(second.listen())).toMatchObject({
      name: 'TransportError',
      code: 'LISTEN_FAILED',
      cause: { code: 'EADDRINUSE' },
    });
    await first.server.close();
    await second.listen();
    expect(second.localAddress.text).toBe(first.address.text);
  });

  it('rejects with LISTEN_FAILED for an address that is not of this machine', async () => {
    const server = new TcpServer(withLocalAddress('192.0.2.1:0'));
    expect(await rejectionOf(server.listen())).toMatchObject({ code: 'LISTEN_FAILED', cause: { code: 'EADDRNOTAVAIL' } });
    await server.close();
  });

  it.runIf(hasIpv6)('is reached over both families on ":0" (only with IPv6)', async () => {
    const echo = await scene.server(withLocalAddress(':0'));
    expect(echo.address).toMatchObject({ host: '::', family: 'IPv6' });
    for (const host of ['127.0.0.1', '::1']) {
      const peer = await scene.peer({ host, port: echo.address.port });
      await peer.send(frame(host));
      expect(await peer.receive(frame(host).length)).toEqual(frame(host));
    }
    const hosts = echo.watch.opened.map(({ remoteAddress }) => remoteAddress.host);
    expect(hosts).toEqual(['::ffff:127.0.0.1', '::1']);
  });

  it.runIf(hasIpv6)('leaves IPv4 alone with ipv6Only (only with IPv6)', async () => {
    const echo = await scene.server(withLocalAddress('[::]:0'), withIpv6Only(true));
    expect(await rejectionOf(RawPeer.connect({ host: '127.0.0.1', port: echo.address.port }))).toMatchObject({ code: 'ECONNREFUSED' });
    const peer = await scene.peer({ host: '::1', port: echo.address.port });
    await peer.send(frame('six'));
    expect(await peer.receive(7)).toEqual(frame('six'));
  });
});

describe('socket options', () => {
  it('reach the socket: no delay and keep-alive on, backlog 511 by default', async () => {
    const handles = await spyOnHandles();
    const echo = await scene.server();
    expect(handles.listen).toHaveBeenLastCalledWith(511);
    await scene.client(echo);
    await echo.watch.session();
    expect(handles.setNoDelay.mock.calls).toEqual([[true], [true]]);
    expect(keptAlive(handles)).toEqual([
      [true, 30],
      [true, 30],
    ]);
  });

  it('reach the socket as they were given', async () => {
    const handles = await spyOnHandles();
    const echo = await scene.server(withNoDelay(false), withKeepAliveMs(0), withBacklog(7));
    expect(handles.listen).toHaveBeenLastCalledWith(7);
    await scene.client(echo, withNoDelay(false), withKeepAliveMs(45_000));
    await echo.watch.session();
    expect(handles.setNoDelay).not.toHaveBeenCalled();
    expect(keptAlive(handles)).toEqual([[true, 45]]);
  });

  it.runIf(process.platform === 'linux')('bind a client to its source address (only on Linux)', async () => {
    const echo = await scene.server();
    const { session } = await scene.client(echo, withSourceAddress('127.0.0.5'));
    expect(session.localAddress.host).toBe('127.0.0.5');
    expect((await echo.watch.session()).remoteAddress).toEqual(session.localAddress);
  });

  it('make the dial fail when the source address is not of this machine', async () => {
    const echo = await scene.server();
    const { client } = scene.newClient(echo, withSourceAddress('192.0.2.1'));
    expect(await rejectionOf(client.connect())).toMatchObject({
      code: 'RECONNECT_EXHAUSTED',
      cause: { code: 'CONNECT_FAILED', cause: { code: 'EADDRNOTAVAIL' } },
    });
  });
});

describe('dialling', () => {
  it('fails with CONNECT_FAILED and the system error where nobody listens', async () => {
    const echo = await scene.server();
    const { text } = echo.address;
    await echo.server.close();
    const { client } = scene.newClient(text);
    expect(await rejectionOf(client.connect())).toMatchObject({
      cause: { name: 'TransportError', code: 'CONNECT_FAILED', cause: { code: 'ECONNREFUSED' } },
    });
  });

  it('fails with CONNECT_FAILED for a name that does not exist', async () => {
    const transport = new TcpTransport();
    const { signal } = new AbortController();
    expect(await rejectionOf(transport.dial('does-not-exist.invalid:1', { signal }))).toMatchObject({ code: 'CONNECT_FAILED' });
  });

  it('fails with INVALID_ADDRESS before any socket is made', async () => {
    const { signal } = new AbortController();
    expect(await rejectionOf(new TcpTransport().dial('localhost:99999', { signal }))).toMatchObject({ code: 'INVALID_ADDRESS' });
  });

  it('is given up when its signal is aborted, before or during it, and leaves nothing behind', async () => {
    const echo = await scene.server();
    const transport = new TcpTransport();
    const before = AbortSignal.abort(new Error('never mind'));
    expect(await rejectionOf(transport.dial(echo.address.text, { signal: before }))).toMatchObject({ code: 'ABORTED' });
    const during = new AbortController();
    const dial = transport.dial(echo.address.text, { signal: during.signal });
    queueMicrotask(() => during.abort(new Error('never mind')));
    expect(await rejectionOf(dial)).toMatchObject({ code: 'ABORTED', cause: { message: 'never mind' } });
  });

  it('times out on a server that never answers a TLS client', async () => {
    const silent = createServer({ pauseOnConnect: true }).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    const sockets: Socket[] = [];
    silent.on('connection', (socket) => sockets.push(socket));
    scene.atEnd(() => {
      for (const socket of sockets) socket.destroy();
      silent.close();
    });
    const address = silent.address();
    if (address === null || typeof address === 'string') throw new Error('expected a TCP address');
    const { client } = scene.newClient(`127.0.0.1:${address.port}`, withConnectTimeoutMs(50), withTls({}));
    expect(await rejectionOf(client.connect())).toMatchObject({ cause: { code: 'CONNECT_TIMEOUT' } });
  });
});

/** What a peer does before the server's session is open is not lost: `newSession` may take its time. */
describe.each([
  ['static', true],
  ['chunk', false],
] as const)('before the session is open, on the %s read path', (_path, isStatic) => {
  async function slowServer() {
    let release = (): void => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    let started = 0;
    const echo = await scene.serverWith(async () => {
      started++;
      await released;
    }, withStaticRead(isStatic));
    return { echo, release: () => release(), started: () => started };
  }

  it('bytes are kept and delivered', async () => {
    const { echo, release, started } = await slowServer();
    const peer = await scene.peer(echo);
    const bytes = Buffer.concat([frame('one'), frame(pattern(100_000)), frame('three')]);
    peer.pour(bytes);
    await until(() => started() === 1, 'newSession');
    await turns(20);
    release();
    expect((await peer.receive(bytes.length)).equals(bytes)).toBe(true);
  });

  it('bytes and a FIN are kept: replies go out, then the session closes', async () => {
    const { echo, release, started } = await slowServer();
    const peer = await scene.peer(echo);
    peer.pour(frame('last words'));
    peer.end();
    await until(() => started() === 1, 'newSession');
    await turns(20);
    release();
    expect(await peer.receive(14)).toEqual(frame('last words'));
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
  });

  it('a FIN alone is kept: the session opens and closes', async () => {
    const { echo, release, started } = await slowServer();
    const peer = await scene.peer(echo);
    peer.end();
    await until(() => started() === 1, 'newSession');
    await turns(20);
    release();
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
    await until(() => peer.isClosed, 'the socket to be closed');
  });

  it('a reset is kept: the session opens and closes, or never opens', async () => {
    const { echo, release, started } = await slowServer();
    const peer = await scene.peer(echo);
    peer.pour(frame('never mind'));
    await until(() => started() === 1, 'newSession');
    peer.reset();
    await turns(20);
    release();
    await until(() => echo.server.stats().totalSessions === 1 && echo.server.sessions.size === 0, 'the session to be forgotten');
    expect(echo.watch.opened.length).toBe(echo.watch.reasons.length);
  });
});

describe('a server', () => {
  it('keeps sessions that are open when it stops accepting, and frees its port at once', async () => {
    const echo = await scene.server();
    const peer = await scene.peer(echo);
    await echo.watch.session();
    await echo.server.stopAccepting();
    expect(await rejectionOf(RawPeer.connect(echo.address))).toMatchObject({ code: 'ECONNREFUSED' });
    await peer.send(frame('still here'));
    expect(await peer.receive(14)).toEqual(frame('still here'));
    const next = await scene.server(withLocalAddress(echo.address.text));
    expect(next.address.port).toBe(echo.address.port);
  });

  it('closes connections that come between the stop and their hand-over', async () => {
    const echo = await scene.server();
    const peers = await Promise.all(Array.from({ length: 20 }, () => scene.peer(echo)));
    await echo.server.close({ drainTimeoutMs: 0 });
    await Promise.all(peers.map((peer) => peer.closed()));
    expect(echo.server.sessions.size).toBe(0);
  });

  it('does not keep a process alive by its timers', async () => {
    const echo = await scene.server(withCronPeriodMs(1000), withDrainTimeoutMs(60_000));
    await scene.client(echo);
    const timers = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    await echo.server.close();
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length).toBeLessThanOrEqual(timers);
  });
});
