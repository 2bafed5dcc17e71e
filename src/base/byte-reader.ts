/**
 * CONTRACT. Received bytes as a PkgHandler sees them: a cursor over one contiguous run. Reading consumes from the front,
 * looking (`uint8At`, `indexOf`, …) does not. Positions are relative to the front, so 0 is the first unconsumed byte.
 *
 * Everything that consumes checks its range; reading past the end throws ListenerError READ_OUT_OF_RANGE and ends the
 * session, because it means that the handler forgot to test `length`.
 */
export interface ByteReader {
  /** How many bytes can be read now. */
  readonly length: number;

  /**
   * How many bytes from the front an earlier `read` has already searched in vain. A handler that looks for a delimiter
   * starts there and stores `length` when it finds none, so that a package that arrives byte by byte is scanned once. Back
   * to 0 whenever bytes are consumed.
   */
  examined: number;

  /**
   * A small number for the handler to remember something about this stream between calls (a handler object is shared by
   * all sessions). Starts at 0 and is never changed by portico.
   */
  state: number;

  /** Whether the bytes are (the rest of) one whole message, of a WebSocket or a datagram, instead of a stream. */
  readonly isMessage: boolean;

  /** Whether that message came as text: a WebSocket tells text, valid UTF-8, from binary. */
  readonly isText: boolean;

  /** The byte at `offset`. MUST be below `length`. */
  uint8At(offset: number): number;
  uint16At(offset: number, littleEndian?: boolean): number;
  uint24At(offset: number, littleEndian?: boolean): number;
  uint32At(offset: number, littleEndian?: boolean): number;
  /** 8 bytes, unsigned. */
  uint64At(offset: number, littleEndian?: boolean): bigint;

  /** Position of a byte value or byte sequence, searching from `from`; -1 when it is not there. */
  indexOf(value: number | Uint8Array, from?: number): number;

  /**
   * Consumes `skip` bytes (a header, say) and `count` more, and returns the latter in memory of their own: they may be kept
   * for ever.
   */
  readBytes(count: number, skip?: number): Buffer;

  /**
   * Like `readBytes`, but returns a view of the receive buffer, uncopied. Valid only until the package made of it has
   * been handled: MUST NOT be kept, nor used after an `await`, and is wrong under a task pool.
   */
  readView(count: number, skip?: number): Buffer;

  /** Consumes `count` bytes and returns them as text. */
  readString(count: number, encoding?: BufferEncoding): string;

  /** Consumes `count` bytes. */
  skip(count: number): void;

  /** Consumes `count` bytes, also those that have not arrived yet: they are dropped as they come, without being stored. */
  discard(count: number): void;

  /**
   * "Call me again when there are `count` bytes in all". Returns undefined, to be returned from `read`. The session checks
   * the number against its package limit at once, so an oversized package is refused before its body arrives.
   */
  need(count: number): undefined;
}
