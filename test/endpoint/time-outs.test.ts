import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import {
  type CloseReason,
  LineHandler,
  TcpServer,
  withClock,
  withDrainTimeoutMs,
  withEventListener,
  withLocalAddress,
  withMaxSessions,
  withOpenTimeoutMs,
  withPkgHandler,
} from '../../src/index.ts';
import { VirtualClock } from '../../src/testing/index.ts';

const clock = new VirtualClock();
const common = [withLocalAddress('127.0.0.1:0'), withPkgHandler(new LineHandler()), withClock(clock)] as const;
const peers: Socket[] = [];

async function dial(server: TcpServer<string>): Promise<Socket> {
  const peer = connect({ port: server.localAddress.port, host: '127.0.0.1', allowHalfOpen: true });
  peers.push(peer);
  peer.on('error', () => {});
  await once(peer, 'connect');
  return peer;
}

afterEach(() => {
  for (const peer of peers.splice(0)) peer.destroy();
});

describe('a server', () => {
  it('closes a connection whose newSession does not settle in time, and gives its place to another', async () => {
    const server = new TcpServer(...common, withMaxSessions(1), withOpenTimeoutMs(50), withEventListener({ onMessage() {} }));
    let started = (): void => {};
    const begun = new Promise<void>((resolve) => {
      started = resolve;
    });
    await server.listen(() => {
      started();
      return new Promise<void>(() => {});
    });
    const over = new Promise<CloseReason>((resolve) => {
      server.on('sessionClosed', (_session, reason) => resolve(reason));
    });
    await dial(server);
    await begun;
    await clock.advance(100);
    const reason = await over;
    expect(reason.error).toMatchObject({ code: 'LISTENER_FAILED', phase: 'newSession' });
    expect(server.stats().openSessions).toBe(0);
    const refusals: string[] = [];
    server.on('refused', (_address, why) => refusals.push(why));
    await dial(server);
    await clock.advance(100);
    expect(refusals).toEqual([]);
    await server.close({ drainTimeoutMs: 0 });
  });

  it('ends sessions that were closing already by its own deadline, and settles after the last one', async () => {
    const opened: (() => void)[] = [];
    const server = new TcpServer(...common, withDrainTimeoutMs(60_000), withEventListener({ onOpen: () => opened[0]?.(), onMessage() {} }));
    const open = new Promise<void>((resolve) => opened.push(resolve));
    await server.listen();
    // A peer that keeps its half open holds a closing session for its drain time-out.
    await dial(server);
    await open;
    const [session] = server.sessions.values();
    void session?.close();
    let closedBefore = false;
    void session?.closed.then(() => {
      closedBefore = true;
    });
    const closing = server.close({ drainTimeoutMs: 200 });
    await clock.advance(300);
    await closing;
    expect(closedBefore).toBe(true);
  });
});
