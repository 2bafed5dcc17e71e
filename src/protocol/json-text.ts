import { invalidBody } from './invalid-body.ts';
import { decodeUtf8 } from './utf8.ts';

/** Objects and lists within each other that are taken, when nothing else is said. */
export const DEFAULT_MAX_JSON_DEPTH = 64;

/**
 * Reads JSON that a stranger wrote: fatal UTF-8, no byte order mark, no nesting deeper than `maxDepth`, no member called `__proto__`
 * (it would change prototypes in programs that copy with Object.assign). Of members that come twice the last one counts. Throws
 * InvalidBodyError.
 */
export function parseJson(bytes: Uint8Array, maxDepth: number = DEFAULT_MAX_JSON_DEPTH): unknown {
  return parseJsonText(decodeUtf8('json', bytes), maxDepth);
}

/** As `parseJson`, for text that was decoded already. */
export function parseJsonText(text: string, maxDepth: number = DEFAULT_MAX_JSON_DEPTH): unknown {
  if (text.charCodeAt(0) === 0xfeff) throw invalidBody('json', 'it begins with a byte order mark');
  // A level takes two characters at least.
  if (text.length > maxDepth * 2 && isDeeperThan(text, maxDepth)) throw invalidBody('json', `it is nested deeper than ${maxDepth} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // What the engine says quotes the text, which is not ours to repeat.
    throw invalidBody('json', 'it is not JSON');
  }
  if ((text.includes('__proto__') || text.includes('\\u00')) && hasProtoKey(value)) {
    throw invalidBody('json', 'it has a member called __proto__');
  }
  return value;
}

/** Counts brackets outside strings; in a text that is not JSON the answer does not matter. */
function isDeeperThan(text: string, maxDepth: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === 0x22) {
      at = endOfString(text, at);
    } else if (char === 0x7b || char === 0x5b) {
      if (++depth > maxDepth) return true;
    } else if (char === 0x7d || char === 0x5d) {
      depth--;
    }
  }
  return false;
}

/** Where the string that begins at `start` has its closing quote; the end of the text when it has none. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let slashes = 0;
    while (text.charCodeAt(quote - 1 - slashes) === 0x5c) slashes++;
    if (slashes % 2 === 0) return quote;
  }
  return text.length;
}

/** The depth is bounded by now. */
function hasProtoKey(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(hasProtoKey);
  return Object.hasOwn(value, '__proto__') || Object.values(value).some(hasProtoKey);
}
