/**
 * Any cutting of the same bytes gives the same events: packages, errors and what is left at the end. Each framing is held
 * against itself, fed byte by byte, and against a decoder of whole streams that shares no code with it.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DecimalPrefixHandler } from '../../src/codec/decimal-prefix.ts';
import { DelimiterHandler } from '../../src/codec/delimiter.ts';
import { FixedLengthHandler } from '../../src/codec/fixed-length.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { LineHandler } from '../../src/codec/line.ts';
import type { PkgHandler, PkgReader } from '../../src/codec/pkg-handler.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { VarintHandler } from '../../src/codec/varint.ts';
import {
  decimalPrefixOracle,
  delimiterOracle,
  fixedLengthOracle,
  lengthFieldOracle,
  lineOracle,
  type OracleLimits,
  varintOracle,
} from '../helpers/codec-oracle.ts';
import { PROPERTY_TIMEOUT_MS, propertyRuns } from '../helpers/codec-property.ts';
import { bytewise, cut, type Decoded, decode, encode } from '../helpers/codec-recorder.ts';

/** One stream, and what it must be decoded to. */
interface Case {
  readonly make: () => PkgReader<unknown>;
  readonly stream: Buffer;
  readonly expected: () => Decoded;
}

const chunkSizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 40 })), { minLength: 1, maxLength: 12 });

function isTheSameForAnyCutting(cases: fc.Arbitrary<Case>, sizes: fc.Arbitrary<number[]> = chunkSizes): void {
  fc.assert(
    fc.property(cases, sizes, ({ make, stream, expected }, cutting) => {
      const decoded = decode(make(), cut(stream, cutting));
      const oracle = expected();
      // Compared as text first: it is fifty times as fast, and the picture is only needed when they differ.
      if (JSON.stringify(decoded) !== JSON.stringify(oracle)) expect(decoded).toEqual(oracle);
      const single = decode(make(), bytewise(stream));
      if (JSON.stringify(single) !== JSON.stringify(oracle)) expect(single).toEqual(oracle);
      const whole = decode(make(), [stream]);
      if (JSON.stringify(whole) !== JSON.stringify(oracle)) expect(whole).toEqual(oracle);
    }),
    propertyRuns(1000),
  );
}

function limits(max: fc.Arbitrary<number>): fc.Arbitrary<OracleLimits> {
  return fc.record({ max, skip: fc.boolean(), late: fc.boolean() });
}

function optionsOf({ skip, late }: OracleLimits): { tooLong: 'close' | 'skip'; failFast: boolean } {
  return { tooLong: skip ? 'skip' : 'close', failFast: !late };
}

/** Text over a small alphabet, so that what has a meaning comes often and close together. */
function textOf(pieces: readonly string[], maxLength = 60): fc.Arbitrary<Buffer> {
  return fc.array(fc.constantFrom(...pieces), { maxLength, size: 'max' }).map((parts) => Buffer.from(parts.join(''), 'latin1'));
}

const smallBody = fc.uint8Array({ maxLength: 14, size: 'max' }).map((bytes) => Buffer.from(bytes));

