import { describe, it } from 'vitest';
import { type ConnectionHarness, connectionContract, MemoryNetwork, type MemoryNetworkOptions } from '../../src/testing/index.ts';

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

/** One row for each transport, and for each course of events that one transport can be made to take. */
const harnesses: readonly ConnectionHarness[] = [
  memory('whole chunks', {}),
  memory('random pieces, seed 1', { split: 'random', seed: 1 }),
  memory('random pieces, seed 2', { split: 'random', seed: 2, bufferBytes: 3000 }, { maxBytes: 1_048_576 }),
  memory('single bytes', { split: 'bytes' }, { maxBytes: 32_768 }),
  memory('latency, seed 3', { latencyMs: [0, 2], split: 'random', seed: 3 }, { maxBytes: 1_048_576 }),
  memory('a large buffer', { bufferBytes: 1_000_000 }),
  memory('messages', { kind: 'message' }),
];

for (const harness of harnesses) connectionContract({ describe, it }, harness);
