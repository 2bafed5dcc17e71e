import assert from 'node:assert/strict';
import { seededRandom } from '../transport/memory-random.ts';
import { ReceiptRecorder } from './connection-recorder.ts';
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

const KIB = 1024;

/** Bytes arrive, whole, in order, and in as few writes as there are batches. */
export function sendingCases(it: CaseMaker, { capabilities, maxBytes = 10 * KIB * KIB }: ConnectionHarness): void {
  const { maxMessageBytes = maxBytes } = capabilities;
  const isStream = capabilities.kind === 'stream';

  it('delivers bytes intact in both directions, from 1 byte to 1 MiB', async (scene) => {
    const { client, server } = await scene.connect();
    const sizes = [1, 2, 3, 1000, 8191, 8192, 65_535, 65_536, 65_537, 300_001, KIB * KIB].filter(
      (size) => size <= Math.min(maxBytes, maxMessageBytes),
    );
    const all = Buffer.concat(sizes.map((size) => patternBytes(size, size)));
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      for (const size of sizes) {
        from.send(patternBytes(size, size));
        await turn();
      }
      await scene.until(() => to.length >= all.length, 'all bytes');
      assert.ok(to.bytes.equals(all));
      if (!isStream)
        assert.deepEqual(
          to.messages.map((message) => message.length),
          sizes,
        );
    }
  });

  it('delivers many small packages in order, over many turns', async (scene) => {
    const { client, server } = await scene.connect();
    const count = 5000;
    for (let index = 0; index < count; index++) {
      client.send(packageBytes(index, 8 + (index % 40)));
      if (index % 97 === 0) await turn();
    }
    await scene.delivered({ sender: client, receiver: server });
    assert.deepEqual(packagesIn(server.bytes), numbersTo(count));
    if (!isStream) assert.equal(server.messages.length, count);
  });

  it('keeps both directions apart and in order under random traffic', async (scene) => {
    const seed = 20;
    const random = seededRandom(seed);
    const pair = await scene.connect();
    const sent = { client: 0, server: 0 };
    for (let step = 0; step < 300; step++) {
      const side = random() < 0.5 ? 'client' : 'server';
      const bytes = packageBytes(sent[side]++, Math.floor(random() ** 4 * Math.min(100_000, maxBytes / 8)));
      if (random() < 0.3) pair[side].connection.sendShared(bytes);
      else pair[side].send(bytes);
      if (random() < 0.1) pair[side].connection.flush();
      if (random() < 0.2) await turn();
    }
    await scene.delivered({ sender: pair.client, receiver: pair.server });
    await scene.delivered({ sender: pair.server, receiver: pair.client });
    assert.deepEqual(packagesIn(pair.server.bytes), numbersTo(sent.client), `seed ${seed}`);
    assert.deepEqual(packagesIn(pair.client.bytes), numbersTo(sent.server), `seed ${seed}`);
  });

  it('counts the bytes of packages exactly on both sides', async (scene) => {
    const { client, server } = await scene.connect();
    for (const size of [10, 500, 9000]) client.send(patternBytes(size));
    client.connection.sendShared(patternBytes(77));
    await scene.until(() => server.length === 9587, 'all bytes');
    assert.equal(client.connection.bytesWritten, 9587);
    assert.equal(server.connection.bytesRead, 9587);
    assert.equal(client.connection.bytesRead, 0);
    assert.equal(server.connection.bytesWritten, 0);
  });

  it('tells where both ends are', async (scene) => {
    const { client, server, acceptor } = await scene.connect();
    assert.equal(client.connection.kind, capabilities.kind);
    assert.equal(client.connection.remoteAddress.text, acceptor.address.text);
    assert.equal(server.connection.localAddress.text, acceptor.address.text);
    assert.equal(server.connection.remoteAddress.text, client.connection.localAddress.text);
    client.connection.abort();
    await scene.until(() => client.closes === 1, 'the close');
    assert.equal(client.connection.remoteAddress.text, acceptor.address.text, 'also after the end');
  });

  it('keeps what arrives before it is opened', async (scene) => {
    const { client, server } = await scene.connect(undefined, false);
    client.open();
    client.send(patternBytes(5000));
    await turns(20);
    assert.equal(server.length, 0);
    server.open();
    await scene.until(() => server.length === 5000, 'the bytes');
    assert.ok(server.bytes.equals(patternBytes(5000)));
  });

  it('lends received bytes: what is echoed from inside onBytes is not spoiled by the next read', async (scene) => {
    const { client, server } = await scene.connect();
    server.onBytesHook = (bytes) => {
      server.send(bytes);
    };
    const all = Buffer.concat(
      numbersTo(20)
        .map((index) => patternBytes(20_000, index))
        .slice(0, Math.max(1, Math.floor(maxBytes / 20_000))),
    );
    for (let at = 0; at < all.length; at += 20_000) {
      client.send(all.subarray(at, at + 20_000));
      await turn();
    }
    await scene.until(() => client.length === all.length, 'the echo');
    assert.ok(client.bytes.equals(all));
  });

  if (isStream) {
    it('sends all packages of one onBytes in one write, before the turn ends', async (scene) => {
      const { client, server } = await scene.connect();
      let isFirst = true;
      server.onBytesHook = () => {
        if (!isFirst) return;
        isFirst = false;
        for (const index of numbersTo(50)) server.send(packageBytes(index, 20));
        assert.equal(server.connection.writes, 0);
        process.nextTick(() => assert.equal(server.connection.writes, 1));
      };
      client.send(Buffer.of(1));
      await scene.until(() => client.length === 1000, 'the answers');
      assert.equal(server.connection.writes, 1);
      assert.deepEqual(packagesIn(client.bytes), numbersTo(50));
    });

    it('sends all packages of one turn in one write, those sent after an await included', async (scene) => {
      const { client, server } = await scene.connect();
      await turn();
      for (const index of numbersTo(10)) client.send(packageBytes(index, 20));
      await null;
      client.connection.sendShared(packageBytes(10, 20));
      await Promise.resolve().then(() => Promise.resolve());
      client.send(packageBytes(11, 20));
      assert.equal(client.connection.writes, 0);
      assert.equal(client.connection.pendingBytes, 240);
      await turn();
      assert.equal(client.connection.writes, 1);
      await scene.until(() => server.length === 240, 'the packages');
      assert.deepEqual(packagesIn(server.bytes), numbersTo(12));
    });

    it('hands the batch over at once when it is flushed', async (scene) => {
      const { client, server } = await scene.connect();
      client.send(packageBytes(0, 20));
      client.connection.flush();
      assert.equal(client.connection.writes, 1);
      client.connection.flush();
      assert.equal(client.connection.writes, 1);
      await scene.until(() => server.length === 20, 'the package');
    });
  }

  it('sends nothing of a package that was cancelled', async (scene) => {
    const { client, server } = await scene.connect();
    client.send(packageBytes(0, 20));
    client.connection.beginPackage().writeBytes(patternBytes(100));
    client.connection.cancelPackage();
    const writer = client.connection.beginPackage();
    writer.writeBytes(patternBytes(9000));
    writer.writeUint8(1);
    client.connection.cancelPackage();
    client.send(packageBytes(1, 20));
    client.connection.beginPackage().writeUint8(1);
    client.connection.cancelPackage();
    await scene.until(() => server.length >= 40, 'the others');
    await turns(5);
    assert.deepEqual(packagesIn(server.bytes), [0, 1]);
    assert.equal(client.connection.bytesWritten, 40);
  });

  it('sends whole packages when one is sent while another is being encoded, to the same and to another peer', async (scene) => {
    const { client, server } = await scene.connect();
    const outer = packageBytes(0, 100);
    const writer = client.connection.beginPackage();
    writer.writeBytes(outer.subarray(0, 40));
    client.send(packageBytes(1, 50));
    server.send(packageBytes(2, 50));
    client.connection.beginPackage().writeBytes(patternBytes(30));
    client.connection.cancelPackage();
    client.connection.flush();
    writer.writeBytes(outer.subarray(40));
    client.connection.endPackage();
    client.send(packageBytes(3, 20));
    await scene.until(() => server.length === 170 && client.length === 50, 'the packages');
    assert.deepEqual(packagesIn(server.bytes).sort(), [0, 1, 3]);
    assert.deepEqual(packagesIn(client.bytes), [2]);
  });

  it('gives each of several connections its own bytes when they send in turns', async (scene) => {
    const { acceptor, accepted } = await scene.listen();
    const pairs = [
      await scene.connectTo(acceptor, accepted),
      await scene.connectTo(acceptor, accepted),
      await scene.connectTo(acceptor, accepted),
    ];
    const random = seededRandom(7);
    const counts = pairs.map(() => 0);
    for (let step = 0; step < 400; step++) {
      const chosen = Math.floor(random() * pairs.length);
      const index = counts[chosen] ?? 0;
      counts[chosen] = index + 1;
      const bytes = packageBytes(index * pairs.length + chosen, 8 + Math.floor(random() * 60));
      const client = pairs[chosen]?.client;
      if (client === undefined) continue;
      if (random() < 0.1) {
        client.connection.beginPackage().writeBytes(patternBytes(200));
        client.connection.cancelPackage();
      }
      if (random() < 0.3) client.connection.sendShared(bytes);
      else client.send(bytes);
      if (random() < 0.05) await turn();
    }
    for (const { client, server } of pairs) await scene.delivered({ sender: client, receiver: server });
    for (const [chosen, { server }] of pairs.entries()) {
      assert.deepEqual(
        packagesIn(server.bytes),
        numbersTo(counts[chosen] ?? 0).map((index) => index * pairs.length + chosen),
      );
    }
  });

  it('keeps the order of shared bytes among packages', async (scene) => {
    const { client, server } = await scene.connect();
    for (let index = 0; index < 300; index++) {
      const bytes = packageBytes(index, index % 50 === 0 ? 10_000 : 30);
      if (index % 3 === 0) client.connection.sendShared(bytes);
      else client.send(bytes);
    }
    await scene.delivered({ sender: client, receiver: server });
    assert.deepEqual(packagesIn(server.bytes), numbersTo(300));
  });

  it('settles the receipt of every package that was sent, an empty one included', async (scene) => {
    const { client, server } = await scene.connect();
    const receipts = numbersTo(4).map(() => new ReceiptRecorder());
    client.send(Buffer.alloc(0), receipts[0]);
    await scene.until(() => receipts[0]?.sent === 1, 'the receipt of an empty package');
    client.send(packageBytes(1, 100), receipts[1]);
    client.send(Buffer.alloc(0), receipts[2]);
    client.connection.sendShared(packageBytes(3, 100), receipts[3]);
    await scene.until(() => server.length === 200, 'the packages');
    await scene.until(() => receipts.every((receipt) => receipt.sent === 1), 'the receipts');
    assert.deepEqual(
      receipts.map((receipt) => receipt.settled),
      [1, 1, 1, 1],
    );
  });
}
