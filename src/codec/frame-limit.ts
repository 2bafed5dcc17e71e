import type { ByteReader } from '../base/byte-reader.ts';
import { ListenerError, PeerError, StateError } from '../base/errors.ts';
import { checkBoolean, checkInteger, checkOneOf, show } from '../base/option.ts';

/** No framing takes a larger limit: 2 GiB - 1, within what one Buffer holds on every supported Node. */
export const LARGEST_FRAME_BYTES = 2_147_483_647;

/** `bytes.state` of a stream inside a frame that is being skipped up to its delimiter. */
export const SKIPPING = 1;

/** What becomes of a received frame above the limit. */
export interface OversizeOptions {
  /**
   * `close`: PACKAGE_TOO_LARGE ends the session. `skip`: the frame is dropped as it comes, without being stored, and the session
   * goes on behind it; `onError` gets a recoverable PACKAGE_TOO_LARGE, one per frame.
   *
   * @default 'close'
   */
  readonly tooLong?: 'close' | 'skip';
  /**
   * `true`: report the frame as soon as it is known to be too long. `false`: only after its last byte has been dropped; a stream
   * that ends before that is reported as truncated instead.
   *
   * @default true
   */
  readonly failFast?: boolean;
}

/** The limit of one framing: the same rules and the same complaints for all of them. */
export class FrameLimit {
  readonly maxBytes: number;
  readonly skips: boolean;
  readonly failFast: boolean;

  constructor(owner: string, maxName: string, maxBytes: number, options: OversizeOptions) {
    const { tooLong = 'close', failFast = true } = options;
    this.maxBytes = checkInteger(`${owner}.${maxName}`, maxBytes, 1, LARGEST_FRAME_BYTES);
    this.skips = checkOneOf(`${owner}.tooLong`, tooLong, ['close', 'skip']) === 'skip';
    this.failFast = checkBoolean(`${owner}.failFast`, failFast);
  }

  /** For a frame in front that announced its size: `frameBytes` in all, which may lie far beyond what has arrived. */
  refuse(bytes: ByteReader, frameBytes: number): undefined {
    const canSkip = Number.isSafeInteger(frameBytes);
    if (this.failFast || !canSkip) {
      if (this.skips && canSkip) bytes.discard(frameBytes);
      throw this.tooLarge(canSkip ? `${frameBytes}` : '2^53 or more', this.skips && canSkip);
    }
    bytes.state = frameBytes;
    return this.skipLate(bytes);
  }

  /** For a stream whose `state` is how much of such a frame is still to be dropped: reports when its last byte is there. */
  skipLate(bytes: ByteReader): undefined {
    const { length, state } = bytes;
    if (length < state) {
      // One byte is kept, so that a stream which ends here is seen to be truncated.
      bytes.skip(length - 1);
      bytes.state = state - (length - 1);
      return undefined;
    }
    bytes.skip(state);
    bytes.state = 0;
    throw this.tooLarge('more', this.skips);
  }

  tooLarge(given: string, recoverable: boolean): PeerError {
    return new PeerError('PACKAGE_TOO_LARGE', `expected a frame of at most ${this.maxBytes} bytes, given ${given}`, { recoverable });
  }
}

/** The stream is out of step for good. */
export function malformed(expected: string, given: string): PeerError {
  return new PeerError('MALFORMED_PACKAGE', `expected ${expected}, given ${given}`);
}

/** `write` was given a package that this framing cannot carry. */
export function notEncodable(owner: string, expected: string, given: string): ListenerError {
  return new ListenerError('ENCODE_FAILED', 'write', `${owner}.write: expected ${expected}, given ${given}`);
}

/** `write` was given a package above the limit. */
export function encodedTooLarge(owner: string, maxBytes: number, given: number): StateError {
  return new StateError('ENCODED_TOO_LARGE', `${owner}.write: expected a package of at most ${maxBytes} bytes, given ${given}`);
}

/** Throws unless `pkg` is bytes and not above the limit. */
export function checkPackage(owner: string, pkg: Uint8Array, maxBytes: number): void {
  if (!(pkg instanceof Uint8Array)) throw notEncodable(owner, 'a Uint8Array', show(pkg));
  if (pkg.length > maxBytes) throw encodedTooLarge(owner, maxBytes, pkg.length);
}
