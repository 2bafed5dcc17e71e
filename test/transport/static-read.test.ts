import { connect, createServer, type Socket } from 'node:net';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { withStaticRead } from '../../src/endpoint/options.ts';
import { EventListener } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler, withSendQueue } from '../../src/session/options.ts';
import { canReadStatically, installStaticRead, isStaticReadAllowed, sharedReadBuffer } from '../../src/transport/static-read.ts';
import { frame, framesIn, pattern, type RawPeer, turns, until } from '../helpers/raw-peer.ts';
import { type BytesSession, useScene } from '../helpers/scene.ts';
import { startServerProcess } from '../helpers/server-process.ts';

const scene = useScene();
const MiB = 1_048_576;

// The suite may run with the static path switched off.
beforeEach(() => {
  vi.stubEnv('PORTICO_STATIC_READ', '1');
});

describe('the self-test', () => {
  it('says that this runtime can read into one buffer', async () => {
    expect(isStaticReadAllowed()).toBe(process.platform !== 'win32');
    expect(await canReadStatically()).toBe(process.platform !== 'win32');
  });

  it('is made once per process', () => {
    expect(canReadStatically()).toBe(canReadStatically());
  });

  it('is not even made when the environment forbids it', async () => {
    vi.stubEnv('PORTICO_STATIC_READ', '0');
    expect(isStaticReadAllowed()).toBe(false);
    expect(await canReadStatically()).toBe(false);
  });

  it('fails on a socket without a handle, or with one that has no such method', () => {
    const socket = connect({ port: 1, host: '127.0.0.1' });
    socket.on('error', () => {});
    socket.destroy();
    expect(installStaticRead(socket, () => true)).toBe(false);
    expect(installStaticRead({ _handle: { useUserBuffer: 1 } } as unknown as Socket, () => true)).toBe(false);
  });

  it('uses one buffer for all', () => {
    expect(sharedReadBuffer()).toBe(sharedReadBuffer());
  });
});

describe('which path is taken', () => {
  it.each([
    ['static', true, true],
    ['chunk', false, false],
  ] as const)('is %s by the option, and shown by sessions and servers', async (readPath, server, client) => {
    const echo = await scene.server(withStaticRead(server));
    expect(echo.server.stats().readPath).toBe('none');
    const connected = await scene.client(echo, withStaticRead(client));
    const session = await echo.watch.session();
    expect([session.stats().readPath, echo.server.stats().readPath]).toEqual([readPath, readPath]);
    expect([connected.session.stats().readPath, connected.client.stats().readPath]).toEqual([readPath, readPath]);
    expect([session.connection.readPath, connected.session.connection.readPath]).toEqual([readPath, readPath]);
    connected.session.send(Buffer.from('hello'));
    expect(await connected.watch.textsIn(1)).toEqual(['hello']);
  });

  it("is each side's own choice", async () => {
    const echo = await scene.server(withStaticRead(true));
    const { session, watch } = await scene.client(echo, withStaticRead(false));
    session.send(pattern(200_000));
    expect((await watch.packagesIn(1))[0]?.equals(pattern(200_000))).toBe(true);
    expect([session.stats().readPath, (await echo.watch.session()).stats().readPath]).toEqual(['chunk', 'static']);
  });

  it('is chunk for the whole process when the environment says so', async () => {
    vi.stubEnv('PORTICO_STATIC_READ', '0');
    const echo = await scene.server();
    const { session } = await scene.client(echo);
    expect([session.stats().readPath, (await echo.watch.session()).stats().readPath]).toEqual(['chunk', 'chunk']);
  });

  it.each([
    ['0', 'chunk'],
    ['1', 'static'],
  ])('in a process started with PORTICO_STATIC_READ=%s is %s, and the echo is the same', async (value, readPath) => {
    const other = await startServerProcess([], { ...process.env, PORTICO_STATIC_READ: value });
    scene.atEnd(() => other.stop());
    const peer = await scene.peer({ port: other.port });
    const sent = Buffer.concat([frame('one'), frame(pattern(300_000)), frame('')]);
    peer.pour(sent);
    expect((await peer.receive(sent.length)).equals(sent)).toBe(true);
    expect(await other.ask()).toMatchObject({ openSessions: 1, readPath });
  });
});

