import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { checkBoolean, checkInteger, invalid, show } from '../base/option.ts';
import { encodedTooLarge, FrameLimit, malformed, notEncodable, type OversizeOptions } from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

const TWO_TO_32 = 4_294_967_296;
/** The upper half of Number.MAX_SAFE_INTEGER. */
const MAX_SAFE_HIGH = 0x1f_ffff;

export interface LengthFieldOptions extends OversizeOptions {
  /** Bytes of header in front of the length field. @default 0 */
  readonly lengthFieldOffset?: number;
  /** The size of the length field; it holds an unsigned number. @default 4 */
  readonly lengthFieldBytes?: 1 | 2 | 3 | 4 | 8;
  /**
   * How many bytes follow the length field beyond those that it counts: positive for a header behind the field that it leaves
   * out, negative when it counts bytes up to its own end (-lengthFieldBytes: it counts itself).
   *
   * @default 0
   */
  readonly lengthAdjustment?: number;
  /** Bytes at the front of a frame that are left out of the package. @default lengthFieldOffset + lengthFieldBytes */
  readonly initialBytesToStrip?: number;
  /** @default false */
  readonly littleEndian?: boolean;
  /** The largest frame in bytes, header included, nothing stripped; in both directions. @default 1_048_576 */
  readonly maxFrameBytes?: number;
  /**
   * `true`: packages are views of the receive buffer instead of copies, valid only until `onMessage` has returned. The fast,
   * unsafe variant: a package that is kept, used after an `await`, or handled by a task pool changes under its user.
   *
   * @default false
   */
  readonly borrow?: boolean;
}

/**
 * A header that says how long the frame is. `new LengthFieldHandler()`: 4 bytes, big-endian, then as many bytes of package. The
 * format, and the five parameters, of Netty's LengthFieldBasedFrameDecoder, with its LengthFieldPrepender in the same object.
 *
 * ```
 *   frame bytes = lengthFieldOffset + lengthFieldBytes + value of the field + lengthAdjustment
 *
 *   INPUT                                                              DECODED
 *   | 0005 | H E L L O |           lengthFieldBytes: 2              -> | H E L L O |
 *   | 0007 | H E L L O |           the same, lengthAdjustment: -2   -> | H E L L O |
 *   | 0005 | H E L L O |           the same, initialBytesToStrip: 0 -> | 0005 | H E L L O |
 *   | CA | 0005 | FE | H E L L O | lengthFieldOffset: 1, lengthFieldBytes: 2, lengthAdjustment: 1, initialBytesToStrip: 3
 *                                                                   -> | FE | H E L L O |
 * ```
 *
 * **`write` takes what `read` returns**: with nothing in front of the length field and the field stripped, as by default, it
 * puts the field in front; with `initialBytesToStrip: 0` the package is the whole frame, and `write` puts the right number in
 * the place of the field, whatever stands there. Anything else strips bytes that `write` cannot know: it throws ENCODE_FAILED,
 * and a subclass that knows them overrides it.
 *
 * Limit: `maxFrameBytes`, 1 MiB. It is compared before the body arrives, and no memory is taken by announced length.
 * Errors: PACKAGE_TOO_LARGE, see `tooLong` and `failFast`; MALFORMED_PACKAGE, for good, when the field and `lengthAdjustment`
 * give a frame that ends before its length field does. An 8-byte length of 2^53 or more is never skipped, but always for good.
 */
export class LengthFieldHandler extends PkgHandler<Buffer, Uint8Array> {
  readonly #offset: number;
  readonly #fieldBytes: 1 | 2 | 3 | 4 | 8;
  readonly #littleEndian: boolean;
  readonly #limit: FrameLimit;
  readonly #maxFrameBytes: number;
  readonly #strip: number;
  readonly #borrow: boolean;
  /** Where the length field ends: the smallest frame and, while it lacks, what `read` waits for. */
  readonly #fieldEnd: number;
  /** Bytes of a frame that its length field does not count. */
  readonly #uncounted: number;
  /** What can be sent, as the number that goes into the length field: package bytes + #writeAdded. NaN when nothing can. */
  readonly #writeAdded: number;
  readonly #maxWriteValue: number;
  /** 4 bytes, big-endian, in front of the body and nothing else: what most protocols have. */
  readonly #isPlain: boolean;

