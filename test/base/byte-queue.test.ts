import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { ByteQueue } from '../../src/base/byte-queue.ts';
import { PROPERTY_TIMEOUT_MS, propertyRuns } from '../helpers/codec-property.ts';
import { ByteQueueModel } from '../helpers/codec-queue-model.ts';
import { hex } from '../helpers/codec-recorder.ts';

function queueOf(...chunks: Uint8Array[]): ByteQueue {
  const queue = new ByteQueue();
  for (const chunk of chunks) {
    queue.offer(Buffer.from(chunk));
    queue.retain();
  }
  return queue;
}

/** Bytes that differ from their neighbours, `seed` apart. */
function pattern(length: number, seed = 0): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, index) => (index * 7 + (index >>> 8) + seed) & 0xff));
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('looking at bytes', () => {
  it('reads unsigned numbers of every width in both byte orders, consuming nothing', () => {
    const queue = queueOf(hex('00 fedcba9876543210'));
    expect(queue.uint8At(1)).toBe(0xfe);
    expect(queue.uint16At(1)).toBe(0xfedc);
    expect(queue.uint16At(1, true)).toBe(0xdcfe);
    expect(queue.uint24At(1)).toBe(0xfedcba);
    expect(queue.uint24At(1, true)).toBe(0xbadcfe);
    expect(queue.uint32At(1)).toBe(0xfedcba98);
    expect(queue.uint32At(1, true)).toBe(0x98badcfe);
    expect(queue.uint64At(1)).toBe(0xfedcba9876543210n);
    expect(queue.uint64At(1, true)).toBe(0x1032547698badcfen);
    expect(queue.length).toBe(9);
  });

  it('counts positions from the first unconsumed byte', () => {
    const queue = queueOf(hex('01 02 03 04 05 06 07 08 09 0a'));
    queue.skip(2);
    expect([queue.uint8At(0), queue.uint16At(0), queue.uint32At(2), queue.uint64At(0)]).toEqual([
      3,
      0x0304,
      0x05060708,
      0x030405060708090an,
    ]);
  });

  it('finds a byte or a sequence from a position on', () => {
    const queue = queueOf(Buffer.from('__a,b,,c'));
    queue.skip(2);
    expect(queue.indexOf(0x2c)).toBe(1);
    expect(queue.indexOf(0x2c, 2)).toBe(3);
    expect(queue.indexOf(Buffer.from(',,'))).toBe(3);
    expect(queue.indexOf(Buffer.from(',,'), 4)).toBe(-1);
    expect(queue.indexOf(Buffer.from('__'))).toBe(-1);
    expect(queue.indexOf(0x2c, 100)).toBe(-1);
  });

  it('finds nothing in the unused room behind the received bytes', () => {
    // A queue that has grown has room behind its bytes, which may hold anything, also a delimiter.
    const queue = queueOf(Buffer.alloc(300, 'x'), Buffer.alloc(300, 'x'), Buffer.from('\n'));
    const whole = queue.indexOf(0x0a);
    expect(whole).toBe(600);
    queue.skip(601);
    queue.offer(Buffer.from('abc'));
    queue.retain();
    expect(queue.indexOf(0x0a)).toBe(-1);
  });

  it('searches received bytes only, so that a drip-fed line costs one pass', () => {
    const searched: number[] = [];
    const original = Buffer.prototype.indexOf;
    vi.spyOn(Buffer.prototype, 'indexOf').mockImplementation(function (this: unknown, ...args: unknown[]): number {
      searched.push((this as Buffer).length - Number(args[1] ?? 0));
      return Number(Reflect.apply(original, this, args));
    });
    const queue = new ByteQueue();
    for (let count = 0; count < 5000; count++) {
      queue.offer(Buffer.from('x'));
      while (queue.pull());
      queue.retain();
      expect(queue.indexOf(0x0a, queue.examined)).toBe(-1);
      queue.examined = queue.length;
    }
    expect(searched.reduce((sum, length) => sum + length, 0)).toBe(5000);
  });
});