describe.each([true, false])('with static read %s', (isStatic) => {
  const readPath = withStaticRead(isStatic);

  it('several sockets interleave, and packages that are kept stay as they were', async () => {
    const echo = await scene.server(readPath);
    const peers = await Promise.all(Array.from({ length: 8 }, () => scene.peer(echo)));
    const sizes = [1, 7, 300, 2048, 2049, 9000, 65_536, 200_000];
    const sent = peers.map((_, index) => sizes.map((size, at) => pattern(size, index * 100 + at)));
    for (let at = 0; at < sizes.length; at++) {
      // Each package in two pieces, so that all sockets are in the middle of one at a time.
      for (const half of [0, 1]) {
        for (const [index, peer] of peers.entries()) {
          const bytes = frame(sent[index]?.[at] ?? '');
          const cut = Math.floor(bytes.length / 2);
          await peer.send(half === 0 ? bytes.subarray(0, cut) : bytes.subarray(cut));
        }
        await turns(3);
      }
    }
    await echo.watch.packagesIn(peers.length * sizes.length);
    for (const [index, peer] of peers.entries()) {
      const expected = Buffer.concat((sent[index] ?? []).map((pkg) => frame(pkg)));
      expect((await peer.receive(expected.length)).equals(expected), `socket ${index}`).toBe(true);
    }
    // What the server kept, after all that was read on top of it.
    const kept = new Set(echo.watch.packages.map((pkg) => pkg.toString('latin1')));
    for (const list of sent) for (const pkg of list) expect(kept.has(pkg.toString('latin1'))).toBe(true);
  });

  /** Peers that send much and read nothing at first: what the server sends back has to wait while others are read. */
  async function flood(listener: EventListener<Buffer, Uint8Array>): Promise<void> {
    const echo = await scene.server(
      readPath,
      withPkgHandler(new LengthFieldHandler({ borrow: true })),
      withSendQueue(256 * MiB),
      withEventListener<Buffer, Uint8Array>(listener),
    );
    const peers: RawPeer[] = [];
    for (let count = 0; count < 3; count++) peers.push(await scene.peer(echo));
    for (const peer of peers) peer.socket.pause();
    const sizes = [100, 8191, 8192, 9000, 30_000, 60_000];
    const packages = Array.from({ length: 300 }, (_, index) => pattern(sizes[index % sizes.length] ?? 1, index));
    const stream = Buffer.concat(packages.map((pkg) => frame(pkg)));
    for (const peer of peers) peer.pour(stream);
    await until(() => echo.server.stats().packagesRead === 3 * packages.length, 'all packages to be read');
    expect([...echo.server.sessions.values()].some((session) => session.pendingBytes > MiB)).toBe(true);
    for (const peer of peers) peer.socket.resume();
    for (const [index, peer] of peers.entries()) {
      const bodies = framesIn(await peer.receive(stream.length));
      const wrong = packages.findIndex((pkg, at) => bodies[at]?.equals(pkg) !== true);
      expect(wrong, `first wrong package of socket ${index}`).toBe(-1);
    }
  }

  it('a borrowed view that is echoed is copied when it has to wait', async () => {
    class Echo extends EventListener<Buffer, Uint8Array> {
      onMessage(session: BytesSession, pkg: Buffer): void {
        session.send(pkg);
      }
    }
    await flood(new Echo());
  });

  it('a borrowed view given to writeBytes is copied when it has to wait', async () => {
    class Echo extends EventListener<Buffer, Uint8Array> {
      onMessage(session: BytesSession, pkg: Buffer): void {
        const header = Buffer.alloc(4);
        header.writeUInt32BE(pkg.length);
        session.writeBytesArray([header, pkg]).catch(() => {});
      }
    }
    await flood(new Echo());
  });

  it('bytes that arrive before the session is open are not lost, nor are those of others in between', async () => {
    const releases: (() => void)[] = [];
    const echo = await scene.serverWith(() => new Promise<void>((resolve) => releases.push(resolve)), readPath);
    const peers = await Promise.all(Array.from({ length: 5 }, () => scene.peer(echo)));
    const streams = peers.map((_, index) => Buffer.concat([frame(pattern(50, index)), frame(pattern(150_000, index)), frame('end')]));
    for (const [index, peer] of peers.entries()) peer.pour(streams[index] ?? Buffer.alloc(0));
    await until(() => releases.length === 5, 'five sessions to wait');
    await turns(20);
    for (const release of releases.reverse()) {
      release();
      await turns(5);
    }
    for (const [index, peer] of peers.entries()) {
      const expected = streams[index] ?? Buffer.alloc(0);
      expect((await peer.receive(expected.length)).equals(expected), `socket ${index}`).toBe(true);
    }
  });

  it('a session that pauses in the middle of a read gets the rest unharmed', async () => {
    class Pausing extends EventListener<Buffer, Uint8Array> {
      readonly kept: Buffer[] = [];
      onMessage(session: BytesSession, pkg: Buffer): void {
        this.kept.push(pkg);
        session.pause();
        setImmediate(() => session.resume());
      }
    }
    const listener = new Pausing();
    const echo = await scene.server(readPath, withEventListener<Buffer, Uint8Array>(listener));
    const [slow, other] = [await scene.peer(echo), await scene.peer(echo)];
    const packages = Array.from({ length: 60 }, (_, index) => pattern(4000, index));
    slow.pour(Buffer.concat(packages.map((pkg) => frame(pkg))));
    const noise = frame(pattern(4000, 999));
    for (let count = 0; count < 30; count++) {
      other.pour(noise);
      await turns(2);
    }
    await until(() => listener.kept.length === 90, 'all packages');
    const own = listener.kept.filter((pkg) => !pkg.equals(noise.subarray(4)));
    expect(own.map((pkg, index) => pkg.equals(packages[index] ?? Buffer.alloc(0)))).toEqual(packages.map(() => true));
  });
});

describe('a runtime without the inner fields that the static path needs', () => {
  it('reads a chunk at a time', async () => {
    const received: Buffer[] = [];
    const server = createServer((socket) => {
      // As a runtime would be whose handles lack the method.
      Object.defineProperty(Reflect.get(socket, '_handle'), 'useUserBuffer', { value: undefined });
      expect(installStaticRead(socket, () => true)).toBe(false);
      socket.on('data', (bytes) => received.push(bytes)).on('end', () => socket.end());
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    scene.atEnd(() => server.close());
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('expected a TCP address');
    const peer = await scene.peer({ port: address.port });
    peer.pour(Buffer.from('chunk'));
    peer.end();
    await peer.closed();
    expect(Buffer.concat(received).toString()).toBe('chunk');
  });
});
