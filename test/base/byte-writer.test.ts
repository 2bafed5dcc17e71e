import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { appendEncoded, ByteWriter } from '../../src/base/byte-writer.ts';
import { sharedReadBuffer } from '../../src/transport/static-read.ts';
import { PROPERTY_TIMEOUT_MS, propertyRuns } from '../helpers/codec-property.ts';
import { hex } from '../helpers/codec-recorder.ts';
import { ByteWriterModel, LARGE } from '../helpers/codec-writer-model.ts';

function batchOf(out: ByteWriter): Buffer {
  return Buffer.concat(out.take());
}

function begun(): ByteWriter {
  const out = new ByteWriter();
  out.beginPackage();
  return out;
}

describe('numbers', () => {
  it('writes every width in both byte orders', () => {
    const out = begun();
    out.writeUint8(0x01);
    out.writeUint16(0x0102);
    out.writeUint16(0x0102, true);
    out.writeUint24(0x010203);
    out.writeUint24(0x010203, true);
    out.writeUint32(0xfedcba98);
    out.writeUint32(0xfedcba98, true);
    out.writeUint64(0xfedcba9876543210n);
    out.writeUint64(0xfedcba9876543210n, true);
    expect(out.length).toBe(35);
    expect(batchOf(out)).toEqual(hex('01 0102 0201 010203 030201 fedcba98 98badcfe fedcba9876543210 1032547698badcfe'));
  });

  it('refuses a 64-bit number that does not fit', () => {
    expect(() => begun().writeUint64(-1n)).toThrow(RangeError);
    expect(() => begun().writeUint64(2n ** 64n)).toThrow(RangeError);
  });
});

describe('text', () => {
  it('says how many bytes the text took', () => {
    const out = begun();
    expect(out.writeString('aé€😀')).toBe(10);
    expect(out.writeString('é', 'latin1')).toBe(1);
    expect(out.writeString('')).toBe(0);
    expect(batchOf(out)).toEqual(Buffer.concat([Buffer.from('aé€😀'), hex('e9')]));
  });

  it('takes the room it needs for long texts of wide characters', () => {
    const out = begun();
    const text = '€'.repeat(100_000);
    expect(out.writeString(text)).toBe(300_000);
    expect(out.writeString('€'.repeat(1024))).toBe(3072);
    expect(batchOf(out).toString()).toBe(text + '€'.repeat(1024));
  });
});

describe('large byte arrays', () => {
  it('are passed on by reference, in order, without being copied', () => {
    const out = begun();
    const large = Buffer.alloc(LARGE, 'L');
    out.writeUint8(1);
    out.writeBytes(large);
    out.writeUint8(2);
    const chunks = out.take();
    expect(chunks.map((chunk) => chunk.length)).toEqual([1, LARGE, 1]);
    expect(chunks[1]).toBe(large);
  });

  it('are copied when one byte smaller', () => {
    const out = begun();
    const small = Buffer.alloc(LARGE - 1, 'S');
    out.writeBytes(small);
    small.fill('X');
    expect(batchOf(out)).toEqual(Buffer.alloc(LARGE - 1, 'S'));
  });

  it('are copied when their memory is about to be overwritten', () => {
    const shared = sharedReadBuffer()
      .subarray(0, 3 * LARGE)
      .fill('S');
    const out = begun();
    out.writeBytes(shared.subarray(LARGE));
    shared.fill('X');
    expect(batchOf(out)).toEqual(Buffer.alloc(2 * LARGE, 'S'));
  });
});

describe('lengths written late', () => {
  it('overwrites bytes of this package, not of the one before', () => {
    const out = begun();
    out.writeUint32(0xaaaaaaaa);
    out.beginPackage();
    out.writeUint32(0);
    out.writeUint16(0);
    out.setUint32At(0, 0x01020304);
    out.setUint16At(4, 0x0506, true);
    expect(batchOf(out)).toEqual(hex('aaaaaaaa 01020304 0605'));
  });

  it('overwrites the bytes in front of a large byte array too', () => {
    const out = begun();
    out.writeUint8(0xaa);
    out.beginPackage();
    out.writeUint32(0);
    out.writeBytes(Buffer.alloc(LARGE, 'L'));
    out.setUint32At(0, out.length - 4);
    out.writeUint8(0xbb);
    out.setUint16At(0, 0xffff);
    const batch = batchOf(out);
    expect(batch.subarray(0, 5)).toEqual(hex('aa ffff 2000'));
    expect(batch.length).toBe(5 + LARGE + 1);
  });

  it('survives that the memory grows in between', () => {
    const out = begun();
    out.writeBytes(Buffer.alloc(5000, 'x'));
    out.beginPackage();
    out.writeUint32(0);
    for (let count = 0; count < 40; count++) out.writeBytes(Buffer.alloc(5000, 'y'));
    out.setUint32At(0, 0x01020304);
    expect(batchOf(out).subarray(4999, 5005)).toEqual(hex('78 01020304 79'));
  });

  it('survives that the memory grows behind a run that was closed before the package began', () => {
    const out = begun();
    out.writeBytes(Buffer.alloc(100, 'x'));
    out.writeBytes(Buffer.alloc(LARGE, 'L'));
    out.writeUint8(0xaa);
    out.beginPackage();
    out.writeUint32(0);
    for (let count = 0; count < 40; count++) out.writeBytes(Buffer.alloc(5000, 'y'));
    out.setUint32At(0, 0x01020304);
    out.beginPackage();
    out.writeUint8(0xbb);
    out.cancelPackage();
    const batch = batchOf(out);
    expect(batch.length).toBe(100 + LARGE + 1 + 4 + 200_000);
    expect(batch.subarray(100 + LARGE, 100 + LARGE + 6)).toEqual(hex('aa 01020304 79'));
  });

  it.each([
    ['bytes not yet written', 1],
    ['bytes of the package before', -1],
    ['half a byte', 0.5],
    ['nothing', Number.NaN],
  ])('refuses %s', (_name, offset) => {
    const out = begun();
    out.writeUint32(1);
    out.beginPackage();
    out.writeUint32(2);
    expect(() => out.setUint32At(offset, 9)).toThrow(RangeError);
    expect(batchOf(out)).toEqual(hex('00000001 00000002'));
  });

  it('never writes into a large byte array, which belongs to someone else', () => {
    const large = Buffer.alloc(LARGE, 'L');
    const out = begun();
    out.writeBytes(large);
    expect(() => out.setUint32At(0, 9)).toThrow(RangeError);
    out.beginPackage();
    out.writeUint8(1);
    out.writeBytes(large);
    expect(() => out.setUint16At(0, 9)).toThrow(RangeError);
    out.writeUint32(0);
    expect(() => out.setUint32At(LARGE + 1, 9)).toThrow(RangeError);
    expect(large).toEqual(Buffer.alloc(LARGE, 'L'));
  });
});

