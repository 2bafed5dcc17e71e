import { describe, expect, it } from 'vitest';
import { Attributes } from '../../src/base/attributes.ts';
import { LineHandler, type LineOptions } from '../../src/codec/line.ts';
import { MessageReader } from '../../src/codec/message-reader.ts';
import { bytes, bytewise, decode, encode, errorsOf } from '../helpers/codec-recorder.ts';

function linesOf(text: string, options?: LineOptions): readonly string[] {
  const stream = Buffer.from(text);
  const whole = decode(new LineHandler(options), [stream]);
  expect(decode(new LineHandler(options), bytewise(stream))).toEqual(whole);
  return whole.events;
}

describe('reading lines', () => {
  it('takes \\n and \\r\\n, mixed as they come', () => {
    expect(linesOf('one\r\ntwo\n\n\r\n3')).toEqual(['pkg one', 'pkg two', 'pkg ', 'pkg ']);
  });

  it('takes a \\r elsewhere for text, and one \\r only for a part of the line end', () => {
    expect(linesOf('a\rb\n\rc\r\r\n')).toEqual(['pkg a\rb', 'pkg \rc\r']);
  });

  it('decodes UTF-8 that was cut inside a character', () => {
    expect(linesOf('grüße €😀\n')).toEqual(['pkg grüße €😀']);
  });

  it('reads bytes that are no UTF-8 as U+FFFD', () => {
    expect(decode(new LineHandler(), [bytes('a\xffb\n')]).events).toEqual(['pkg a\ufffdb']);
  });

  it('decodes one byte per character in latin1', () => {
    expect(decode(new LineHandler({ encoding: 'latin1' }), [bytes('a\xff\x80b\n')]).events).toEqual(['pkg a\xff\x80b']);
  });

  it('keeps the bytes of an unfinished line for the next chunk', () => {
    expect(decode(new LineHandler(), [bytes('ab\ncd')])).toEqual({ events: ['pkg ab'], left: 2 });
  });
});

