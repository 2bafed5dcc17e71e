import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { PeerError } from '../base/errors.ts';
import { checkBoolean, checkInteger, checkOneOf, show } from '../base/option.ts';
import { encodedTooLarge, LARGEST_FRAME_BYTES, malformed, notEncodable } from '../codec/frame-limit.ts';
import { type PkgContext, PkgHandler } from '../codec/pkg-handler.ts';

/** Of the action and seq. */
const HEAD_BYTES = 4;
/** Of the length, which counts itself. */
const LENGTH_BYTES = 4;
const SMALLEST_FRAME = LENGTH_BYTES + HEAD_BYTES;
/** The status with which a WebSocket refuses text where it expects binary (RFC 6455 section 7.4.1). */
const UNSUPPORTED_DATA = 1003;

/** One message between two programs: what it is about, which exchange it belongs to, and its content. */
export interface ActionPacket {
  /** -32 768 to 32 767. */
  readonly action: number;
  /** -32 768 to 32 767. A reply has that of its request. */
  readonly seq: number;
  readonly body: Uint8Array;
}

export interface ActionPacketOptions {
  /**
   * The largest packet in bytes, as its length field says it: 8 bytes of head and the body, in both directions. A message, which has
   * no length field, may be 4 bytes shorter at most.
   *
   * @default 1_048_576
   */
  readonly maxPacketBytes?: number;
  /**
   * What becomes of WebSocket messages that came as text: `reject` closes with 1003, `skip` drops them and tells `onError`, `binary`
   * reads them like the others.
   *
   * @default 'reject'
   */
  readonly text?: 'reject' | 'skip' | 'binary';
  /**
   * `true`: bodies are views of the receive buffer instead of copies, valid only until `onMessage` has returned. For routes whose
   * codecs copy what they keep (JSON, protobuf without bytes fields) and sessions without a task pool.
   *
   * @default false
   */
  readonly borrow?: boolean;
}

/**
 * The packets of znet, byte for byte. All numbers are signed and big-endian, and the length counts its own 4 bytes.
 *
 * ```
 *   on a stream    | length int32 | action int16 | seq int16 | body |      length = 8 + bytes of body
 *   in a message   | action int16 | seq int16 | body |
 *
 *   INPUT                                             DECODED
 *   | 0000000b | 0001 | 0002 | a b c |             -> action 1, seq 2, a b c
 *   | 00000008 | ffff | 8000 |                     -> action -1, seq -32 768, an empty body
 * ```
 *
 * Limit: `maxPacketBytes`, 1 MiB; compared before the body arrives, and no memory is taken by announced length. The session's
 * maxPackageBytes holds beside it. Errors: PACKAGE_TOO_LARGE; MALFORMED_PACKAGE for a length below 8 or a message below 4 bytes;
 * PROTOCOL_VIOLATION for text. All of them end the session, but `skip` lets it go on. `write` throws ENCODE_FAILED for numbers out of
 * range and ENCODED_TOO_LARGE.
 */
export class ActionPacketHandler extends PkgHandler<ActionPacket> {
  readonly #maxBytes: number;
  readonly #text: 'reject' | 'skip' | 'binary';
  readonly #borrow: boolean;

  constructor(options: ActionPacketOptions = {}) {
    super();
    const { maxPacketBytes = 1_048_576, text = 'reject', borrow = false } = options;
    this.#maxBytes = checkInteger('ActionPacketHandler.maxPacketBytes', maxPacketBytes, SMALLEST_FRAME, LARGEST_FRAME_BYTES);
    this.#text = checkOneOf('ActionPacketHandler.text', text, ['reject', 'skip', 'binary']);
    this.#borrow = checkBoolean('ActionPacketHandler.borrow', borrow);
  }

  read(bytes: ByteReader): ActionPacket | undefined {
    if (bytes.isMessage) return this.#readMessage(bytes);
    const { length } = bytes;
    if (length < LENGTH_BYTES) return bytes.need(LENGTH_BYTES);
    const size = bytes.uint32At(0) | 0;
    if (size < SMALLEST_FRAME) throw malformed(`a length of at least ${SMALLEST_FRAME}`, `${size}`);
    if (size > this.#maxBytes) throw tooLarge(this.#maxBytes, size);
    return size > length ? bytes.need(size) : this.#readPacket(bytes, LENGTH_BYTES, size);
  }

  #readMessage(bytes: ByteReader): ActionPacket | undefined {
    const { length } = bytes;
    if (bytes.isText && this.#text !== 'binary') {
      const recoverable = this.#text === 'skip';
      if (recoverable && length === 0) return undefined;
      if (recoverable) bytes.skip(length);
      throw new PeerError('PROTOCOL_VIOLATION', 'expected a binary message, given text', { recoverable, status: UNSUPPORTED_DATA });
    }
    if (length < HEAD_BYTES) throw malformed(`a message of at least ${HEAD_BYTES} bytes`, `${length}`);
    if (length + LENGTH_BYTES > this.#maxBytes) throw tooLarge(this.#maxBytes, length + LENGTH_BYTES);
    return this.#readPacket(bytes, 0, length);
  }

  #readPacket(bytes: ByteReader, headAt: number, size: number): ActionPacket {
    const action = toSigned16(bytes.uint16At(headAt));
    const seq = toSigned16(bytes.uint16At(headAt + 2));
    const skip = headAt + HEAD_BYTES;
    const body = this.#borrow ? bytes.readView(size - skip, skip) : bytes.readBytes(size - skip, skip);
    return { action, seq, body };
  }

  write({ action, seq, body }: ActionPacket, session: PkgContext, out: ByteWriter): void {
    if (!isSigned16(action) || !isSigned16(seq) || !(body instanceof Uint8Array)) throw refusal(action, seq, body);
    const size = body.length + SMALLEST_FRAME;
    if (size > this.#maxBytes) throw encodedTooLarge('ActionPacketHandler', this.#maxBytes, size);
    if (session.connection?.kind !== 'message') out.writeUint32(size);
    out.writeUint16(action & 0xffff);
    out.writeUint16(seq & 0xffff);
    out.writeBytes(body);
  }
}

function tooLarge(max: number, given: number): PeerError {
  return new PeerError('PACKAGE_TOO_LARGE', `expected a packet of at most ${max} bytes, given ${given}`);
}

function refusal(action: unknown, seq: unknown, body: unknown): Error {
  const [name, expected, given] = !isSigned16(action)
    ? ['action', 'a whole number from -32768 to 32767', action]
    : !isSigned16(seq)
      ? ['seq', 'a whole number from -32768 to 32767', seq]
      : ['body', 'a Uint8Array', body];
  return notEncodable('ActionPacketHandler', `${name}: ${expected}`, show(given));
}

function isSigned16(value: unknown): value is number {
  return typeof value === 'number' && (value << 16) >> 16 === value;
}

/** An action or seq as the README of znet draws it, 0 to 65 535: -1 is 65 535. */
export function toUnsigned16(signed: number): number {
  return signed & 0xffff;
}

/** An action or seq as packets have it, from its unsigned form: 65 535 is -1. */
export function toSigned16(unsigned: number): number {
  return (unsigned << 16) >> 16;
}

/** Throws ConfigError unless `value` is an action. */
export function checkAction(name: string, value: number): number {
  return checkInteger(name, value, -32_768, 32_767);
}
