const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const MINUS = 0x2d;

/** What the source of a message says that the value parsed from it does not. */
export interface RpcScan {
  /** The limit that the text breaks; nothing else is known then. */
  readonly refused: 'depth' | 'batch' | 'proto' | undefined;
  /** By element (a message that is no batch is element 0): the digits of its `id` when that is a number. */
  readonly ids: readonly (string | undefined)[];
}

/**
 * One pass over JSON text before it is parsed: bounds depth and elements, refuses members called `__proto__`, and finds the digits of the
 * ids, which parsing would round. In a text that is not JSON the answer does not matter.
 */
export function scanRpc(text: string, maxDepth: number, maxElements: number): RpcScan {
  const ids: (string | undefined)[] = [];
  let depth = 0;
  let element = 0;
  /** The depth at which members are those of a message. */
  let messageDepth = 1;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE: {
        const end = endOfString(text, at);
        const after = skipSpace(text, end + 1);
        if (text.charCodeAt(after) === COLON) {
          const key = keyOf(text, at, end);
          if (key === '__proto__') return { refused: 'proto', ids };
          if (key === 'id' && depth === messageDepth) ids[element] = numberAt(text, skipSpace(text, after + 1));
        }
        at = end;
        break;
      }
      // [
      case 0x5b:
        if (depth === 0) messageDepth = 2;
        if (++depth > maxDepth) return { refused: 'depth', ids };
        break;
      // {
      case 0x7b:
        if (++depth > maxDepth) return { refused: 'depth', ids };
        break;
      // ] and }
      case 0x5d:
      case 0x7d:
        depth--;
        break;
      // ,
      case 0x2c:
        if (depth === 1 && messageDepth === 2 && ++element >= maxElements) return { refused: 'batch', ids };
        break;
    }
  }
  return { refused: undefined, ids };
}

/** Where the string that begins at `start` has its closing quote; the end of the text when it has none. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let slashes = 0;
    while (text.charCodeAt(quote - 1 - slashes) === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return quote;
  }
  return text.length;
}

/** The name of a member, if it may be one that matters: at most nine characters, each of at most six when escaped. */
function keyOf(text: string, start: number, end: number): string | undefined {
  if (end - start > 55) return undefined;
  const key = text.slice(start + 1, end);
  if (!key.includes('\\')) return key;
  try {
    return JSON.parse(text.slice(start, end + 1)) as string;
  } catch {
    return undefined;
  }
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

function numberAt(text: string, start: number): string | undefined {
  const first = text.charCodeAt(start);
  if (first !== MINUS && !(first >= 0x30 && first <= 0x39)) return undefined;
  let end = start + 1;
  while (/[\d.eE+-]/.test(text.charAt(end))) end++;
  return text.slice(start, end);
}
