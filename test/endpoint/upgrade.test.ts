import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { PorticoError } from '../../src/base/errors.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { Client } from '../../src/endpoint/client.ts';
import { withHandshakeTimeoutMs, withMaxSessions, withMaxSessionsPerIp, withUpgrade } from '../../src/endpoint/options.ts';
import { Server } from '../../src/endpoint/server.ts';
import {
  type Upgrade,
  withClock,
  withConnectTimeoutMs,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withReconnect,
  withServerAddress,
} from '../../src/index.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryNetwork, VirtualClock } from '../../src/testing/index.ts';
import { unixAddress } from '../../src/transport/address.ts';
import { FakeConnection } from '../helpers/connection-fake.ts';
import { closeLater, listen, rejection, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { toyUpgrade } from '../helpers/toy-upgrade.ts';

const echo = {
  onMessage(session: Session<string>, line: string): void {
    session.send(line);
  },
};
const never: Upgrade = () => new Promise(() => {});

let network = new MemoryNetwork();
afterEach(() => {
  network = new MemoryNetwork();
});

type ServerOptions = Parameters<typeof Server.over<string, string>>[1][];

async function listening(...options: ServerOptions): Promise<Server<string>> {
  const server = Server.over<string, string>(
    network.transport(),
    withLocalAddress('server:1'),
    withPkgHandler(new LineHandler()),
    withEventListener(echo),
    ...options,
  );
  return closeLater(server).listen();
}

function client(upgrades: readonly Upgrade[], lines: string[] = [], clock = new VirtualClock()): Client<string> {
  return closeLater(
    Client.over<string, string>(
      network.transport({ host: 'peer' }),
      withServerAddress('server:1'),
      withPkgHandler(new LineHandler()),
      withEventListener({ onMessage: (_session: Session<string>, line) => void lines.push(line) }),
      withReconnect(false),
      withConnectTimeoutMs(1_000),
      withClock(clock),
      withUpgrade(...upgrades),
    ),
  );
}

function lost(server: Server<string>): Promise<PorticoError> {
  return new Promise((resolve) => {
    server.once('connectionLost', (_address, error) => resolve(error));
  });
}

/** Why a client gave up. */
async function failure(given: Client<string>): Promise<unknown> {
  const error = await rejection(given.connect());
  return error instanceof PorticoError ? error.cause : error;
}

describe('upgrades of a server and a client', () => {
  it.each(['none', 'random', 'bytes'] as const)('run in order, the first next to the socket, with the bytes cut: %s', async (split) => {
    network = new MemoryNetwork({ split, seed: 7 });
    const upgrades = [toyUpgrade('outer', 0x55), toyUpgrade('inner', 0x0f)];
    await listening(withUpgrade(...upgrades));
    const lines: string[] = [];
    const session = await client(upgrades, lines).connect();
    session.send('hello');
    session.send('x'.repeat(5_000));
    await expect.poll(() => lines).toEqual(['hello', 'x'.repeat(5_000)]);
    expect((await session.close()).code).toBe('NORMAL');
  });

  it('deliver what came in one piece with the handshake, after a slow newSession too', async () => {
    const server = closeLater(
      Server.over<string, string>(
        network.transport(),
        withLocalAddress('server:1'),
        withPkgHandler(new LineHandler()),
        withEventListener(echo),
        withUpgrade(toyUpgrade('hello', 0)),
      ),
    );
    let goOn = (): void => {};
    await server.listen(
      () =>
        new Promise<void>((resolve) => {
          goOn = resolve;
        }),
    );
    const lines: string[] = [];
    // A client without the upgrade, that greets by hand and sends on at once.
    const session = await client([], lines).connect();
    await session.writeBytes(Buffer.from('hellofirst\nsecond\n'));
    await expect.poll(() => server.stats().totalSessions).toBe(1);
    goOn();
    await expect.poll(() => lines).toEqual(['hellofirst', 'second']);
  });

  it('fail: the server tells connectionLost and the place is free again, the client fails to dial', async () => {
    const server = await listening(withMaxSessions(1), withUpgrade(toyUpgrade('right', 1)));
    const gone = lost(server);
    expect(await failure(client([toyUpgrade('wrong', 1)]))).toMatchObject({ code: 'HANDSHAKE_FAILED' });
    expect(await gone).toMatchObject({ name: 'PeerError', code: 'HANDSHAKE_FAILED' });
    expect(server.stats().totalSessions).toBe(0);
    await client([toyUpgrade('right', 1)]).connect();
  });

  it('are late: HANDSHAKE_TIMEOUT on the server, CONNECT_TIMEOUT on the client, and the connections are gone', async () => {
    const clock = virtualClock();
    const server = await listening(withClock(clock), withHandshakeTimeoutMs(500), withUpgrade(never));
    const clientClock = virtualClock();
    const failed = failure(client([never], [], clientClock));
    const gone = lost(server);
    await expect.poll(() => network.links.length).toBe(1);
    await clock.advance(600);
    expect(await gone).toMatchObject({ code: 'HANDSHAKE_TIMEOUT' });
    await clientClock.advance(1_100);
    expect(await failed).toMatchObject({ code: 'CONNECT_TIMEOUT' });
    await expect.poll(() => network.links.length).toBe(0);
  });

  it('share one time-out on the server', async () => {
    const clock = virtualClock();
    const slow: Upgrade = (connection) => new Promise((resolve) => void clock.after(300, () => resolve(connection)));
    const server = await listening(withClock(clock), withHandshakeTimeoutMs(500), withUpgrade(slow, slow));
    const gone = lost(server);
    await client([]).connect();
    await clock.advance(600);
    expect(await gone).toMatchObject({ code: 'HANDSHAKE_TIMEOUT' });
  });

  it('count as sessions for the limits, until they fail', async () => {
    const server = await listening(withMaxSessions(1), withUpgrade(never));
    const refused: string[] = [];
    server.on('refused', (_address, why) => refused.push(why));
    await client([]).connect();
    await client([]).connect();
    expect(refused).toEqual(['max-sessions']);
  });

  it('are given up when the server stops accepting', async () => {
    const server = await listening(withUpgrade(never));
    const gone = lost(server);
    const session = await client([]).connect();
    await server.stopAccepting();
    expect(await gone).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    expect((await session.closed).code).toBe('RESET');
  });

  it('that come too late have their connection aborted, beside the one below', async () => {
    const clock = virtualClock();
    const above = new FakeConnection();
    let finish = (): void => {};
    const late: Upgrade = () =>
      new Promise((resolve) => {
        finish = () => resolve(above);
      });
    const server = await listening(withClock(clock), withHandshakeTimeoutMs(10), withUpgrade(late));
    const gone = lost(server);
    await client([]).connect();
    await clock.advance(100);
    await gone;
    await expect.poll(() => network.links.length).toBe(0);
    expect(above.calls).toEqual([]);
    finish();
    await expect.poll(() => above.calls).toEqual(['abort']);
    expect(server.stats().totalSessions).toBe(0);
  });

  it.each([
    [
      'throw at once',
      (): never => {
        throw new TypeError('no');
      },
    ],
    ['reject with something', () => Promise.reject(new TypeError('no'))],
    ['resolve with nothing', () => Promise.resolve(undefined as never)],
  ] as const)('that %s fail as HANDSHAKE_FAILED with the cause', async (_name, upgrade: Upgrade) => {
    const server = await listening(withUpgrade(upgrade));
    const gone = lost(server);
    await client([]).connect();
    expect(await gone).toMatchObject({ code: 'HANDSHAKE_FAILED', cause: expect.any(TypeError) });
    expect(await failure(client([upgrade]))).toMatchObject({ code: 'HANDSHAKE_FAILED' });
  });

  it('that change the address leave the limits per address right', async () => {
    const elsewhere = unixAddress('/elsewhere');
    const server = await listening(withMaxSessionsPerIp(1), withUpgrade(toyUpgrade('hello', 0, elsewhere)));
    for (let times = 0; times < 3; times++) {
      const session = await client([toyUpgrade('hello', 0)]).connect();
      await expect.poll(() => [...server.sessions.values()][0]?.remoteAddress).toBe(elsewhere);
      await session.close();
      await expect.poll(() => server.sessions.size).toBe(0);
    }
  });

  it('also run over TCP', async () => {
    const server = await listen(echo, [withUpgrade(toyUpgrade('hello', 0))]);
    const peer = connect(server.localAddress.port, '127.0.0.1');
    await once(peer, 'connect');
    let received = '';
    peer.on('data', (bytes) => {
      received += bytes.toString();
    });
    peer.write('hellofirst\n');
    await expect.poll(() => received).toBe('hellofirst\n');
    peer.end();
    await once(peer, 'close');
  });

  it('a peer that goes away in the middle is a lost connection', async () => {
    const server = await listening(withUpgrade(toyUpgrade('hello', 0)));
    const gone = lost(server);
    const session = await client([]).connect();
    session.destroy();
    expect(await gone).toBeInstanceOf(PorticoError);
    expect(server.stats().totalSessions).toBe(0);
  });
});

it('withUpgrade takes functions only', () => {
  expect(() => withUpgrade('gzip' as never)).toThrow('withUpgrade: expected a function, given "gzip"');
});
