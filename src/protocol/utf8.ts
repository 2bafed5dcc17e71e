import { invalidBody } from './invalid-body.ts';

const encoder = /* @__PURE__ */ new TextEncoder();
/** A byte order mark is kept: it is no white space, and would else vanish unseen. */
const decoder = /* @__PURE__ */ new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function encodeUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Throws InvalidBodyError for bytes that are not UTF-8. */
export function decodeUtf8(codec: string, bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (thrown) {
    throw invalidBody(codec, 'it is not UTF-8', thrown);
  }
}