  constructor(options: LengthFieldOptions = {}) {
    super();
    const name = 'LengthFieldHandler';
    const { lengthFieldBytes = 4, lengthFieldOffset = 0, lengthAdjustment = 0, littleEndian = false, borrow = false } = options;
    const { maxFrameBytes = 1_048_576, initialBytesToStrip = lengthFieldOffset + lengthFieldBytes } = options;
    this.#limit = new FrameLimit(name, 'maxFrameBytes', maxFrameBytes, options);
    const max = this.#limit.maxBytes;
    if (![1, 2, 3, 4, 8].includes(lengthFieldBytes)) throw invalid(`${name}.lengthFieldBytes`, '1, 2, 3, 4 or 8', lengthFieldBytes);
    const largestValue = lengthFieldBytes === 8 ? Number.MAX_SAFE_INTEGER : 2 ** (8 * lengthFieldBytes) - 1;
    if (lengthFieldBytes > max) throw invalid(`${name}.maxFrameBytes`, `room for the length field, ${lengthFieldBytes} or more`, max);
    this.#offset = checkInteger(`${name}.lengthFieldOffset`, lengthFieldOffset, 0, max - lengthFieldBytes);
    this.#fieldBytes = lengthFieldBytes;
    this.#fieldEnd = lengthFieldOffset + lengthFieldBytes;
    // More than this fits into no frame; less than that makes every frame malformed.
    const adjustment = checkInteger(`${name}.lengthAdjustment`, lengthAdjustment, -largestValue, max - this.#fieldEnd);
    const smallestFrame = this.#fieldEnd + Math.max(0, adjustment);
    this.#strip = checkInteger(`${name}.initialBytesToStrip`, initialBytesToStrip, 0, smallestFrame);
    this.#littleEndian = checkBoolean(`${name}.littleEndian`, littleEndian);
    this.#borrow = checkBoolean(`${name}.borrow`, borrow);
    this.#maxFrameBytes = max;
    this.#uncounted = this.#fieldEnd + adjustment;
    const isFieldStripped = this.#offset === 0 && this.#strip === lengthFieldBytes;
    this.#writeAdded = isFieldStripped ? -adjustment : this.#strip === 0 ? -this.#uncounted : Number.NaN;
    this.#maxWriteValue = Math.min(largestValue, max - this.#uncounted);
    this.#isPlain = lengthFieldBytes === 4 && isFieldStripped && adjustment === 0 && !littleEndian;
  }

  read(bytes: ByteReader): Buffer | undefined {
    // The usual shape in one straight line; whatever is not simply a whole frame goes the long way.
    const length = bytes.length;
    if (this.#isPlain && length >= 4 && bytes.state === 0) {
      const bodyBytes = bytes.uint32At(0);
      if (bodyBytes + 4 <= length && bodyBytes + 4 <= this.#maxFrameBytes) {
        return this.#borrow ? bytes.readView(bodyBytes, 4) : bytes.readBytes(bodyBytes, 4);
      }
    }
    return this.#readAny(bytes);
  }

  #readAny(bytes: ByteReader): Buffer | undefined {
    if (bytes.state !== 0) return this.#limit.skipLate(bytes);
    const length = bytes.length;
    if (length < this.#fieldEnd) return bytes.need(this.#fieldEnd);
    const frameBytes = this.#uncounted + this.#valueOf(bytes);
    if (frameBytes > this.#maxFrameBytes) return this.#limit.refuse(bytes, frameBytes);
    if (frameBytes < this.#fieldEnd) throw malformed(`a frame of at least ${this.#fieldEnd} bytes`, `${frameBytes}`);
    if (frameBytes > length) return bytes.need(frameBytes);
    const strip = this.#strip;
    if (strip > 0) bytes.skip(strip);
    return this.#borrow ? bytes.readView(frameBytes - strip) : bytes.readBytes(frameBytes - strip);
  }

  write(pkg: Uint8Array, _session: PkgContext, out: ByteWriter): void {
    if (this.#isPlain && pkg instanceof Uint8Array && pkg.length <= this.#maxWriteValue) {
      out.writeUint32(pkg.length);
      out.writeBytes(pkg);
    } else {
      this.#writeAny(pkg, out);
    }
  }

  #writeAny(pkg: Uint8Array, out: ByteWriter): void {
    const value = pkg.length + this.#writeAdded;
    if (!(value >= 0 && value <= this.#maxWriteValue && pkg instanceof Uint8Array)) throw this.#refusal(pkg);
    if (this.#strip > 0) {
      this.#writeValue(value, out);
      out.writeBytes(pkg);
      return;
    }
    if (pkg.length < this.#fieldEnd) throw this.#refusal(pkg);
    if (this.#offset > 0) out.writeBytes(pkg.subarray(0, this.#offset));
    this.#writeValue(value, out);
    out.writeBytes(pkg.subarray(this.#fieldEnd));
  }

  #valueOf(bytes: ByteReader): number {
    switch (this.#fieldBytes) {
      case 1:
        return bytes.uint8At(this.#offset);
      case 2:
        return bytes.uint16At(this.#offset, this.#littleEndian);
      case 3:
        return bytes.uint24At(this.#offset, this.#littleEndian);
      case 4:
        return bytes.uint32At(this.#offset, this.#littleEndian);
      case 8: {
        const high = bytes.uint32At(this.#offset + (this.#littleEndian ? 4 : 0), this.#littleEndian);
        const low = bytes.uint32At(this.#offset + (this.#littleEndian ? 0 : 4), this.#littleEndian);
        // From 2^53 on a number is rounded, and `lengthAdjustment` could make a wrong one of it that looks right.
        return high > MAX_SAFE_HIGH ? Number.POSITIVE_INFINITY : high * TWO_TO_32 + low;
      }
    }
  }

  #writeValue(value: number, out: ByteWriter): void {
    const littleEndian = this.#littleEndian;
    const fieldBytes = this.#fieldBytes;
    if (fieldBytes === 4) out.writeUint32(value, littleEndian);
    else if (fieldBytes === 2) out.writeUint16(value, littleEndian);
    else if (fieldBytes === 1) out.writeUint8(value);
    else if (fieldBytes === 3) out.writeUint24(value, littleEndian);
    else out.writeUint64(BigInt(value), littleEndian);
  }

  #refusal(pkg: Uint8Array): Error {
    const name = 'LengthFieldHandler';
    if (!(pkg instanceof Uint8Array)) return notEncodable(name, 'a Uint8Array', show(pkg));
    const added = this.#writeAdded;
    if (Number.isNaN(added)) {
      const stripped = `${this.#strip} bytes stripped, length field from ${this.#offset} to ${this.#fieldEnd}`;
      return notEncodable(name, 'a framing that strips its length field and nothing else, or nothing at all', stripped);
    }
    const max = this.#maxWriteValue - added;
    if (pkg.length > max) return encodedTooLarge(name, max, pkg.length);
    return notEncodable(name, `a package of at least ${Math.max(-added, this.#strip > 0 ? 0 : this.#fieldEnd)} bytes`, `${pkg.length}`);
  }
}
