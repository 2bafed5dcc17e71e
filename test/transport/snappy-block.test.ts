import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { compressBlock, decompressBlock, MAX_BLOCK_BYTES, maxCompressedBytes } from '../../src/transport/snappy-block.ts';
import { pattern } from '../helpers/raw-peer.ts';

function compressed(content: Uint8Array): Buffer {
  const out = Buffer.alloc(maxCompressedBytes(content.length) + 5, 0xee);
  const end = compressBlock(content, out, 5);
  expect(out.subarray(0, 5)).toEqual(Buffer.alloc(5, 0xee));
  expect(end).toBeLessThanOrEqual(out.length);
  return out.subarray(5, end);
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex');
const text = (...parts: readonly (string | Uint8Array)[]): Buffer => Buffer.concat(parts.map((part) => Buffer.from(part)));

describe('compressBlock', () => {
  it('comes back from decompressBlock, whatever it is', () => {
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 300 }),
      fc.tuple(fc.nat(255), fc.integer({ min: 1, max: 300 })).map(([byte, count]) => new Uint8Array(count).fill(byte)),
    );
    // Pieces that come again, near and far.
    const contents = fc
      .tuple(fc.array(piece, { minLength: 1, maxLength: 8 }), fc.array(fc.nat(7), { maxLength: 100 }))
      .map(([pieces, order]) => Buffer.concat([...pieces, ...order.map((index) => pieces[index % pieces.length] ?? Buffer.alloc(0))]))
      .map((content) => content.subarray(0, MAX_BLOCK_BYTES))
      .filter((content) => content.length > 0);
    fc.assert(
      fc.property(contents, (content) => {
        expect(decompressBlock(compressed(content))).toEqual(content);
      }),
    );
  });

  it.each([1, 2, 3, 4, 5, 59, 60, 61, 255, 256, 257, 65_535, 65_536])('takes %i bytes of noise and of zeros', (size) => {
    for (const content of [pattern(size, size), Buffer.alloc(size)]) {
      const block = compressed(content);
      expect(block.length).toBeLessThanOrEqual(maxCompressedBytes(size));
      expect(content.equals(decompressBlock(block) as Buffer)).toBe(true);
    }
  });

  it('makes text smaller, and zeros much smaller', () => {
    const line = 'GET /index.html HTTP/1.1\r\nhost: example.org\r\naccept: text/html\r\n\r\n';
    expect(compressed(Buffer.from(line.repeat(500))).length).toBeLessThan(line.length * 30);
    expect(compressed(Buffer.alloc(65_536)).length).toBeLessThan(3300);
  });
});

describe('decompressBlock', () => {
  const noise = pattern(70_000, 3);

  it.each<[string, Buffer, Uint8Array]>([
    ['nothing', hex('00'), Buffer.alloc(0)],
    ['a short literal', text(hex('03 08'), 'abc'), text('abc')],
    ['a literal with one byte of length', text(hex('64 f0 63'), noise.subarray(0, 100)), noise.subarray(0, 100)],
    ['a literal with two bytes of length', text(hex('e807 f4 e703'), noise.subarray(0, 1000)), noise.subarray(0, 1000)],
    ['a literal with three bytes of length', text(hex('03 f8 020000'), 'abc'), text('abc')],
    ['a literal with four bytes of length', text(hex('03 fc 02000000'), 'abc'), text('abc')],
    ['a near copy', text(hex('08 0c'), 'abcd', hex('01 04')), text('abcdabcd')],
    ['a far copy', text(hex('06 0c'), 'abcd', hex('06 0400')), text('abcdab')],
    ['a copy with four bytes of offset', text(hex('06 0c'), 'abcd', hex('07 04000000')), text('abcdab')],
    ['a copy that overlaps what it makes', text(hex('0c 04'), 'ab', hex('26 0200')), text('abababababab')],
    // What github.com/golang/snappy v1.0.0 makes of these.
    [
      'a block made by Go',
      hex('301c706f727469636f203a0800202c206120676174653b3e1900'),
      text('portico portico portico, a gate; portico portico'),
    ],
    ['zeros made by Go', hex(`b8170000${'fe0100'.repeat(46)}da0100`), new Uint8Array(3000)],
  ])('takes %s', (_name, block, content) => {
    expect(decompressBlock(block)).toEqual(Buffer.from(content));
  });

  it.each<[string, Buffer]>([
    ['nothing at all', hex('')],
    ['a length that does not end', hex('8080808080')],
    ['a length that is cut off', hex('80')],
    ['a length above 64 KiB', hex('818004')],
    ['a length of 4 GiB', hex('ffffffff0f')],
    ['less content than was said', text(hex('04 08'), 'abc')],
    ['more content than was said', text(hex('02 08'), 'abc')],
    ['a literal that is cut off', text(hex('05 10'), 'abc')],
    ['a literal whose length is cut off', hex('05 f4 01')],
    ['a literal of 4 GiB', text(hex('05 fc ffffffff'), 'abc')],
    ['a copy that is cut off', text(hex('08 0c'), 'abcd', hex('0e'))],
    ['a copy of nothing', text(hex('08 0c'), 'abcd', hex('01 00'))],
    ['a copy from before the beginning', text(hex('08 0c'), 'abcd', hex('01 05'))],
    ['a copy as the first element', hex('04 01 01')],
    ['a copy of more than was said', text(hex('06 0c'), 'abcd', hex('05 04'))],
  ])('refuses %s', (_name, block) => {
    expect(typeof decompressBlock(block)).toBe('string');
  });

  it('refuses or takes any bytes without throwing, and never makes more than 64 KiB', () => {
    const good = compressed(Buffer.from('to be or not to be, that is the question, to be or not to be'.repeat(20)));
    const changed = fc.tuple(fc.nat(good.length - 1), fc.nat(255)).map(([at, byte]) => {
      const bytes = Buffer.from(good);
      bytes[at] = byte;
      return bytes;
    });
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array({ maxLength: 200 }), changed), (bytes) => {
        const result = decompressBlock(bytes);
        if (typeof result !== 'string') expect(result.length).toBeLessThanOrEqual(MAX_BLOCK_BYTES);
      }),
      { numRuns: 1000 },
    );
  });
});
