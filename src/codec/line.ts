import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { checkBoolean, checkOneOf, invalid, show } from '../base/option.ts';
import { encodedTooLarge, FrameLimit, notEncodable, type OversizeOptions, SKIPPING } from './frame-limit.ts';
import { type PkgContext, PkgHandler } from './pkg-handler.ts';

const LF = 0x0a;
const CR = 0x0d;
const CRLF = 0x0d0a;

export interface LineOptions extends OversizeOptions {
  /**
   * How bytes are text. Invalid UTF-8 is read as U+FFFD. `latin1` is one byte per character; a text with others is not sent.
   *
   * @default 'utf8'
   */
  readonly encoding?: 'utf8' | 'latin1';
  /**
   * The longest line in bytes, in both directions, the line end not counted.
   *
   * @default 65_536
   */
  readonly maxLineBytes?: number;
  /**
   * What `write` puts behind a line. Reading takes both at any time.
   *
   * @default '\n'
   */
  readonly lineEnd?: '\n' | '\r\n';
  /**
   * Whether the text behind the last line end is a package too when the peer has finished sending. Otherwise the stream is
   * reported as truncated, because nobody knows whether the line was complete.
   *
   * @default false
   */
  readonly lastLine?: boolean;
}

/**
 * Lines of text, ended by `\n` or `\r\n`. A `\r` elsewhere is part of the text. The format of Netty's LineBasedFrameDecoder and
 * of most text protocols.
 *
 * ```
 *   INPUT (two chunks)               DECODED
 *   | one \r \n t | w o \n \n 3 | -> 'one'   'two'   ''      3 waits for its line end
 * ```
 *
 * On connections that carry messages, the end of a message ends a line as well.
 *
 * Limit: `maxLineBytes`, 64 KiB, without the line end; the session's maxPackageBytes MUST leave room for two bytes more.
 * Errors: PACKAGE_TOO_LARGE, see `tooLong` and `failFast`. `write` throws ENCODE_FAILED for a text that contains a line end or
 * would lose its last character to one (`\n` anywhere, `\r` at the end), and ENCODED_TOO_LARGE.
 */
export class LineHandler extends PkgHandler<string> {
  readonly #encoding: 'utf8' | 'latin1';
  readonly #limit: FrameLimit;
  readonly #isCrlf: boolean;
  readonly #lastLine: boolean;

  constructor(options: LineOptions = {}) {
    super();
    const { encoding = 'utf8', maxLineBytes = 65_536, lineEnd = '\n', lastLine = false } = options;
    this.#encoding = checkOneOf('LineHandler.encoding', encoding, ['utf8', 'latin1']);
    this.#limit = new FrameLimit('LineHandler', 'maxLineBytes', maxLineBytes, options);
    if (lineEnd !== '\n' && lineEnd !== '\r\n') throw invalid('LineHandler.lineEnd', '"\\n" or "\\r\\n"', lineEnd);
    this.#isCrlf = lineEnd === '\r\n';
    this.#lastLine = checkBoolean('LineHandler.lastLine', lastLine);
  }

  read(bytes: ByteReader): string | undefined {
    const end = bytes.indexOf(LF, bytes.examined);
    if (bytes.state === SKIPPING) return this.#skip(bytes, end);
    const max = this.#limit.maxBytes;
    if (end === -1) {
      const length = bytes.length;
      // A `\r` in the last place may be half of the line end, which does not count.
      if (length > max && (length > max + 1 || bytes.uint8At(max) !== CR)) return this.#beginSkip(bytes);
      bytes.examined = length;
      return undefined;
    }
    const size = end > 0 && bytes.uint8At(end - 1) === CR ? end - 1 : end;
    if (size > max) {
      bytes.skip(end + 1);
      throw this.#limit.tooLarge(`${size}`, this.#limit.skips);
    }
    const text = bytes.readString(size, this.#encoding);
    bytes.skip(end + 1 - size);
    return text;
  }

  readEnd(bytes: ByteReader): string | undefined {
    if (bytes.state === SKIPPING) {
      // The end of a message ends the line, too.
      if (bytes.isMessage) bytes.skip(bytes.length);
      return undefined;
    }
    if (!this.#lastLine && !bytes.isMessage) return undefined;
    const size = bytes.length;
    if (size <= this.#limit.maxBytes) return bytes.readString(size, this.#encoding);
    bytes.skip(size);
    throw this.#limit.tooLarge(`${size}`, this.#limit.skips);
  }

  write(text: string, _session: PkgContext, out: ByteWriter): void {
    if (typeof text !== 'string') throw notEncodable('LineHandler', 'a string', show(text));
    const max = this.#limit.maxBytes;
    if (text.length > max) throw encodedTooLarge('LineHandler', max, Buffer.byteLength(text, this.#encoding));
    if (text.includes('\n') || text.endsWith('\r')) throw notEncodable('LineHandler', 'a text without a line end', show(text));
    // Written as Latin-1, U+010A would be the byte 0A: a line end.
    if (this.#encoding === 'latin1' && !isLatin1(text)) throw notEncodable('LineHandler', 'Latin-1 text', show(text));
    const size = out.writeString(text, this.#encoding);
    if (size > max) throw encodedTooLarge('LineHandler', max, size);
    if (this.#isCrlf) out.writeUint16(CRLF);
    else out.writeUint8(LF);
  }

  #beginSkip(bytes: ByteReader): undefined {
    const { skips, failFast } = this.#limit;
    if (!failFast || skips) {
      bytes.state = SKIPPING;
      bytes.skip(bytes.length - 1);
    }
    if (failFast) throw this.#limit.tooLarge('more', skips);
    return undefined;
  }

  /** Drops what is there of the line; its last byte is kept, so that a stream which ends here is seen to be truncated. */
  #skip(bytes: ByteReader, end: number): undefined {
    if (end === -1) {
      if (bytes.length > 1) bytes.skip(bytes.length - 1);
      else bytes.examined = 1;
      return undefined;
    }
    bytes.skip(end + 1);
    bytes.state = 0;
    if (!this.#limit.failFast) throw this.#limit.tooLarge('more', this.#limit.skips);
    return undefined;
  }
}

function isLatin1(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    if (text.charCodeAt(index) > 0xff) return false;
  }
  return true;
}
