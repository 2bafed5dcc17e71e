import { StateError } from '../base/errors.ts';
import { show } from '../base/option.ts';
import type { BodyCodec, BytesLike } from './body-codec.ts';
import { invalidBody } from './invalid-body.ts';
import { decodeUtf8, encodeUtf8 } from './utf8.ts';

const RAW: BodyCodec<BytesLike, Uint8Array> = {
  name: 'raw',
  encode: (value) => toBytes(value),
  decode: (bytes) => new Uint8Array(bytes),
};

const TEXT: BodyCodec<string> = {
  name: 'text',
  encode(value) {
    if (typeof value !== 'string') throw new StateError('UNENCODABLE_BODY', `text: expected a string, given ${show(value)}`);
    return encodeUtf8(value);
  },
  decode: (bytes) => decodeUtf8('text', bytes),
};

const NO_BYTES = /* @__PURE__ */ new Uint8Array(0);

const EMPTY: BodyCodec<void, undefined> = {
  name: 'empty',
  encode(value) {
    if (value !== undefined) throw new StateError('UNENCODABLE_BODY', `empty: expected undefined, given ${show(value)}`);
    return NO_BYTES;
  },
  decode(bytes) {
    if (bytes.length > 0) throw invalidBody('empty', `expected no bytes, given ${bytes.length}`);
    return undefined;
  },
};

/**
 * Bodies that are bytes. Bytes that are given to be sent are not copied and MUST NOT be changed afterwards; those received are the
 * program's own. A view sends the part that it shows, a string its UTF-8.
 */
export function raw(): BodyCodec<BytesLike, Uint8Array> {
  return RAW;
}

/** Bodies that are text: UTF-8, checked. Lone surrogates are sent as U+FFFD. */
export function text(): BodyCodec<string> {
  return TEXT;
}

/** Bodies without a byte, for messages that say all by their name. */
export function empty(): BodyCodec<void, undefined> {
  return EMPTY;
}

/** The bytes that are meant, without copying any. Throws StateError UNENCODABLE_BODY for what is no bytes. */
export function toBytes(value: BytesLike): Uint8Array {
  if (value instanceof Uint8Array) return value;
  if (typeof value === 'string') return encodeUtf8(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  // Also one of another realm, such as a frame of the page.
  if (Object.prototype.toString.call(value) === '[object ArrayBuffer]') return new Uint8Array(value);
  throw new StateError('UNENCODABLE_BODY', `raw: expected a string, an ArrayBuffer or a view of one, given ${show(value)}`);
}
