import type { ByteReader } from '../base/byte-reader.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import { PeerError, StateError } from '../base/errors.ts';
import { checkInteger, show } from '../base/option.ts';
import { type PkgContext, PkgHandler } from '../codec/pkg-handler.ts';
import { Session } from '../session/session.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES, isCounted, readUint32, writeUint32 } from './wire.ts';

/** A command: its number, and what is said with it. */
export interface CommandMessage {
  /** 0 to 2^32 - 1. */
  readonly id: number;
  readonly payload: Uint8Array;
}

export interface CommandHandlerOptions {
  /** The largest payload in bytes, in both directions. @default 10_485_760 */
  readonly maxPayloadBytes?: number;
}

const ID_BYTES = 4;
/** Size and id of a message on a stream. */
export const HEADER_BYTES = 8;
const MAX_ID = 0xffff_ffff;

/**
 * Commands: a number and a payload. On a message transport (WebSocket) a package is a message, on a stream its size stands in front.
 *
 * ```
 *   INPUT                                                      DECODED
 *   one message   | 00000001 | h e l l o |                ->   { id: 1, payload: 'hello' }
 *   on a stream   | 00000009 | 00000001 | h e l l o |     ->   { id: 1, payload: 'hello' }
 * ```
 *
 * Limit: `maxPayloadBytes`, 10 MiB, compared before the body arrives on streams; the `maxPackageBytes` of the session MUST let it through
 * (`commandOptions` sees to that). Errors: MALFORMED_PACKAGE "Invalid message format" for a message without a whole id;
 * PACKAGE_TOO_LARGE; ENCODED_TOO_LARGE "failed to encode message: …" when a payload is too large to be sent.
 */
export class CommandHandler extends PkgHandler<CommandMessage> {
  readonly maxPayloadBytes: number;

  constructor({ maxPayloadBytes = DEFAULT_MAX_PAYLOAD_BYTES }: CommandHandlerOptions = {}) {
    super();
    this.maxPayloadBytes = checkInteger('CommandHandler.maxPayloadBytes', maxPayloadBytes, 0, 0x7fff_ffff);
  }

  read(bytes: ByteReader): CommandMessage | undefined {
    const { length } = bytes;
    if (bytes.isMessage) {
      if (length < ID_BYTES) throw malformed();
      return this.#take(bytes, 0, length);
    }
    if (length < ID_BYTES) return bytes.need(ID_BYTES);
    const size = bytes.uint32At(0);
    if (size < ID_BYTES) throw malformed();
    if (size - ID_BYTES > this.maxPayloadBytes) throw this.#tooLarge(size - ID_BYTES);
    if (length < ID_BYTES + size) return bytes.need(ID_BYTES + size);
    return this.#take(bytes, ID_BYTES, size);
  }

  #take(bytes: ByteReader, at: number, size: number): CommandMessage {
    if (size - ID_BYTES > this.maxPayloadBytes) throw this.#tooLarge(size - ID_BYTES);
    const id = bytes.uint32At(at);
    return { id, payload: bytes.readBytes(size - ID_BYTES, at + ID_BYTES) };
  }

  write(message: CommandMessage, session: PkgContext, out: ByteWriter): void {
    const isMessage = session instanceof Session && session.connection.kind === 'message';
    if (message instanceof Frame) {
      out.writeBytes(isMessage ? message.message : message.stream);
      return;
    }
    const { id, payload } = message;
    this.check(id, payload);
    if (!isMessage) out.writeUint32(ID_BYTES + payload.length);
    out.writeUint32(id);
    out.writeBytes(payload);
  }

  /** Throws what `write` throws. `wrapBytes`: what else the payload of the message has, for which the limit is. */
  check(id: number, payload: Uint8Array, wrapBytes = 0): void {
    if (!(payload instanceof Uint8Array)) {
      throw new StateError('NO_PACKAGE', `failed to encode message: expected a payload of bytes, given ${show(payload)}`);
    }
    if (!(Number.isInteger(id) && id >= 0 && id <= MAX_ID)) {
      throw new StateError('NO_PACKAGE', `failed to encode message: expected an id from 0 to ${MAX_ID}, given ${show(id)}`);
    }
    if (payload.length + wrapBytes <= this.maxPayloadBytes) return;
    const max = Math.max(0, this.maxPayloadBytes - wrapBytes);
    throw new StateError(
      'ENCODED_TOO_LARGE',
      `failed to encode message: expected a payload of at most ${max} bytes, given ${payload.length}`,
    );
  }

  #tooLarge(size: number): PeerError {
    return new PeerError('PACKAGE_TOO_LARGE', `expected a payload of at most ${this.maxPayloadBytes} bytes, given ${size}`);
  }
}

function malformed(): PeerError {
  return new PeerError('MALFORMED_PACKAGE', 'Invalid message format');
}

/** A message encoded once, for any number of sessions of both kinds and for repeating. Its bytes never change. */
export class Frame implements CommandMessage {
  /** With its size in front: for streams. */
  readonly stream: Buffer;
  /** For message transports. Always the same object, by which a connection knows that it has framed it already. */
  readonly message: Buffer;
  readonly id: number;
  readonly isCounted: boolean;
  /** How many clients keep it. */
  keepers = 0;

  private constructor(stream: Buffer) {
    this.stream = stream;
    this.message = stream.subarray(ID_BYTES);
    this.id = readUint32(stream, ID_BYTES);
    this.isCounted = isCounted(this.id);
  }

  static of(id: number, payload: Uint8Array): Frame {
    const stream = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
    writeUint32(stream, 0, ID_BYTES + payload.length);
    writeUint32(stream, ID_BYTES, id);
    stream.set(payload, HEADER_BYTES);
    return new Frame(stream);
  }

  /** Of what wire.ts has encoded. */
  static ofMessage(message: Uint8Array): Frame {
    const stream = Buffer.allocUnsafe(ID_BYTES + message.length);
    writeUint32(stream, 0, message.length);
    stream.set(message, ID_BYTES);
    return new Frame(stream);
  }

  get payload(): Buffer {
    return this.stream.subarray(HEADER_BYTES);
  }

  get length(): number {
    return this.stream.length;
  }
}