describe('asking for bytes that are not there', () => {
  const wrong: readonly [string, (queue: ByteQueue) => unknown][] = [
    ['uint8At past the end', (queue) => queue.uint8At(4)],
    ['uint8At before the front', (queue) => queue.uint8At(-1)],
    ['uint8At between two bytes', (queue) => queue.uint8At(0.5)],
    ['uint16At past the end', (queue) => queue.uint16At(3)],
    ['uint16At before the front', (queue) => queue.uint16At(-1)],
    ['uint16At between two bytes', (queue) => queue.uint16At(0.5)],
    ['uint16At nowhere', (queue) => queue.uint16At(Number.NaN)],
    ['uint24At past the end', (queue) => queue.uint24At(2)],
    ['uint24At nowhere', (queue) => queue.uint24At(Number.NaN)],
    ['uint32At past the end', (queue) => queue.uint32At(1)],
    ['uint32At between two bytes', (queue) => queue.uint32At(-0.5)],
    ['uint64At past the end', (queue) => queue.uint64At(0)],
    ['indexOf before the front', (queue) => queue.indexOf(1, -1)],
    ['indexOf nowhere', (queue) => queue.indexOf(1, Number.NaN)],
    ['readBytes past the end', (queue) => queue.readBytes(5)],
    ['readBytes of a negative count', (queue) => queue.readBytes(-1)],
    ['readBytes of half a byte', (queue) => queue.readBytes(0.5)],
    ['readBytes of NaN', (queue) => queue.readBytes(Number.NaN)],
    ['readBytes of infinity', (queue) => queue.readBytes(Number.POSITIVE_INFINITY)],
    ['readBytes of 2^32 more than there are', (queue) => queue.readBytes(4_294_967_296 + 1)],
    ['readBytes behind more than there are', (queue) => queue.readBytes(1, 4)],
    ['readBytes behind a negative count', (queue) => queue.readBytes(1, -1)],
    ['readBytes behind half a byte', (queue) => queue.readBytes(1, 0.5)],
    ['readView past the end', (queue) => queue.readView(5)],
    ['readView behind more than there are', (queue) => queue.readView(1, 4)],
    ['readView behind a negative count', (queue) => queue.readView(1, -1)],
    ['readString past the end', (queue) => queue.readString(5)],
    ['readString of a negative count', (queue) => queue.readString(-1)],
    ['skip past the end', (queue) => queue.skip(5)],
    ['skip of a negative count', (queue) => queue.skip(-1)],
    ['discard of a negative count', (queue) => queue.discard(-1)],
    ['discard of half a byte', (queue) => queue.discard(0.5)],
    ['discard of NaN', (queue) => queue.discard(Number.NaN)],
    ['need of a negative count', (queue) => queue.need(-1)],
    ['need of half a byte', (queue) => queue.need(1.5)],
    ['need of NaN', (queue) => queue.need(Number.NaN)],
  ];

  it.each(wrong)('%s throws READ_OUT_OF_RANGE and consumes nothing', (_name, ask) => {
    // Grown, so there is unused room behind the last byte.
    const queue = queueOf(hex('ff 01 02 03'), hex('04 ff'));
    queue.skip(1);
    queue.offer(hex('05 06 07'));
    queue.skip(1);
    expect(queue.length).toBe(4);
    expect(() => ask(queue)).toThrow(expect.objectContaining({ name: 'ListenerError', code: 'READ_OUT_OF_RANGE' }));
    expect(queue.length).toBe(4);
    expect(queue.consumed).toBe(2);
    expect(queue.needed).toBe(0);
  });
});

describe('lending chunks', () => {
  it('parses a chunk in place: a view is a window on it', () => {
    const chunk = Buffer.from('abcdef');
    const queue = new ByteQueue();
    queue.offer(chunk);
    const view = queue.readView(3);
    chunk.write('X');
    expect(view.toString()).toBe('Xbc');
  });

  it('owns what is left when the loan ends', () => {
    const chunk = Buffer.from('abcdef');
    const queue = new ByteQueue();
    queue.offer(chunk);
    queue.skip(2);
    queue.retain();
    chunk.fill('X');
    expect(queue.readString(4)).toBe('cdef');
  });

  it('copies only what a cut package lacks, and parses the rest of the chunk in place', () => {
    const queue = queueOf(Buffer.from('ab'));
    queue.need(4);
    const chunk = Buffer.from('cdefgh');
    queue.offer(chunk);
    expect([queue.length, queue.totalLength]).toEqual([2, 8]);
    expect(queue.pull()).toBe(true);
    expect(queue.length).toBe(4);
    expect(queue.readString(4)).toBe('abcd');
    const view = queue.readView(4);
    chunk.write('X', 2);
    expect(view.toString()).toBe('Xfgh');
    expect(queue.totalLength).toBe(0);
  });

  it('has nothing to pull when the chunk is used up', () => {
    const queue = queueOf(Buffer.from('ab'));
    expect(queue.pull()).toBe(false);
    queue.offer(Buffer.from('c'));
    expect([queue.pull(), queue.pull()]).toEqual([true, false]);
    expect(queue.readString(3)).toBe('abc');
  });

  it('takes the next chunk in place when all of the one before is consumed', () => {
    const queue = new ByteQueue();
    queue.offer(Buffer.from('aaaa'));
    const first = queue.readBytes(2);
    queue.skip(2);
    queue.offer(Buffer.from('bbbb'));
    expect([first, queue.readBytes(2), queue.readBytes(2)].map(String)).toEqual(['aa', 'bb', 'bb']);
  });

  it('hands out packages that live on when their chunk is overwritten', () => {
    const queue = new ByteQueue();
    const chunk = pattern(40_000);
    const original = Buffer.from(chunk);
    queue.offer(chunk);
    const sizes = [1, 100, 2047, 2048, 2049, 5000, 3, 0, 16_384, 2000];
    const packages = sizes.map((size) => queue.readBytes(size));
    chunk.fill(0);
    let at = 0;
    for (const [index, size] of sizes.entries()) {
      expect(packages[index]?.equals(original.subarray(at, at + size))).toBe(true);
      at += size;
    }
  });

  it('gives each of many queues its own bytes, though they share memory for small packages', () => {
    const queues = Array.from({ length: 5 }, () => new ByteQueue());
    const streams = queues.map((_, index) => pattern(4000, index * 50));
    const lent = streams.map((stream) => Buffer.from(stream));
    for (const [index, queue] of queues.entries()) queue.offer(lent[index] ?? Buffer.alloc(0));
    const packages: Buffer[][] = queues.map(() => []);
    for (let turn = 0; turn < 40; turn++) {
      for (const [index, queue] of queues.entries()) packages[index]?.push(queue.readBytes(100));
    }
    for (const chunk of lent) chunk.fill(0);
    for (const [index, stream] of streams.entries()) expect(Buffer.concat(packages[index] ?? []).equals(stream)).toBe(true);
  });
});

