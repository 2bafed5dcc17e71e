import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { checkInteger } from '../base/option.ts';
import { checkPackage, LARGEST_FRAME_BYTES, notEncodable } from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

export interface FixedLengthOptions {
  /** The size of every package in bytes. Required. MUST NOT be above the session's maxPackageBytes. */
  readonly frameBytes: number;
}

/**
 * Packages that all have the same size. The format of Netty's FixedLengthFrameDecoder.
 *
 * ```
 *   INPUT (three chunks)             DECODED, frameBytes: 3
 *   | 41 | 42 43 44 | 45 46 47 |  -> | 41 42 43 |   | 44 45 46 |      47 waits for two more
 * ```
 *
 * Limit: `frameBytes` itself. Errors when reading: none; a stream that ends inside a package is reported as truncated.
 * `write` refuses a package of any other size with ENCODE_FAILED.
 */
export class FixedLengthHandler extends PkgHandler<Buffer, Uint8Array> {
  readonly #frameBytes: number;

  constructor(options: FixedLengthOptions) {
    super();
    this.#frameBytes = checkInteger('FixedLengthHandler.frameBytes', options.frameBytes, 1, LARGEST_FRAME_BYTES);
  }

  read(bytes: ByteReader): Buffer | undefined {
    const size = this.#frameBytes;
    return bytes.length < size ? bytes.need(size) : bytes.readBytes(size);
  }

  write(pkg: Uint8Array, _session: PkgContext, out: ByteWriter): void {
    checkPackage('FixedLengthHandler', pkg, LARGEST_FRAME_BYTES);
    if (pkg.length !== this.#frameBytes) throw notEncodable('FixedLengthHandler', `${this.#frameBytes} bytes`, `${pkg.length}`);
    out.writeBytes(pkg);
  }
}
