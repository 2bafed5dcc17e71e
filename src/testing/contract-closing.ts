import assert from 'node:assert/strict';
import { TransportError } from '../base/errors.ts';
import { seededRandom } from '../transport/memory-random.ts';
import { type ConnectionRecorder, ReceiptRecorder, WIDE_LIMITS } from './connection-recorder.ts';
import {
  type CaseMaker,
  type ConnectionHarness,
  numbersTo,
  packageBytes,
  packagesIn,
  patternBytes,
  turn,
  turns,
} from './contract-scene.ts';

/** Every way in which a connection ends: once, and never from inside a call. */
export function closingCases(it: CaseMaker, { capabilities }: ConnectionHarness): void {
  const isStream = capabilities.kind === 'stream';
  /** For cases in which one side sees the end of the other. */
  const itWithEnd: CaseMaker = capabilities.isDatagram === true ? () => {} : it;

  if (capabilities.halfClose) {
    it('end() finishes one direction: the peer gets onEnd and can still send', async (scene) => {
      const { client, server } = await scene.connect();
      client.send(patternBytes(1000));
      client.connection.end();
      await scene.until(() => server.ends === 1, 'the end');
      assert.equal(server.length, 1000);
      server.send(patternBytes(50_000));
      await scene.until(() => client.length === 50_000, 'the answer');
      assert.deepEqual([client.closes, server.closes], [0, 0]);
      server.connection.end();
      await scene.until(() => client.closes === 1 && server.closes === 1, 'both ends to close');
      assert.deepEqual([client.closeError, server.closeError], [undefined, undefined]);
      assert.deepEqual([client.ends, server.ends], [1, 1]);
      assert.deepEqual(client.events, ['end', 'close']);
    });

    it('holds back the end of the stream while it is paused', async (scene) => {
      const { client, server } = await scene.connect();
      server.connection.pause();
      client.send(patternBytes(100));
      client.connection.end();
      await turns(20);
      assert.deepEqual([server.length, server.ends], [0, 0]);
      server.connection.resume();
      await scene.until(() => server.ends === 1, 'the end');
      assert.equal(server.length, 100);
    });

    it('delivers what a paused reader has not read before it closes in order', async (scene) => {
      const { client, server } = await scene.connect();
      server.connection.pause();
      client.send(patternBytes(3000));
      client.connection.end();
      server.connection.end();
      await scene.until(() => client.closes === 1, 'the end that was not paused to close');
      await turns(20);
      assert.deepEqual([server.length, server.closes], [0, 0]);
      server.connection.resume();
      await scene.until(() => server.closes === 1, 'the other one');
      assert.equal(server.length, 3000);
      assert.deepEqual(server.events, ['end', 'close']);
      assert.equal(server.closeError, undefined);
    });
  }

  itWithEnd('close() sends everything first; each side hears of it once, without an error', async (scene) => {
    const { client, server } = await scene.connect();
    for (const index of numbersTo(30)) client.send(packageBytes(index, 1000));
    client.connection.close();
    client.connection.close();
    await scene.until(() => server.ends === 1, 'the end');
    assert.deepEqual(packagesIn(server.bytes), numbersTo(30));
    await scene.until(() => client.finishes === 1, 'onFinished');
    assert.equal(client.closes, 0, 'it waits for the end of its peer');
    server.connection.close();
    await scene.until(() => client.closes === 1 && server.closes === 1, 'both ends to close');
    assert.deepEqual([client.closeError, server.closeError], [undefined, undefined]);
    assert.deepEqual(client.events, ['finished', 'close']);
  });

  it('close() on both sides at once ends in order', async (scene) => {
    const { client, server } = await scene.connect();
    client.send(patternBytes(500));
    server.send(patternBytes(500));
    client.connection.close();
    server.connection.close();
    await scene.until(() => client.closes === 1 && server.closes === 1, 'both ends to close');
    assert.deepEqual([client.closeError, server.closeError], [undefined, undefined]);
  });

  itWithEnd('close() throws away what still comes in, and closes when the peer ends', async (scene) => {
    const { client, server } = await scene.connect();
    client.connection.close();
    for (const index of numbersTo(20)) {
      server.send(packageBytes(index, 5000));
      await turn();
    }
    server.connection.close();
    await scene.until(() => client.closes === 1 && server.closes === 1, 'both ends to close');
    assert.equal(client.length, 0);
    assert.deepEqual([client.closeError, server.closeError], [undefined, undefined]);
  });

  itWithEnd('close() while paused, with bytes unread, still ends', async (scene) => {
    const { client, server } = await scene.connect();
    client.connection.pause();
    server.send(patternBytes(5000));
    server.connection.end();
    await turns(10);
    client.connection.close();
    await scene.until(() => client.closes === 1 && server.closes === 1, 'both ends to close');
    assert.equal(client.length, 0);
  });

  itWithEnd('close() from inside onBytes sends the answer before it', async (scene) => {
    const { client, server } = await scene.connect();
    server.onBytesHook = () => {
      server.onBytesHook = undefined;
      server.send(patternBytes(2000));
      server.connection.close();
    };
    client.send(patternBytes(100));
    await scene.until(() => client.ends === 1, 'the end');
    assert.ok(client.bytes.equals(patternBytes(2000)));
  });

  itWithEnd('abort() closes this side at once, and the other side notices', async (scene) => {
    const { client, server } = await scene.connect();
    client.connection.abort();
    assert.equal(client.closes, 0);
    await scene.until(() => client.closes === 1, 'onClose');
    assert.equal(client.closeError, undefined);
    await scene.until(() => server.ends + server.closes > 0, 'the other side to notice');
    if (!capabilities.reset) return;
    await scene.until(() => server.closes === 1, 'the reset');
    assert.equal(server.closeError?.code, 'CONNECTION_RESET');
    assert.ok(server.closeError instanceof TransportError);
  });

  it('abort(error) hands the error to onClose', async (scene) => {
    const { client } = await scene.connect();
    const error = new TransportError('TRANSPORT_FAILED', 'a test');
    client.connection.abort(error);
    client.connection.abort(new TransportError('TRANSPORT_FAILED', 'too late'));
    await scene.until(() => client.closes === 1, 'onClose');
    assert.equal(client.closeError, error);
  });

  it('abort() from inside onBytes ends delivery there', async (scene) => {
    const { client, server } = await scene.connect();
    let calls = 0;
    server.onBytesHook = () => {
      calls++;
      server.send(patternBytes(100));
      server.connection.abort();
    };
    for (const index of numbersTo(10)) {
      client.send(packageBytes(index, 3000));
      await turn();
    }
    await scene.until(() => server.closes === 1, 'onClose');
    assert.equal(calls, 1);
    // A message leaves when it is sent, a batch after onBytes.
    if (isStream) assert.equal(client.length, 0);
  });

  it('abort() settles every receipt, of what was batched and of what was queued', async (scene) => {
    const { client, server } = await scene.connect();
    const batched = new ReceiptRecorder();
    client.send(patternBytes(100), batched);
    client.connection.abort();
    if (isStream) assert.equal(batched.errors[0]?.code, 'SESSION_CLOSED');
    assert.equal(batched.settled, 1);
    const other = await scene.connect();
    const receipts: ReceiptRecorder[] = [];
    const send = (bytes: Buffer): void => void other.client.send(bytes, receipts[receipts.push(new ReceiptRecorder()) - 1]);
    if (capabilities.backPressure) await scene.block({ sender: other.client, receiver: other.server }, send);
    send(patternBytes(100));
    other.client.connection.abort(new TransportError('TRANSPORT_FAILED', 'a test'));
    assert.deepEqual(
      receipts.map((receipt) => receipt.settled),
      receipts.map(() => 1),
    );
    // A datagram leaves when it is sent.
    if (capabilities.isDatagram !== true) assert.equal(receipts.at(-1)?.errors[0]?.code, 'TRANSPORT_FAILED');
    assert.equal(other.client.connection.pendingBytes, 0);
    await turns(5);
    if (isStream) assert.equal(server.length, 0);
    assert.deepEqual(
      receipts.map((receipt) => receipt.settled),
      receipts.map(() => 1),
    );
  });

  itWithEnd('settles the receipts of what is queued when the peer goes away', async (scene) => {
    const { client, server } = await scene.connect();
    const receipts: ReceiptRecorder[] = [];
    const send = (bytes: Buffer): void => void client.send(bytes, receipts[receipts.push(new ReceiptRecorder()) - 1]);
    if (capabilities.backPressure) await scene.block({ sender: client, receiver: server }, send);
    server.connection.abort();
    await scene.until(() => client.ends + client.closes > 0, 'the client to notice');
    client.connection.abort();
    await scene.until(() => client.closes === 1, 'onClose');
    assert.deepEqual(
      receipts.map((receipt) => receipt.settled),
      receipts.map(() => 1),
    );
  });

  itWithEnd('refuses what is sent after end(), through the receipt', async (scene) => {
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
    await scene.until(() => server.ends === 1, 'the end');
    assert.deepEqual(packagesIn(server.bytes), [0]);
  });

  it('tells a sink that comes late that the connection is over', async (scene) => {
    const { client, server } = await scene.connect(undefined, false);
    client.open();
    client.connection.abort();
    await scene.until(() => client.closes === 1, 'onClose');
    server.connection.abort();
    await turns(10);
    server.open();
    assert.equal(server.closes, 0);
    await scene.until(() => server.closes === 1, 'onClose of the one opened late');
  });

  it('takes every call after the end, in any order', async (scene) => {
    for (const isReset of [true, false]) {
      const { client, server } = await scene.connect();
      if (isReset) server.connection.abort();
      else server.connection.close();
      client.connection.close();
      await scene.until(() => client.ends + client.closes > 0, 'the end');
      client.connection.abort();
      await scene.until(() => client.closes === 1, 'onClose');
      for (const seed of numbersTo(20)) {
        const receipts: ReceiptRecorder[] = [];
        callAtRandom(client, seededRandom(seed), receipts, { count: 20, maxBytes: scene.maxBytes });
        assert.ok(
          receipts.every((receipt) => receipt.errors[0]?.code === 'SESSION_CLOSED'),
          `seed ${seed}`,
        );
      }
      await turns(3);
      assert.equal(client.connection.pendingBytes, 0);
    }
  });

  it('settles every receipt once and closes once, whatever is called in whatever order', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    for (const seed of numbersTo(20)) {
      const random = seededRandom(seed);
      const { client, server } = await scene.connectTo(acceptor, accepted, { ...WIDE_LIMITS, highWaterMarkBytes: 70_000 });
      const receipts: ReceiptRecorder[] = [];
      for (let step = 0; step < 12; step++) {
        callAtRandom(random() < 0.5 ? client : server, random, receipts, { count: 4, maxBytes: scene.maxBytes });
        if (random() < 0.5) await turn();
      }
      client.connection.abort();
      server.connection.abort();
      await scene.until(() => client.closes === 1 && server.closes === 1, `both ends to close, seed ${seed}`);
      await turns(2);
      assert.deepEqual(
        receipts.map((receipt) => receipt.settled),
        receipts.map(() => 1),
        `seed ${seed}`,
      );
      assert.deepEqual([...client.breaches, ...server.breaches], [], `seed ${seed}`);
      assert.equal(client.connection.pendingBytes + server.connection.pendingBytes, 0, `seed ${seed}`);
    }
  });
}