describe('discarding', () => {
  it('drops bytes that have not arrived yet as they come, without storing them', () => {
    const queue = queueOf(Buffer.from('abc'));
    queue.discard(6);
    expect([queue.totalLength, queue.discarding, queue.consumed]).toEqual([0, 3, 6]);
    queue.offer(Buffer.from('d'));
    queue.retain();
    expect([queue.totalLength, queue.discarding]).toEqual([0, 2]);
    queue.offer(Buffer.from('efghi'));
    expect(queue.readString(3)).toBe('ghi');
    expect(queue.discarding).toBe(0);
  });

  it('reaches into the chunk behind the front', () => {
    const queue = queueOf(Buffer.from('ab'));
    queue.offer(Buffer.from('cdef'));
    queue.discard(4);
    expect(queue.readString(2)).toBe('ef');
  });

  it('ends exactly at the end of a chunk', () => {
    const queue = new ByteQueue();
    queue.discard(3);
    queue.offer(Buffer.from('abc'));
    queue.retain();
    queue.offer(Buffer.from('d'));
    expect(queue.readString(1)).toBe('d');
  });
});

describe('what a handler remembers', () => {
  it('forgets what was examined and needed when bytes are consumed, and keeps `state`', () => {
    const queue = queueOf(Buffer.from('abc'));
    queue.examined = 3;
    queue.state = 7;
    queue.need(10);
    queue.skip(1);
    expect([queue.examined, queue.needed, queue.state]).toEqual([0, 0, 7]);
  });

  it('keeps them while bytes only arrive', () => {
    const queue = queueOf(Buffer.from('abc'));
    queue.examined = 3;
    queue.need(10);
    queue.offer(Buffer.from('d'));
    queue.pull();
    queue.retain();
    expect([queue.examined, queue.needed, queue.length]).toEqual([3, 10, 4]);
  });
});

describe('memory', () => {
  it('holds at most about twice the bytes that wait, however they came in', () => {
    const sizes: number[] = [];
    const original = Buffer.allocUnsafe;
    vi.spyOn(Buffer, 'allocUnsafe').mockImplementation((size) => {
      sizes.push(size);
      return original(size);
    });
    const queue = new ByteQueue();
    for (let count = 0; count < 20_000; count++) {
      queue.offer(Buffer.from('x'));
      queue.retain();
    }
    expect(Math.max(...sizes)).toBeLessThanOrEqual(40_000);
    expect(sizes.length).toBeLessThan(20);
  });

  it('does not believe an announced size before the bytes are there', () => {
    const sizes: number[] = [];
    const original = Buffer.allocUnsafe;
    vi.spyOn(Buffer, 'allocUnsafe').mockImplementation((size) => {
      sizes.push(size);
      return original(size);
    });
    const queue = new ByteQueue();
    queue.offer(Buffer.from('abc'));
    queue.need(1_000_000_000);
    queue.retain();
    queue.offer(Buffer.from('d'));
    queue.retain();
    expect(Math.max(...sizes)).toBeLessThan(100);
  });
});

type Step = readonly [queue: number, operation: number, size: number, value: number];

describe('against a plain Buffer', () => {
  it(
    'holds the same bytes after any steps, two queues side by side',
    () => {
      const step: fc.Arbitrary<Step> = fc.tuple(fc.nat(1), fc.nat(10), fc.oneof(fc.nat(20), fc.nat(5000)), fc.nat(255));
      fc.assert(
        fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
          const models = [new ByteQueueModel(), new ByteQueueModel()];
          for (const [which, operation, size, value] of steps) {
            const model = models[which];
            model?.apply(operation, size, value);
            model?.check();
          }
          for (const model of models) model.finish();
        }),
        propertyRuns(1000),
      );
    },
    PROPERTY_TIMEOUT_MS,
  );
});
