import { ByteQueue } from '../base/byte-queue.ts';
import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { FastBuffer } from '../base/fast-buffer.ts';
import { checkBoolean, invalid, show } from '../base/option.ts';
import {
  checkPackage,
  encodedTooLarge,
  FrameLimit,
  LARGEST_FRAME_BYTES,
  notEncodable,
  type OversizeOptions,
  SKIPPING,
} from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

export interface DelimiterOptions extends OversizeOptions {
  /** One or more, none empty; text stands for its UTF-8 bytes. `write` uses the first one. Required. */
  readonly delimiters: readonly (string | Uint8Array)[];
  /** The longest frame in bytes, in both directions, the delimiter not counted. @default 65_536 */
  readonly maxFrameBytes?: number;
  /** Whether packages come, and are given to `write`, without their delimiter. @default true */
  readonly stripDelimiter?: boolean;
}

/**
 * Frames that end with one of several byte sequences. The format of Netty's DelimiterBasedFrameDecoder.
 *
 * ```
 *   INPUT (three chunks)                 DECODED, delimiters: ['||', '\0']
 *   | a b | | | c \0 \0 | d |    ->      'ab'   'c'   ''      d waits for its delimiter
 * ```
 *
 * **Which delimiter wins**: the one that begins first; of those that begin at the same byte, the one listed first. While bytes
 * still to come could decide it otherwise the frame waits for them, so the answer never depends on how the stream was cut:
 * with `['\r\n', '\r']` a frame that ends with `\r` is known to be complete when its next byte is there. A delimiter that
 * begins with an earlier one of the list could never win and is refused.
 *
 * Limit: `maxFrameBytes`, 64 KiB, without the delimiter; the session's maxPackageBytes MUST leave room for the longest
 * delimiter. Errors: PACKAGE_TOO_LARGE, see `tooLong` and `failFast`. `write` throws ENCODE_FAILED for a package that would not
 * be read back as it is, because it contains a delimiter or completes one, and ENCODED_TOO_LARGE.
 */
export class DelimiterHandler extends PkgHandler<Buffer, Uint8Array> {
  readonly #delimiters: readonly Buffer[];
  readonly #first: Buffer;
  /** 1 for each byte that a delimiter begins with. */
  readonly #firstBytes = new Uint8Array(256);
  readonly #limit: FrameLimit;
  readonly #strips: boolean;
  /** Holds a package while `write` examines it; empty otherwise. */
  readonly #probe = new ByteQueue();

