import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { checkInteger } from '../base/option.ts';
import { checkPackage, LARGEST_FRAME_BYTES } from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

export interface RawOptions {
  /**
   * The largest package in bytes; a larger chunk becomes several packages. MUST NOT be above the session's maxPackageBytes.
   *
   * @default 65_536
   */
  readonly maxChunkBytes?: number;
}

/**
 * No framing: bytes as they come. How many of them make a package says nothing about how they were sent, since TCP cuts and
 * joins at will; only their order counts. For proxies, for files, and for protocols that the listener parses itself.
 *
 * ```
 *   INPUT (three chunks)                 DECODED
 *   | 47 45 54 20 | 2f 0d | 0a |   ->    | 47 45 54 20 |   | 2f 0d |   | 0a |
 * ```
 *
 * On connections that carry messages a message is a package, an empty one too.
 *
 * Limit: `maxChunkBytes`, 64 KiB, for a package received from a stream; what is sent is bounded by the session alone.
 * Errors: none when reading.
 */
export class RawHandler extends PkgHandler<Buffer, Uint8Array> {
  readonly #maxChunkBytes: number;

  constructor(options: RawOptions = {}) {
    super();
    const { maxChunkBytes = 65_536 } = options;
    this.#maxChunkBytes = checkInteger('RawHandler.maxChunkBytes', maxChunkBytes, 1, LARGEST_FRAME_BYTES);
  }

  read(bytes: ByteReader): Buffer | undefined {
    const length = bytes.length;
    if (bytes.isMessage) return bytes.readBytes(length);
    if (length === 0) return undefined;
    return bytes.readBytes(Math.min(length, this.#maxChunkBytes));
  }

  write(pkg: Uint8Array, _session: PkgContext, out: ByteWriter): void {
    checkPackage('RawHandler', pkg, LARGEST_FRAME_BYTES);
    out.writeBytes(pkg);
  }
}