/** Any calls. The receipts of packages taken back are left out. */
function callAtRandom(
  recorder: ConnectionRecorder,
  random: () => number,
  receipts: ReceiptRecorder[],
  { count, maxBytes }: { readonly count: number; readonly maxBytes: number },
): void {
  const { connection } = recorder;
  const send = (how: (receipt: ReceiptRecorder) => void): void => {
    const receipt = new ReceiptRecorder();
    receipts.push(receipt);
    how(receipt);
  };
  const bytes = patternBytes(Math.floor(random() ** 3 * Math.min(90_000, maxBytes)));
  const unsend = (): void => {
    const last = receipts.at(-1);
    if (last !== undefined && connection.unsend(last)) receipts.pop();
  };
  const calls: readonly (() => void)[] = [
    () => send((receipt) => recorder.send(bytes, receipt)),
    () => send((receipt) => recorder.send(bytes, receipt)),
    () => send((receipt) => connection.sendShared(bytes, receipt)),
    () => recorder.send(bytes.subarray(0, 10)),
    unsend,
    () => {
      connection.beginPackage().writeBytes(bytes);
      connection.cancelPackage();
    },
    () => connection.flush(),
    () => connection.pause(),
    () => connection.pause(),
    () => connection.resume(),
    () => connection.resume(),
    () => connection.limitSending({ ...WIDE_LIMITS, overflowPolicy: 'drop-newest', maxQueueBytes: Math.floor(random() * 300_000) }),
    () => connection.end(),
    () => connection.close(),
    () => connection.abort(),
  ];
  for (let call = 0; call < count; call++) {
    // The calls that end it stand last and are rarer.
    const index = Math.floor(random() * (calls.length - (random() < 0.8 ? 3 : 0)));
    calls[index]?.();
  }
}
