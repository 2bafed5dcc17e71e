import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { connect, createServer, type Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { connect as connectTls } from 'node:tls';
import { afterAll, describe, expect, it } from 'vitest';
import { PeerError } from '../../src/base/errors.ts';
import type { Option } from '../../src/base/option.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withClock, withLocalAddress, withStaticRead, withTls } from '../../src/endpoint/options.ts';
import { withPkgHandler } from '../../src/session/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { tcpAddress } from '../../src/transport/address.ts';
import type { Preface } from '../../src/transport/preface.ts';
import { SocketAcceptor } from '../../src/transport/socket-acceptor.ts';
import { SOCKET_DEFAULTS } from '../../src/transport/socket-settings.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { frame, framesIn, pattern, RawPeer, turns, until } from '../helpers/raw-peer.ts';
import { pathOf, useScene } from '../helpers/scene.ts';

const scene = useScene();
const named = tcpAddress('203.0.113.9', 9);
const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-preface-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** "<" anything up to 20 bytes ">" is a preface. */
const toy: Preface = {
  timeoutMs: 3000,
  isOptional: false,
  expect: () => 'read',
  read(bytes) {
    if (bytes[0] !== 0x3c || bytes.length > 65_600) throw new PeerError('PROXY_HEADER_INVALID', 'no preface');
    const end = bytes.indexOf('>');
    return end === -1 ? undefined : { byteCount: end + 1, remote: named };
  },
};

function withPreface(preface: Preface): Option<{ preface: Preface | undefined }> {
  return (options) => {
    options.preface = preface;
  };
}

describe.each([true, false])('a preface, static reading: %s', (isStatic) => {
  const common = [withPreface(toy), withStaticRead(isStatic)] as const;

  it.each([
    ['alone', (peer: RawPeer) => peer.send('<who>')],
    ['byte by byte', (peer: RawPeer) => bytewise(peer, '<who>')],
    ['and what follows in one piece', (peer: RawPeer) => peer.send(Buffer.concat([Buffer.from('<who>'), frame('first')]))],
    ['and a part of what follows', (peer: RawPeer) => peer.send(Buffer.concat([Buffer.from('<who>'), frame('first').subarray(0, 3)]))],
  ])('%s', async (_name, send) => {
    const echo = await scene.server(...common);
    const peer = await scene.peer(echo);
    await send(peer);
    const session = await echo.watch.session();
    expect(session.remoteAddress.text).toBe('203.0.113.9:9');
    expect(session.stats().readPath).toBe(pathOf(isStatic));
    const sent =
      _name === 'and a part of what follows' ? frame('first').subarray(3) : _name.includes('one piece') ? Buffer.alloc(0) : frame('first');
    await peer.send(Buffer.concat([sent, frame('second')]));
    expect(await echo.watch.textsIn(2)).toEqual(['first', 'second']);
    expect(framesIn(await peer.receive(frame('first').length + frame('second').length)).map(String)).toEqual(['first', 'second']);
  });

  it('is not counted as bytes of packages', async () => {
    const echo = await scene.server(...common);
    const peer = await scene.peer(echo);
    await peer.send(Buffer.concat([Buffer.from('<who>'), frame('first')]));
    await echo.watch.packagesIn(1);
    expect((await echo.watch.session()).stats().bytesRead).toBe(frame('first').length);
  });

  it('keeps every byte behind it in order, while newSession is slow and the peer goes on sending', async () => {
    let goOn = (): void => {};
    const slow = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    const echo = await scene.serverWith(() => slow, ...common);
    const peer = await scene.peer(echo);
    const bodies = Array.from({ length: 40 }, (_, index) => pattern(20_000, index));
    peer.pour(Buffer.concat([Buffer.from('<who>'), ...bodies.slice(0, 5).map(frame)]));
    await until(() => echo.server.stats().totalSessions === 1, 'the session');
    for (const body of bodies.slice(5)) peer.pour(frame(body));
    await turns(5);
    goOn();
    const packages = await echo.watch.packagesIn(40);
    expect(packages.findIndex((pkg, index) => !pkg.equals(bodies[index] ?? Buffer.alloc(0)))).toBe(-1);
  });

  it('may be followed at once by the end of the stream', async () => {
    const echo = await scene.server(...common);
    const peer = await scene.peer(echo);
    peer.socket.end(Buffer.concat([Buffer.from('<who>'), frame('first'), frame('second')]));
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED', truncatedBytes: 0 }]);
    expect(echo.watch.texts).toEqual(['first', 'second']);
    await peer.closed();
    expect(framesIn(peer.received).map(String)).toEqual(['first', 'second']);
  });

  it('may be all that comes before the end of the stream', async () => {
    const echo = await scene.server(...common);
    const peer = await scene.peer(echo);
    peer.socket.end('<who>');
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
    await peer.closed();
  });

  it('stands before TLS, in one piece with the ClientHello, with a part of it, or alone', async () => {
    const { ca, server } = await makeCertificates();
    const echo = await scene.server(withTls(server), ...common);
    for (const [index, cutAt] of [3, 5, 8, 200, 1_000_000].entries()) {
      const relay = await relayWith('<who>', cutAt, echo.address.port);
      const secured = connectTls({ port: relay, host: '127.0.0.1', ca: ca.cert, servername: 'localhost' });
      scene.atEnd(() => secured.destroy());
      const peer = new RawPeer(secured);
      peer.pour(frame(pattern(100_000, index)));
      expect((await peer.receive(100_004)).equals(frame(pattern(100_000, index)))).toBe(true);
    }
    const sessions = await echo.watch.sessions(5);
    expect(sessions.map(({ remoteAddress }) => remoteAddress)).toEqual(Array(5).fill(named));
    expect(sessions[0]?.connection.tls?.protocol).toBe('TLSv1.3');
  });

  it('works on a Unix socket', async () => {
    const echo = await scene.server(...common, withLocalAddress(`unix:${path.join(folder, `${isStatic}.sock`)}`));
    const peer = await scene.peer(echo);
    await peer.send(Buffer.concat([Buffer.from('<who>'), frame('first')]));
    expect(await echo.watch.textsIn(1)).toEqual(['first']);
    expect((await echo.watch.session()).remoteAddress).toBe(named);
  });

  it('lets a session be paused from the start', async () => {
    const echo = await scene.serverWith((session) => session.pause(), ...common);
    const peer = await scene.peer(echo);
    await peer.send(Buffer.concat([Buffer.from('<who>'), frame('first')]));
    const session = await echo.watch.session();
    await peer.send(frame('second'));
    await turns(5);
    expect(echo.watch.packages).toEqual([]);
    session.resume();
    expect(await echo.watch.textsIn(2)).toEqual(['first', 'second']);
  });
});

describe('a preface that does not come', () => {
  it.each([
    ['wrong', 'GET / HTTP/1.1\r\n', 'no preface'],
    ['cut off by the end', '<wh', 'finished after 3 byte(s)'],
    ['replaced by the end', '', 'finished after 0 byte(s)'],
  ])('because it is %s: the connection is lost, and no session is made', async (_name, bytes, text) => {
    const echo = await scene.server(withPreface(toy));
    const peer = await scene.peer(echo);
    peer.socket.end(bytes);
    await peer.closed();
    await until(() => echo.lost.length > 0, 'the event');
    expect(echo.lost).toMatchObject([{ name: 'PeerError', code: 'PROXY_HEADER_INVALID' }]);
    expect(echo.lost[0]?.message).toContain(text);
    expect(echo.server.stats().totalSessions).toBe(0);
  });

  it('because the peer resets the connection', async () => {
    const echo = await scene.server(withPreface(toy));
    const peer = await scene.peer(echo);
    await peer.send('<w');
    await turns(3);
    peer.reset();
    await until(() => echo.lost.length > 0, 'the event');
    expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_INVALID' }]);
  });

  it('because it is slow: it has one time-out from the accepting on, however many bytes come', async () => {
    const clock = new VirtualClock();
    const echo = await scene.server(withPreface(toy), withClock(clock));
    const peer = await scene.peer(echo);
    for (const piece of ['<', 'w', 'h']) {
      await peer.send(piece);
      await turns(3);
      await clock.advance(900);
    }
    expect(echo.lost).toEqual([]);
    await clock.advance(400);
    await peer.closed();
    expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_TIMEOUT', message: expect.stringContaining('3 byte(s)') }]);
  });

  it('is no trouble for an optional one, when nothing comes at all', async () => {
    const clock = new VirtualClock();
    const echo = await scene.server(withPreface({ ...toy, isOptional: true }), withClock(clock));
    const silent = await scene.peer(echo);
    const halting = await scene.peer(echo);
    await halting.send('<');
    await turns(5);
    await clock.advance(3100);
    const session = await echo.watch.session();
    expect(session.remoteAddress.port).toBe(silent.socket.localPort);
    expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_TIMEOUT' }]);
    await silent.send(frame('at last'));
    expect(await echo.watch.textsIn(1)).toEqual(['at last']);
  });

  it('because the server stops accepting', async () => {
    const echo = await scene.server(withPreface(toy));
    const peer = await scene.peer(echo);
    await peer.send('<w');
    await turns(5);
    await echo.server.stopAccepting();
    await peer.closed();
    await until(() => echo.lost.length > 0, 'the event');
  });

  it('because reading it throws what it should not', async () => {
    const broken: Preface = {
      ...toy,
      read() {
        throw new TypeError('broken');
      },
    };
    const echo = await scene.server(withPreface(broken));
    const peer = await scene.peer(echo);
    await peer.send('<');
    await peer.closed();
    await until(() => echo.lost.length > 0, 'the event');
    expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_INVALID', cause: expect.any(TypeError) }]);
  });

  it('costs a bounded memory, though the peer never stops', async () => {
    const echo = await scene.server(withPreface(toy));
    const peer = await scene.peer(echo);
    peer.pour(Buffer.alloc(10_000_000, '<'));
    await peer.closed();
    await until(() => echo.lost.length > 0, 'the event');
    expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_INVALID' }]);
  });
});

describe('whom a preface is expected from', () => {
  it('"none" leaves the bytes alone, "refuse" refuses', async () => {
    let answer: 'none' | 'refuse' = 'none';
    const echo = await scene.server(withPreface({ ...toy, expect: () => answer }), withPkgHandler(new RawHandler()));
    const plain = await scene.peer(echo);
    await plain.send('<who>');
    expect(String(await plain.receive(5))).toBe('<who>');
    answer = 'refuse';
    const refused = await scene.peer(echo);
    await refused.closed();
    expect(echo.refused).toEqual(['untrusted']);
    expect(echo.server.stats()).toMatchObject({ totalSessions: 1, refusedConnections: 1 });
  });
});

describe('what stands on the acceptor', () => {
  it('may give the socket to an HTTP server', async () => {
    const http = createHttpServer((request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (bytes: Buffer) => parts.push(bytes));
      request.on('end', () => response.end(`${request.url} ${Buffer.concat(parts).length}`));
    });
    const sockets: Socket[] = [];
    const acceptor = await SocketAcceptor.listen(
      '127.0.0.1:0',
      { ...SOCKET_DEFAULTS, preface: toy },
      { admit: () => undefined, onConnection() {}, onConnectionLost() {}, onAcceptError() {} },
      (socket, remote, _acceptor, preface) => {
        expect([remote, preface?.byteCount]).toEqual([named, 5]);
        sockets.push(socket);
        http.emit('connection', socket);
        socket.resume();
      },
    );
    scene.atEnd(async () => {
      for (const socket of sockets) socket.destroy();
      await acceptor.close();
    });
    const body = pattern(300_000);
    const head = `<who>POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n`;
    for (const cutAt of [0, 4, 5, 20]) {
      const peer = await RawPeer.connect(acceptor.address);
      scene.atEnd(() => peer.destroy());
      await peer.send(head.slice(0, cutAt));
      await turns(3);
      peer.pour(Buffer.concat([Buffer.from(head.slice(cutAt)), body]));
      await until(() => String(peer.received).includes('/a 300000'), `the answer, cut at ${cutAt}`);
    }
  });
});

/** The port of a relay that puts a text in front of what a client sends, cuts the whole there once, and passes all else on. */
async function relayWith(text: string, cutAt: number, port: number): Promise<number> {
  const relay = createServer((near) => {
    const far = connect(port, '127.0.0.1');
    for (const socket of [near, far]) {
      socket.on('error', () => {});
      scene.atEnd(() => socket.destroy());
    }
    near.once('data', (hello: Buffer) => {
      const whole = Buffer.concat([Buffer.from(text), hello]);
      far.write(whole.subarray(0, cutAt));
      setImmediate(() => {
        far.write(whole.subarray(cutAt));
        near.pipe(far);
      });
    });
    far.pipe(near);
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  scene.atEnd(() => relay.close());
  const address = relay.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

async function bytewise(peer: RawPeer, text: string): Promise<void> {
  for (const letter of text) {
    await peer.send(letter);
    await turns(2);
  }
}
