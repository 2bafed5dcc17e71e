import assert from 'node:assert/strict';
import { PorticoError } from '../base/errors.ts';
import type { OverflowPolicy, SendReceipt } from '../transport/connection.ts';
import { type ConnectionRecorder, ReceiptRecorder, WIDE_LIMITS } from './connection-recorder.ts';
import {
  type CaseMaker,
  type ConnectionHarness,
  type ContractScene,
  type Flow,
  numbersTo,
  packageBytes,
  packagesIn,
  patternBytes,
  turn,
  turns,
} from './contract-scene.ts';

const PACKAGE_BYTES = 1000;
/** This many more packages fit under the hard cap of `blockWithRoom`. */
const ROOM_PACKAGES = 3;

interface BlockedFlow extends Flow {
  /** Of all packages sent, by index. */
  readonly receipts: ReceiptRecorder[];
  /** Sends one more package, with a receipt; false or the code of the error thrown when it is not taken below the mark. */
  sendNext(): boolean | string;
}

/** What happens when the receiver is slower than the sender. */
export function limitCases(it: CaseMaker, { capabilities, maxBytes = 10_485_760 }: ConnectionHarness): void {
  it('delivers nothing while it is paused, and loses nothing', async (scene) => {
    const { client, server } = await scene.connect();
    for (const round of numbersTo(5)) {
      server.connection.pause();
      const before = server.length;
      for (const index of numbersTo(10)) client.send(packageBytes(round * 10 + index, 500));
      await turns(20);
      assert.equal(server.length, before);
      server.connection.resume();
      await scene.until(() => server.length === (round + 1) * 5000, 'the packages');
    }
    assert.deepEqual(packagesIn(server.bytes), numbersTo(50));
  });

  it('stops within onBytes when it is paused there, and goes on behind it', async (scene) => {
    const { client, server } = await scene.connect();
    server.onBytesHook = () => {
      server.connection.pause();
      setImmediate(() => server.connection.resume());
    };
    const total = Math.min(200, Math.floor(maxBytes / 5000)) * 100;
    for (let at = 0; at < total; at += 100) client.send(patternBytes(100, at));
    await scene.until(() => server.length === total, 'all bytes');
    assert.ok(server.bytes.equals(Buffer.concat(numbersTo(total / 100).map((index) => patternBytes(100, index * 100)))));
  });

  if (capabilities.isDatagram === true) return;

  it('delivers all of a large queue before it closes', async (scene) => {
    const { client, server } = await scene.connect();
    const size = Math.min(65_536, maxBytes / 16);
    const count = Math.floor(maxBytes / size);
    server.connection.pause();
    for (const index of numbersTo(count)) client.send(packageBytes(index, size));
    client.connection.close();
    await turns(20);
    assert.equal(client.closes, 0);
    server.connection.resume();
    await scene.until(() => server.ends === 1, 'the end');
    assert.deepEqual(packagesIn(server.bytes), numbersTo(count));
    assert.equal(client.connection.pendingBytes, 0);
    server.connection.close();
    await scene.until(() => client.closes === 1 && server.closes === 1, 'both ends to close');
    assert.deepEqual([client.closeError, server.closeError], [undefined, undefined]);
  });

  if (!capabilities.backPressure) return;

  it('says "full" above the high-water mark, and drains at the low one once the peer reads', async (scene) => {
    const limits = { ...WIDE_LIMITS, lowWaterMarkBytes: 20_000, highWaterMarkBytes: 100_000 };
    const { client, server } = await scene.connect(limits);
    server.connection.pause();
    let count = 0;
    do {
      // Full at first may only mean that this side still works on it, as a layer that compresses does: then it drains by itself.
      client.drains = 0;
      while (client.send(packageBytes(count++, 10_000))) if (count % 5 === 0) await turn();
      assert.ok(client.connection.pendingBytes > 100_000);
      assert.ok(client.connection.stalledBytes > 0 && client.connection.stalledBytes <= client.connection.pendingBytes);
      assert.ok(client.blocks > 0);
      await turns(20);
    } while (client.drains > 0);
    let pendingAtDrain = -1;
    client.onDrainHook = () => {
      pendingAtDrain = client.connection.pendingBytes;
    };
    server.connection.resume();
    await scene.until(() => client.drains === 1, 'onDrain');
    assert.ok(pendingAtDrain <= 20_000);
    await scene.delivered({ sender: client, receiver: server });
    assert.deepEqual(packagesIn(server.bytes), numbersTo(count));
    assert.equal(client.drains, 1);
  });

  it('settles no receipt before the operating system has the bytes', async (scene) => {
    const flow = await blockWithRoom(scene, 'reject');
    assert.ok(flow.receipts.some((receipt) => receipt.settled === 0));
    await settleAll(scene, flow);
    assert.ok(flow.receipts.every((receipt) => receipt.sent === 1));
  });

  it('at the hard cap, "reject" throws and goes on', async (scene) => {
    const flow = await blockWithRoom(scene, 'reject');
    const before = flow.sender.connection.pendingBytes;
    assert.equal(flow.sendNext(), 'SEND_QUEUE_FULL');
    assert.equal(flow.sender.connection.pendingBytes, before);
    assert.equal(flow.sender.connection.droppedPackages, 1);
    const rejected = flow.receipts.pop();
    await settleAll(scene, flow);
    assert.equal(rejected?.settled, 0, 'what was thrown is not told twice');
    assert.deepEqual(packagesIn(flow.receiver.bytes), numbersTo(flow.receipts.length));
  });

  it('at the hard cap, "drop-newest" refuses the package through its receipt and goes on', async (scene) => {
    const flow = await blockWithRoom(scene, 'drop-newest');
    assert.equal(flow.sendNext(), false);
    assert.equal(flow.receipts.at(-1)?.errors[0]?.code, 'SEND_QUEUE_FULL');
    assert.equal(flow.sender.connection.droppedPackages, 1);
    await settleAll(scene, flow);
    assert.deepEqual(packagesIn(flow.receiver.bytes), numbersTo(flow.receipts.length - 1));
  });

  it('at the hard cap, "drop-oldest" drops the oldest whole packages and no more than needed', async (scene) => {
    const flow = await blockWithRoom(scene, 'drop-oldest');
    for (let more = 0; more < 40; more++) flow.sendNext();
    await settleAll(scene, flow);
    const dropped = numbersTo(flow.receipts.length).filter((index) => flow.receipts[index]?.errors.length === 1);
    const kept = numbersTo(flow.receipts.length).filter((index) => !dropped.includes(index));
    assert.ok(dropped.length > 0);
    assert.equal(flow.sender.connection.droppedPackages, dropped.length);
    // One run of neighbours: first come those that had left already, last the newest.
    assert.equal((dropped.at(-1) ?? 0) - (dropped[0] ?? 0) + 1, dropped.length);
    assert.ok((dropped.at(-1) ?? 0) < flow.receipts.length - ROOM_PACKAGES);
    assert.deepEqual(packagesIn(flow.receiver.bytes), kept);
    assert.ok(dropped.every((index) => flow.receipts[index]?.errors[0]?.code === 'SEND_QUEUE_FULL'));
  });

  it('"drop-oldest" drops nothing for a package that would not fit into an empty queue', async (scene) => {
    const flow = await blockWithRoom(scene, 'drop-oldest');
    const receipt = new ReceiptRecorder();
    assert.equal(flow.sender.send(patternBytes(flow.sender.connection.pendingBytes + 10_000), receipt), false);
    assert.equal(receipt.errors[0]?.code, 'SEND_QUEUE_FULL');
    assert.equal(flow.sender.connection.droppedPackages, 1);
    await settleAll(scene, flow);
    assert.deepEqual(packagesIn(flow.receiver.bytes), numbersTo(flow.receipts.length));
  });

  it('at the hard cap, "close" tells the sink, which aborts; every receipt is settled once', async (scene) => {
    const flow = await blockWithRoom(scene, 'close');
    const { sender, receiver, receipts } = flow;
    sender.onOverflowHook = () => sender.connection.abort();
    assert.equal(flow.sendNext(), false);
    assert.equal(sender.overflow?.code, 'SLOW_READER');
    assert.deepEqual(
      receipts.map((receipt) => receipt.settled),
      receipts.map(() => 1),
    );
    assert.equal(flow.sendNext(), false);
    assert.equal(receipts.at(-1)?.errors[0]?.code, 'SESSION_CLOSED');
    await scene.until(() => sender.closes === 1, 'onClose');
    assert.deepEqual(sender.events.slice(sender.events.indexOf('overflow')), ['overflow', 'close']);
    receiver.connection.resume();
    await scene.until(() => receiver.ends + receiver.closes > 0, 'the other side to notice');
  });

  it('takes a package back that has not left, and only once', async (scene) => {
    const flow = await blockWithRoom(scene, 'reject');
    const { sender, receiver, receipts } = flow;
    sender.connection.limitSending(WIDE_LIMITS);
    const taken = new ReceiptRecorder();
    sender.send(packageBytes(9999, PACKAGE_BYTES), taken);
    flow.sendNext();
    const before = sender.connection.pendingBytes;
    assert.equal(sender.connection.unsend(taken), true);
    assert.equal(sender.connection.pendingBytes, before - PACKAGE_BYTES);
    assert.equal(sender.connection.unsend(taken), false);
    assert.equal(sender.connection.unsend(new ReceiptRecorder()), false);
    await settleAll(scene, flow);
    assert.equal(taken.settled, 0);
    assert.ok(
      receipts.every((receipt) => !sender.connection.unsend(receipt)),
      'they have left',
    );
    assert.deepEqual(packagesIn(receiver.bytes), numbersTo(receipts.length));
  });
}

