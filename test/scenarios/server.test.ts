import { describe, expect, it } from 'vitest';
import { withConnectionNumber, withLocalAddress, withMaxSessions } from '../../src/endpoint/options.ts';
import { END_POINT_TYPES } from '../../src/session/session-host.ts';
import { lineClient, lineServer, listen, rejection } from '../helpers/endpoint-fixtures.ts';
import { eventually, Recorder } from '../helpers/session-recorder.ts';
import { RawPeer } from '../helpers/session-tcp.ts';

describe('listening', () => {
  it('75. rejects with LISTEN_FAILED when the port is in use, and the same server can listen once it is free', async () => {
    const first = await listen(new Recorder<string>());
    const recorder = new Recorder<string>();
    const second = lineServer(recorder, withLocalAddress(first.localAddress.text));
    expect(await rejection(second.listen())).toMatchObject({
      name: 'TransportError',
      code: 'LISTEN_FAILED',
      cause: { code: 'EADDRINUSE' },
    });
    expect(second.isClosed).toBe(false);
    await first.close();
    await second.listen();
    await lineClient(second, new Recorder<string>()).connect();
    await recorder.until('open');
  });

  it('76. close() ends the sessions and frees the port', async () => {
    const server = new Recorder<string>();
    const endPoint = await listen(server);
    const heard = new Recorder<string>();
    await lineClient(endPoint, heard, withConnectionNumber(10)).connect();
    await server.until('open', 10);
    expect(await endPoint.close()).toEqual({ sessions: 10, flushed: 10, unflushed: [] });
    expect(server.reasons.map(({ code, by, error }) => [code, by, error])).toEqual(Array(10).fill(['GOING_AWAY', 'local', undefined]));
    expect([endPoint.sessions.size, endPoint.isClosed]).toEqual([0, true]);
    await heard.until('close', 10);
    const next = lineServer(new Recorder<string>(), withLocalAddress(endPoint.localAddress.text));
    await next.listen();
    expect(next.localAddress).toEqual(endPoint.localAddress);
  });

  it('76. stopAccepting() keeps the sessions and takes no more', async () => {
    const server = new Recorder<string>({ onMessage: (session, line) => void session.send(line) });
    const endPoint = await listen(server);
    const heard = new Recorder<string>();
    const client = lineClient(endPoint, heard);
    await client.connect();
    await endPoint.stopAccepting();
    await endPoint.stopAccepting();
    expect(await rejection(lineClient(endPoint, new Recorder<string>()).connect())).toMatchObject({ cause: { code: 'CONNECT_FAILED' } });
    client.send('still here');
    await heard.until('message');
    expect([endPoint.isClosed, endPoint.sessions.size]).toEqual([false, 1]);
    expect(await endPoint.close()).toMatchObject({ sessions: 1 });
  });
});

it('77. refuses connections above the maximum, tells and counts them, and leaks none of their places', async () => {
  const server = new Recorder<string>();
  const endPoint = await listen(server, [withMaxSessions(3)]);
  const refused: [string, string][] = [];
  endPoint.on('refused', ({ host }, why) => refused.push([host, why]));
  for (let round = 1; round <= 3; round++) {
    const peers = [await RawPeer.connect(endPoint), await RawPeer.connect(endPoint), await RawPeer.connect(endPoint)];
    await server.until('open', round * 3);
    const late = await Promise.all(Array.from({ length: 5 }, () => RawPeer.connect(endPoint)));
    await Promise.all(late.map((peer) => peer.ended()));
    expect(endPoint.sessions.size).toBe(3);
    for (const peer of peers) peer.socket.destroy();
    await eventually(() => endPoint.sessions.size === 0, 'all are forgotten');
  }
  expect(refused).toEqual(Array(15).fill(['127.0.0.1', 'max-sessions']));
  expect(endPoint.stats()).toMatchObject({ totalSessions: 9, refusedConnections: 15 });
});

it('78. gives ids that are unique over all endpoints', async () => {
  const [first, second] = [new Recorder<string>(), new Recorder<string>()];
  const servers = [await listen(first), await listen(second)];
  const heard = [new Recorder<string>(), new Recorder<string>()];
  const clients = servers.map((server, index) => lineClient(server, heard[index] ?? first, withConnectionNumber(10)));
  await Promise.all(clients.map((client) => client.connect()));
  await Promise.all([first.until('open', 10), second.until('open', 10)]);
  const ids = [first, second, ...heard].flatMap(({ sessions }) => sessions.map(({ id }) => id));
  expect(new Set(ids).size).toBe(40);
  expect(Math.min(...ids)).toBeGreaterThan(0);
  expect(new Set([...servers, ...clients].map(({ id }) => id)).size).toBe(4);
});

it('79. names the types of endpoints as getty does, with its numbers', async () => {
  expect(END_POINT_TYPES).toEqual({
    UDP_ENDPOINT: 0,
    UDP_CLIENT: 1,
    TCP_CLIENT: 2,
    WS_CLIENT: 3,
    WSS_CLIENT: 4,
    TCP_SERVER: 7,
    WS_SERVER: 8,
    WSS_SERVER: 9,
    CUSTOM: 10,
  });
  const server = new Recorder<string>();
  const endPoint = await listen(server);
  const session = await lineClient(endPoint, new Recorder<string>()).connect();
  expect([endPoint.type, session.endPoint.type]).toEqual(['TCP_SERVER', 'TCP_CLIENT']);
  expect([(await server.session()).endPoint, session.endPoint.isClosed]).toEqual([endPoint, false]);
});
