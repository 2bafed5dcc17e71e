import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { Agent, createServer, type Server as HttpServer, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import {
  withClock,
  withConnectionNumber,
  withConnectTimeoutMs,
  withLocalAddress,
  withMaxSessions,
  withReconnect,
  withServerAddress,
  withSourceAddress,
  withStaticRead,
  withTls,
} from '../../src/endpoint/options.ts';
import { WsClient, WsServer, WssClient, WssServer } from '../../src/endpoint/ws.ts';
import {
  withHeaders,
  withHttpServer,
  withMaxRedirects,
  withPath,
  withProxyAgent,
  withSubprotocols,
} from '../../src/endpoint/ws-options.ts';
import { withEventListener, withHalfOpen } from '../../src/session/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { WS_REQUEST } from '../../src/transport/ws-settings.ts';
import { pattern, turns, until } from '../helpers/raw-peer.ts';
import type { BytesSession } from '../helpers/scene.ts';
import { useWsScene } from '../helpers/ws-scene.ts';

const ws = useWsScene();

/** An HTTP server of the user, on a free port. */
async function httpServer(onRequest?: (request: IncomingMessage) => void): Promise<{ http: HttpServer; host: string }> {
  const http = createServer((request, response) => {
    onRequest?.(request);
    response.end('a page');
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  ws.scene.atEnd(() => {
    http.closeAllConnections();
    http.close();
  });
  const address = http.address();
  return { http, host: `127.0.0.1:${typeof address === 'object' ? address?.port : ''}` };
}

/** Answers every request with this head, and closes. */
async function answering(head: string, onHead?: (head: string) => void): Promise<string> {
  const { http, host } = await httpServer();
  http.on('upgrade', (request: IncomingMessage, socket: Duplex) => {
    onHead?.(JSON.stringify([request.url, request.headers]));
    socket.on('error', () => {});
    socket.end(head);
  });
  return host;
}

async function failure(
  promise: Promise<unknown>,
): Promise<{ code: unknown; cause: { code?: unknown; message: string; status?: unknown } }> {
  return promise.then(
    () => Promise.reject(new Error('expected a failure')),
    (error) => error,
  );
}

describe('an HTTP server of the user', () => {
  it('serves pages, and several WebSocket servers by path; what none wants gets a 404', async () => {
    const { http, host } = await httpServer();
    const [chat, feed] = [
      await ws.server(withHttpServer(http), withPath('/chat')),
      await ws.server(withHttpServer(http), withPath('/feed')),
    ];
    expect(chat.address.text).toBe(host);
    const target = { address: chat.address };
    await ws.peer(target, '/chat');
    await ws.peer(target, '/feed');
    expect(await (await ws.asked(target, '/other')).answered()).toBe(404);
    expect([
      (await chat.watch.session()).attributes.get(WS_REQUEST)?.path,
      (await feed.watch.session()).attributes.get(WS_REQUEST)?.path,
    ]).toEqual(['/chat', '/feed']);
    await expect(ws.server(withHttpServer(http), withPath('/chat'))).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
    await chat.server.close({ drainTimeoutMs: 0 });
    expect(http.listening).toBe(true);
    expect(await (await ws.asked(target, '/chat')).answered()).toBe(404);
    expect(await (await ws.asked(target, '/feed')).answered()).toBe(101);
    const page = await fetch(`http://${host}/`);
    expect([page.status, await page.text()]).toEqual([200, 'a page']);
  });

  it('is answered with 503 for a WebSocket server at its limit', async () => {
    const { http } = await httpServer();
    const echo = await ws.server(withHttpServer(http), withMaxSessions(1));
    await ws.peer(echo);
    expect(await (await ws.asked(echo)).answered()).toBe(503);
    expect(echo.refused).toEqual(['max-sessions']);
  });

  it('echoes to a client of the ws package', async () => {
    const { http, host } = await httpServer();
    await ws.server(withHttpServer(http));
    const client = new WebSocket(`ws://${host}/any`);
    ws.scene.atEnd(() => client.terminate());
    await once(client, 'open');
    client.send(pattern(100_000));
    const [message] = await once(client, 'message');
    expect(pattern(100_000).equals(message)).toBe(true);
    client.close(1000);
    expect(await once(client, 'close')).toMatchObject([1000, Buffer.alloc(0)]);
  });
});

describe('a client', () => {
  it('sends headers that are asked for anew, offers subprotocols, and knows what was agreed on', async () => {
    const echo = await ws.server(withSubprotocols(['v2', 'v1']));
    let attempts = 0;
    const headers = withHeaders(async () => ({ Authorization: `attempt ${++attempts}` }));
    const { session } = await ws.client(`${echo.url}room?x=1`, headers, withSubprotocols(['v1', 'v2']));
    const served = (await echo.watch.session()).attributes.get(WS_REQUEST);
    expect(served).toMatchObject({ path: '/room', subprotocol: 'v2', subprotocols: ['v1', 'v2'], headers: { authorization: 'attempt 1' } });
    expect(served?.query.get('x')).toBe('1');
    expect(session.attributes.get(WS_REQUEST)).toMatchObject({ path: '/room', subprotocol: 'v2' });
  });

  it('gives a refusal as HANDSHAKE_FAILED with its status', async () => {
    const echo = await ws.server(withPath('/there'));
    const { client } = ws.newClient(echo.url);
    const error = await failure(client.connect());
    expect(error).toMatchObject({ code: 'RECONNECT_EXHAUSTED', cause: { code: 'HANDSHAKE_FAILED', status: 404, cause: { status: 404 } } });
  });

  it.each([
    ['a page', 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', 'HANDSHAKE_FAILED', 'status 200'],
    [
      'a wrong key',
      'HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n',
      'HANDSHAKE_FAILED',
      'Accept',
    ],
    ['nothing', '', 'CONNECT_FAILED', ''],
    ['another protocol', 'SSH-2.0-OpenSSH\r\n\r\n', 'HANDSHAKE_FAILED', 'Parse'],
    ['a redirect', 'HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n', 'HANDSHAKE_FAILED', 'status 302'],
  ])('says clearly what is wrong with a server that answers %s', async (_what, head, code, text) => {
    const { client } = ws.newClient(`ws://${await answering(head)}/`);
    const { cause } = await failure(client.connect());
    expect(cause.code).toBe(code);
    expect(cause.message).toContain(text);
  });

  it('follows redirects as far as it may, and takes credentials to no other origin', async () => {
    const echo = await ws.server();
    const seen: string[] = [];
    const away = await answering(`HTTP/1.1 307 X\r\nLocation: ${echo.url}end\r\nContent-Length: 0\r\n\r\n`, (head) => seen.push(head));
    const near = await answering(`HTTP/1.1 302 X\r\nLocation: ws://${away}/away\r\nContent-Length: 0\r\n\r\n`, (head) => seen.push(head));
    const headers = withHeaders({ Authorization: 'secret', Cookie: 'a=b', 'X-Plain': 'yes' });
    await ws.client(`ws://${near}/near`, headers, withMaxRedirects(2));
    const end = (await echo.watch.session()).attributes.get(WS_REQUEST);
    expect(end?.path).toBe('/end');
    expect(end?.headers).toMatchObject({ 'x-plain': 'yes' });
    expect(end?.headers.authorization ?? end?.headers.cookie).toBeUndefined();
    expect(seen.map((head) => head.includes('secret'))).toEqual([true, false]);
    const { client } = ws.newClient(`ws://${near}/near`, withMaxRedirects(1));
    expect((await failure(client.connect())).cause.message).toContain('at most 1 redirect');
  });

  it('gives a dial up at its time-out although the function for the headers never settles', async () => {
    const clock = new VirtualClock();
    const never = withHeaders(() => new Promise(() => {}));
    const { client } = ws.newClient('ws://127.0.0.1:1/', withClock(clock), withConnectTimeoutMs(1000), never);
    const failed = failure(client.connect());
    await turns(3);
    await clock.advance(1010);
    expect((await failed).cause.code).toBe('CONNECT_TIMEOUT');
  });

  it('connects through a proxy agent', async () => {
    const echo = await ws.server();
    let dials = 0;
    class Tunnel extends Agent {
      override createConnection(): ReturnType<typeof connect> {
        dials++;
        return connect(echo.address.port, '127.0.0.1');
      }
    }
    const agent = new Tunnel();
    ws.scene.atEnd(() => agent.destroy());
    const { session, watch } = await ws.client('ws://far.away.example/', withProxyAgent(agent));
    session.send(pattern(50_000));
    expect((await watch.packagesIn(1))[0]?.length).toBe(50_000);
    expect(dials).toBe(1);
  });

  it('comes back when its session is lost, as over TCP', async () => {
    const echo = await ws.server();
    const { client } = ws.newClient(echo.url, withReconnect({ baseMs: 1, maxMs: 2, stableMs: 0 }), withConnectionNumber(2));
    await client.connect();
    const back = new Promise((resolve) => client.once('reconnected', resolve));
    (await echo.watch.session()).destroy();
    await back;
    await until(() => client.sessions.size === 2, 'both sessions');
  });

  it('refuses masked frames, and echoes with a server of the ws package', async () => {
    const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
    ws.scene.atEnd(() => {
      for (const socket of server.clients) socket.terminate();
      server.close();
    });
    await once(server, 'listening');
    server.on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })));
    const address = server.address();
    const { session, watch } = await ws.client(`ws://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`);
    for (const size of [1, 70, 1000, 70_000]) session.send(pattern(size, size));
    expect((await watch.packagesIn(4)).map((pkg) => pkg.equals(pattern(pkg.length, pkg.length)))).toEqual([true, true, true, true]);
    await session.close({ status: 3001, reason: 'bye' });
  });
});

