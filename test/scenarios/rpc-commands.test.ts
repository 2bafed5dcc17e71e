import { describe, expect, it } from 'vitest';
import { RpcMethods } from '../../src/rpc/rpc-methods.ts';
import { type RpcCommandClient, rpcOverCommands } from '../../src/rpc/rpc-over-commands.ts';
import { until } from '../helpers/raw-peer.ts';
import { vectorMethods, vectorTests } from '../helpers/rpc-vectors.ts';
import { commandWire } from '../helpers/rpc-wires.ts';
import { useScene } from '../helpers/scene.ts';
import { thrownBy } from '../helpers/thrown.ts';

const scene = useScene();

describe('znet-knet scenario 43: the vectors of JSON-RPC 2.0, over commands', () => {
  vectorTests(() => commandWire(scene, vectorMethods()));
});

describe('the two ids', () => {
  const ask = ['{"jsonrpc":"2.0","method":"sum","params":[1],"id":1}', '{"jsonrpc":"2.0","method":"nope","id":2}', '[1]', 'nonsense'];

  it('single error responses go to fffffffe, results and batches to ffffffff', async () => {
    const wire = await commandWire(scene, vectorMethods());
    for (const text of ask) wire.send(text);
    await until(() => wire.ids.length === 4, 'four answers');
    expect(wire.ids).toEqual([0xffffffff, 0xfffffffe, 0xffffffff, 0xfffffffe]);
  });

  it('all go to ffffffff for clients that look nowhere else', async () => {
    const wire = await commandWire(scene, vectorMethods(), { errorsOn: 'rpc' });
    for (const text of ask) wire.send(text);
    await until(() => wire.ids.length === 4, 'four answers');
    expect(wire.ids).toEqual([0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff]);
  });

  it('are taken once, and given back by close', async () => {
    const wire = await commandWire(scene, new RpcMethods());
    expect(thrownBy(() => rpcOverCommands(wire.hub))).toMatchObject({ code: 'INVALID_OPTION' });
    const call = wire.peer().call('x');
    wire.rpc.close();
    await expect(call).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    expect(wire.rpc.peerCount).toBe(0);
    rpcOverCommands(wire.hub).close();
  });
});

describe('a client', () => {
  it('znet-knet scenario 49: is called by the server, also back from within its own call', async () => {
    const wire = await commandWire(scene, new RpcMethods());
    const clients: (RpcCommandClient | undefined)[] = [];
    wire.rpc.method('greet', async (_params, { peer, client }) => {
      clients.push(client);
      return `hello ${await peer.call('whoAreYou')}`;
    });
    wire.send('{"jsonrpc":"2.0","method":"greet","id":"g"}');
    await until(() => wire.received.length === 1, 'the call from the server');
    const { id } = JSON.parse(wire.received[0] ?? '') as { id: number };
    wire.send(JSON.stringify({ jsonrpc: '2.0', result: 'anna', id }));
    await until(() => wire.received.length === 2, 'the answer');
    expect(wire.received[1]).toBe('{"jsonrpc":"2.0","result":"hello anna","id":"g"}');
    expect(clients.map((client) => client?.isAlive)).toEqual([true]);
  });

  it('znet-knet scenario 49: that goes has the calls to it rejected, and its peer forgotten', async () => {
    const wire = await commandWire(scene, new RpcMethods());
    const calls = [wire.peer().call('x'), wire.peer().call('y')];
    await until(() => wire.received.length === 2, 'the calls');
    wire.socket.terminate();
    for (const call of calls) await expect(call).rejects.toMatchObject({ code: 'SESSION_CLOSED' });
    expect(wire.rpc.peerCount).toBe(0);
    expect(thrownBy(() => wire.peer())).toMatchObject({ code: 'SESSION_CLOSED' });
  });

  it('pays for what it asks', async () => {
    const paid: [number, string][] = [];
    const wire = await commandWire(scene, vectorMethods());
    wire.rpc.close();
    rpcOverCommands(wire.hub, { methods: vectorMethods(), cost: (units, client) => paid.push([units, client.id]) > 0 });
    wire.send('[1,2,3]');
    await until(() => wire.received.length === 1, 'the answer');
    expect(paid).toEqual([[3, [...wire.hub.clients.keys()][0]]]);
  });
});
