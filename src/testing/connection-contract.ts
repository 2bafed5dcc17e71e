import { closingCases } from './contract-closing.ts';
import { datagramCases } from './contract-datagram.ts';
import { limitCases } from './contract-limits.ts';
import { listeningCases } from './contract-listening.ts';
import { type CaseMaker, type ConnectionHarness, runCase } from './contract-scene.ts';
import { sendingCases } from './contract-sending.ts';

/** The functions of a test runner: vitest, node:test, jest and mocha have them. */
export interface TestApi {
  describe(name: string, body: () => void): unknown;
  it(name: string, body: () => Promise<void>): unknown;
}

/**
 * The contract of `Transport` and `Connection` as a suite of tests: a transport that passes can carry sessions. Assertions are
 * those of `node:assert`; every wait is bounded.
 *
 * @example
 * ```ts
 * import { describe, it } from 'node:test';
 * import { connectionContract, MemoryNetwork } from 'portico/testing';
 *
 * connectionContract({ describe, it }, {
 *   name: 'my transport',
 *   transport: () => new MemoryNetwork().transport(),
 *   address: 'server:0',
 *   capabilities: { kind: 'stream', halfClose: true, reset: true, backPressure: true },
 * });
 * ```
 */
export function connectionContract(api: TestApi, harness: ConnectionHarness): void {
  api.describe(`a connection over ${harness.name}`, () => {
    const it: CaseMaker = (name, body) => api.it(name, () => runCase(harness, body));
    sendingCases(it, harness);
    limitCases(it, harness);
    closingCases(it, harness);
    listeningCases(it, harness);
    if (harness.capabilities.isDatagram === true) datagramCases(it);
  });
}
