import { randomUUID } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { constants, createDeflateRaw, deflateRawSync, inflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { RawHandler } from '../../src/codec/raw.ts';
import { withCompression } from '../../src/endpoint/compression-options.ts';
import { TCP_SERVER_DEFAULTS, withConnectionNumber, withLocalAddress, withTls, withUpgrade } from '../../src/endpoint/options.ts';
import { Server } from '../../src/endpoint/server.ts';
import { withEventListener, withMaxPackageBytes, withPkgHandler, withSendQueue } from '../../src/session/options.ts';
import { MemoryNetwork } from '../../src/testing/index.ts';
import { type Compression, compressionUpgrade } from '../../src/transport/compression.ts';
import type { Upgrade } from '../../src/transport/transport.ts';
import { hasOpenssl, makeCertificates } from '../helpers/certificates.ts';
import { closeLater, listen } from '../helpers/endpoint-fixtures.ts';
import { frame, framesIn, pattern, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';

const scene = useScene();
const MIB = 1_048_576;

const flushed = (bytes: Uint8Array): Buffer => deflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH });

describe('getty scenario 63: compressed echo', () => {
  const types: readonly Compression[] = ['none', { type: 'zip', level: 0 }, 'zip', 'best-speed', 'best-compression', 'huffman', 'snappy'];

  it.each(types)('%j: 1 B, 64 KiB and 1 MiB come back, and 1 B at once', async (compression) => {
    const echo = await scene.server(withCompression(compression));
    const { session, watch } = await scene.client(echo, withCompression(compression));
    session.send(Buffer.of(1));
    await watch.packagesIn(1);
    const packages = [Buffer.alloc(65_536, 'text '), pattern(MIB - 100), Buffer.of(2)];
    for (const pkg of packages) session.send(pkg);
    await watch.packagesIn(4);
    expect(watch.packages.slice(1).every((pkg, index) => pkg.equals(packages[index] ?? Buffer.of()))).toBe(true);
    expect(await session.writePkg(Buffer.of(3))).toEqual({ total: 5, sent: 5 });
    expect(await session.close()).toMatchObject({ code: 'NORMAL', unsentBytes: 0 });
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED', truncatedBytes: 0 }]);
    expect([...watch.errors, ...echo.watch.errors]).toEqual([]);
  });
});

describe('getty scenario 64: "none"', () => {
  it('leaves the bytes on the wire as they are', async () => {
    const echo = await scene.server(withCompression('zip'), withCompression('none'));
    const peer = await scene.peer(echo);
    await peer.send(frame('hello'));
    expect(await peer.receive(9)).toEqual(frame('hello'));
  });
});

describe('getty scenario 65: an idle session', () => {
  it('goes on where it was', async () => {
    // Time does not pass for a compressed stream; what could go wrong is only that a state is given up.
    const echo = await scene.server(withCompression('zip'));
    const { session, watch } = await scene.client(echo, withCompression('zip'));
    for (const count of [1, 2, 3]) {
      session.send(Buffer.from('the same again'));
      await watch.packagesIn(count);
    }
    expect(watch.texts).toEqual(Array(3).fill('the same again'));
  });
});

describe('compression', () => {
  it('goes over TLS and Unix sockets', async () => {
    const unix = await scene.server(
      withLocalAddress(`unix:${path.join(os.tmpdir(), `portico-${randomUUID()}.sock`)}`),
      withCompression('zip'),
    );
    const overUnix = await scene.client(unix, withCompression('zip'));
    overUnix.session.send(pattern(100_000));
    expect(await overUnix.watch.packagesIn(1)).toEqual([pattern(100_000)]);
    if (!hasOpenssl()) return;
    const { server, ca } = await makeCertificates();
    const secure = await scene.server(withTls(server), withCompression('snappy'));
    const overTls = await scene.client(secure, withTls({ ca: ca.cert }), withCompression('snappy'));
    overTls.session.send(pattern(100_000));
    expect(await overTls.watch.packagesIn(1)).toEqual([pattern(100_000)]);
    expect(overTls.session.connection.tls?.authorized).toBe(true);
  });

  it('stands behind the upgrades, in whatever order they are given, and the later one wins', () => {
    const other: Upgrade = async (connection) => connection;
    const options = { ...TCP_SERVER_DEFAULTS };
    const apply = (...given: readonly ((built: { upgrades: readonly Upgrade[]; staticRead: boolean }) => void)[]): readonly Upgrade[] => {
      const built = { ...options };
      for (const option of given) option(built);
      return built.upgrades;
    };
    const zip = withCompression('zip');
    expect(apply(withUpgrade(other), zip)).toEqual([other, expect.any(Function)]);
    expect(apply(zip, withCompression('snappy'), withCompression('zip'))).toHaveLength(1);
    expect(apply(withUpgrade(other), zip, withCompression('none'))).toEqual([other]);
    expect(apply(zip, withUpgrade(other))).toEqual(apply(withUpgrade(other), zip));
    expect(apply(withUpgrade(other, other), zip, withUpgrade(other))).toEqual(apply(withUpgrade(other), zip));
    expect(apply(zip, withUpgrade(other), withCompression('none'))).toEqual([other]);
    expect(options.upgrades).toEqual([]);
  });

  it('is refused for connections of messages', async () => {
    const network = new MemoryNetwork({ kind: 'message' });
    const upgrade = compressionUpgrade('zip');
    const server = closeLater(
      Server.over<Buffer, Uint8Array>(
        network.transport(),
        withLocalAddress('server:1'),
        withPkgHandler(new RawHandler()),
        withEventListener({ onMessage() {} }),
        withUpgrade(upgrade),
      ),
    );
    const lost = new Promise((resolve) => server.on('connectionLost', (_address, error) => resolve(error)));
    await server.listen();
    const connection = await network.transport().dial('server:1', { signal: new AbortController().signal });
    expect(await lost).toMatchObject({ name: 'ConfigError', code: 'INVALID_OPTION' });
    connection.abort();
  });

  it('speaks plain deflate with any peer', async () => {
    const echo = await scene.server(withCompression('zip'));
    const peer = await scene.peer(echo);
    const deflate = createDeflateRaw();
    deflate.on('data', (bytes: Buffer) => peer.pour(bytes));
    const sent = [Buffer.from('one'), pattern(100_000), Buffer.alloc(0)];
    for (const body of sent) deflate.write(frame(body));
    deflate.end(() => peer.end());
    await peer.closed();
    expect(framesIn(inflateRawSync(peer.received))).toEqual(sent);
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
  });
});

