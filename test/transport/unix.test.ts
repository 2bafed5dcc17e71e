import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { withLocalAddress, withMaxSessions, withMaxSessionsPerIp, withStaticRead } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { frame, framesIn, pattern, until } from '../helpers/raw-peer.ts';
import { pathOf, useScene } from '../helpers/scene.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const scene = useScene();
let folder = '';
let count = 0;
/** A path that nothing has used yet. */
const newPath = (): string => path.join(folder, `${++count}.sock`);
beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'portico-unix-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.runIf(process.platform !== 'win32')('a Unix socket', () => {
  it('carries packages; both ends show its path, and no host or port (only with Unix sockets)', async () => {
    const file = newPath();
    const echo = await scene.server(withLocalAddress(`unix:${file}`));
    const expected = { text: `unix:${file}`, host: '', port: 0, family: 'unix', path: file };
    expect(echo.address).toEqual(expected);
    expect(statSync(file).isSocket()).toBe(true);
    const { session, watch } = await scene.client(echo);
    expect([session.localAddress, session.remoteAddress]).toEqual([expected, expected]);
    const serverSession = await echo.watch.session();
    expect([serverSession.localAddress, serverSession.remoteAddress]).toEqual([expected, expected]);
    session.send(pattern(500_000));
    expect((await watch.packagesIn(1))[0]?.equals(pattern(500_000))).toBe(true);
    await session.close();
    expect(await echo.watch.closes(1)).toMatchObject([{ code: 'PEER_CLOSED' }]);
    await echo.server.close();
    expect(existsSync(file)).toBe(false);
  });

  it.each([true, false])('is read on both paths (static read %s) (only with Unix sockets)', async (isStatic) => {
    const echo = await scene.server(withLocalAddress(`unix:${newPath()}`), withStaticRead(isStatic));
    const { session, watch } = await scene.client(echo, withStaticRead(isStatic));
    session.send(Buffer.from('hello'));
    expect(await watch.textsIn(1)).toEqual(['hello']);
    const readPath = pathOf(isStatic);
    expect([session.stats().readPath, (await echo.watch.session()).stats().readPath]).toEqual([readPath, readPath]);
  });

  it('rejects with LISTEN_FAILED while another server has the path (only with Unix sockets)', async () => {
    const file = newPath();
    await scene.server(withLocalAddress(`unix:${file}`));
    const second = new TcpServer(withLocalAddress(`unix:${file}`));
    expect(await rejectionOf(second.listen())).toMatchObject({ code: 'LISTEN_FAILED', cause: { code: 'EADDRINUSE' } });
    await second.close();
    // And the first one still has it.
    const peer = await scene.peer({ family: 'unix', path: file, host: '', port: 0 });
    await peer.send(frame('mine'));
    expect(await peer.receive(8)).toEqual(frame('mine'));
  });

  it('rejects with LISTEN_FAILED for a path that a dead process left behind, and takes it once it is removed (only with Unix sockets)', async () => {
    const file = newPath();
    const script = `require('node:net').createServer().listen(${JSON.stringify(file)}, () => process.kill(process.pid, 'SIGKILL'))`;
    expect(spawnSync(process.execPath, ['-e', script]).signal).toBe('SIGKILL');
    expect(statSync(file).isSocket()).toBe(true);
    const server = new TcpServer(withLocalAddress(`unix:${file}`));
    scene.atEnd(() => server.close());
    expect(await rejectionOf(server.listen())).toMatchObject({ code: 'LISTEN_FAILED', cause: { code: 'EADDRINUSE' } });
    rmSync(file);
    await server.listen();
    expect(server.localAddress.path).toBe(file);
  });

  it('never takes the place of a file that is no socket (only with Unix sockets)', async () => {
    const file = newPath();
    writeFileSync(file, 'precious');
    expect(await rejectionOf(scene.server(withLocalAddress(`unix:${file}`)))).toMatchObject({ code: 'LISTEN_FAILED' });
    expect(statSync(file).size).toBe(8);
  });

  it('rejects with LISTEN_FAILED for a folder that is not there (only with Unix sockets)', async () => {
    expect(await rejectionOf(scene.server(withLocalAddress(`unix:${folder}/none/a.sock`)))).toMatchObject({ code: 'LISTEN_FAILED' });
  });

  it('takes a path of 107 bytes and refuses one of 108 before it is tried (only with Unix sockets)', async () => {
    const longest = path.join(folder, 'x'.repeat(107 - folder.length - 1));
    const echo = await scene.server(withLocalAddress(`unix:${longest}`));
    const { session, watch } = await scene.client(echo);
    session.send(Buffer.from('long'));
    expect(await watch.textsIn(1)).toEqual(['long']);
    expect(existsSync(longest)).toBe(true);
    expect(await rejectionOf(scene.server(withLocalAddress(`unix:${longest}x`)))).toMatchObject({ code: 'INVALID_ADDRESS' });
  });

  it('fails to dial with CONNECT_FAILED where nobody listens (only with Unix sockets)', async () => {
    const { client } = scene.newClient(`unix:${newPath()}`);
    expect(await rejectionOf(client.connect())).toMatchObject({ cause: { code: 'CONNECT_FAILED', cause: { code: 'ENOENT' } } });
  });

  it('counts against the limit of sessions, not against that of an IP address (only with Unix sockets)', async () => {
    const echo = await scene.server(withLocalAddress(`unix:${newPath()}`), withMaxSessions(3), withMaxSessionsPerIp(1));
    const peers = [await scene.peer(echo), await scene.peer(echo), await scene.peer(echo), await scene.peer(echo)];
    await peers[3]?.closed();
    expect(echo.refused).toEqual(['max-sessions']);
    peers[0]?.destroy();
    await echo.watch.closes(1);
    await until(() => echo.server.sessions.size === 2, 'the session to be forgotten');
    const next = await scene.peer(echo);
    await next.send(frame('room'));
    expect(await next.receive(8)).toEqual(frame('room'));
  });

  it('survives peers that reset, end or vanish (only with Unix sockets)', async () => {
    const echo = await scene.server(withLocalAddress(`unix:${newPath()}`));
    const peer = await scene.peer(echo);
    for (const ending of ['destroy', 'end'] as const) {
      const other = await scene.peer(echo);
      other.pour(frame('before'));
      other[ending]();
    }
    await echo.watch.closes(2);
    for (const reason of echo.watch.reasons) expect(['PEER_CLOSED', 'RESET']).toContain(reason.code);
    await peer.send(frame('alive'));
    expect(framesIn(await peer.receive(9)).map(String)).toEqual(['alive']);
  });
});

