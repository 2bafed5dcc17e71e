import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withSessionName } from '../../src/session/options.ts';
import { Deferred, eventually, Recorder } from '../helpers/session-recorder.ts';
import { RawPeer, tcpClient, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

describe('stats()', () => {
  it('are exact after known traffic, on both sides and at the endpoint', async () => {
    const serverSide = new Recorder<string>({ onMessage: (session, text) => void session.send(`re: ${text}`) });
    const clientSide = new Recorder<string>();
    const server = await tcpServer(line, serverSide, [withSessionName('echo')]);
    const client = tcpClient(server, line, clientSide);
    const session = await client.connect();
    for (const text of ['a', 'bc', 'def']) session.send(text);
    await clientSide.until('message', 3);
    const accepted = await serverSide.session();
    const common = { packagesRead: 3, packagesWritten: 3, packagesDropped: 0, pendingBytes: 0, bufferedBytes: 0, runningHandlers: 0 };
    expect(session.stats()).toMatchObject({ ...common, id: session.id, state: 'open', bytesWritten: 9, bytesRead: 21, writes: 1 });
    expect(accepted.stats()).toMatchObject({ ...common, id: accepted.id, name: 'echo', bytesWritten: 21, bytesRead: 9, writes: 1 });
    expect(server.stats()).toMatchObject({ openSessions: 1, totalSessions: 1, bytesRead: 9, bytesWritten: 21, packagesRead: 3 });

    await session.close();
    await accepted.closed;
    await eventually(() => server.sessions.size === 0, 'the server has forgotten the session');
    expect(accepted.stats()).toMatchObject({ ...common, state: 'closed', bytesWritten: 21, bytesRead: 9 });
    expect(server.stats()).toMatchObject({ openSessions: 0, totalSessions: 1, bytesRead: 9, bytesWritten: 21, packagesWritten: 3 });
    expect(client.stats()).toMatchObject({ openSessions: 0, totalSessions: 1, bytesRead: 21, bytesWritten: 9, packagesWritten: 3 });
  });

  it("toString() is the line of getty's Stat(), for a session and for its stats", async () => {
    const listener = new Recorder<string>({ onMessage: (session) => void session.send('hello') });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('hi\n');
    await peer.receive(6);
    const session = await listener.session();
    const addresses = `${server.localAddress.text}<->127.0.0.1:${peer.socket.localPort}`;
    const expected = `session {tcp-session:TCP_SERVER:${session.id}:${addresses}}, Read Bytes: 3, Write Bytes: 6, Read Pkgs: 1, Write Pkgs: 1`;
    expect(String(session)).toBe(expected);
    expect(`${session.stats()}`).toBe(expected);
    peer.socket.end();
    await session.closed;
    expect(String(session)).toBe(expected);
  });

  it('show what waits: bytes that are not decoded, handlers that run, bytes that are not sent', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({ onMessage: () => gate.promise });
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    peer.write('one\ntwo\nthr');
    await listener.until('message');
    const session = await listener.session();
    session.send('waits for the end of the turn');
    expect(session.stats()).toMatchObject({ runningHandlers: 1, bufferedBytes: 7, packagesRead: 1, pendingBytes: 30 });
    gate.resolve();
    await listener.until('message', 2);
    await eventually(() => session.stats().runningHandlers === 0, 'the handlers are done');
    expect(session.stats()).toMatchObject({ bufferedBytes: 3, packagesRead: 2, pendingBytes: 0 });
  });

  it('is a snapshot', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    const before = session.stats();
    peer.write('x\n');
    await listener.until('message');
    expect([before.packagesRead, session.stats().packagesRead]).toEqual([0, 1]);
  });
});
