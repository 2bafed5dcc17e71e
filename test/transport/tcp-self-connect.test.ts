import * as net from 'node:net';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { TcpTransport } from '../../src/transport/tcp.ts';
import { openHandles, until } from '../helpers/raw-peer.ts';
import { rejectionOf } from '../helpers/thrown.ts';

// What chance does once in tens of thousands of dials to a port of the ephemeral range: the system gives the client that very port.
vi.mock('node:net', async (importOriginal) => {
  const original = await importOriginal<typeof net>();
  return { ...original, connect: (options: net.TcpNetConnectOpts) => original.connect({ ...options, localPort: options.port }) };
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe('a client that reaches its own port', () => {
  it.runIf(process.platform === 'linux')('is not taken for connected: SELF_CONNECT, and the socket is gone (only on Linux)', async () => {
    const base = openHandles();
    const free = net.createServer();
    await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve));
    const { port } = free.address() as net.AddressInfo;
    await new Promise((resolve) => free.close(resolve));
    const dial = new TcpTransport().dial(`127.0.0.1:${port}`, { signal: new AbortController().signal });
    expect(await rejectionOf(dial)).toMatchObject({ name: 'TransportError', code: 'SELF_CONNECT' });
    await until(() => openHandles() === base, 'the socket to be closed');
  });
});