function lengthFieldCases(): fc.Arbitrary<Case> {
  const shape = fc.record({
    offset: fc.nat(3),
    fieldBytes: fc.constantFrom(1 as const, 2 as const, 3 as const, 4 as const, 8 as const),
    adjustment: fc.integer({ min: -12, max: 5 }),
    stripShare: fc.nat(20),
    littleEndian: fc.boolean(),
    borrow: fc.boolean(),
    limits: limits(fc.integer({ min: 16, max: 30 })),
    /** Frames as the number in the field, beside the right one, and a body. */
    frames: fc.array(fc.tuple(fc.oneof({ weight: 6, arbitrary: fc.constant(0) }, fc.integer({ min: -3, max: 40 }), fc.nat()), smallBody), {
      maxLength: 10,
    }),
    noise: fc.oneof({ weight: 3, arbitrary: fc.constant(Buffer.alloc(0)) }, smallBody),
  });
  return shape.map(({ offset, fieldBytes, adjustment, stripShare, littleEndian, borrow, limits: limit, frames, noise }) => {
    const fieldEnd = offset + fieldBytes;
    const strip = stripShare % (fieldEnd + Math.max(0, adjustment) + 1);
    const parts = frames.map(([deviation, body]) => {
      const field = Buffer.alloc(8);
      field.writeBigUInt64BE(BigInt.asUintN(64, BigInt(body.length - adjustment + deviation)));
      const cutField = field.subarray(8 - fieldBytes);
      return Buffer.concat([Buffer.alloc(offset, 0x2e), littleEndian ? cutField.reverse() : cutField, body]);
    });
    const options = { ...limit, offset, fieldBytes, adjustment, strip, littleEndian };
    const stream = Buffer.concat([...parts, noise]);
    return {
      stream,
      make: () =>
        new LengthFieldHandler({
          lengthFieldOffset: offset,
          lengthFieldBytes: fieldBytes,
          lengthAdjustment: adjustment,
          initialBytesToStrip: strip,
          littleEndian,
          borrow,
          maxFrameBytes: limit.max,
          ...optionsOf(limit),
        }),
      expected: () => lengthFieldOracle(stream, options),
    };
  });
}

function varintCases(): fc.Arbitrary<Case> {
  const piece = fc.oneof(
    { weight: 6, arbitrary: smallBody.map((body) => Buffer.concat([Buffer.of(body.length), body])) },
    { weight: 1, arbitrary: smallBody.map((body) => Buffer.concat([Buffer.of(body.length | 0x80, 0x80, 0x00), body])) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(
        ...['8080808008', 'ffffffff07', '80808080', '818080800000', '808080808001', 'ff', '8100'].map((text) => Buffer.from(text, 'hex')),
      ),
    },
    { weight: 1, arbitrary: smallBody },
  );
  return fc.tuple(fc.array(piece, { maxLength: 10 }), limits(fc.integer({ min: 1, max: 14 }))).map(([pieces, limit]) => {
    const stream = Buffer.concat(pieces);
    return {
      stream,
      make: () => new VarintHandler({ maxFrameBytes: limit.max, ...optionsOf(limit) }),
      expected: () => varintOracle(stream, limit),
    };
  });
}

function decimalCases(): fc.Arbitrary<Case> {
  const piece = fc.oneof(
    { weight: 6, arbitrary: smallBody.map((body) => Buffer.concat([Buffer.from(`${body.length + 1} x`), body])) },
    { weight: 2, arbitrary: textOf(['0', '1', '2', '9', ' ', 'x'], 12) },
    { weight: 1, arbitrary: fc.constantFrom('1234567890 ', '12345678901', '9999999999', '01 ').map((text) => Buffer.from(text)) },
  );
  return fc.tuple(fc.array(piece, { maxLength: 10 }), limits(fc.integer({ min: 1, max: 15 }))).map(([pieces, limit]) => {
    const stream = Buffer.concat(pieces);
    return {
      stream,
      make: () => new DecimalPrefixHandler({ maxFrameBytes: limit.max, ...optionsOf(limit) }),
      expected: () => decimalPrefixOracle(stream, limit),
    };
  });
}

function lineCases(): fc.Arbitrary<Case> {
  const stream = fc.oneof(textOf(['a', 'b', '\r', '\n', '\r\n', '\xc3\xa9']), textOf(['a', 'aaaa', '\r', '\n']), smallBody);
  const options = fc.record({ encoding: fc.constantFrom('utf8' as const, 'latin1' as const), lastLine: fc.boolean() });
  return fc.tuple(stream, limits(fc.integer({ min: 1, max: 8 })), options).map(([bytes, limit, { encoding, lastLine }]) => ({
    stream: bytes,
    make: () => new LineHandler({ encoding, lastLine, maxLineBytes: limit.max, ...optionsOf(limit) }),
    expected: () => lineOracle(bytes, { ...limit, encoding, lastLine }),
  }));
}