describe('taking a package back', () => {
  it('leaves the packages before it as they were', () => {
    const out = begun();
    out.writeBytes(Buffer.from('one'));
    out.beginPackage();
    out.writeBytes(Buffer.from('two'));
    out.cancelPackage();
    expect(out.batchLength).toBe(3);
    out.beginPackage();
    out.writeBytes(Buffer.from('three'));
    expect(out.length).toBe(5);
    expect(batchOf(out).toString()).toBe('onethree');
  });

  it('takes back large byte arrays and what stood around them', () => {
    const out = begun();
    out.writeBytes(Buffer.from('one'));
    out.writeBytes(Buffer.alloc(LARGE, 'L'));
    out.writeBytes(Buffer.from('end'));
    out.beginPackage();
    out.writeBytes(Buffer.from('two'));
    out.writeBytes(Buffer.alloc(LARGE, 'M'));
    out.writeBytes(Buffer.alloc(LARGE, 'N'));
    out.writeBytes(Buffer.from('gone'));
    out.cancelPackage();
    out.beginPackage();
    out.writeBytes(Buffer.from('three'));
    expect(batchOf(out).toString()).toBe(`one${'L'.repeat(LARGE)}endthree`);
  });
});

describe('memory of a batch', () => {
  it('is used again after `reuse`', () => {
    const out = begun();
    out.writeUint8(1);
    const [first] = out.take();
    out.reuse();
    out.beginPackage();
    out.writeUint8(2);
    expect(out.take()[0]?.buffer).toBe(first?.buffer);
    expect(first?.[0]).toBe(2);
  });

  it('is left alone after `release`', () => {
    const out = begun();
    out.writeUint8(1);
    const [first] = out.take();
    out.release();
    out.beginPackage();
    out.writeUint8(2);
    out.take();
    expect(first?.[0]).toBe(1);
  });

  it('is not part of copies', () => {
    const large = Buffer.alloc(LARGE);
    const out = begun();
    out.writeUint8(1);
    out.writeBytes(large);
    const copies = out.takeCopies();
    out.beginPackage();
    out.writeUint8(2);
    expect(copies[0]).toEqual(Buffer.from([1]));
    expect(copies[1]).toBe(large);
  });

  it('shrinks back after an unusually large batch', () => {
    const out = begun();
    for (let count = 0; count < 100; count++) out.writeBytes(Buffer.alloc(8000));
    out.take();
    out.reuse();
    out.beginPackage();
    out.writeUint8(1);
    expect(out.take()[0]?.buffer.byteLength).toBeLessThan(200_000);
  });

  it('is empty after `take`', () => {
    const out = begun();
    out.writeUint8(1);
    out.take();
    expect([out.batchLength, out.take()]).toEqual([0, []]);
  });
});

describe('appendEncoded', () => {
  it('takes bytes, a list of bytes, or nothing', () => {
    const out = begun();
    appendEncoded(out, Buffer.from('a'));
    appendEncoded(out, [Buffer.from('b'), new Uint8Array([99])]);
    appendEncoded(out, []);
    appendEncoded(out, undefined);
    expect(batchOf(out).toString()).toBe('abc');
  });

  it.each([['text'], [null], [5], [[Buffer.from('a'), 'b']], [{ length: 3 }]])('refuses %j and says so', (encoded) => {
    expect(() => appendEncoded(begun(), encoded)).toThrow(expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED' }));
  });
});

type Step = readonly [operation: number, size: number, value: number];

describe('against Buffer.concat', () => {
  it(
    'holds the same bytes after any steps',
    () => {
      const step: fc.Arbitrary<Step> = fc.tuple(
        fc.oneof({ weight: 8, arbitrary: fc.nat(7) }, { weight: 1, arbitrary: fc.integer({ min: 8, max: 11 }) }),
        fc.oneof(fc.nat(20), fc.nat(LARGE - 1)),
        fc.nat(0xffff_ffff),
      );
      fc.assert(
        fc.property(fc.array(step, { maxLength: 50, size: 'max' }), (steps) => {
          const model = new ByteWriterModel();
          for (const [operation, size, value] of steps) {
            model.apply(operation, size, value);
            model.check();
          }
          model.finish();
        }),
        propertyRuns(500, 20_000),
      );
    },
    PROPERTY_TIMEOUT_MS,
  );
});
