import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packageBytes, packagesIn } from '../../src/testing/contract-scene.ts';
import { ReceiptRecorder } from '../../src/testing/index.ts';
import type { OverflowPolicy } from '../../src/transport/connection.ts';
import { type FakeSetUp, setUp, turn } from '../helpers/connection-fake.ts';

const LIMITS = { lowWaterMarkBytes: 20_000, highWaterMarkBytes: 80_000, maxQueueBytes: 200_000 };

const step = fc.record({
  connection: fc.nat({ max: 2 }),
  action: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom('send', 'shared', 'nested', 'in onBytes', 'from a receipt') },
    { weight: 3, arbitrary: fc.constantFrom('cancel', 'flush', 'unsend', 'block', 'take', 'turn') },
  ),
  size: fc.oneof(fc.nat({ max: 100 }), fc.nat({ max: 20_000 }), fc.nat({ max: 80_000 })),
});

/** One connection and the packages that its peer must get. */
class Model {
  readonly subject: FakeSetUp;
  readonly receipts = new Map<number, ReceiptRecorder>();
  readonly unsent = new Set<number>();
  #index = 0;

  constructor(kind: 'stream' | 'message', overflowPolicy: OverflowPolicy) {
    this.subject = setUp({ ...LIMITS, overflowPolicy }, kind);
  }

  next(size: number): [bytes: Buffer, receipt: ReceiptRecorder] {
    const receipt = new ReceiptRecorder();
    this.receipts.set(this.#index, receipt);
    return [packageBytes(this.#index++, size), receipt];
  }

  send(size: number): void {
    this.subject.recorder.send(...this.next(size));
  }

  run(action: string, size: number, other: Model): void {
    const { fake, connection } = this.subject;
    if (action === 'send') {
      this.send(size);
    } else if (action === 'shared') {
      connection.sendShared(...this.next(size));
    } else if (action === 'nested') {
      // The package that is begun first has the higher index: it is complete later.
      const writer = connection.beginPackage();
      writer.writeUint8(7);
      other.send(size);
      connection.cancelPackage();
      this.send(size);
    } else if (action === 'in onBytes') {
      this.subject.recorder.onBytesHook = () => {
        this.send(size);
        other.send(10);
        this.send(10);
      };
      fake.receive('x');
      this.subject.recorder.onBytesHook = undefined;
    } else if (action === 'from a receipt') {
      const [bytes, receipt] = this.next(size);
      const onSent = receipt.onSent.bind(receipt);
      receipt.onSent = () => {
        onSent();
        this.send(50);
      };
      connection.sendShared(bytes, receipt);
    } else if (action === 'cancel') {
      connection.beginPackage().writeBytes(Buffer.alloc(size));
      connection.cancelPackage();
    } else if (action === 'flush') {
      connection.flush();
    } else if (action === 'unsend') {
      const last = [...this.receipts].at(-1);
      if (last !== undefined && connection.unsend(last[1])) this.unsent.add(last[0]);
    } else if (action === 'block') {
      fake.isTaking = false;
    } else if (action === 'take' && !fake.isTaking) {
      fake.take();
    }
  }

  async check(): Promise<void> {
    const { fake, connection, recorder } = this.subject;
    fake.isTaking = true;
    for (let round = 0; connection.pendingBytes > 0; round++) {
      expect(round).toBeLessThan(1000);
      if (fake.waitingBytes > 0) fake.take();
      await turn();
    }
    for (const [index, receipt] of this.receipts) expect(receipt.settled, `package ${index}`).toBe(this.unsent.has(index) ? 0 : 1);
    const sent = [...this.receipts].filter(([, receipt]) => receipt.sent === 1).map(([index]) => index);
    expect(packagesIn(fake.sentBytes)).toEqual(sent);
    expect(connection.bytesWritten).toBe(fake.sentBytes.length);
    expect(connection.droppedPackages).toBe([...this.receipts.values()].filter(({ errors }) => errors.length > 0).length);
    expect(recorder.breaches).toEqual([]);
  }
}

describe('connections that send in any way', () => {
  it('hand over exactly the packages whose receipts say so, whole, in order, each to its own peer', async () => {
    const kind = fc.constantFrom<'stream' | 'message'>('stream', 'stream', 'message');
    const policy = fc.constantFrom<OverflowPolicy>('drop-oldest', 'drop-newest', 'close');
    await fc.assert(
      fc.asyncProperty(kind, policy, fc.array(step, { maxLength: 60 }), async (chosenKind, chosenPolicy, steps) => {
        const models = [0, 1, 2].map(() => new Model(chosenKind, chosenPolicy));
        for (const { connection, action, size } of steps) {
          const [model, other] = [models[connection], models[(connection + 1) % 3]];
          if (model === undefined || other === undefined) continue;
          if (action === 'turn') await turn();
          else model.run(action, size, other);
          // What is over the hard cap can only be one package that was taken when nothing waited.
          const { pendingBytes } = model.subject.connection;
          expect(pendingBytes).toBeLessThanOrEqual(LIMITS.maxQueueBytes + 80_008);
        }
        for (const model of models) await model.check();
      }),
      { numRuns: 200 },
    );
  });
});
