import { describe, expect, it } from 'vitest';
import { LengthFieldHandler, type LengthFieldOptions } from '../../src/codec/length-field.ts';
import { PackageReader } from '../../src/codec/package-reader.ts';
import { bytewise, type Decoded, decode, encode, errorsOf, hex, Recorder } from '../helpers/codec-recorder.ts';

/** Packages in hexadecimal; the same byte by byte. */
function framesOf(stream: string, options?: LengthFieldOptions): Decoded {
  const decoded = decode(new LengthFieldHandler(options), [hex(stream)]);
  expect(decode(new LengthFieldHandler(options), bytewise(hex(stream)))).toEqual(decoded);
  const events = decoded.events.map((event) => (event.startsWith('pkg ') ? Buffer.from(event.slice(4), 'latin1').toString('hex') : event));
  return { events, left: decoded.left };
}

describe('reading frames', () => {
  it('takes 4 bytes of length, big-endian, and makes a package of the body', () => {
    expect(framesOf('00000003 616263 00000000 00000001 64 0000')).toEqual({ events: ['616263', '', '64'], left: 2 });
  });

  it.each([
    [1, '02 6162', '02 6162'],
    [2, '0002 6162', '0200 6162'],
    [3, '000002 6162', '020000 6162'],
    [4, '00000002 6162', '02000000 6162'],
    [8, '0000000000000002 6162', '0200000000000000 6162'],
  ] as const)('takes a length of %d byte(s) in both byte orders', (lengthFieldBytes, bigEndian, littleEndian) => {
    expect(framesOf(bigEndian, { lengthFieldBytes }).events).toEqual(['6162']);
    expect(framesOf(littleEndian, { lengthFieldBytes, littleEndian: true }).events).toEqual(['6162']);
  });

  it.each([
    [1, 'ff', 0xff],
    [2, 'ffff', 0xffff],
    [3, '0fffff', 0xfffff],
    [4, '000fffff', 0xfffff],
  ] as const)('takes the length for an unsigned number: %d byte(s) %s', (lengthFieldBytes, field, size) => {
    const handler = new LengthFieldHandler({ lengthFieldBytes, maxFrameBytes: 2_000_000 });
    expect(decode(handler, [hex(field), Buffer.alloc(size)]).events.map((event) => event.length)).toEqual([4 + size]);
  });

  // The six examples in the documentation of Netty's LengthFieldBasedFrameDecoder; the body is "HELLO, WORLD".
  const body = '48454c4c4f2c20574f524c44';
  it.each([
    ['2 bytes length field at offset 0, do not strip header', { initialBytesToStrip: 0 }, `000c${body}`, `000c${body}`],
    ['2 bytes length field at offset 0, strip header', { initialBytesToStrip: 2 }, `000c${body}`, body],
    ['the length of the whole message', { lengthAdjustment: -2, initialBytesToStrip: 0 }, `000e${body}`, `000e${body}`],
    [
      '3 bytes length field at the end of 5 bytes header',
      { lengthFieldOffset: 2, lengthFieldBytes: 3, initialBytesToStrip: 0 },
      `cafe00000c${body}`,
      `cafe00000c${body}`,
    ],
    [
      '3 bytes length field at the beginning of 5 bytes header',
      { lengthFieldBytes: 3, lengthAdjustment: 2, initialBytesToStrip: 0 },
      `00000ccafe${body}`,
      `00000ccafe${body}`,
    ],
    [
      '2 bytes length field at offset 1 in the middle of 4 bytes header',
      { lengthFieldOffset: 1, lengthAdjustment: 1, initialBytesToStrip: 3 },
      `ca000cfe${body}`,
      `fe${body}`,
    ],
    [
      'the same, and the length is that of the whole message',
      { lengthFieldOffset: 1, lengthAdjustment: -3, initialBytesToStrip: 3 },
      `ca0010fe${body}`,
      `fe${body}`,
    ],
  ] as const)('decodes as Netty: %s', (_name, options, stream, pkg) => {
    expect(framesOf(stream + stream, { lengthFieldBytes: 2, ...options } as LengthFieldOptions).events).toEqual([pkg, pkg]);
  });

  it('strips the header up to the end of the length field unless told otherwise', () => {
    expect(framesOf('ca 0002 6162', { lengthFieldOffset: 1, lengthFieldBytes: 2 }).events).toEqual(['6162']);
  });
});

