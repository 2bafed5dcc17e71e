import { describe } from 'vitest';
import { RpcListener } from '../../src/rpc/rpc-listener.ts';
import { vectorMethods, vectorTests } from '../helpers/rpc-vectors.ts';
import { contentLengthWire, lineWire, wsWire } from '../helpers/rpc-wires.ts';
import { useScene } from '../helpers/scene.ts';

const scene = useScene();
const listener = (): RpcListener => new RpcListener({ methods: vectorMethods() });

describe('znet-knet scenario 44: the vectors of JSON-RPC 2.0, over WebSocket text', () => {
  vectorTests(() => wsWire(scene, listener()));
});

describe('znet-knet scenario 44: the vectors of JSON-RPC 2.0, over lines of TCP', () => {
  vectorTests(() => lineWire(scene, listener()));
});

describe('znet-knet scenario 44: the vectors of JSON-RPC 2.0, over Content-Length', () => {
  vectorTests(() => contentLengthWire(scene, listener()));
});
