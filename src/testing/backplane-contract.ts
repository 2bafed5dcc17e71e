import { channelCases } from './backplane-channels.ts';
import { presenceCases } from './backplane-presence.ts';
import { type BackplaneCase, type BackplaneHarness, runBackplaneCase } from './backplane-scene.ts';
import type { TestApi } from './connection-contract.ts';

/**
 * The contract of `Backplane` as a suite of tests: a backplane that passes can join hubs. Assertions are those of `node:assert`; every
 * wait is bounded.
 *
 * @example
 * ```ts
 * import { describe, it } from 'node:test';
 * import { InProcessBackplane, InProcessNetwork } from 'portico/backplane';
 * import { backplaneContract } from 'portico/testing';
 *
 * backplaneContract({ describe, it }, {
 *   name: 'in process',
 *   service() {
 *     const network = new InProcessNetwork();
 *     return { make: (limits) => new InProcessBackplane({ ...limits, network }) };
 *   },
 * });
 * ```
 */
export function backplaneContract(api: TestApi, harness: BackplaneHarness): void {
  api.describe(`a backplane: ${harness.name}`, () => {
    const it: BackplaneCase = (name, body) => api.it(name, () => runBackplaneCase(harness, body));
    channelCases(it, harness);
    presenceCases(it, harness);
  });
}