/** Any delimiters over two letters, but none that begins with an earlier one. */
const delimiterLists = fc
  .array(
    fc.array(fc.constantFrom('a', 'b'), { minLength: 1, maxLength: 5 }).map((letters) => letters.join('')),
    { minLength: 1, maxLength: 4 },
  )
  .map((texts) => texts.filter((text, index) => !texts.slice(0, index).some((earlier) => text.startsWith(earlier))));

function delimiterCases(): fc.Arbitrary<Case> {
  const stream = fc.oneof(textOf(['a', 'b', 'x']), textOf(['a', 'b', 'ab', 'ba', 'xxxxxx']), textOf(['a', 'b']));
  const fixed = fc.constantFrom(['\n'], ['\r\n', '\n'], ['\r\n', '\r'], ['||'], ['<-->', '<-', '>']);
  const fixedStream = textOf(['\r', '\n', '|', '<', '-', '>', 'x', '\r\n', '||', '<-->']);
  const both = fc.oneof(fc.tuple(delimiterLists, stream), fc.tuple(fixed, fixedStream));
  return fc.tuple(both, limits(fc.integer({ min: 1, max: 9 })), fc.boolean()).map(([[delimiters, bytes], limit, strip]) => ({
    stream: bytes,
    make: () => new DelimiterHandler({ delimiters, maxFrameBytes: limit.max, stripDelimiter: strip, ...optionsOf(limit) }),
    expected: () => delimiterOracle(bytes, { ...limit, delimiters, strip }),
  }));
}

function fixedLengthCases(): fc.Arbitrary<Case> {
  return fc.tuple(fc.uint8Array({ maxLength: 100 }), fc.integer({ min: 1, max: 20 })).map(([bytes, frameBytes]) => ({
    stream: Buffer.from(bytes),
    make: () => new FixedLengthHandler({ frameBytes }),
    expected: () => fixedLengthOracle(Buffer.from(bytes), frameBytes),
  }));
}

/** Chunks and frames of the sizes at which memory is shared, copied and grown. */
function largeCases(): fc.Arbitrary<Case> {
  const size = fc.oneof(fc.nat(40), fc.integer({ min: 2040, max: 2056 }), fc.nat(20_000));
  return fc.tuple(fc.array(size, { maxLength: 8 }), fc.boolean()).map(([frameSizes, borrow]) => {
    const parts = frameSizes.flatMap((bytes, index) => [Buffer.of(bytes >>> 8, bytes & 0xff), Buffer.alloc(bytes, `<${index}>`)]);
    const stream = Buffer.concat(parts);
    const options = { offset: 0, fieldBytes: 2, adjustment: 0, strip: 2, littleEndian: false, max: 100_000, skip: false, late: false };
    return {
      stream,
      make: () => new LengthFieldHandler({ lengthFieldBytes: 2, borrow }),
      expected: () => lengthFieldOracle(stream, options),
    };
  });
}

describe('any cutting gives the same events', () => {
  it.each([
    ['LengthFieldHandler', lengthFieldCases],
    ['VarintHandler', varintCases],
    ['DecimalPrefixHandler', decimalCases],
    ['LineHandler', lineCases],
    ['DelimiterHandler', delimiterCases],
    ['FixedLengthHandler', fixedLengthCases],
  ] as const)('from %s', (_name, cases) => isTheSameForAnyCutting(cases()), PROPERTY_TIMEOUT_MS);

  it(
    'with frames and chunks of many kilobytes',
    () => {
      const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 3000 }), fc.integer({ min: 16_000, max: 66_000 })), {
        minLength: 1,
        maxLength: 6,
      });
      fc.assert(
        fc.property(largeCases(), sizes, ({ make, stream, expected }, cutting) => {
          expect(decode(make(), cut(stream, cutting))).toEqual(expected());
        }),
        propertyRuns(200, 5000),
      );
    },
    PROPERTY_TIMEOUT_MS,
  );

  it(
    'from RawHandler, once the packages are joined',
    () => {
      fc.assert(
        fc.property(fc.uint8Array({ maxLength: 100 }), chunkSizes, fc.integer({ min: 1, max: 20 }), (given, cutting, maxChunkBytes) => {
          const stream = Buffer.from(given);
          const { events, left } = decode(new RawHandler({ maxChunkBytes }), cut(stream, cutting));
          expect(events.map((event) => event.slice(4)).join('')).toBe(stream.toString('latin1'));
          expect(events.every((event) => event.length <= 4 + maxChunkBytes)).toBe(true);
          expect(left).toBe(0);
        }),
        propertyRuns(1000),
      );
    },
    PROPERTY_TIMEOUT_MS,
  );
});

