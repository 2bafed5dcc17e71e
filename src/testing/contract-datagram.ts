import assert from 'node:assert/strict';
import { TransportError } from '../base/errors.ts';
import { ReceiptRecorder, WIDE_LIMITS } from './connection-recorder.ts';
import { type CaseMaker, numbersTo, packageBytes, packagesIn, patternBytes, turns } from './contract-scene.ts';

/** What holds where a connection is only an address: nobody is told of its end. */
export function datagramCases(it: CaseMaker): void {
  it('close() sends everything first and ends by itself; the peer hears of nothing', async (scene) => {
    const { client, server } = await scene.connect();
    for (const index of numbersTo(30)) client.send(packageBytes(index, 1000));
    client.connection.close();
    client.connection.close();
    assert.equal(client.closes, 0);
    await scene.until(() => client.closes === 1, 'onClose');
    assert.deepEqual(client.events, ['finished', 'close']);
    assert.equal(client.closeError, undefined);
    await scene.until(() => server.length === 30_000, 'the packages');
    assert.deepEqual(packagesIn(server.bytes), numbersTo(30));
    await turns(10);
    assert.deepEqual(server.events, []);
  });

  it('close() while paused, with messages unread, ends and drops them', async (scene) => {
    const { client, server } = await scene.connect();
    client.connection.pause();
    server.send(patternBytes(5000));
    await turns(10);
    client.connection.close();
    await scene.until(() => client.closes === 1, 'onClose');
    assert.equal(client.length, 0);
  });

  it('close() from inside onBytes sends the answer before it', async (scene) => {
    const { client, server } = await scene.connect();
    server.onBytesHook = () => {
      server.send(patternBytes(2000));
      server.connection.close();
    };
    client.send(patternBytes(100));
    await scene.until(() => client.length === 2000 && server.closes === 1, 'the answer');
    assert.ok(client.bytes.equals(patternBytes(2000)));
  });

  it('refuses what is sent after end(), through the receipt, and still receives', async (scene) => {
    const { client, server } = await scene.connect();
    client.send(packageBytes(0, 100));
    client.connection.end();
    const receipts = [new ReceiptRecorder(), new ReceiptRecorder()];
    assert.equal(client.send(packageBytes(1, 100), receipts[0]), false);
    assert.equal(client.connection.sendShared(packageBytes(2, 100), receipts[1]), false);
    assert.equal(client.send(packageBytes(3, 100)), false);
    assert.deepEqual(
      receipts.map(({ errors }) => errors[0]?.code),
      ['SESSION_CLOSED', 'SESSION_CLOSED'],
    );
    await scene.until(() => server.length === 100, 'the first package');
    server.send(patternBytes(50));
    await scene.until(() => client.length === 50, 'the answer');
    assert.deepEqual(packagesIn(server.bytes), [0]);
  });

  it('abort() closes this side at once, and leaves the others on its socket alone', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const first = await scene.connectTo(acceptor, accepted);
    const second = await scene.connectTo(acceptor, accepted);
    first.server.connection.abort(new TransportError('TRANSPORT_FAILED', 'a test'));
    await scene.until(() => first.server.closes === 1, 'onClose');
    second.client.send(patternBytes(10));
    await scene.until(() => second.server.length === 10, 'the bytes of the other');
  });

  it('makes a new connection for a peer whose connection has closed and that sends again', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const { client, server } = await scene.connectTo(acceptor, accepted);
    server.connection.close();
    await scene.until(() => server.closes === 1, 'onClose');
    client.send(patternBytes(77));
    await scene.until(() => accepted.connections.length === 2, 'the second connection');
    const [, connection] = accepted.connections;
    assert.ok(connection !== undefined);
    const again = scene.record(connection).open(WIDE_LIMITS);
    await scene.until(() => again.length === 77, 'the bytes');
    assert.equal(server.length, 0);
  });

  it('takes no new peers after the acceptor has closed, and goes on with the others', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const { client, server } = await scene.connectTo(acceptor, accepted);
    await acceptor.close();
    const stranger = (await scene.dial(acceptor)).open();
    stranger.send(patternBytes(10));
    client.send(patternBytes(100));
    await scene.until(() => server.length === 100, 'the bytes');
    server.send(patternBytes(100));
    await scene.until(() => client.length === 100, 'the answer');
    assert.equal(accepted.connections.length, 1);
  });

  it('keeps nothing of a peer that admit() refuses', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const client = (await scene.dial(acceptor)).open();
    accepted.refusal = 'a test';
    client.send(patternBytes(10));
    await turns(20);
    assert.equal(accepted.connections.length, 0);
    accepted.refusal = undefined;
    client.send(patternBytes(20));
    await scene.until(() => accepted.connections.length === 1, 'the connection');
    for (const connection of accepted.connections) {
      const server = scene.record(connection).open();
      await scene.until(() => server.length === 20, 'the bytes');
    }
  });

  it('delivers an empty message', async (scene) => {
    const { client, server } = await scene.connect();
    client.send(Buffer.alloc(0));
    client.send(patternBytes(1));
    await scene.until(() => server.messages.length === 2, 'both messages');
    assert.deepEqual(
      server.messages.map(({ length }) => length),
      [0, 1],
    );
  });
}
