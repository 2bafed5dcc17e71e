import type { ByteReader } from '../../src/base/byte-reader.ts';
import type { ByteWriter } from '../../src/base/byte-writer.ts';
import { ContentLengthHandler } from '../../src/codec/content-length.ts';
import { DecimalPrefixHandler } from '../../src/codec/decimal-prefix.ts';
import { DelimiterHandler } from '../../src/codec/delimiter.ts';
import { FixedLengthHandler } from '../../src/codec/fixed-length.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { type PkgContext, PkgHandler } from '../../src/codec/pkg-handler.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { VarintHandler } from '../../src/codec/varint.ts';
import { ActionPacketHandler } from '../../src/router/action-packet.ts';

/** One framing, ready for any of the tests that all framings must pass. */
export interface Framing {
  readonly name: string;
  readonly make: () => PkgHandler<unknown>;
  /** A package of about `size` bytes whose content depends on `seed`. */
  readonly pkg: (size: number, seed: number) => unknown;
  /** `false`: how packages are cut depends on the chunks, as it does without any framing. */
  readonly isFramed: boolean;
  /** `true`: the handler says how many bytes it needs, so it is not asked again for each chunk. */
  readonly announces: boolean;
}

function text(size: number, seed: number): string {
  return String.fromCharCode(0x61 + (seed % 26)).repeat(size);
}

function body(size: number, seed: number): Buffer {
  return Buffer.from(text(size, seed));
}

/** A whole frame, for handlers that strip nothing. */
function frame(fieldAt: number, field: string): (size: number, seed: number) => Buffer {
  return (size, seed) => {
    const length = Buffer.from(size.toString(16).padStart(field.length, '0'), 'hex');
    return Buffer.concat([Buffer.alloc(fieldAt, 0xca), length, body(size, seed)]);
  };
}

function framing(name: string, make: () => unknown, pkg: Framing['pkg'], traits: { isFramed?: false; announces?: true } = {}): Framing {
  const { isFramed = true, announces = false } = traits;
  return { name, make: make as Framing['make'], pkg, isFramed, announces };
}

const announces = { announces: true } as const;

/** The packets of portico/router, always with the same action and seq: their bodies. */
class ActionBodies extends PkgHandler<Uint8Array> {
  readonly #packets = new ActionPacketHandler();

  read(bytes: ByteReader): Uint8Array | undefined {
    return this.#packets.read(bytes)?.body;
  }

  write(body: Uint8Array, session: PkgContext, out: ByteWriter): void {
    this.#packets.write({ action: 7, seq: -7, body }, session, out);
  }
}

export const FRAMINGS: readonly Framing[] = [
  framing('RawHandler', () => new RawHandler(), body, { isFramed: false }),
  framing(
    'FixedLengthHandler',
    () => new FixedLengthHandler({ frameBytes: 16_384 }),
    (_size, seed) => body(16_384, seed),
    announces,
  ),
  framing('LineHandler', () => new LineHandler(), text),
  framing('LineHandler with \\r\\n', () => new LineHandler({ lineEnd: '\r\n', encoding: 'latin1' }), text),
  framing('DelimiterHandler', () => new DelimiterHandler({ delimiters: ['\0'] }), body),
  framing('DelimiterHandler with several delimiters', () => new DelimiterHandler({ delimiters: ['\r\n', '\r', '<>'] }), body),
  framing(
    'DelimiterHandler that leaves the delimiter on',
    () => new DelimiterHandler({ delimiters: ['<>'], stripDelimiter: false }),
    (size, seed) => Buffer.from(`${text(size, seed)}<>`),
  ),
  framing('LengthFieldHandler', () => new LengthFieldHandler(), body, announces),
  framing('LengthFieldHandler with borrowed packages', () => new LengthFieldHandler({ borrow: true }), body, announces),
  framing('LengthFieldHandler with 2 bytes', () => new LengthFieldHandler({ lengthFieldBytes: 2, littleEndian: true }), body, announces),
  framing(
    'LengthFieldHandler with 3 bytes that count themselves',
    () => new LengthFieldHandler({ lengthFieldBytes: 3, lengthAdjustment: -3 }),
    body,
    announces,
  ),
  framing('LengthFieldHandler with 8 bytes', () => new LengthFieldHandler({ lengthFieldBytes: 8 }), body, announces),
  framing(
    'LengthFieldHandler that strips nothing',
    () => new LengthFieldHandler({ lengthFieldOffset: 2, lengthFieldBytes: 4, initialBytesToStrip: 0 }),
    frame(2, '00000000'),
    announces,
  ),
  framing('VarintHandler', () => new VarintHandler(), body, announces),
  framing(
    'DecimalPrefixHandler',
    () => new DecimalPrefixHandler(),
    (size, seed) => body(Math.max(1, size), seed),
    announces,
  ),
  framing('ActionPacketHandler', () => new ActionBodies(), body, announces),
  framing('ContentLengthHandler', () => new ContentLengthHandler(), text),
];
