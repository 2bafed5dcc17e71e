import { describe, expect, it, vi } from 'vitest';
import { ByteQueue } from '../../src/base/byte-queue.ts';
import { DelimiterHandler, type DelimiterOptions } from '../../src/codec/delimiter.ts';
import { bytes, bytewise, type Decoded, decode, encode, errorsOf } from '../helpers/codec-recorder.ts';

function framesOf(text: string, options: DelimiterOptions): Decoded {
  const whole = decode(new DelimiterHandler(options), [bytes(text)]);
  expect(decode(new DelimiterHandler(options), bytewise(bytes(text)))).toEqual(whole);
  return whole;
}

describe('reading frames', () => {
  it('ends a frame at any of the delimiters', () => {
    expect(framesOf('ab||c\0\0d', { delimiters: ['||', '\0'] })).toEqual({ events: ['pkg ab', 'pkg c', 'pkg '], left: 1 });
  });

  it('takes delimiters as bytes too, and text as UTF-8', () => {
    expect(framesOf('a\xff\xfeb\xe2\x82\xacc', { delimiters: [Uint8Array.of(0xff, 0xfe), '€'] })).toEqual({
      events: ['pkg a', 'pkg b'],
      left: 1,
    });
  });

  it('keeps the delimiter on request', () => {
    expect(framesOf('a;b||;', { delimiters: [';', '||'], stripDelimiter: false }).events).toEqual(['pkg a;', 'pkg b||', 'pkg ;']);
  });

  it('owns its delimiters', () => {
    const delimiter = Buffer.from(';');
    const handler = new DelimiterHandler({ delimiters: [delimiter] });
    delimiter.write('x');
    expect(decode(handler, [bytes('a;x;')]).events).toEqual(['pkg a', 'pkg x']);
  });

  it('finds a delimiter whose beginning repeats', () => {
    expect(framesOf('aaab aabaab', { delimiters: ['aab'] }).events).toEqual(['pkg a', 'pkg  ', 'pkg ']);
  });
});

describe('the delimiter that wins', () => {
  it('is the one that begins first', () => {
    expect(framesOf('a|b;c;d|', { delimiters: [';', '|'] }).events).toEqual(['pkg a', 'pkg b', 'pkg c', 'pkg d']);
    expect(framesOf('xabc', { delimiters: ['b', 'abc'] }).events).toEqual(['pkg x']);
  });

  it('is the one listed first of those that begin at the same byte', () => {
    expect(framesOf('a\r\nb\rc', { delimiters: ['\r\n', '\r'] })).toEqual({ events: ['pkg a', 'pkg b'], left: 1 });
  });

  it('waits for the bytes that decide', () => {
    const options = { delimiters: ['\r\n', '\r'] };
    expect(decode(new DelimiterHandler(options), [bytes('a\r')])).toEqual({ events: [], left: 2 });
    expect(decode(new DelimiterHandler(options), [bytes('a\r'), bytes('\n')])).toEqual({ events: ['pkg a'], left: 0 });
    expect(decode(new DelimiterHandler(options), [bytes('a\r'), bytes('b')])).toEqual({ events: ['pkg a'], left: 1 });
    expect(decode(new DelimiterHandler({ delimiters: ['b', 'abc'] }), [bytes('xab'), bytes('d')])).toEqual({ events: ['pkg xa'], left: 1 });
  });
});

