import { randomUUID } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { describe, it } from 'vitest';
import { type ConnectionHarness, connectionContract, MemoryNetwork, type MemoryNetworkOptions } from '../../src/testing/index.ts';
import { TcpTransport } from '../../src/transport/tcp.ts';
import { hasOpenssl, makeCertificates } from '../helpers/certificates.ts';

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

/** One row for each transport, and for each course of events that one transport can be made to take. */
const harnesses: readonly ConnectionHarness[] = [
  memory('whole chunks', {}),
  memory('random pieces, seed 1', { split: 'random', seed: 1 }),
  memory('random pieces, seed 2', { split: 'random', seed: 2, bufferBytes: 3000 }, { maxBytes: 1_048_576 }),
  memory('single bytes', { split: 'bytes' }, { maxBytes: 32_768 }),
  memory('latency, seed 3', { latencyMs: [0, 2], split: 'random', seed: 3 }, { maxBytes: 1_048_576 }),
  memory('a large buffer', { bufferBytes: 1_000_000 }),
  memory('messages', { kind: 'message' }),
  ...sockets('static'),
  ...sockets('chunk'),
];

for (const harness of harnesses) connectionContract({ describe, it }, harness);