describe('a Unix socket', () => {
  it('carries WebSockets', async () => {
    const file = path.join(os.tmpdir(), `portico-${randomUUID()}.sock`);
    const echo = await ws.server(withLocalAddress(`unix:${file}`), withPath('/chat'));
    const { session, watch } = await ws.client(`ws+unix:${file}:/chat`);
    session.send(pattern(100_000));
    expect((await watch.packagesIn(1))[0]?.length).toBe(100_000);
    expect((await echo.watch.session()).remoteAddress.family).toBe('unix');
    await session.close();
  });
});

describe('options', () => {
  const url = withServerAddress('ws://127.0.0.1:1/');

  it('that a WebSocket does not have are refused', () => {
    expect(() => new WsServer(withHalfOpen(true))).toThrow('cannot half-close');
    expect(() => new WsClient(url, withHalfOpen(true))).toThrow('cannot half-close');
    expect(() => new WssServer()).toThrow('withTls');
    expect(() => new WsClient(withServerAddress('wss://127.0.0.1/'))).toThrow('WssClient');
    expect(() => new WssClient(url)).toThrow('a wss:// address');
    expect(() => new WsClient(withServerAddress('127.0.0.1:9000'))).toThrow("'ws://host:port/path'");
    expect(
      () =>
        new WsClient(
          url,
          withSubprotocols(() => 'x'),
        ),
    ).toThrow('given a function');
    expect(() => new WsServer(withLocalAddress('ws://x/'))).toThrow('withLocalAddress');
    // @ts-expect-error: it does not compile either.
    expect(() => new WsServer(withTls({}))).toThrow('WssServer');
  });

  it('of sockets that make no sense do not compile', () => {
    // @ts-expect-error: a server has no source address.
    void new WsServer(withSourceAddress('127.0.0.1'));
    // @ts-expect-error: a WebSocket has one way of reading.
    void new WsServer(withStaticRead(true));
    // @ts-expect-error: a client does not listen.
    void new WsClient(url, withPath('/'));
    // @ts-expect-error: a server asks for nothing.
    void new WsServer(withMaxRedirects(1));
  });
});

it('connect resolves with a session that the server closed as soon as it was open, and that says why', async () => {
  const onOpen = (session: BytesSession): void => void session.close({ status: 4002, reason: 'no room' });
  const echo = await ws.server(withEventListener<Buffer, Uint8Array>({ onMessage() {}, onOpen }));
  for (let count = 1; count <= 5; count++) {
    const { session } = await ws.client(echo.url);
    expect(await session.closed).toMatchObject({ by: 'peer', status: 4002 });
  }
});