describe('the limit of a frame', () => {
  it('counts the whole frame', () => {
    expect(framesOf('0003 616263', { lengthFieldBytes: 2, maxFrameBytes: 5 }).events).toEqual(['616263']);
    expect(framesOf('0004 61626364', { lengthFieldBytes: 2, maxFrameBytes: 5 }).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('is 1 MiB by default', () => {
    const handler = new LengthFieldHandler();
    expect(decode(handler, [hex('000ffffc'), Buffer.alloc(0xffffc)]).events.length).toBe(1);
    expect(decode(handler, [hex('000ffffd')]).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('is compared before the body arrives', () => {
    expect(decode(new LengthFieldHandler(), [hex('ffffffff')])).toEqual({ events: ['fatal PACKAGE_TOO_LARGE'], left: 0 });
  });

  it('skips larger frames by option, with one error each, and goes on behind them', () => {
    const options = { lengthFieldBytes: 1, maxFrameBytes: 4, tooLong: 'skip' } as const;
    const events = ['61', 'error PACKAGE_TOO_LARGE', 'error PACKAGE_TOO_LARGE', '626364', 'error PACKAGE_TOO_LARGE'];
    expect(framesOf('01 61  05 0000000000  04 00000000  03 626364  05 00', options)).toEqual({ events, left: 1 });
  });

  it('reports a skipped frame when its last byte has come, by option', () => {
    const handler = new LengthFieldHandler({ lengthFieldBytes: 1, maxFrameBytes: 4, tooLong: 'skip', failFast: false });
    const recorder = new Recorder();
    const reader = new PackageReader(handler, recorder, 0);
    for (const byte of hex('05 00000000')) reader.feed(Buffer.of(byte));
    expect(recorder.events).toEqual([]);
    reader.feed(hex('00'));
    expect([recorder.events, reader.bufferedBytes]).toEqual([['error PACKAGE_TOO_LARGE'], 0]);
    reader.feed(hex('01 61'));
    expect(recorder.events).toEqual(['error PACKAGE_TOO_LARGE', 'pkg a']);
  });

  it('reports late and closes, by option', () => {
    const options = { lengthFieldBytes: 1, maxFrameBytes: 4, failFast: false } as const;
    expect(framesOf('05 0000000000 01 61', options).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
  });

  it('shows a stream that ends inside a skipped frame as truncated', () => {
    const options = { lengthFieldBytes: 1, maxFrameBytes: 2, tooLong: 'skip' } as const;
    for (const stream of ['03', '03 00', '03 0000']) {
      expect(framesOf(stream, options)).toEqual({ events: ['error PACKAGE_TOO_LARGE'], left: 1 });
      expect(framesOf(stream, { ...options, failFast: false })).toEqual({ events: [], left: 1 });
    }
    expect(framesOf('03 000000', options)).toEqual({ events: ['error PACKAGE_TOO_LARGE'], left: 0 });
    expect(framesOf('03 000000', { ...options, failFast: false })).toEqual({ events: ['error PACKAGE_TOO_LARGE'], left: 0 });
  });

  it('stores nothing of a frame that is being skipped', () => {
    for (const failFast of [true, false]) {
      const recorder = new Recorder();
      const reader = new PackageReader(new LengthFieldHandler({ maxFrameBytes: 100, tooLong: 'skip', failFast }), recorder, 0);
      reader.feed(hex('7fffffff'));
      for (let count = 0; count < 100; count++) {
        reader.feed(Buffer.alloc(100_000));
        expect(reader.bufferedBytes).toBeLessThanOrEqual(1);
      }
      expect(reader.isMidPackage).toBe(true);
    }
  });

  it('says what was expected and given', () => {
    const [error] = errorsOf(new LengthFieldHandler({ maxFrameBytes: 10 }), [hex('00000007')]);
    expect(error?.message).toBe('expected a frame of at most 10 bytes, given 11');
  });
});

describe('lengths that cannot be right', () => {
  it('are malformed, for good, when the frame would end before its length field', () => {
    const options = { lengthFieldBytes: 2, lengthAdjustment: -2 } as const;
    expect(framesOf('0003 61 0002 0001 0003 62', options).events).toEqual(['61', '', 'fatal MALFORMED_PACKAGE']);
    expect(framesOf('0000 0003 62', { ...options, tooLong: 'skip' }).events).toEqual(['fatal MALFORMED_PACKAGE']);
    const [error] = errorsOf(new LengthFieldHandler(options), [hex('0001')]);
    expect(error?.message).toBe('expected a frame of at least 2 bytes, given 1');
  });

  it.each(['0020000000000000', '7fffffffffffffff', '8000000000000000', 'ffffffffffffffff'])(
    'of 8 bytes end the stream, also when larger frames are skipped: %s',
    (field) => {
      for (const lengthAdjustment of [0, -8]) {
        for (const failFast of [true, false]) {
          const options = { lengthFieldBytes: 8, lengthAdjustment, tooLong: 'skip', failFast } as const;
          expect(framesOf(`${field} 00`, options)).toEqual({ events: ['fatal PACKAGE_TOO_LARGE'], left: 0 });
        }
      }
    },
  );

  it('of 8 bytes are exact up to 2^53', () => {
    const options = { lengthFieldBytes: 8, lengthAdjustment: -8, tooLong: 'skip' } as const;
    expect(framesOf('001fffffffffffff', options)).toEqual({ events: ['error PACKAGE_TOO_LARGE'], left: 1 });
    const [error] = errorsOf(new LengthFieldHandler(options), [hex('001fffffffffffff')]);
    expect(error?.message).toBe(`expected a frame of at most 1048576 bytes, given ${2 ** 53 - 1}`);
  });
});

describe('writing frames', () => {
  it('puts the length in front of the package', () => {
    expect(encode(new LengthFieldHandler(), Buffer.from('abc'), Buffer.alloc(0)).toString('hex')).toBe('0000000361626300000000');
  });

  it.each([
    [{ lengthFieldBytes: 1 }, '03616263'],
    [{ lengthFieldBytes: 2 }, '0003616263'],
    [{ lengthFieldBytes: 2, littleEndian: true }, '0300616263'],
    [{ lengthFieldBytes: 3 }, '000003616263'],
    [{ lengthFieldBytes: 3, littleEndian: true }, '030000616263'],
    [{ littleEndian: true }, '03000000616263'],
    [{ lengthFieldBytes: 8 }, '0000000000000003616263'],
    [{ lengthFieldBytes: 8, littleEndian: true }, '0300000000000000616263'],
    [{ lengthFieldBytes: 2, lengthAdjustment: -2 }, '0005616263'],
    [{ lengthFieldBytes: 2, lengthAdjustment: 1 }, '0002616263'],
    [{ lengthFieldBytes: 2, lengthAdjustment: 3 }, '0000616263'],
  ] as const)('mirrors the decoder: %j', (options, frame) => {
    const handler = new LengthFieldHandler(options);
    expect(encode(handler, Buffer.from('abc')).toString('hex')).toBe(frame);
    expect(decode(handler, [hex(frame)]).events).toEqual(['pkg abc']);
  });

  it('puts the right length into a whole frame, without changing the package, when nothing is stripped', () => {
    const handler = new LengthFieldHandler({ lengthFieldOffset: 1, lengthFieldBytes: 2, lengthAdjustment: 1, initialBytesToStrip: 0 });
    const pkg = hex('ca ffff fe 616263');
    expect(encode(handler, pkg).toString('hex')).toBe('ca0003fe616263');
    expect(pkg).toEqual(hex('ca ffff fe 616263'));
    expect(encode(new LengthFieldHandler({ initialBytesToStrip: 0 }), hex('00000000 61')).toString('hex')).toBe('0000000161');
  });

  it.each([
    [{ lengthFieldOffset: 1 }, '5 bytes stripped, length field from 1 to 5'],
    [{ lengthFieldOffset: 1, initialBytesToStrip: 1 }, '1 bytes stripped, length field from 1 to 5'],
    [{ initialBytesToStrip: 2 }, '2 bytes stripped, length field from 0 to 4'],
    [{ lengthAdjustment: 2, initialBytesToStrip: 6 }, '6 bytes stripped, length field from 0 to 4'],
  ])('refuses to invent header bytes that reading strips: %j', (options, given) => {
    const message = `LengthFieldHandler.write: expected a framing that strips its length field and nothing else, or nothing at all, given ${given}`;
    expect(() => encode(new LengthFieldHandler(options), Buffer.from('abcdef'))).toThrow(
      expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED', message }),
    );
  });

  it('refuses a package above the limit', () => {
    const handler = new LengthFieldHandler({ lengthFieldBytes: 2, maxFrameBytes: 5 });
    expect(encode(handler, Buffer.from('abc')).length).toBe(5);
    const message = 'LengthFieldHandler.write: expected a package of at most 3 bytes, given 4';
    expect(() => encode(handler, Buffer.from('abcd'))).toThrow(
      expect.objectContaining({ name: 'StateError', code: 'ENCODED_TOO_LARGE', message }),
    );
    const whole = new LengthFieldHandler({ lengthFieldBytes: 2, maxFrameBytes: 5, initialBytesToStrip: 0 });
    expect(encode(whole, hex('0000 616263')).length).toBe(5);
    expect(() => encode(whole, hex('0000 61626364'))).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
    expect(() => encode(new LengthFieldHandler(), Buffer.alloc(1_048_573))).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
  });

  it.each([
    [1, 0xff],
    [2, 0xffff],
    [3, 0xffffff],
  ] as const)('refuses a package that the length field of %d byte(s) cannot count', (lengthFieldBytes, most) => {
    const options = { lengthFieldBytes, maxFrameBytes: 2 ** 31 - 1 };
    expect(encode(new LengthFieldHandler(options), Buffer.alloc(most)).subarray(0, lengthFieldBytes)).toEqual(
      Buffer.alloc(lengthFieldBytes, 0xff),
    );
    expect(() => encode(new LengthFieldHandler(options), Buffer.alloc(most + 1))).toThrow(
      expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }),
    );
    // The length counts itself too, so there is room for less.
    const counted = new LengthFieldHandler({ ...options, lengthAdjustment: -lengthFieldBytes });
    expect(encode(counted, Buffer.alloc(most - lengthFieldBytes)).subarray(0, lengthFieldBytes)).toEqual(
      Buffer.alloc(lengthFieldBytes, 0xff),
    );
    expect(() => encode(counted, Buffer.alloc(most - lengthFieldBytes + 1))).toThrow(
      expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }),
    );
  });

  it('refuses a package that is smaller than the header it must contain', () => {
    const behind = new LengthFieldHandler({ lengthAdjustment: 3 });
    const message = 'LengthFieldHandler.write: expected a package of at least 3 bytes, given 2';
    expect(() => encode(behind, Buffer.from('ab'))).toThrow(
      expect.objectContaining({ name: 'ListenerError', code: 'ENCODE_FAILED', message }),
    );
    const whole = new LengthFieldHandler({ lengthFieldOffset: 1, lengthAdjustment: -4, initialBytesToStrip: 0 });
    expect(() => encode(whole, Buffer.alloc(4))).toThrow(expect.objectContaining({ code: 'ENCODE_FAILED' }));
    expect(encode(whole, Buffer.alloc(5)).toString('hex')).toBe('0000000004');
  });

  it.each(['text', 5, null, undefined, [1, 2], new Uint16Array(2)])('refuses %j, which is not bytes', (pkg) => {
    expect(() => encode<unknown>(new LengthFieldHandler(), pkg)).toThrow();
  });
});

describe('borrowed packages', () => {
  it('are views of the received chunk, where the others are copies', () => {
    for (const borrow of [true, false]) {
      const recorder = new Recorder<Buffer>();
      const chunk = hex('00000003 616263');
      new PackageReader(new LengthFieldHandler({ borrow }), recorder, 0).feed(chunk);
      chunk.fill(0x58);
      expect(recorder.packages.map(String)).toEqual([borrow ? 'XXX' : 'abc']);
    }
  });

  it('are right while they are handled, however the stream is cut', () => {
    const handler = new LengthFieldHandler({ borrow: true });
    const stream = encode(handler, Buffer.from('one'), Buffer.alloc(0), Buffer.from('three'));
    expect(decode(handler, bytewise(stream)).events).toEqual(['pkg one', 'pkg ', 'pkg three']);
  });
});

describe('options of LengthFieldHandler', () => {
  const name = 'LengthFieldHandler';
  it.each([
    [{ lengthFieldBytes: 5 }, `${name}.lengthFieldBytes: expected 1, 2, 3, 4 or 8, given 5`],
    [{ lengthFieldBytes: 0 }, `${name}.lengthFieldBytes: expected 1, 2, 3, 4 or 8, given 0`],
    [{ lengthFieldBytes: '4' }, `${name}.lengthFieldBytes: expected 1, 2, 3, 4 or 8, given "4"`],
    [{ maxFrameBytes: 0 }, `${name}.maxFrameBytes: expected a whole number, from 1 to 2147483647, given 0`],
    [{ maxFrameBytes: 2 ** 31 }, `${name}.maxFrameBytes: expected a whole number, from 1 to 2147483647, given 2147483648`],
    [{ maxFrameBytes: 3 }, `${name}.maxFrameBytes: expected room for the length field, 4 or more, given 3`],
    [{ lengthFieldOffset: -1 }, `${name}.lengthFieldOffset: expected a whole number, from 0 to 1048572, given -1`],
    [{ lengthFieldOffset: 7, maxFrameBytes: 10 }, `${name}.lengthFieldOffset: expected a whole number, from 0 to 6, given 7`],
    [{ lengthAdjustment: 0.5 }, `${name}.lengthAdjustment: expected a whole number, from -4294967295 to 1048572, given 0.5`],
    [{ lengthAdjustment: 7, maxFrameBytes: 10 }, `${name}.lengthAdjustment: expected a whole number, from -4294967295 to 6, given 7`],
    [
      { lengthAdjustment: -256, lengthFieldBytes: 1 },
      `${name}.lengthAdjustment: expected a whole number, from -255 to 1048575, given -256`,
    ],
    [{ initialBytesToStrip: -1 }, `${name}.initialBytesToStrip: expected a whole number, from 0 to 4, given -1`],
    [{ initialBytesToStrip: 5 }, `${name}.initialBytesToStrip: expected a whole number, from 0 to 4, given 5`],
    [
      { initialBytesToStrip: 8, lengthFieldOffset: 1, lengthAdjustment: 2 },
      `${name}.initialBytesToStrip: expected a whole number, from 0 to 7, given 8`,
    ],
    [{ littleEndian: 'yes' }, `${name}.littleEndian: expected true or false, given "yes"`],
    [{ tooLong: 'ignore' }, `${name}.tooLong: expected one of close, skip, given "ignore"`],
    [{ failFast: null }, `${name}.failFast: expected true or false, given null`],
    [{ borrow: 1 }, `${name}.borrow: expected true or false, given 1`],
  ])('refuses %j', (options, message) => {
    const make = () => new LengthFieldHandler(options as unknown as LengthFieldOptions);
    expect(make).toThrow(expect.objectContaining({ name: 'ConfigError', code: 'INVALID_OPTION', message }));
  });

  it('takes the extremes', () => {
    expect(() => new LengthFieldHandler({ lengthFieldOffset: 6, maxFrameBytes: 10 })).not.toThrow();
    expect(() => new LengthFieldHandler({ lengthAdjustment: 6, initialBytesToStrip: 10, maxFrameBytes: 10 })).not.toThrow();
    expect(
      () => new LengthFieldHandler({ lengthFieldBytes: 8, lengthAdjustment: -Number.MAX_SAFE_INTEGER, maxFrameBytes: 8 }),
    ).not.toThrow();
  });
});
