import { describe, expect, it } from 'vitest';
import { RawHandler } from '../../src/codec/raw.ts';
import { bytes, decode, encode } from '../helpers/codec-recorder.ts';

describe('RawHandler', () => {
  it('makes a package of each chunk', () => {
    expect(decode(new RawHandler(), [bytes('GET '), bytes('/\r'), bytes('\n')])).toEqual({
      events: ['pkg GET ', 'pkg /\r', 'pkg \n'],
      left: 0,
    });
  });

  it('makes several packages of a chunk above maxChunkBytes', () => {
    expect(decode(new RawHandler({ maxChunkBytes: 3 }), [bytes('abcdefgh')]).events).toEqual(['pkg abc', 'pkg def', 'pkg gh']);
    expect(decode(new RawHandler(), [Buffer.alloc(65_537)]).events.map((event) => event.length)).toEqual([65_536 + 4, 1 + 4]);
  });

  it('sends bytes of any size as they are, none included', () => {
    expect(encode(new RawHandler({ maxChunkBytes: 3 }), bytes('abcdefgh'), bytes(''), bytes('i')).toString()).toBe('abcdefghi');
  });

  it('refuses to send what is not bytes', () => {
    const write = () => encode<unknown>(new RawHandler(), 'text');
    expect(write).toThrow(
      expect.objectContaining({ code: 'ENCODE_FAILED', message: 'RawHandler.write: expected a Uint8Array, given "text"' }),
    );
  });

  it.each([0, -1, 1.5, Number.NaN, 2 ** 31])('refuses maxChunkBytes %d', (maxChunkBytes) => {
    const message = `RawHandler.maxChunkBytes: expected a whole number, from 1 to 2147483647, given ${maxChunkBytes}`;
    expect(() => new RawHandler({ maxChunkBytes })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION', message }));
  });
});