  constructor(options: DelimiterOptions) {
    super();
    const { delimiters, maxFrameBytes = 65_536, stripDelimiter = true } = options;
    this.#delimiters = checkDelimiters(delimiters);
    this.#first = this.#delimiters[0] ?? Buffer.alloc(0);
    for (const delimiter of this.#delimiters) this.#firstBytes[delimiter.readUInt8(0)] = 1;
    this.#limit = new FrameLimit('DelimiterHandler', 'maxFrameBytes', maxFrameBytes, options);
    this.#strips = checkBoolean('DelimiterHandler.stripDelimiter', stripDelimiter);
  }

  read(bytes: ByteReader): Buffer | undefined {
    const end = this.#find(bytes, bytes.examined);
    if (bytes.state === SKIPPING) return this.#skip(bytes, end);
    const max = this.#limit.maxBytes;
    if (end < 0) {
      const open = -1 - end;
      if (open > max) return this.#beginSkip(bytes, open);
      bytes.examined = open;
      return undefined;
    }
    const delimiterBytes = this.#matchAt(bytes, end);
    if (end > max) {
      bytes.skip(end + delimiterBytes);
      throw this.#limit.tooLarge(`${end}`, this.#limit.skips);
    }
    if (!this.#strips) return bytes.readBytes(end + delimiterBytes);
    const pkg = bytes.readBytes(end);
    bytes.skip(delimiterBytes);
    return pkg;
  }

  write(pkg: Uint8Array, _session: PkgContext, out: ByteWriter): void {
    checkPackage('DelimiterHandler', pkg, this.#strips ? this.#limit.maxBytes : LARGEST_FRAME_BYTES);
    const frame = new FastBuffer(pkg.buffer, pkg.byteOffset, pkg.length);
    if (this.#strips) this.#checkBody(frame);
    else this.#checkFrame(frame);
    out.writeBytes(pkg);
    if (this.#strips) out.writeBytes(this.#first);
  }

  #checkBody(body: Buffer): void {
    const { end } = this.#examine(body);
    const open = -1 - end;
    if (open === body.length) return;
    // A delimiter may begin in the body and end in the one behind it, or need what follows that.
    if (end < 0 && this.#examine(Buffer.concat([body.subarray(open), this.#first])).end === body.length - open) return;
    const given = `one where a delimiter begins at byte ${Math.max(end, open)}`;
    throw notEncodable('DelimiterHandler', 'a package without a delimiter', given);
  }

  #checkFrame(frame: Buffer): void {
    const { end, next } = this.#examine(frame);
    if (next !== frame.length) throw notEncodable('DelimiterHandler', 'a package with one delimiter, in the last place', 'another');
    if (end > this.#limit.maxBytes) throw encodedTooLarge('DelimiterHandler', this.#limit.maxBytes, end);
  }

  /** What `read` would find in bytes that are to be sent: `end` as from #find, and where the delimiter there ends. */
  #examine(frame: Buffer): { end: number; next: number } {
    const probe = this.#probe;
    probe.offer(frame);
    const end = this.#find(probe, 0);
    const next = end < 0 ? -1 : end + this.#matchAt(probe, end);
    probe.clear();
    return { end, next };
  }

  /** Where the delimiter in front begins. When there is none: -1 minus the first position at which one may still begin. */
  #find(bytes: ByteReader, from: number): number {
    const length = bytes.length;
    let at = from;
    if (this.#delimiters.length === 1) {
      const found = bytes.indexOf(this.#first, from);
      if (found !== -1) return found;
      at = Math.max(from, length - this.#first.length + 1);
    }
    // Byte by byte, since an indexOf for each delimiter would search the whole chunk again for every frame in it.
    for (; at < length; at++) {
      if (this.#firstBytes[bytes.uint8At(at)] === 0) continue;
      const match = this.#matchAt(bytes, at);
      if (match > 0) return at;
      if (match < 0) return -1 - at;
    }
    return -1 - length;
  }

  /** The length of the delimiter at `at`; 0 when there is none, -1 when that depends on bytes to come. */
  #matchAt(bytes: ByteReader, at: number): number {
    const available = bytes.length - at;
    for (const delimiter of this.#delimiters) {
      const size = delimiter.length;
      const compared = Math.min(size, available);
      let same = 0;
      while (same < compared && delimiter[same] === bytes.uint8At(at + same)) same++;
      if (same === size) return size;
      if (same === available) return -1;
    }
    return 0;
  }

  /** `open`: nothing before it belongs to a delimiter. One byte is kept, so that a stream which ends here is seen to be truncated. */
  #beginSkip(bytes: ByteReader, open: number): undefined {
    const { skips, failFast } = this.#limit;
    if (!failFast || skips) {
      bytes.state = SKIPPING;
      bytes.skip(Math.min(open, bytes.length - 1));
    }
    if (failFast) throw this.#limit.tooLarge('more', skips);
    return undefined;
  }

  #skip(bytes: ByteReader, end: number): undefined {
    if (end < 0) {
      const count = Math.min(-1 - end, bytes.length - 1);
      if (count > 0) bytes.skip(count);
      else bytes.examined = -1 - end;
      return undefined;
    }
    bytes.skip(end + this.#matchAt(bytes, end));
    bytes.state = 0;
    if (!this.#limit.failFast) throw this.#limit.tooLarge('more', this.#limit.skips);
    return undefined;
  }
}

function checkDelimiters(given: readonly (string | Uint8Array)[]): readonly Buffer[] {
  const name = 'DelimiterHandler.delimiters';
  if (!Array.isArray(given) || given.length === 0) throw invalid(name, 'a list of one or more delimiters', given);
  const delimiters: Buffer[] = [];
  for (const value of given as readonly unknown[]) {
    const isBytes = typeof value === 'string' || value instanceof Uint8Array;
    if (!isBytes || value.length === 0) throw invalid(name, 'text or bytes, at least one byte long', value);
    const delimiter = Buffer.from(value);
    const winner = delimiters.find((earlier) => delimiter.subarray(0, earlier.length).equals(earlier));
    if (winner !== undefined) {
      throw invalid(
        name,
        `no delimiter that begins with one listed before it, as it would never win against ${show(winner.toString())}`,
        value,
      );
    }
    delimiters.push(delimiter);
  }
  return delimiters;
}
