import { describe, it } from 'vitest';
import { InProcessBackplane } from '../../src/backplane/in-process.ts';
import { InProcessNetwork } from '../../src/backplane/in-process-network.ts';
import { type BackplaneHarness, backplaneContract, seededRandom } from '../../src/testing/index.ts';
import { MemoryServer, memoryService } from '../helpers/memory-bus.ts';

const inProcess: BackplaneHarness = {
  name: 'in process',
  service() {
    const network = new InProcessNetwork();
    return { make: (limits) => new InProcessBackplane({ ...limits, network }) };
  },
};

/** Every message, of presence and beats too, is lost with this probability. */
function lossy(seed: number, probability: number): BackplaneHarness {
  return {
    name: `over a server that loses one message in ${1 / probability}, seed ${seed}`,
    isLossy: true,
    service() {
      const server = new MemoryServer();
      const random = seededRandom(seed);
      server.loses = () => random() < probability;
      return memoryService(server);
    },
  };
}

const harnesses: readonly BackplaneHarness[] = [
  inProcess,
  { name: 'over a server', service: () => memoryService() },
  lossy(1, 0.02),
  lossy(2, 0.1),
];

for (const harness of harnesses) backplaneContract({ describe, it }, harness);
