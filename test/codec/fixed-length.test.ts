import { describe, expect, it } from 'vitest';
import { FixedLengthHandler, type FixedLengthOptions } from '../../src/codec/fixed-length.ts';
import { bytes, decode, encode } from '../helpers/codec-recorder.ts';

describe('FixedLengthHandler', () => {
  it('cuts the stream into packages of one size', () => {
    expect(decode(new FixedLengthHandler({ frameBytes: 3 }), [bytes('A'), bytes('BCD'), bytes('EFG')])).toEqual({
      events: ['pkg ABC', 'pkg DEF'],
      left: 1,
    });
  });

  it('makes no package of a rest at the end', () => {
    expect(decode(new FixedLengthHandler({ frameBytes: 2 }), [bytes('abc')])).toEqual({ events: ['pkg ab'], left: 1 });
  });

  it('reads back what it has written', () => {
    const handler = new FixedLengthHandler({ frameBytes: 2 });
    expect(decode(handler, [encode(handler, bytes('ab'), bytes('cd'))]).events).toEqual(['pkg ab', 'pkg cd']);
  });

  it.each(['', 'a', 'abc'])('refuses to send %j when packages have 2 bytes', (text) => {
    const write = () => encode(new FixedLengthHandler({ frameBytes: 2 }), bytes(text));
    const message = `FixedLengthHandler.write: expected 2 bytes, given ${text.length}`;
    expect(write).toThrow(expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED', message }));
  });

  it('refuses to send what is not bytes', () => {
    expect(() => encode<unknown>(new FixedLengthHandler({ frameBytes: 2 }), 'ab')).toThrow(
      expect.objectContaining({ code: 'ENCODE_FAILED' }),
    );
  });

  it.each([0, -1, 1.5, Number.NaN, 2 ** 31, undefined])('refuses frameBytes %s', (frameBytes) => {
    const message = `FixedLengthHandler.frameBytes: expected a whole number, from 1 to 2147483647, given ${frameBytes}`;
    expect(() => new FixedLengthHandler({ frameBytes } as FixedLengthOptions)).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION', message }),
    );
  });
});
