import { describe, expect, it } from 'vitest';
import { DecimalPrefixHandler, type DecimalPrefixOptions } from '../../src/codec/decimal-prefix.ts';
import { bytes, bytewise, type Decoded, decode, encode, errorsOf } from '../helpers/codec-recorder.ts';

function framesOf(stream: string, options?: DecimalPrefixOptions): Decoded {
  const whole = decode(new DecimalPrefixHandler(options), [bytes(stream)]);
  expect(decode(new DecimalPrefixHandler(options), bytewise(bytes(stream)))).toEqual(whole);
  return whole;
}

describe('reading messages', () => {
  it('takes the decimal length and the space in front', () => {
    expect(framesOf('5 hello2 hi11 hello world3 ab')).toEqual({ events: ['pkg hello', 'pkg hi', 'pkg hello world'], left: 4 });
  });

  it('takes whatever the message contains', () => {
    expect(framesOf('4 1 \n\x004 9 9 ').events).toEqual(['pkg 1 \n\0', 'pkg 9 9 ']);
  });

  it('decodes the frames of two syslog messages', () => {
    const first = "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - 'su root' failed for lonvick on /dev/pts/8";
    const second = "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.";
    expect(framesOf(`${first.length} ${first}${second.length} ${second}`).events).toEqual([`pkg ${first}`, `pkg ${second}`]);
  });
});

describe('lengths that cannot be right', () => {
  it.each([
    ['begins with 0', '0 ', 'byte 0x30 at 0'],
    ['begins with a space', ' 5 hello', 'byte 0x20 at 0'],
    ['has a letter', '5x hello', 'byte 0x78 at 1'],
    ['ends with a line end', '5\nhello', 'byte 0x0a at 1'],
    ['has a sign', '+5 hello', 'byte 0x2b at 0'],
    ['has 11 digits', '12345678901 ', 'byte 0x31 at 10'],
  ])('end the stream when the length %s', (_name, stream, given) => {
    expect(framesOf(`1 a${stream}`, { tooLong: 'skip' })).toEqual({ events: ['pkg a', 'fatal MALFORMED_PACKAGE'], left: 0 });
    const [error] = errorsOf(new DecimalPrefixHandler(), [bytes(stream)]);
    expect(error?.message).toBe(`expected 1 to 10 digits, the first not 0, and a space, given ${given}`);
  });
});

describe('the limit of a message', () => {
  it('does not count the length in front', () => {
    expect(framesOf('3 abc', { maxFrameBytes: 3 }).events).toEqual(['pkg abc']);
    expect(framesOf('4 abcd', { maxFrameBytes: 3 }).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('is 1 MiB by default, compared before the message arrives', () => {
    expect(decode(new DecimalPrefixHandler(), [bytes('1048576 '), Buffer.alloc(1_048_576)]).events.length).toBe(1);
    expect(decode(new DecimalPrefixHandler(), [bytes('1048577 ')])).toEqual({ events: ['fatal PACKAGE_TOO_LARGE'], left: 0 });
    expect(framesOf('9999999999 ').events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('skips larger messages by option, with one error each, and goes on behind them', () => {
    const options = { maxFrameBytes: 2, tooLong: 'skip' } as const;
    const expected = ['error PACKAGE_TOO_LARGE', 'pkg a', 'error PACKAGE_TOO_LARGE', 'pkg bc'];
    expect(framesOf('3 xyz1 a12 xyzxyzxyzxyz2 bc', options).events).toEqual(expected);
    expect(framesOf('3 xyz1 a12 xyzxyzxyzxyz2 bc', { ...options, failFast: false }).events).toEqual(expected);
    expect(framesOf('3 xy', { ...options, failFast: false })).toEqual({ events: [], left: 1 });
  });
});

describe('writing messages', () => {
  it('puts the length and a space in front', () => {
    expect(encode(new DecimalPrefixHandler(), bytes('hello'), bytes('hello world')).toString()).toBe('5 hello11 hello world');
  });

  it('refuses an empty message, which the format cannot say', () => {
    const message = 'DecimalPrefixHandler.write: expected at least one byte, given none';
    expect(() => encode(new DecimalPrefixHandler(), bytes(''))).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED', message }));
  });

  it('refuses a message above the limit, and what is not bytes', () => {
    const handler = new DecimalPrefixHandler({ maxFrameBytes: 3 });
    expect(encode(handler, bytes('abc')).toString()).toBe('3 abc');
    expect(() => encode(handler, bytes('abcd'))).toThrow(expect.objectContaining({ name: 'StateError', code: 'ENCODED_TOO_LARGE' }));
    expect(() => encode<unknown>(handler, 'abc')).toThrow(expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED' }));
  });
});

describe('options of DecimalPrefixHandler', () => {
  it.each([
    [{ maxFrameBytes: -1 }, 'DecimalPrefixHandler.maxFrameBytes: expected a whole number, from 1 to 2147483647, given -1'],
    [{ tooLong: 'skip ' }, 'DecimalPrefixHandler.tooLong: expected one of close, skip, given "skip "'],
    [{ failFast: {} }, 'DecimalPrefixHandler.failFast: expected true or false, given an object (Object)'],
  ])('refuses %j', (options, message) => {
    const make = () => new DecimalPrefixHandler(options as unknown as DecimalPrefixOptions);
    expect(make).toThrow(expect.objectContaining({ name: 'ConfigError', code: 'INVALID_OPTION', message }));
  });
});
