import v8 from 'node:v8';
import vm from 'node:vm';
import { describe, expect, it } from 'vitest';
import { StateError } from '../../src/base/errors.ts';
import { ReceiptRecorder } from '../../src/testing/index.ts';
import { compact, SendQueue } from '../../src/transport/send-queue.ts';

function queueOf(...sizes: number[]): SendQueue {
  const queue = new SendQueue();
  for (const [index, size] of sizes.entries()) queue.push([Buffer.alloc(size, index)], size, undefined);
  return queue;
}

function indexIn(chunk: Uint8Array | undefined): number {
  return chunk === undefined ? -1 : Buffer.from(chunk).readUInt32BE();
}

describe('SendQueue', () => {
  it('takes the oldest packages until 64 KiB are reached, and never less than one', () => {
    const queue = queueOf(30_000, 30_000, 30_000, 200_000, 5);
    expect(queue.take(false).size).toBe(90_000);
    expect(queue.take(false).size).toBe(200_000);
    expect(queue.bytes).toBe(5);
    expect(queue.take(false).size).toBe(5);
    expect(queue.take(false)).toEqual({ chunks: [], size: 0, receipts: undefined, isShared: false, isText: false });
  });

  it('takes one at a time when asked to', () => {
    const queue = queueOf(1, 2);
    expect([queue.take(true).size, queue.take(true).size, queue.length]).toEqual([1, 2, 0]);
  });

  it('takes empty packages along, with their receipts', () => {
    const queue = new SendQueue();
    const receipts = [new ReceiptRecorder(), new ReceiptRecorder(), new ReceiptRecorder()];
    for (const receipt of receipts) queue.push([], 0, receipt);
    expect([queue.length, queue.bytes]).toEqual([3, 0]);
    expect(queue.take(false).receipts).toEqual(receipts);
    expect(queue.length).toBe(0);
  });

  it('keeps order and count over thousands of packages, whatever is taken, dropped and removed in between', () => {
    const queue = new SendQueue();
    const expected: number[] = [];
    const receipts = new Map<number, ReceiptRecorder>();
    const seen: number[] = [];
    for (let index = 0; index < 10_000; index++) {
      const receipt = new ReceiptRecorder();
      receipts.set(index, receipt);
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(index);
      queue.push([bytes], 4, receipt);
      expected.push(index);
      if (index % 7 === 3) {
        const victim = expected.splice(Math.floor(expected.length / 2), 1)[0] ?? 0;
        const found = receipts.get(victim);
        expect(found !== undefined && queue.remove(found)).toBe(true);
        expect(found !== undefined && queue.remove(found)).toBe(false);
      }
      if (index % 11 === 5) {
        const left = queue.length - 1;
        expect(queue.dropOldest(() => queue.length === left, new StateError('SEND_QUEUE_FULL', 'full'))).toBe(1);
        expected.shift();
      }
      if (index % 5 === 1) seen.push(indexIn(queue.take(true).chunks[0]), expected.shift() ?? -1);
      expect(queue.length).toBe(expected.length);
      expect(queue.bytes).toBe(expected.length * 4);
    }
    for (let at = 0; at < seen.length; at += 2) expect(seen[at]).toBe(seen[at + 1]);
  });

  it('holds on to nothing that has left', async () => {
    v8.setFlagsFromString('--expose-gc');
    const collect: unknown = vm.runInNewContext('gc');
    const queue = new SendQueue();
    const references: WeakRef<Buffer>[] = [];
    for (let index = 0; index < 20; index++) {
      const chunk = Buffer.alloc(100_000);
      references.push(new WeakRef(chunk));
      queue.push([chunk], chunk.length, undefined);
    }
    for (let index = 0; index < 19; index++) queue.take(false);
    await new Promise((resolve) => setImmediate(resolve));
    if (typeof collect === 'function') collect();
    expect(references.filter((reference) => reference.deref() !== undefined)).toHaveLength(1);
    expect(queue.length).toBe(1);
  });

  it('has room for 1024 packages under any cap, and for one in 64 bytes of a larger one', () => {
    const queue = new SendQueue();
    for (let count = 0; count < 1024; count++) {
      expect(queue.canHoldOneMore(0)).toBe(true);
      queue.push([], 0, undefined);
    }
    expect(queue.canHoldOneMore(0)).toBe(false);
    expect(queue.canHoldOneMore(1024 * 64)).toBe(false);
    expect(queue.canHoldOneMore(1025 * 64)).toBe(true);
  });
});

describe('compact', () => {
  it('joins many small chunks, and leaves few or large ones alone', () => {
    const small = Array.from({ length: 9 }, (_, index) => Buffer.of(index));
    expect(compact(small, 9)).toEqual([Buffer.of(0, 1, 2, 3, 4, 5, 6, 7, 8)]);
    const few = small.slice(0, 8);
    expect(compact(few, 8)).toBe(few);
    expect(compact(small, 1_000_000)).toBe(small);
  });
});