describe('the limit of a frame', () => {
  it('takes maxFrameBytes bytes, the delimiter not counted', () => {
    for (const delimiter of ['|', '||||||']) {
      expect(framesOf(`abc${delimiter}`, { delimiters: [delimiter], maxFrameBytes: 3 }).events).toEqual(['pkg abc']);
      expect(framesOf(`abcd${delimiter}`, { delimiters: [delimiter], maxFrameBytes: 3 }).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    }
  });

  it('is 64 KiB by default', () => {
    const options = { delimiters: ['|'] };
    expect(framesOf(`${'x'.repeat(65_536)}|`, options).events[0]?.slice(0, 5)).toBe('pkg x');
    expect(framesOf(`${'x'.repeat(65_537)}|`, options).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('is checked before the delimiter arrives, but not before it is sure', () => {
    expect(decode(new DelimiterHandler({ delimiters: ['||'], maxFrameBytes: 3 }), [bytes('abcd')])).toEqual({
      events: ['fatal PACKAGE_TOO_LARGE'],
      left: 0,
    });
    expect(decode(new DelimiterHandler({ delimiters: ['||'], maxFrameBytes: 3 }), [bytes('abc|')])).toEqual({ events: [], left: 4 });
    expect(decode(new DelimiterHandler({ delimiters: ['||'], maxFrameBytes: 3 }), [bytes('abc|d')]).events).toEqual([
      'fatal PACKAGE_TOO_LARGE',
    ]);
  });

  it('skips larger frames by option, with one error each, and goes on behind them', () => {
    const options = { delimiters: ['||', ';'], maxFrameBytes: 3, tooLong: 'skip' } as const;
    const events = ['error PACKAGE_TOO_LARGE', 'pkg abc', 'error PACKAGE_TOO_LARGE', 'pkg ', 'error PACKAGE_TOO_LARGE'];
    expect(framesOf('abcdefgh|i||abc;abcd||;abcdefgh|', options)).toEqual({ events, left: 1 });
  });

  it('reports a skipped frame when it is over, by option', () => {
    const options = { delimiters: ['||'], maxFrameBytes: 3, tooLong: 'skip', failFast: false } as const;
    expect(framesOf('abcdefgh|i||abc||abcdef', options)).toEqual({ events: ['error PACKAGE_TOO_LARGE', 'pkg abc'], left: 1 });
    expect(framesOf('abcdefgh||abc||', { ...options, tooLong: 'close' }).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('stores nothing of a skipped frame but what may be the beginning of its delimiter', () => {
    const queue = new ByteQueue();
    const handler = new DelimiterHandler({ delimiters: ['\r\n.\r\n'], maxFrameBytes: 10, tooLong: 'skip' });
    const drain = () => {
      let consumed = -1;
      while (consumed !== queue.consumed) {
        consumed = queue.consumed;
        handler.read(queue);
      }
      queue.retain();
    };
    queue.offer(Buffer.from('x'.repeat(1000)));
    expect(drain).toThrow(expect.objectContaining({ code: 'PACKAGE_TOO_LARGE', recoverable: true }));
    for (const [text, stored] of [
      ['yyy', 1],
      ['yy\r\n.\r', 4],
      ['yyy', 1],
      ['\r\n.', 3],
    ] as const) {
      queue.offer(Buffer.from(text));
      while (queue.pull());
      drain();
      expect(queue.totalLength).toBe(stored);
    }
  });

  it('says what was expected and given', () => {
    const [whole] = errorsOf(new DelimiterHandler({ delimiters: ['|'], maxFrameBytes: 3 }), [bytes('abcdef|')]);
    expect(whole?.message).toBe('expected a frame of at most 3 bytes, given 6');
  });
});

describe('the cost of searching', () => {
  it.each([[['||']], [['||', ';']]])('is one pass for a frame that arrives byte by byte, with %j', (delimiters) => {
    const handler = new DelimiterHandler({ delimiters });
    const queue = new ByteQueue();
    const looks = vi.spyOn(queue, 'uint8At');
    const searches = vi.spyOn(queue, 'indexOf');
    for (let count = 0; count < 2000; count++) {
      queue.offer(Buffer.from('x'));
      while (queue.pull());
      expect(handler.read(queue)).toBeUndefined();
      queue.retain();
    }
    expect(looks.mock.calls.length).toBeLessThanOrEqual(4000);
    for (const [index, [, from]] of searches.mock.calls.entries()) expect(from).toBe(index);
  });

  it('is left to the native search for one delimiter, but for the bytes at the end that may begin it', () => {
    const queue = new ByteQueue();
    queue.offer(Buffer.alloc(10_000, 'x'));
    const looks = vi.spyOn(queue, 'uint8At');
    expect(new DelimiterHandler({ delimiters: ['<-->'] }).read(queue)).toBeUndefined();
    expect(looks.mock.calls.length).toBeLessThan(10);
  });

  it('is one pass over a chunk of many frames, though one delimiter never occurs', () => {
    const handler = new DelimiterHandler({ delimiters: [';', '|'] });
    const queue = new ByteQueue();
    queue.offer(Buffer.from('x;'.repeat(2000)));
    const looks = vi.spyOn(queue, 'uint8At');
    for (let count = 0; count < 2000; count++) expect(handler.read(queue)?.toString()).toBe('x');
    expect(looks.mock.calls.length).toBeLessThan(20_000);
  });
});

describe('writing frames', () => {
  it('puts the first delimiter behind the package', () => {
    expect(encode(new DelimiterHandler({ delimiters: ['\r\n', '\n'] }), bytes('a'), bytes('')).toString()).toBe('a\r\n\r\n');
  });

  it('reads back what it has written', () => {
    const handler = new DelimiterHandler({ delimiters: ['\r\n', '\n', '|'] });
    expect(decode(handler, [encode(handler, bytes('a'), bytes(''), bytes('b;c'))])).toEqual({
      events: ['pkg a', 'pkg ', 'pkg b;c'],
      left: 0,
    });
  });

  it('takes packages with their delimiter when reading leaves it on', () => {
    const handler = new DelimiterHandler({ delimiters: ['||', ';'], stripDelimiter: false, maxFrameBytes: 3 });
    const packages = [bytes('abc||'), bytes(';'), bytes('a;')];
    expect(decode(handler, [encode(handler, ...packages)]).events).toEqual(['pkg abc||', 'pkg ;', 'pkg a;']);
    for (const text of ['', 'abc', 'abc|', ';;', 'a;b||', '|||']) {
      expect(() => encode(handler, bytes(text))).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED' }));
    }
    expect(() => encode(handler, bytes('abcd;'))).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
  });

  it.each([
    ['a package that contains a delimiter', [';', '|'], 'a|b'],
    ['a package that is a delimiter', ['||'], '||'],
    ['a package whose end and delimiter make an earlier one', ['aa'], 'xa'],
    ['a package whose end and another delimiter make an earlier one', ['b', 'ab', 'xbc'], 'xa'],
    ['a package whose end may become a delimiter with what follows', ['b', 'abc'], 'xa'],
  ] as const)('refuses %s', (_name, delimiters, text) => {
    const write = () => encode(new DelimiterHandler({ delimiters }), bytes(text));
    expect(write).toThrow(expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED' }));
  });

  it('takes a package that ends like a delimiter but makes none', () => {
    const handler = new DelimiterHandler({ delimiters: ['\r\n', '\rx'] });
    expect(decode(handler, [encode(handler, bytes('a\r'), bytes('\n'))]).events).toEqual(['pkg a\r', 'pkg \n']);
  });

  it('refuses a package above the limit, and what is not bytes', () => {
    const handler = new DelimiterHandler({ delimiters: ['|'], maxFrameBytes: 3 });
    expect(encode(handler, bytes('abc')).toString()).toBe('abc|');
    const message = 'DelimiterHandler.write: expected a package of at most 3 bytes, given 4';
    expect(() => encode(handler, bytes('abcd'))).toThrow(
      expect.objectContaining({ name: 'StateError', code: 'ENCODED_TOO_LARGE', message }),
    );
    expect(() => encode<unknown>(handler, 'abc')).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED' }));
  });
});

describe('options of DelimiterHandler', () => {
  it.each([
    [{ delimiters: [] }, 'DelimiterHandler.delimiters: expected a list of one or more delimiters, given an object (Array)'],
    [{ delimiters: ';' }, 'DelimiterHandler.delimiters: expected a list of one or more delimiters, given ";"'],
    [{}, 'DelimiterHandler.delimiters: expected a list of one or more delimiters, given undefined'],
    [{ delimiters: ['a', ''] }, 'DelimiterHandler.delimiters: expected text or bytes, at least one byte long, given ""'],
    [{ delimiters: [5] }, 'DelimiterHandler.delimiters: expected text or bytes, at least one byte long, given 5'],
    [
      { delimiters: ['\r', '\r\n'] },
      'DelimiterHandler.delimiters: expected no delimiter that begins with one listed before it, as it would never win against "\\r", given "\\r\\n"',
    ],
    [{ delimiters: [';'], maxFrameBytes: 0 }, 'DelimiterHandler.maxFrameBytes: expected a whole number, from 1 to 2147483647, given 0'],
    [{ delimiters: [';'], tooLong: true }, 'DelimiterHandler.tooLong: expected one of close, skip, given true'],
    [{ delimiters: [';'], failFast: 'no' }, 'DelimiterHandler.failFast: expected true or false, given "no"'],
    [{ delimiters: [';'], stripDelimiter: 0 }, 'DelimiterHandler.stripDelimiter: expected true or false, given 0'],
  ])('refuses %j', (options, message) => {
    expect(() => new DelimiterHandler(options as DelimiterOptions)).toThrow(
      expect.objectContaining({ name: 'ConfigError', code: 'INVALID_OPTION', message }),
    );
  });
});
