import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { checkPackage, FrameLimit, malformed, type OversizeOptions } from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

const MAX_PREFIX_BYTES = 5;

export interface VarintOptions extends OversizeOptions {
  /**
   * The largest package in bytes, in both directions, the length in front not counted.
   *
   * @default 1_048_576
   */
  readonly maxFrameBytes?: number;
}

/**
 * A base-128 varint of 1 to 5 bytes, lowest seven bits first, says how many bytes of package follow: protobuf's
 * `writeDelimitedTo` and `parseDelimitedFrom`, Netty's ProtobufVarint32FrameDecoder and ProtobufVarint32LengthFieldPrepender.
 *
 * ```
 *   INPUT                                   DECODED
 *   | 03 | 61 62 63 | 00 |             ->   | 61 62 63 |   | |           an empty message is a package
 *   | ac 02 | (300 bytes) |            ->   | (300 bytes) |
 * ```
 *
 * Limit: `maxFrameBytes`, 1 MiB; the session's maxPackageBytes MUST leave room for the length too. Errors: PACKAGE_TOO_LARGE, see
 * `tooLong` and `failFast`; MALFORMED_PACKAGE, for good, for a length that goes on after 5 bytes or is negative as an int32
 * (2^31 and more). A length written with more bytes than it needs is taken, as by protobuf.
 */
export class VarintHandler extends PkgHandler<Buffer, Uint8Array> {
  readonly #limit: FrameLimit;

  constructor(options: VarintOptions = {}) {
    super();
    const { maxFrameBytes = 1_048_576 } = options;
    this.#limit = new FrameLimit('VarintHandler', 'maxFrameBytes', maxFrameBytes, options);
  }

  read(bytes: ByteReader): Buffer | undefined {
    if (bytes.state !== 0) return this.#limit.skipLate(bytes);
    const length = bytes.length;
    let size = 0;
    let prefixBytes = 0;
    for (let byte = 0x80; byte >= 0x80; prefixBytes++) {
      if (prefixBytes === length) return bytes.need(length + 1);
      byte = bytes.uint8At(prefixBytes);
      // The fifth byte has room for bits 28 to 30, and none after it.
      if (prefixBytes === MAX_PREFIX_BYTES - 1 && byte > 0x07)
        throw malformed('a length below 2^31 in at most 5 bytes', 'a longer or negative one');
      size += (byte & 0x7f) << (7 * prefixBytes);
    }
    const frameBytes = prefixBytes + size;
    if (size > this.#limit.maxBytes) return this.#limit.refuse(bytes, frameBytes);
    if (frameBytes > length) return bytes.need(frameBytes);
    bytes.skip(prefixBytes);
    return bytes.readBytes(size);
  }

  write(pkg: Uint8Array, _session: PkgContext, out: ByteWriter): void {
    checkPackage('VarintHandler', pkg, this.#limit.maxBytes);
    let rest = pkg.length;
    for (; rest > 0x7f; rest >>>= 7) out.writeUint8((rest & 0x7f) | 0x80);
    out.writeUint8(rest);
    out.writeBytes(pkg);
  }
}
