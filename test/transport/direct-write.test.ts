import { once } from 'node:events';
import { connect, Socket } from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import { withEventListener, withPkgHandler, withSendQueue } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';

const isAllowed = process.env['PORTICO_DIRECT_WRITE'] !== '0' && process.env['PORTICO_STATIC_READ'] !== '0';
const ends: (() => unknown)[] = [];

afterEach(async () => {
  vi.restoreAllMocks();
  for (const end of ends.splice(0).reverse()) await end();
});

type RawSession = Session<Buffer, Uint8Array>;

/** A server, a raw socket that is connected to it, and their session. */
async function pair(onMessage: (session: RawSession, bytes: Buffer) => void = () => {}) {
  const opened: RawSession[] = [];
  let settle: (reason: CloseReason) => void = () => {};
  const closed = new Promise<CloseReason>((resolve) => {
    settle = resolve;
  });
  const listener = {
    onOpen: (session: RawSession) => void opened.push(session),
    onMessage,
    onClose: (_session: RawSession, reason: CloseReason) => settle(reason),
  };
  const server = new TcpServer<Buffer, Uint8Array>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new RawHandler()),
    withSendQueue(64 * 1024 * 1024),
    withEventListener(listener),
  );
  ends.push(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  const peer = connect(server.localAddress.port, '127.0.0.1');
  peer.on('error', () => {});
  ends.push(() => peer.destroy());
  await once(peer, 'connect');
  await vi.waitUntil(() => opened.length > 0, { interval: 1 });
  return { session: opened[0] as RawSession, peer, closed };
}

describe('writing past the stream', () => {
  it('is done where the runtime allows it', async () => {
    const { peer } = await pair((session, bytes) => void session.send(bytes));
    const write = vi.spyOn(Socket.prototype, 'write');
    peer.write('hello');
    const [echo] = await once(peer, 'data');
    expect(String(echo)).toBe('hello');
    // The peer's own write is one.
    expect(write.mock.calls).toHaveLength(isAllowed ? 1 : 2);
  });

  it('tells when a large package has been taken, and keeps the order', async () => {
    const { session, peer } = await pair();
    const parts = [1, 2, 3].map((value) => Buffer.alloc(6_000_000, value));
    const writes = parts.map((part) => session.writeBytes(part));
    expect(session.pendingBytes).toBeGreaterThan(0);
    const received: Buffer[] = [];
    let length = 0;
    for await (const chunk of peer) {
      received.push(chunk);
      length += chunk.length;
      if (length === 18_000_000) break;
    }
    expect(Buffer.concat(received).equals(Buffer.concat(parts))).toBe(true);
    expect(await Promise.all(writes)).toEqual(parts.map(() => ({ total: 6_000_000, sent: 6_000_000 })));
    expect(session.pendingBytes).toBe(0);
  });

  it('ends the session when the peer is gone', async () => {
    const { session, peer, closed } = await pair();
    const write = session.writeBytes(Buffer.alloc(20_000_000));
    const refused = expect(write).rejects.toMatchObject({ code: 'CONNECTION_RESET' });
    peer.resetAndDestroy();
    expect((await closed).code).toBe('RESET');
    await refused;
    expect(session.pendingBytes).toBe(0);
  });
});
