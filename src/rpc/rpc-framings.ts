import { isUtf8 } from 'node:buffer';
import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { PeerError } from '../base/errors.ts';
import { show } from '../base/option.ts';
import { DelimiterHandler } from '../codec/delimiter.ts';
import { notEncodable } from '../codec/frame-limit.ts';
import { LineHandler } from '../codec/line.ts';
import { type PkgContext, PkgHandler } from '../codec/pkg-handler.ts';

export interface RpcLineOptions {
  /**
   * The longest line in bytes, in both directions, the line end not counted. MUST be below the session's maxPackageBytes.
   *
   * @default 1_048_574
   */
  readonly maxLineBytes?: number;
}

/**
 * One JSON text per line, ended by `\n` or `\r\n`: JSON-RPC over TCP. As LineHandler, but a line that is not UTF-8 is refused, with a
 * recoverable MALFORMED_PACKAGE, instead of being read with U+FFFD in it; and it takes longer lines.
 */
export class RpcLineHandler extends PkgHandler<string> {
  readonly #reader: DelimiterHandler;
  readonly #writer: LineHandler;

  constructor(options: RpcLineOptions = {}) {
    super();
    const { maxLineBytes = 1_048_574 } = options;
    this.#writer = new LineHandler({ maxLineBytes });
    // A `\r` in front of the line end is white space to JSON.
    this.#reader = new DelimiterHandler({ delimiters: ['\n'], maxFrameBytes: maxLineBytes });
  }

  read(bytes: ByteReader): string | undefined {
    const line = this.#reader.read(bytes);
    return line === undefined ? undefined : textOf(line);
  }

  write(text: string, session: PkgContext, out: ByteWriter): void {
    this.#writer.write(text, session, out);
  }
}

/**
 * One JSON text per message: JSON-RPC over WebSocket. Takes text and binary messages, and sends text. A binary message that is not UTF-8
 * is refused with a recoverable MALFORMED_PACKAGE. Not for streams.
 */
export class RpcMessageHandler extends PkgHandler<string> {
  read(bytes: ByteReader): string {
    if (bytes.isText) return bytes.readString(bytes.length);
    return textOf(bytes.readView(bytes.length));
  }

  write(text: string, _session: PkgContext, out: ByteWriter): void {
    if (typeof text !== 'string') throw notEncodable('RpcMessageHandler', 'a string', show(text));
    out.isText = true;
    out.writeString(text);
  }
}

function textOf(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw new PeerError('MALFORMED_PACKAGE', 'expected UTF-8, given other bytes', { recoverable: true });
  return bytes.toString();
}
