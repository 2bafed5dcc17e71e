import type { PeerError } from '../base/errors.ts';

/** Most bytes that are compressed or decompressed in one go. */
export const PIECE_BYTES = 65_536;

/**
 * CONTRACT. The sending half of a compressed stream. It
 * - MUST call `onCompressed` once for each `compress`, in the call or later, with bytes of its own out of which the peer gets back all
 *   that was given so far;
 * - is given the next piece only after that; a piece is 1 to PIECE_BYTES bytes, which stay as they are meanwhile.
 */
export interface Compressor {
  compress(piece: Uint8Array): void;
  /** What ends the stream after the last piece; undefined when the end of the connection does. */
  readonly endMark: Uint8Array | undefined;
  /** Frees everything; nothing is called afterwards. */
  destroy(): void;
}

export interface CompressorSink {
  onCompressed(bytes: Uint8Array): void;
  onCompressorFailure(error: Error): void;
}

/**
 * CONTRACT. The receiving half of a compressed stream. It
 * - MUST deliver what comes out in order, at most PIECE_BYTES at a time, and nothing while it is paused, so that a stream which grows
 *   a thousandfold takes no more memory than one that does not;
 * - MUST deliver what came before the place where the stream is corrupt: all of it, or up to a flush of the peer that stands at most
 *   PIECE_BYTES before that place;
 * - MAY call its sink from inside its own methods.
 */
export interface Decompressor {
  /** Enough is waiting to be decompressed: nothing more SHOULD be given until `onTaken`. */
  readonly isFull: boolean;
  /** Whether everything that can be decompressed of what was given is delivered. */
  readonly isIdle: boolean;
  /** The bytes are lent for the call. */
  feed(bytes: Buffer): void;
  /** No more bytes come: `onDecompressedEnd` or `onDecompressorFailure` MUST follow, once everything is delivered. */
  end(): void;
  pause(): void;
  resume(): void;
  /** Frees everything; nothing is called afterwards. */
  destroy(): void;
}

export interface DecompressorSink {
  /** The bytes are lent for the call. */
  onDecompressed(bytes: Buffer): void;
  /** Something of what was given is decompressed and delivered: `isFull` and `isIdle` may have changed. */
  onTaken(): void;
  onDecompressedEnd(): void;
  /** The stream is corrupt or was cut off; nothing follows. */
  onDecompressorFailure(error: PeerError): void;
}

/** One way of compressing a stream: how its two halves are made. */
export interface CompressionCodec {
  compressor(sink: CompressorSink): Compressor;
  decompressor(sink: DecompressorSink): Decompressor;
}
