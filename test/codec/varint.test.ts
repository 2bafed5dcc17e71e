import { describe, expect, it } from 'vitest';
import { VarintHandler, type VarintOptions } from '../../src/codec/varint.ts';
import { bytewise, type Decoded, decode, encode, errorsOf, hex } from '../helpers/codec-recorder.ts';

function framesOf(stream: string, options?: VarintOptions): Decoded {
  const whole = decode(new VarintHandler(options), [hex(stream)]);
  expect(decode(new VarintHandler(options), bytewise(hex(stream)))).toEqual(whole);
  return whole;
}

describe('reading messages', () => {
  it('takes the length in front, and an empty message for a package', () => {
    expect(framesOf('03 616263 00 01 64 02 65')).toEqual({ events: ['pkg abc', 'pkg ', 'pkg d'], left: 2 });
  });

  it.each([
    ['7f', 127],
    ['80 01', 128],
    ['ac 02', 300],
    ['ff 7f', 16_383],
    ['80 80 01', 16_384],
    ['80 80 40', 1_048_576],
  ])('takes a length of several bytes, lowest seven bits first: %s', (prefix, size) => {
    const handler = new VarintHandler();
    expect(decode(handler, [hex(prefix), Buffer.alloc(size)]).events.map((event) => event.length)).toEqual([4 + size]);
    expect(encode(handler, Buffer.alloc(size)).subarray(0, -size)).toEqual(hex(prefix));
  });

  it('takes a length written with more bytes than it needs, as protobuf does', () => {
    expect(framesOf('81 00 61  82 80 80 80 00 6263').events).toEqual(['pkg a', 'pkg bc']);
  });
});

describe('lengths that cannot be right', () => {
  it.each([
    ['goes on after 5 bytes', '80 80 80 80 80 01'],
    ['is negative as an int32', 'ff ff ff ff 0f'],
    ['is 2^31', '80 80 80 80 08'],
    ['has more than 32 bits', '80 80 80 80 10'],
  ])('end the stream when the length %s', (_name, prefix) => {
    expect(framesOf(`01 61 ${prefix}`, { tooLong: 'skip' })).toEqual({ events: ['pkg a', 'fatal MALFORMED_PACKAGE'], left: 0 });
  });

  it('are known at their fifth byte, and not before', () => {
    expect(decode(new VarintHandler(), [hex('80 80 80 80')])).toEqual({ events: [], left: 4 });
    expect(decode(new VarintHandler(), [hex('80 80 80 80 80')]).events).toEqual(['fatal MALFORMED_PACKAGE']);
  });
});

describe('the limit of a message', () => {
  it('does not count the length in front', () => {
    expect(framesOf('03 616263', { maxFrameBytes: 3 }).events).toEqual(['pkg abc']);
    expect(framesOf('04 61626364', { maxFrameBytes: 3 }).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('is 1 MiB by default, compared before the message arrives', () => {
    expect(decode(new VarintHandler(), [hex('81 80 40')])).toEqual({ events: ['fatal PACKAGE_TOO_LARGE'], left: 0 });
    expect(framesOf('ff ff ff ff 07').events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('skips larger messages by option, with one error each, and goes on behind them', () => {
    const options = { maxFrameBytes: 2, tooLong: 'skip' } as const;
    const expected = ['error PACKAGE_TOO_LARGE', 'pkg a', 'error PACKAGE_TOO_LARGE', 'error PACKAGE_TOO_LARGE', 'pkg '];
    expect(framesOf('03 000000 01 61 03 000000 04 00000000 00', options).events).toEqual(expected);
    expect(framesOf('03 000000 01 61 03 000000 04 00000000 00', { ...options, failFast: false }).events).toEqual(expected);
    expect(framesOf('03 0000', { ...options, failFast: false })).toEqual({ events: [], left: 1 });
  });

  it('says what was expected and given', () => {
    const [error] = errorsOf(new VarintHandler({ maxFrameBytes: 2 }), [hex('03 000000')]);
    expect(error?.message).toBe('expected a frame of at most 2 bytes, given 4');
  });
});

describe('writing messages', () => {
  it('puts the length in front', () => {
    expect(encode(new VarintHandler(), Buffer.from('abc'), Buffer.alloc(0)).toString('hex')).toBe('0361626300');
  });

  it('refuses a message above the limit, and what is not bytes', () => {
    const handler = new VarintHandler({ maxFrameBytes: 3 });
    expect(encode(handler, Buffer.from('abc')).length).toBe(4);
    const message = 'VarintHandler.write: expected a package of at most 3 bytes, given 4';
    expect(() => encode(handler, Buffer.from('abcd'))).toThrow(
      expect.objectContaining({ name: 'StateError', code: 'ENCODED_TOO_LARGE', message }),
    );
    expect(() => encode<unknown>(handler, 'abc')).toThrow(expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED' }));
  });
});

describe('options of VarintHandler', () => {
  it.each([
    [{ maxFrameBytes: 0 }, 'VarintHandler.maxFrameBytes: expected a whole number, from 1 to 2147483647, given 0'],
    [{ maxFrameBytes: null }, 'VarintHandler.maxFrameBytes: expected a whole number, from 1 to 2147483647, given null'],
    [{ tooLong: '' }, 'VarintHandler.tooLong: expected one of close, skip, given ""'],
    [{ failFast: 0 }, 'VarintHandler.failFast: expected true or false, given 0'],
  ])('refuses %j', (options, message) => {
    const make = () => new VarintHandler(options as unknown as VarintOptions);
    expect(make).toThrow(expect.objectContaining({ name: 'ConfigError', code: 'INVALID_OPTION', message }));
  });
});