type Codec = PkgHandler<unknown>;

/** Hands packages to a handler; those it takes must come back, in order, as the only ones. */
function whatIsWrittenIsRead(handler: Codec, packages: readonly unknown[], sizes: readonly number[], isWhole = false): void {
  const events: string[] = [];
  const frames: Buffer[] = [];
  for (const pkg of packages) {
    try {
      const frame = encode(handler, pkg);
      frames.push(frame);
      // Nothing stripped: the package is the frame, with the right length in it.
      const expected = isWhole ? frame : pkg;
      events.push(`pkg ${expected instanceof Uint8Array ? Buffer.from(expected).toString('latin1') : String(expected)}`);
    } catch (thrown) {
      expect(thrown).toMatchObject({ code: expect.stringMatching(/^ENCODE/) });
    }
  }
  expect(decode(handler, cut(Buffer.concat(frames), sizes))).toEqual({ events, left: 0 });
}

const lengthFieldShapes = fc.record({
  lengthFieldBytes: fc.constantFrom(1 as const, 2 as const, 3 as const, 4 as const, 8 as const),
  lengthAdjustment: fc.integer({ min: -5, max: 5 }),
  littleEndian: fc.boolean(),
  maxFrameBytes: fc.integer({ min: 16, max: 24 }),
});

describe('what write takes, read returns', () => {
  const cases: readonly [string, fc.Arbitrary<Codec>, fc.Arbitrary<unknown>][] = [
    ['LengthFieldHandler', lengthFieldShapes.map((options) => new LengthFieldHandler(options) as Codec), smallBody],
    [
      'LineHandler',
      fc
        .record({ encoding: fc.constantFrom('utf8' as const, 'latin1' as const), lineEnd: fc.constantFrom('\n' as const, '\r\n' as const) })
        .map((options) => new LineHandler({ ...options, maxLineBytes: 12 }) as Codec),
      fc.array(fc.constantFrom('a', '\r', '\n', 'é', '€', '\u010a', '\u0d0a'), { maxLength: 10 }).map((letters) => letters.join('')),
    ],
    [
      'DelimiterHandler',
      fc
        .tuple(delimiterLists, fc.boolean())
        .map(
          ([delimiters, stripDelimiter]) => new DelimiterHandler({ delimiters, stripDelimiter, maxFrameBytes: 8 }) as PkgHandler<unknown>,
        ),
      textOf(['a', 'b', 'x'], 10),
    ],
  ];

  it.each(cases)(
    'by %s',
    (_name, handlers, packages) => {
      const property = fc.property(handlers, fc.array(packages, { maxLength: 8 }), chunkSizes, (handler, given, sizes) => {
        whatIsWrittenIsRead(handler, given, sizes);
      });
      fc.assert(property, propertyRuns(1000));
    },
    PROPERTY_TIMEOUT_MS,
  );

  it(
    'by LengthFieldHandler that strips nothing, with the right length in place',
    () => {
      const frames = fc.array(smallBody, { maxLength: 8 });
      const property = fc.property(lengthFieldShapes, fc.nat(3), frames, chunkSizes, (options, lengthFieldOffset, given, sizes) => {
        const handler = new LengthFieldHandler({ ...options, lengthFieldOffset, initialBytesToStrip: 0 }) as Codec;
        whatIsWrittenIsRead(handler, given, sizes, true);
      });
      fc.assert(property, propertyRuns(1000));
    },
    PROPERTY_TIMEOUT_MS,
  );
});
