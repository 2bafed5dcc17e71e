import type { Attributes } from '../base/attributes.ts';
import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';

/** What a PkgHandler may know of the session that it works for; every Session is one. */
export interface PkgContext {
  readonly id: number;
  /** A place for what the handler has to remember about this session, such as a negotiated version. */
  readonly attributes: Attributes;
  /** Whether a package stands in a stream or is a message; for `write`, since `read` is told by `bytes.isMessage`. Missing: a stream. */
  readonly connection?: { readonly kind: 'stream' | 'message' };
}

/**
 * CONTRACT. The receiving half of a framing: bytes to packages.
 *
 * `read` is called with the unread bytes of one stream, again and again until it returns undefined. It
 * - MUST return undefined while the package in front is incomplete, after consuming nothing; `return bytes.need(n)` when it
 *   knows how many bytes that takes;
 * - MUST otherwise consume exactly the bytes of one package and return it; any value but undefined is a package;
 * - MUST throw when the bytes cannot be decoded: the stream is out of step and the session closes (PROTOCOL). To skip a bad
 *   package and go on, it consumes it and throws a PeerError with `recoverable: true`;
 * - MUST be synchronous, and MUST give the same packages however the stream is cut into chunks;
 * - MUST keep no state of a stream in `this`, since one handler object serves all sessions: `bytes.examined` and `bytes.state`
 *   are there for that.
 */
export interface PkgReader<In> {
  read(bytes: ByteReader, session: PkgContext): In | undefined;
  /**
   * Called once when the peer has finished sending, or at the end of each message, and bytes are left that `read` could not use. May return a last package
   * made of them. Whatever stays unread is reported as a truncated stream.
   */
  readEnd?(bytes: ByteReader, session: PkgContext): In | undefined;
}

/**
 * CONTRACT. The sending half of a framing: one package to its bytes. `write`
 * - MUST return the bytes, or a list of byte arrays that leave in this order, or write them to `out` and return nothing;
 * - MUST be synchronous and MUST NOT change the package;
 * - MUST throw when the package cannot be encoded: nothing is sent then, and the caller of `send` gets the error;
 * - MUST NOT change the byte arrays that it returned, before or after they were sent.
 */
export interface PkgWriter<Out> {
  // biome-ignore lint/suspicious/noConfusingVoidType: "wrote to `out`" is written as no return statement at all
  write(pkg: Out, session: PkgContext, out: ByteWriter): Uint8Array | readonly Uint8Array[] | void;
}

/**
 * A framing: how packages stand in the stream. Subclass it, or give any object of the same shape to `withPkgHandler`.
 * Ready-made ones: RawHandler, FixedLengthHandler, LineHandler, DelimiterHandler, LengthFieldHandler, VarintHandler,
 * DecimalPrefixHandler.
 *
 * @example
 * ```ts
 * import { PkgHandler, type ByteReader } from 'portico';
 *
 * // One byte of length, then that many bytes of text.
 * class ShortText extends PkgHandler<string> {
 *   read(bytes: ByteReader): string | undefined {
 *     if (bytes.length < 1) return undefined;
 *     const size = bytes.uint8At(0);
 *     if (bytes.length < 1 + size) return bytes.need(1 + size);
 *     bytes.skip(1);
 *     return bytes.readString(size);
 *   }
 *
 *   write(text: string): Uint8Array {
 *     const body = Buffer.from(text);
 *     return Buffer.concat([Buffer.of(body.length), body]);
 *   }
 * }
 * ```
 */
export abstract class PkgHandler<In, Out = In> implements PkgReader<In>, PkgWriter<Out> {
  abstract read(bytes: ByteReader, session: PkgContext): In | undefined;
  // biome-ignore lint/suspicious/noConfusingVoidType: as in PkgWriter
  abstract write(pkg: Out, session: PkgContext, out: ByteWriter): Uint8Array | readonly Uint8Array[] | void;
}
