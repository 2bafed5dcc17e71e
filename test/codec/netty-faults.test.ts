/** The faults found in Netty 4.2's decoders, by number; each must not be ours. */
import { describe, expect, it } from 'vitest';
import { DelimiterHandler } from '../../src/codec/delimiter.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { PackageReader } from '../../src/codec/package-reader.ts';
import type { PkgReader } from '../../src/codec/pkg-handler.ts';
import { VarintHandler } from '../../src/codec/varint.ts';
import { bytes, decode, hex, Recorder } from '../helpers/codec-recorder.ts';

/** What is reported after each chunk. */
function afterEach(handler: PkgReader<unknown>, ...chunks: readonly Buffer[]): readonly (readonly string[])[] {
  const recorder = new Recorder();
  const reader = new PackageReader(handler, recorder, 0);
  return chunks.map((chunk) => {
    const before = recorder.events.length;
    reader.feed(chunk);
    return recorder.events.slice(before);
  });
}

describe('faults of Netty', () => {
  it.each([true, false])(
    'F1 a delimiter cut in the middle behind a frame that is too long does not swallow the next frame (failFast %s)',
    (failFast) => {
      const handler = () => new DelimiterHandler({ delimiters: ['||'], maxFrameBytes: 8, tooLong: 'skip', failFast });
      const expected = { events: ['error PACKAGE_TOO_LARGE', 'pkg GOOD', 'pkg NEXT'], left: 0 };
      expect(decode(handler(), [bytes('AAAAAAAAAAAA|'), bytes('|GOOD||NEXT||')])).toEqual(expected);
      // The same while it is already being discarded.
      expect(decode(handler(), [bytes('AAAAAAAAAAAA'), bytes('AAAA'), bytes('AA|'), bytes('|GOOD||NEXT||')])).toEqual(expected);
    },
  );

  it('F2 a line of exactly the maximum is taken when its line end is cut', () => {
    const handler = () => new LineHandler({ maxLineBytes: 8 });
    expect(decode(handler(), [bytes('12345678\r\n')]).events).toEqual(['pkg 12345678']);
    expect(decode(handler(), [bytes('12345678\r'), bytes('\n')]).events).toEqual(['pkg 12345678']);
  });

  it('F2 a frame of exactly the maximum is taken when its delimiter is cut', () => {
    const handler = () => new DelimiterHandler({ delimiters: ['<->'], maxFrameBytes: 8 });
    expect(decode(handler(), [bytes('12345678<->')]).events).toEqual(['pkg 12345678']);
    expect(decode(handler(), [bytes('12345678<'), bytes('-'), bytes('>')]).events).toEqual(['pkg 12345678']);
  });

  it('F3 stripping more than a frame has is refused when it is configured, so no frame can poison the stream', () => {
    const make = () => new LengthFieldHandler({ lengthFieldBytes: 2, initialBytesToStrip: 3 });
    expect(make).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    // The most that can be stripped leaves the smallest frame empty.
    const handler = new LengthFieldHandler({ lengthFieldBytes: 2, lengthAdjustment: 1, initialBytesToStrip: 3 });
    expect(decode(handler, [hex('0000 ff 0002 ff 6162')]).events).toEqual(['pkg ', 'pkg ab']);
  });

  it('F4 a frame that would end before its length field ends the stream, even if frames that are too long are skipped', () => {
    const handler = new LengthFieldHandler({ lengthFieldBytes: 2, lengthAdjustment: -2, tooLong: 'skip' });
    const recorder = new Recorder();
    const reader = new PackageReader(handler, recorder, 0);
    reader.feed(hex('0001 0003 61'));
    reader.feed(hex('0003 61'));
    expect([recorder.events, reader.bufferedBytes]).toEqual([['fatal MALFORMED_PACKAGE'], 0]);
  });

  it('F5 a length of five bytes may be cut before its fifth', () => {
    const handler = () => new VarintHandler({ maxFrameBytes: 100, tooLong: 'skip' });
    const prefix = hex('80 80 80 80 01');
    expect(afterEach(handler(), prefix.subarray(0, 4), prefix.subarray(4))).toEqual([[], ['error PACKAGE_TOO_LARGE']]);
    expect(afterEach(new VarintHandler({ maxFrameBytes: 2 ** 31 - 1 }), prefix.subarray(0, 4), prefix.subarray(4))).toEqual([[], []]);
  });

  it('F5 the limit is on one frame, not on all that are read together', () => {
    const handlers = [new VarintHandler({ maxFrameBytes: 20 }), new LineHandler({ maxLineBytes: 20 })];
    expect(decode(handlers[0] as PkgReader<unknown>, [bytes('\x06aaaaaa\x06bbbbbb\x06cccccc\x06dddddd')]).events.length).toBe(4);
    expect(decode(handlers[1] as PkgReader<unknown>, [bytes('aaaaaa\nbbbbbb\ncccccc\ndddddd\n')]).events.length).toBe(4);
  });

  it('F6 frames that came together with one that is too long are delivered at once', () => {
    const skip = { tooLong: 'skip' } as const;
    const events = [['pkg a', 'error PACKAGE_TOO_LARGE', 'pkg b', 'pkg c']];
    expect(afterEach(new LengthFieldHandler({ lengthFieldBytes: 1, maxFrameBytes: 3, ...skip }), bytes('\x01a\x03xyz\x01b\x01c'))).toEqual(
      events,
    );
    expect(afterEach(new DelimiterHandler({ delimiters: ['|'], maxFrameBytes: 2, ...skip }), bytes('a|xyz|b|c|'))).toEqual(events);
    expect(afterEach(new LineHandler({ maxLineBytes: 2, ...skip }), bytes('a\nxyz\nb\nc\n'))).toEqual(events);
    expect(afterEach(new VarintHandler({ maxFrameBytes: 2, ...skip }), bytes('\x01a\x03xyz\x01b\x01c'))).toEqual(events);
  });

  it('F6 frames that came before a fatal error are delivered', () => {
    expect(afterEach(new LengthFieldHandler({ lengthFieldBytes: 1, maxFrameBytes: 3 }), bytes('\x01a\x01b\x03xyz\x01c'))).toEqual([
      ['pkg a', 'pkg b', 'fatal PACKAGE_TOO_LARGE'],
    ]);
  });
});