describe('a bad compressed stream', () => {
  it('closes only its session with PROTOCOL, behind the packages before it, whose answers are sent', async () => {
    const echo = await scene.server(withCompression('zip'));
    const good = await scene.client(echo, withCompression('zip'));
    const peer = await scene.peer(echo);
    await peer.send(Buffer.concat([flushed(Buffer.concat([frame('one'), frame('two')])), Buffer.alloc(100, 0xff)]));
    await peer.closed();
    expect(framesIn(inflateRawSync(peer.received)).map(String)).toEqual(['one', 'two']);
    peer.end();
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PROTOCOL', by: 'peer', error: { code: 'PROTOCOL_VIOLATION' } }]);
    expect(echo.watch.errors).toHaveLength(1);
    good.session.send(Buffer.from('still here'));
    expect((await good.watch.textsIn(1))[0]).toBe('still here');
  });

  it('does not make a last package out of what came before it', async () => {
    const lines: string[] = [];
    const server = await listen({ onMessage: (_session, line) => void lines.push(line) }, [withCompression('zip')]);
    const closed = new Promise<unknown>((resolve) => server.on('sessionClosed', (_session, reason) => resolve(reason)));
    const peer = await scene.peer(server.localAddress);
    await peer.send(Buffer.concat([flushed(Buffer.from('whole\nhal')), Buffer.alloc(100, 0xff)]));
    peer.end();
    expect(await closed).toMatchObject({ code: 'PROTOCOL', truncatedBytes: 3, error: { code: 'PROTOCOL_VIOLATION' } });
    expect(lines).toEqual(['whole']);
    await server.close();
  });

  it('handles the packages before it although their handlers are slow', async () => {
    const echo = await scene.server(withCompression('zip'));
    const handled: string[] = [];
    echo.watch.onMessage = (_session, pkg) =>
      new Promise<void>((resolve) => {
        setImmediate(() => {
          handled.push(String(pkg));
          resolve();
        });
      });
    const peer = await scene.peer(echo);
    const frames = Array.from({ length: 5 }, (_, index) => frame(`package ${index}`));
    await peer.send(Buffer.concat([flushed(Buffer.concat(frames)), Buffer.alloc(100, 0xff)]));
    peer.end();
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PROTOCOL' }]);
    expect(handled).toEqual(['package 0', 'package 1', 'package 2', 'package 3', 'package 4']);
  });

  it('that is a bomb is stopped by the limit for packages', async () => {
    const echo = await scene.server(withCompression('zip'), withMaxPackageBytes(100_000));
    const peer = await scene.peer(echo);
    const length = Buffer.alloc(4);
    length.writeUInt32BE(99_000);
    await peer.send(flushed(Buffer.concat([length, Buffer.alloc(98_999)])));
    await until(() => echo.watch.opened.length === 1, 'the session');
    await peer.send(deflateRawSync(Buffer.alloc(64 * MIB, 0xff)));
    peer.end();
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'TOO_LARGE' }]);
    expect(echo.watch.opened[0]?.stats().bytesRead).toBeLessThan(200_000);
  });

  it('of two sides that are set up differently ends both sessions', async () => {
    const echo = await scene.server(withCompression('snappy'));
    const { session, watch } = await scene.client(echo, withCompression('zip'), withConnectionNumber(1), withSendQueue(MIB));
    session.send(Buffer.from('hello'));
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PROTOCOL' }]);
    await watch.closes(1);
  });
});