describe('the last line', () => {
  it('is a truncated stream when it has no line end', () => {
    expect(decode(new LineHandler(), [bytes('a\nbc')])).toEqual({ events: ['pkg a'], left: 2 });
  });

  it('is a package by option', () => {
    expect(decode(new LineHandler({ lastLine: true }), [bytes('a\nbc')])).toEqual({ events: ['pkg a', 'pkg bc'], left: 0 });
    expect(decode(new LineHandler({ lastLine: true }), [bytes('a\n')])).toEqual({ events: ['pkg a'], left: 0 });
  });

  it('is no package when it is too long, or the rest of a line that was', () => {
    expect(decode(new LineHandler({ lastLine: true, maxLineBytes: 2 }), [bytes('ab\r')]).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    const skip = new LineHandler({ lastLine: true, maxLineBytes: 2, tooLong: 'skip' });
    expect(decode(skip, [bytes('abcdef')])).toEqual({ events: ['error PACKAGE_TOO_LARGE'], left: 1 });
    expect(decode(skip, [bytes('ab\r')])).toEqual({ events: ['error PACKAGE_TOO_LARGE'], left: 0 });
  });
});

describe('the limit of a line', () => {
  it('takes maxLineBytes bytes, the line end not counted', () => {
    expect(linesOf('abc\nabc\r\n', { maxLineBytes: 3 })).toEqual(['pkg abc', 'pkg abc']);
    expect(linesOf('é€\n', { maxLineBytes: 5 })).toEqual(['pkg é€']);
  });

  it('refuses one byte more, for good', () => {
    expect(linesOf('abc\nabcd\nabc\n', { maxLineBytes: 3 })).toEqual(['pkg abc', 'fatal PACKAGE_TOO_LARGE']);
    expect(linesOf('é€\n', { maxLineBytes: 4 })).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(linesOf('abc\r\r\n', { maxLineBytes: 3 })).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('is 64 KiB by default', () => {
    expect(linesOf(`${'x'.repeat(65_536)}\n`)[0]?.slice(0, 7)).toBe('pkg xxx');
    expect(linesOf(`${'x'.repeat(65_537)}\n`)).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('is checked before the line end arrives', () => {
    expect(decode(new LineHandler({ maxLineBytes: 3 }), [bytes('abcd')])).toEqual({ events: ['fatal PACKAGE_TOO_LARGE'], left: 0 });
    expect(decode(new LineHandler({ maxLineBytes: 3 }), [bytes('abc\rx')])).toEqual({ events: ['fatal PACKAGE_TOO_LARGE'], left: 0 });
  });

  it('skips longer lines by option, with one error each, and goes on behind them', () => {
    const options = { maxLineBytes: 3, tooLong: 'skip' } as const;
    expect(linesOf('abc\nabcdefghijkl\r\nabc\nabcd\n\nabcde', options)).toEqual([
      'pkg abc',
      'error PACKAGE_TOO_LARGE',
      'pkg abc',
      'error PACKAGE_TOO_LARGE',
      'pkg ',
      'error PACKAGE_TOO_LARGE',
    ]);
  });

  it('reports a skipped line when it is over, by option', () => {
    const options = { maxLineBytes: 3, tooLong: 'skip', failFast: false } as const;
    expect(linesOf('abcdefg\nabc\nabcdefg', options)).toEqual(['error PACKAGE_TOO_LARGE', 'pkg abc']);
    expect(linesOf('abcdefg\nabc\n', { maxLineBytes: 3, failFast: false })).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('says what was expected and given', () => {
    const [whole] = errorsOf(new LineHandler({ maxLineBytes: 3 }), [bytes('abcdef\n')]);
    expect(whole?.message).toBe('expected a frame of at most 3 bytes, given 6');
    const [cut] = errorsOf(new LineHandler({ maxLineBytes: 3 }), [bytes('abcd'), bytes('ef\n')]);
    expect(cut?.message).toBe('expected a frame of at most 3 bytes, given more');
  });
});

describe('writing lines', () => {
  it('puts the line end behind the text', () => {
    expect(encode(new LineHandler(), 'a', '', 'é')).toEqual(Buffer.from('a\n\né\n'));
    expect(encode(new LineHandler({ lineEnd: '\r\n' }), 'a', '')).toEqual(Buffer.from('a\r\n\r\n'));
    expect(encode(new LineHandler({ encoding: 'latin1' }), 'éÿ')).toEqual(bytes('\xe9\xff\n'));
  });

  it.each(['\n', '\r\n'] as const)('reads back what it has written, with %j', (lineEnd) => {
    const handler = new LineHandler({ lineEnd });
    const texts = ['', 'a', 'a\rb', '\ra', 'grüße €😀', 'x'.repeat(65_536)];
    expect(decode(handler, [encode(handler, ...texts)]).events).toEqual(texts.map((text) => `pkg ${text}`));
  });

  it.each(['\n', 'a\nb', 'a\r\nb', 'a\n', 'a\r', '\r'])('refuses %j, which would not be read back', (text) => {
    for (const lineEnd of ['\n', '\r\n'] as const) {
      const write = () => encode(new LineHandler({ lineEnd }), text);
      const message = `LineHandler.write: expected a text without a line end, given ${JSON.stringify(text)}`;
      expect(write).toThrow(expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED', message }));
    }
  });

  it('refuses a character that latin1 would turn into a line end', () => {
    const handler = new LineHandler({ encoding: 'latin1' });
    expect(() => encode(handler, 'a\u010ab')).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED' }));
    expect(() => encode(handler, '€')).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED' }));
  });

  it('refuses a text of more than maxLineBytes bytes, however few characters it has', () => {
    const handler = new LineHandler({ maxLineBytes: 4 });
    expect(encode(handler, 'abcd', 'éé', '€').toString()).toBe('abcd\néé\n€\n');
    for (const [text, given] of [
      ['abcde', 5],
      ['éé!', 5],
      ['€€', 6],
    ] as const) {
      const message = `LineHandler.write: expected a package of at most 4 bytes, given ${given}`;
      expect(() => encode(handler, text)).toThrow(expect.objectContaining({ name: 'StateError', code: 'ENCODED_TOO_LARGE', message }));
    }
  });

  it('refuses what is not text', () => {
    for (const pkg of [Buffer.from('a'), 5, null, undefined]) {
      expect(() => encode<unknown>(new LineHandler(), pkg)).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED' }));
    }
  });
});

describe('options of LineHandler', () => {
  it.each([
    [{ encoding: 'utf16le' }, 'LineHandler.encoding: expected one of utf8, latin1, given "utf16le"'],
    [{ maxLineBytes: 0 }, 'LineHandler.maxLineBytes: expected a whole number, from 1 to 2147483647, given 0'],
    [{ maxLineBytes: '9' }, 'LineHandler.maxLineBytes: expected a whole number, from 1 to 2147483647, given "9"'],
    [{ lineEnd: '\r' }, 'LineHandler.lineEnd: expected "\\n" or "\\r\\n", given "\\r"'],
    [{ tooLong: 'drop' }, 'LineHandler.tooLong: expected one of close, skip, given "drop"'],
    [{ failFast: 1 }, 'LineHandler.failFast: expected true or false, given 1'],
    [{ lastLine: 'yes' }, 'LineHandler.lastLine: expected true or false, given "yes"'],
  ])('refuses %j', (options, message) => {
    expect(() => new LineHandler(options as LineOptions)).toThrow(
      expect.objectContaining({ name: 'ConfigError', code: 'INVALID_OPTION', message }),
    );
  });
});

describe('LineHandler on messages', () => {
  it('takes the end of a message for the end of a line, also of one that is too long', () => {
    const told: string[] = [];
    const sink = { onPackage: (line: string) => told.push(line) > 0, onPackageError: (error: Error) => void told.push(error.message) };
    const context = { id: 1, attributes: new Attributes() };
    const reader = new MessageReader(new LineHandler({ maxLineBytes: 5, tooLong: 'skip' }), sink, 0, context, false);
    for (const message of ['one', 'two\nthree', 'four\n', '123456', '12345', '1234567\nsix', '']) reader.feed(Buffer.from(message), true);
    expect(told.map((line) => line.replace(/.*given/, 'given'))).toEqual([
      'one',
      'two',
      'three',
      'four',
      'given more',
      '12345',
      'given 7',
      'six',
    ]);
  });
});
