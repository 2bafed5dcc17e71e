import { isUtf8 } from 'node:buffer';
import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { PeerError } from '../base/errors.ts';
import { checkInteger, show } from '../base/option.ts';
import { encodedTooLarge, FrameLimit, malformed, notEncodable, type OversizeOptions } from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

const END_OF_HEADER = Buffer.from('\r\n\r\n');
/** Every header of the format begins so, whatever its case. */
const NAME_START = 'content-';
/** Enough for any frame that a Buffer can hold. */
const MAX_DIGITS = 10;

export interface ContentLengthOptions extends OversizeOptions {
  /**
   * The largest text in bytes, in both directions, the header not counted.
   *
   * @default 1_048_576
   */
  readonly maxFrameBytes?: number;
  /**
   * The largest header in bytes, the empty line at its end included; 32 or more.
   *
   * @default 1_024
   */
  readonly maxHeaderBytes?: number;
}

/**
 * A header that tells the length, an empty line, then the text: the base protocol of the Language Server Protocol and its relatives.
 *
 * ```
 *   INPUT                                                   DECODED
 *   | C o n t e n t - L e n g t h : 2 \r \n \r \n { } | ->  '{}'
 * ```
 *
 * `Content-Type` may stand in the header too and must name UTF-8 if it names a charset. On connections that carry messages the
 * format is the same.
 *
 * Limits: `maxFrameBytes`, 1 MiB; `maxHeaderBytes`, 1 KiB; the session's maxPackageBytes MUST leave room for both. Errors:
 * PACKAGE_TOO_LARGE, see `tooLong` and `failFast`; MALFORMED_PACKAGE, for good, for any other header (at its first wrong byte), a length that is
 * missing, given twice or not 1 to 10 digits; MALFORMED_PACKAGE, recoverable, for a text that is not UTF-8.
 */
export class ContentLengthHandler extends PkgHandler<string> {
  readonly #limit: FrameLimit;
  readonly #maxHeaderBytes: number;

  constructor(options: ContentLengthOptions = {}) {
    super();
    const { maxFrameBytes = 1_048_576, maxHeaderBytes = 1024 } = options;
    this.#limit = new FrameLimit('ContentLengthHandler', 'maxFrameBytes', maxFrameBytes, options);
    this.#maxHeaderBytes = checkInteger('ContentLengthHandler.maxHeaderBytes', maxHeaderBytes, 32, 65_536);
  }

  read(bytes: ByteReader): string | undefined {
    if (bytes.state !== 0) return this.#limit.skipLate(bytes);
    // The end may have begun in the bytes that were searched before.
    const end = bytes.indexOf(END_OF_HEADER, Math.max(0, bytes.examined - 3));
    if (end === -1 || end + 4 > this.#maxHeaderBytes) return this.#readPartOfHeader(bytes);
    const headerBytes = end + 4;
    const size = lengthIn(headerText(bytes, end));
    const frameBytes = headerBytes + size;
    if (size > this.#limit.maxBytes) return this.#limit.refuse(bytes, frameBytes);
    if (frameBytes > bytes.length) return bytes.need(frameBytes);
    const body = bytes.readView(size, headerBytes);
    if (!isUtf8(body)) throw new PeerError('MALFORMED_PACKAGE', 'expected UTF-8, given other bytes', { recoverable: true });
    return body.toString();
  }

  write(text: string, _session: PkgContext, out: ByteWriter): void {
    if (typeof text !== 'string') throw notEncodable('ContentLengthHandler', 'a string', show(text));
    const size = Buffer.byteLength(text);
    if (size > this.#limit.maxBytes) throw encodedTooLarge('ContentLengthHandler', this.#limit.maxBytes, size);
    out.writeString(`Content-Length: ${size}\r\n\r\n`, 'latin1');
    out.writeString(text);
  }

  /** A stranger is known by the first line that is no header of ours, long before the limit. */
  #readPartOfHeader(bytes: ByteReader): undefined {
    const { length } = bytes;
    if (length >= this.#maxHeaderBytes) throw malformed(`a header of at most ${this.#maxHeaderBytes} bytes`, 'more');
    const lines = headerText(bytes, length).split('\r\n');
    const last = lines.pop() ?? '';
    for (const line of lines) checkStart(line, NAME_START);
    // The last line may be cut anywhere, also in the middle of the empty line at the end.
    if (last !== '\r' || lines.length === 0) checkStart(last, NAME_START.slice(0, last.length));
    bytes.examined = length;
    return undefined;
  }
}

function headerText(bytes: ByteReader, length: number): string {
  let text = '';
  for (let at = 0; at < length; at++) text += String.fromCharCode(bytes.uint8At(at));
  return text;
}

function checkStart(line: string, start: string): void {
  if (!line.toLowerCase().startsWith(start)) throw malformed('a header that begins with Content-', show(line.slice(0, 32)));
}

function lengthIn(header: string): number {
  let size = -1;
  for (const line of header.split('\r\n')) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon === -1 ? 0 : colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    if (name === 'content-length') {
      if (size !== -1) throw malformed('one Content-Length', 'two');
      if (value.length > MAX_DIGITS || !/^[0-9]+$/.test(value)) {
        throw malformed(`a Content-Length of 1 to ${MAX_DIGITS} digits`, show(value.slice(0, 32)));
      }
      size = Number(value);
    } else if (name === 'content-type') {
      const charset = /charset="?([^";]*)/i.exec(value)?.[1] ?? 'utf-8';
      if (!/^utf-?8$/i.test(charset.trim())) throw malformed('UTF-8', show(charset));
    } else {
      throw malformed('Content-Length or Content-Type', show(line.slice(0, 32)));
    }
  }
  if (size === -1) throw malformed('a Content-Length', 'none');
  return size;
}
