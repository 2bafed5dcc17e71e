import { describe } from 'vitest';
import { vectorMethods, vectorTests } from '../helpers/rpc-vectors.ts';
import { BarePeer } from '../helpers/rpc-world.ts';

describe('the vectors of JSON-RPC 2.0, on a peer without I/O', () => {
  vectorTests(async () => new BarePeer({}, { methods: vectorMethods() }));
});