describe.runIf(process.platform === 'linux')('an abstract Unix socket', () => {
  const name = `portico-test-${process.pid}`;

  it('carries packages and leaves no file (only on Linux)', async () => {
    const echo = await scene.server(withLocalAddress(`unix:@${name}-1`));
    expect(echo.address).toMatchObject({ text: `unix:@${name}-1`, path: `\0${name}-1`, family: 'unix' });
    const { session, watch } = await scene.client(echo);
    session.send(Buffer.from('abstract'));
    expect(await watch.textsIn(1)).toEqual(['abstract']);
    expect(existsSync(`@${name}-1`)).toBe(false);
    expect(readFileSync('/proc/net/unix', 'latin1')).toContain(`@${name}-1`);
  });

  it('is told apart from a longer and a shorter name (only on Linux)', async () => {
    await scene.server(withLocalAddress(`unix:@${name}`));
    for (const other of [`${name}x`, name.slice(0, -1)]) {
      const { client } = scene.newClient(`unix:@${other}`);
      expect(await rejectionOf(client.connect())).toMatchObject({ cause: { cause: { code: 'ECONNREFUSED' } } });
    }
    await scene.client(`unix:@${name}`);
  });

  it('is taken and given back by its owner, and takes names of 106 bytes (only on Linux)', async () => {
    const longest = `unix:@${name}${'y'.repeat(106 - name.length)}`;
    const first = await scene.server(withLocalAddress(longest));
    expect(await rejectionOf(scene.server(withLocalAddress(longest)))).toMatchObject({ cause: { code: 'EADDRINUSE' } });
    const { session, watch } = await scene.client(first);
    session.send(Buffer.from('long'));
    expect(await watch.textsIn(1)).toEqual(['long']);
    await first.server.close();
    await scene.server(withLocalAddress(longest));
  });

  it('is the name that others know it by (only on Linux)', async () => {
    const foreign = createServer((socket) => socket.pipe(socket));
    await new Promise<void>((resolve) => foreign.listen(`\0${name}-foreign`, resolve));
    scene.atEnd(() => foreign.close());
    const { session, watch } = await scene.client(`unix:@${name}-foreign`);
    session.send(Buffer.from('ours'));
    expect(await watch.textsIn(1)).toEqual(['ours']);
    await session.close();
    const echo = await scene.server(withLocalAddress(`unix:@${name}-own`));
    const socket = createConnection({ path: `\0${name}-own` });
    scene.atEnd(() => socket.destroy());
    socket.write(frame('theirs'));
    await echo.watch.textsIn(1);
    expect(echo.watch.texts).toEqual(['theirs']);
  });
});
