import assert from 'node:assert/strict';
import { PorticoError } from '../base/errors.ts';
import { type CaseMaker, type ConnectionHarness, NEVER, patternBytes, turns } from './contract-scene.ts';

/** Listening and dialling: what is refused leaves nothing behind. */
export function listeningCases(it: CaseMaker, { capabilities }: ConnectionHarness): void {
  /** For cases in which dialling needs somebody who listens. */
  const itWithDial: CaseMaker = capabilities.isDatagram === true ? () => {} : it;

  it('rejects listening on an address in use with LISTEN_FAILED', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const transport = await scene.transport();
    assert.equal(await codeOf(transport.listen(acceptor.address.text, accepted)), 'LISTEN_FAILED');
    await scene.connectTo(acceptor, accepted);
  });

  itWithDial('rejects dialling where nobody listens with CONNECT_FAILED', async (scene) => {
    const { acceptor } = await scene.listen();
    const transport = await scene.transport();
    await acceptor.close();
    assert.equal(await codeOf(transport.dial(acceptor.address.text, { signal: NEVER })), 'CONNECT_FAILED');
  });

  it('listens again where another acceptor has closed', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    await acceptor.close();
    await acceptor.close();
    const transport = await scene.transport();
    const again = await transport.listen(acceptor.address.text, accepted);
    assert.equal(again.address.text, acceptor.address.text);
    try {
      await scene.connectTo(again, accepted);
    } finally {
      await again.close();
    }
  });

  it('rejects a dial whose signal is aborted already, and leaves nothing behind', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const transport = await scene.transport();
    const reason = new Error('a test');
    const error = await rejection(transport.dial(acceptor.address.text, { signal: AbortSignal.abort(reason) }));
    assert.equal(error.code, 'ABORTED');
    assert.equal(error.cause, reason);
    await turns(20);
    assert.equal(accepted.connections.length, 0);
  });

  it('rejects a dial that is aborted on the way, and what was accepted ends', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const transport = await scene.transport();
    for (const wait of [0, 1, 2, 5]) {
      const aborter = new AbortController();
      const dialled = transport.dial(acceptor.address.text, { signal: aborter.signal });
      // Should the dial win the race, the connection is ours to end.
      const outcome = dialled.then(
        (connection) => connection.abort(),
        (error: unknown) => assert.equal(codeOfThrown(error), 'ABORTED'),
      );
      await turns(wait);
      aborter.abort();
      await outcome;
    }
    await turns(20);
    for (const connection of accepted.connections) {
      const recorder = scene.record(connection).open();
      await scene.until(() => recorder.ends + recorder.closes > 0, 'the accepted connection to end');
    }
  });

  itWithDial('does not touch a connection when its dial signal is aborted later', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const transport = await scene.transport();
    const aborter = new AbortController();
    const client = scene.record(await transport.dial(acceptor.address.text, { signal: aborter.signal })).open();
    aborter.abort();
    await scene.until(() => accepted.connections.length === 1, 'the connection to be accepted');
    for (const connection of accepted.connections) scene.record(connection).open().send(patternBytes(10));
    await scene.until(() => client.length === 10, 'the bytes');
  });

  itWithDial('refuses new connections after the acceptor has closed, and leaves the accepted ones alive', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const { client, server } = await scene.connectTo(acceptor, accepted);
    await acceptor.close();
    const transport = await scene.transport();
    assert.equal(await codeOf(transport.dial(acceptor.address.text, { signal: NEVER })), 'CONNECT_FAILED');
    client.send(patternBytes(100));
    await scene.until(() => server.length === 100, 'the bytes');
    server.send(patternBytes(100));
    await scene.until(() => client.length === 100, 'the answer');
  });

  itWithDial('ends a connection that admit() refuses, and hands over nothing', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const transport = await scene.transport();
    accepted.refusal = 'a test';
    for (let attempt = 0; attempt < 3; attempt++) {
      const connection = await transport.dial(acceptor.address.text, { signal: NEVER }).catch((error: unknown) => {
        assert.ok(error instanceof PorticoError);
      });
      if (connection === undefined) continue;
      const client = scene.record(connection).open();
      await scene.until(() => client.ends + client.closes > 0, 'the refused connection to end');
    }
    assert.equal(accepted.connections.length, 0);
    accepted.refusal = undefined;
    await scene.connectTo(acceptor, accepted);
  });
}

async function rejection(promise: Promise<unknown>): Promise<PorticoError> {
  try {
    await promise;
  } catch (thrown) {
    assert.ok(thrown instanceof PorticoError);
    return thrown;
  }
  return assert.fail('expected a rejection');
}

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return (await rejection(promise)).code;
}

function codeOfThrown(thrown: unknown): string | undefined {
  return thrown instanceof PorticoError ? thrown.code : undefined;
}
