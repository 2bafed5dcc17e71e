/**
 * What the tests of portico itself stand on, for yours: a simulated network, a clock that you move, and the contract that a
 * transport must keep.
 *
 * @example
 * ```ts
 * import { MemoryNetwork, VirtualClock } from 'portico/testing';
 *
 * const clock = new VirtualClock();
 * const network = new MemoryNetwork({ clock, latencyMs: [5, 50], split: 'random', seed: 42 });
 * const transport = network.transport();
 * await clock.advance(60_000);
 * ```
 */

export { MemoryNetwork, type MemoryNetworkOptions, type MemoryTransportOptions } from '../transport/memory.ts';
export type { MemoryConnection, MemoryLatency, MemoryLink, MemorySide } from '../transport/memory-link.ts';
export type { MemorySplit } from '../transport/memory-pipe.ts';
export { seededRandom } from '../transport/memory-random.ts';
export { backplaneContract } from './backplane-contract.ts';
export { BackplaneRecorder, type RecordedMessage } from './backplane-recorder.ts';
export type { BackplaneHarness, BackplaneService } from './backplane-scene.ts';
export { connectionContract, type TestApi } from './connection-contract.ts';
export { ConnectionRecorder, ReceiptRecorder } from './connection-recorder.ts';
export type { ConnectionCapabilities, ConnectionHarness } from './contract-scene.ts';
export { VirtualClock } from './virtual-clock.ts';
