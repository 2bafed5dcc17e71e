import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { checkPackage, FrameLimit, malformed, notEncodable, type OversizeOptions } from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

const SPACE = 0x20;
const ZERO = 0x30;
const NINE = 0x39;
/** Enough for any frame that a Buffer can hold. */
const MAX_DIGITS = 10;

export interface DecimalPrefixOptions extends OversizeOptions {
  /**
   * The largest package in bytes, in both directions, the length in front not counted.
   *
   * @default 1_048_576
   */
  readonly maxFrameBytes?: number;
}

/**
 * The length in decimal digits, a space, then as many bytes of package: the octet counting of syslog over TCP, RFC 6587
 * section 3.4.1 (`SYSLOG-FRAME = MSG-LEN SP SYSLOG-MSG`). Netty has nothing like it.
 *
 * ```
 *   INPUT                              DECODED
 *   | 5 SP h e l l o 2 SP h i |   ->   | h e l l o |   | h i |
 * ```
 *
 * Limit: `maxFrameBytes`, 1 MiB; the session's maxPackageBytes MUST leave room for the length too. Errors: PACKAGE_TOO_LARGE, see
 * `tooLong` and `failFast`; MALFORMED_PACKAGE, for good, at the first byte that is not of a length: it begins with 1 to 9, has at
 * most 10 digits and ends with a space. So there is no empty package, and `write` refuses one with ENCODE_FAILED.
 */
export class DecimalPrefixHandler extends PkgHandler<Buffer, Uint8Array> {
  readonly #limit: FrameLimit;

  constructor(options: DecimalPrefixOptions = {}) {
    super();
    const { maxFrameBytes = 1_048_576 } = options;
    this.#limit = new FrameLimit('DecimalPrefixHandler', 'maxFrameBytes', maxFrameBytes, options);
  }

  read(bytes: ByteReader): Buffer | undefined {
    if (bytes.state !== 0) return this.#limit.skipLate(bytes);
    const length = bytes.length;
    let size = 0;
    let digits = 0;
    for (; ; digits++) {
      if (digits === length) return bytes.need(length + 1);
      const byte = bytes.uint8At(digits);
      if (byte === SPACE && digits > 0) break;
      if (byte < ZERO || byte > NINE || (byte === ZERO && digits === 0) || digits === MAX_DIGITS) {
        throw malformed(
          `1 to ${MAX_DIGITS} digits, the first not 0, and a space`,
          `byte 0x${byte.toString(16).padStart(2, '0')} at ${digits}`,
        );
      }
      size = size * 10 + (byte - ZERO);
    }
    const prefixBytes = digits + 1;
    const frameBytes = prefixBytes + size;
    if (size > this.#limit.maxBytes) return this.#limit.refuse(bytes, frameBytes);
    if (frameBytes > length) return bytes.need(frameBytes);
    bytes.skip(prefixBytes);
    return bytes.readBytes(size);
  }

  write(pkg: Uint8Array, _session: PkgContext, out: ByteWriter): void {
    checkPackage('DecimalPrefixHandler', pkg, this.#limit.maxBytes);
    if (pkg.length === 0) throw notEncodable('DecimalPrefixHandler', 'at least one byte', 'none');
    out.writeString(`${pkg.length} `, 'latin1');
    out.writeBytes(pkg);
  }
}
