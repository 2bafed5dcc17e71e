import { randomUUID } from 'node:crypto';
import type { Socket } from 'node:dgram';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'vitest';
import { type ConnectionHarness, connectionContract, MemoryNetwork, type MemoryNetworkOptions } from '../../src/testing/index.ts';
import type { Compression } from '../../src/transport/compression.ts';
import { TcpTransport } from '../../src/transport/tcp.ts';
import { UdpTransport } from '../../src/transport/udp.ts';
import { WsTransport } from '../../src/transport/ws.ts';
import { hasOpenssl, makeCertificates } from '../helpers/certificates.ts';
import { compressedTransport } from '../helpers/compressed-transport.ts';

const stream = { kind: 'stream', halfClose: true, reset: true, backPressure: true } as const;

function memory(name: string, options: MemoryNetworkOptions, harness: Partial<ConnectionHarness> = {}): ConnectionHarness {
  return {
    name: `memory, ${name}`,
    transport: () => new MemoryNetwork(options).transport(),
    address: 'server:0',
    capabilities: { ...stream, kind: options.kind ?? 'stream' },
    ...harness,
  };
}

/** TCP, TLS and Unix sockets, on both read paths. */
function sockets(readPath: 'static' | 'chunk'): readonly ConnectionHarness[] {
  const staticRead = readPath === 'static';
  const tcp: ConnectionHarness = {
    name: `tcp, ${readPath} reads`,
    transport: () => new TcpTransport({ staticRead }),
    address: '127.0.0.1:0',
    capabilities: stream,
  };
  const secure = async (): Promise<TcpTransport> => {
    const { server, ca } = await makeCertificates();
    return new TcpTransport({ staticRead, tls: { cert: server.cert, key: server.key, ca: ca.cert } });
  };
  // Neither ends with a reset: TLS must not, and a Unix socket cannot be told to.
  const tls = { ...tcp, name: `tls, ${readPath} reads`, transport: secure, capabilities: { ...stream, reset: false } };
  const rows = hasOpenssl() ? [tcp, tls] : [tcp];
  if (process.platform === 'win32') return rows;
  const address = (): string => `unix:${path.join(os.tmpdir(), `portico-${randomUUID()}.sock`)}`;
  return [...rows, { ...tcp, name: `unix, ${readPath} reads`, address, capabilities: { ...stream, reset: false } }];
}

const hasIpv6 = Object.values(os.networkInterfaces()).some((list) => list?.some(({ address }) => address === '::1'));

/** UDP over loopback, which loses nothing that the receive buffer holds. */
function udp(address: string, maxMessageBytes: number): ConnectionHarness {
  return {
    name: `udp, ${address}`,
    transport: () => new UdpTransport(),
    address,
    greet: (connection) => (connection.raw as Socket).send(''),
    capabilities: { kind: 'message', halfClose: false, reset: false, backPressure: false, isDatagram: true, maxMessageBytes },
    maxBytes: 200_000,
  };
}

/** A compressed stream. What the packages become is small: only a small buffer below is ever full. */
function compressed(compression: Compression, options: MemoryNetworkOptions, maxBytes = 1_048_576): ConnectionHarness {
  const network = { ...options, bufferBytes: 4000 };
  return memory(
    `compressed by ${compression}, in pieces: ${options.split}`,
    {},
    { transport: () => compressedTransport(new MemoryNetwork(network).transport(), compression), maxBytes },
  );
}

/** Stored blocks of deflate, because compressed ones would never fill the buffers of the system. */
const compressedTcp: ConnectionHarness = {
  name: 'tcp, compressed',
  transport: () => compressedTransport(new TcpTransport(), { type: 'zip', level: 0 }),
  address: '127.0.0.1:0',
  capabilities: stream,
  maxBytes: 1_048_576,
};

/** WebSocket, plain, encrypted and compressed. */
function webSockets(): readonly ConnectionHarness[] {
  const capabilities = { kind: 'message', halfClose: false, reset: true, backPressure: true } as const;
  const ws: ConnectionHarness = { name: 'ws', transport: () => new WsTransport(), address: '127.0.0.1:0', capabilities };
  const deflate = { thresholdBytes: 100, level: 1, memLevel: 8, concurrency: 10, contextTakeover: false };
  const compressed: ConnectionHarness = { ...ws, name: 'ws, compressed', transport: () => new WsTransport({ deflate }) };
  const secure = async (): Promise<WsTransport> => {
    const { server, ca } = await makeCertificates();
    return new WsTransport({ tls: { cert: server.cert, key: server.key, ca: ca.cert } });
  };
  const wss: ConnectionHarness = { ...ws, name: 'wss', transport: secure, capabilities: { ...capabilities, reset: false } };
  return hasOpenssl() ? [ws, wss, compressed] : [ws, compressed];
}

/** One row for each transport, and for each course of events that one transport can be made to take. */
const harnesses: readonly ConnectionHarness[] = [
  memory('whole chunks', {}),
  memory('random pieces, seed 1', { split: 'random', seed: 1 }),
  memory('random pieces, seed 2', { split: 'random', seed: 2, bufferBytes: 3000 }, { maxBytes: 1_048_576 }),
  memory('single bytes', { split: 'bytes' }, { maxBytes: 32_768 }),
  memory('latency, seed 3', { latencyMs: [0, 2], split: 'random', seed: 3 }, { maxBytes: 1_048_576 }),
  memory('a large buffer', { bufferBytes: 1_000_000 }),
  memory('messages', { kind: 'message' }),
  udp('127.0.0.1:0', 65_507),
  ...(hasIpv6 ? [udp('[::1]:0', 65_527)] : []),
  compressed('zip', { split: 'random', seed: 4 }),
  compressed('snappy', { split: 'random', seed: 5 }),
  compressed('zip', { split: 'bytes' }, 32_768),
  compressedTcp,
  ...sockets('static'),
  ...sockets('chunk'),
  ...webSockets(),
];

for (const harness of harnesses) connectionContract({ describe, it }, harness);
