import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../src/base/crc32c.ts';

const ascending = Uint8Array.from({ length: 32 }, (_, index) => index);

describe('crc32c', () => {
  // The check value of the CRC catalogue, and the vectors of RFC 3720, appendix B.4.
  it.each([
    ['nothing', new Uint8Array(0), 0],
    ['"123456789"', Buffer.from('123456789'), 0xe3069283],
    ['32 zeros', new Uint8Array(32), 0x8a9136aa],
    ['32 times 0xff', new Uint8Array(32).fill(0xff), 0x62a8ab43],
    ['32 bytes rising', ascending, 0x46dd794e],
    ['32 bytes falling', ascending.toReversed(), 0x113fdb5c],
  ])('of %s', (_name, bytes, expected) => {
    expect(crc32c(bytes)).toBe(expected);
  });

  it('goes on from the checksum of what came before', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
        expect(crc32c(bytes.subarray(cut), crc32c(bytes.subarray(0, cut)))).toBe(crc32c(bytes));
      }),
    );
  });
});