/** A blocked sender with room for ROOM_PACKAGES more under its hard cap, which are sent. */
async function blockWithRoom(scene: ContractScene, overflowPolicy: OverflowPolicy): Promise<BlockedFlow> {
  const { client: sender, server: receiver } = await scene.connect();
  const receipts: ReceiptRecorder[] = [];
  const receipt = (): SendReceipt => receipts[receipts.push(new ReceiptRecorder()) - 1] as ReceiptRecorder;
  await scene.block({ sender, receiver }, (bytes) => void sender.send(bytes, receipt()));
  const sendNext = (): boolean | string => trySend(sender, packageBytes(receipts.length, PACKAGE_BYTES), receipt());
  // No turn of the event loop from here to the caller's next `await`, so that nothing leaves in between.
  const maxQueueBytes = sender.connection.pendingBytes + ROOM_PACKAGES * PACKAGE_BYTES;
  sender.connection.limitSending({ lowWaterMarkBytes: 0, highWaterMarkBytes: maxQueueBytes, maxQueueBytes, overflowPolicy });
  for (let more = 0; more < ROOM_PACKAGES; more++) assert.notEqual(sendNext(), 'SEND_QUEUE_FULL');
  assert.equal(sender.connection.droppedPackages, 0);
  return { sender, receiver, receipts, sendNext };
}

function trySend(sender: ConnectionRecorder, bytes: Buffer, receipt: SendReceipt): boolean | string {
  try {
    return sender.send(bytes, receipt);
  } catch (thrown) {
    assert.ok(thrown instanceof PorticoError);
    return thrown.code;
  }
}

/** Lets the receiver read on, until all is delivered and every receipt settled, once. */
async function settleAll(scene: ContractScene, { sender, receiver, receipts }: BlockedFlow): Promise<void> {
  receiver.connection.resume();
  await scene.delivered({ sender, receiver });
  await scene.until(() => receipts.every((receipt) => receipt.settled > 0), 'all receipts');
  await turns(2);
  assert.deepEqual(
    receipts.map((receipt) => receipt.settled),
    receipts.map(() => 1),
  );
}
