import { type AddressInfo, createServer, type NetConnectOpts } from 'node:net';
import { expect, it, vi } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withClock, withLocalAddress, withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import { TcpClient } from '../../src/endpoint/tcp.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { closeLater, lineServer, virtualClock } from '../helpers/endpoint-fixtures.ts';
import { eventually, Recorder } from '../helpers/session-recorder.ts';

/** Dials that are given the very port that they dial as their own, which the system may do as well. */
let unlucky = 0;

vi.mock('node:net', async (importOriginal) => {
  const net = await importOriginal<typeof import('node:net')>();
  const connect = (options: NetConnectOpts) => {
    if (unlucky === 0 || !('port' in options)) return net.connect(options);
    unlucky--;
    return net.connect({ ...options, localPort: options.port, localAddress: '127.0.0.1' });
  };
  return { ...net, connect };
});

/** A port on which nobody listens. */
async function unusedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

it('74. notices that it is connected to itself, drops that connection and tries again', async () => {
  const clock = virtualClock();
  const address = `127.0.0.1:${await unusedPort()}`;
  const heard = new Recorder<string>();
  unlucky = 2;
  const client = closeLater(
    new TcpClient<string>(
      withServerAddress(address),
      withClock(clock),
      withPkgHandler(new LineHandler()),
      withEventListener(heard),
      withReconnect({ random: () => 0.5 }),
    ),
  );
  const causes: unknown[] = [];
  client.on('reconnecting', ({ cause, delayMs }) => causes.push([cause, delayMs]));
  const connected = client.connect();
  await eventually(() => causes.length === 1, 'the first is noticed');
  await clock.advance(150);
  await eventually(() => causes.length === 2, 'the second is noticed');
  const selfConnect = expect.objectContaining({ name: 'TransportError', code: 'SELF_CONNECT', message: expect.stringContaining(address) });
  expect(causes).toEqual([
    [selfConnect, 150],
    [selfConnect, 300],
  ]);
  expect(heard.events).toEqual([]);
  expect(unlucky).toBe(0);
  // The port is free: a server can take it.
  const server = new Recorder<string>();
  await lineServer(server, withLocalAddress(address)).listen();
  await clock.advance(300);
  (await connected).send('hello');
  await server.until('message');
});
