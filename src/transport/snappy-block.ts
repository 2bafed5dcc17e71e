/**
 * The block format of snappy: one piece of bytes, compressed by itself.
 *
 * ```
 * length of the content, varint | element | element | ...
 * literal   xxxxxx00  (1 to 4 bytes of length when x is 60 to 63)  bytes
 * copy      ooolll01  oooooooo                     4 to 11 bytes from less than 2 KiB back
 * copy      llllll10  16 bits of offset            1 to 64 bytes from less than 64 KiB back
 * copy      llllll11  32 bits of offset
 * ```
 *
 * Source of the format: google/snappy, format_description.txt. Numbers are little-endian; a copy may overlap what it makes.
 *
 * @module
 */

const LITERAL = 0;
const COPY_NEAR = 1;
const COPY_FAR = 2;
/** A literal of up to this length has it in its first byte. */
const SHORT_LITERAL = 60;
const MAX_COPY = 64;
const MIN_COPY = 4;
const NEAR_OFFSET = 2048;
const NEAR_LENGTH = 12;

/** The largest content of one block here; the hash table holds positions of 16 bits. */
export const MAX_BLOCK_BYTES = 65_536;
const HASH_BITS = 14;
/** Where in the block four bytes with this hash were seen last. Shared: a block is compressed in one go. */
const seen = new Uint16Array(1 << HASH_BITS);

/** The most that `length` bytes can become: they are literals then. */
export function maxCompressedBytes(length: number): number {
  return 32 + length + Math.ceil(length / 6);
}

/** Compresses 1 to 65 536 bytes into `out` from `outStart` on, where `maxCompressedBytes` fit. Returns the position behind it. */
export function compressBlock(input: Uint8Array, out: Uint8Array, outStart: number): number {
  const end = input.length;
  let to = writeVarint(out, outStart, end);
  let literalStart = 0;
  let at = 1;
  seen.fill(0);
  while (at + MIN_COPY <= end) {
    const word = wordAt(input, at);
    const slot = Math.imul(word, 0x9e3779b1) >>> (32 - HASH_BITS);
    const candidate = seen[slot] as number;
    seen[slot] = at;
    if (wordAt(input, candidate) !== word) {
      // The longer nothing repeats, the less often it is looked for.
      at += 1 + ((at - literalStart) >>> 5);
      continue;
    }
    let matchEnd = at + MIN_COPY;
    for (let from = candidate + MIN_COPY; matchEnd < end && input[matchEnd] === input[from]; from++) matchEnd++;
    to = writeLiteral(input, literalStart, at, out, to);
    to = writeCopy(at - candidate, matchEnd - at, out, to);
    at = matchEnd;
    literalStart = at;
  }
  return writeLiteral(input, literalStart, end, out, to);
}

function wordAt(bytes: Uint8Array, at: number): number {
  return (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24);
}

function writeVarint(out: Uint8Array, at: number, value: number): number {
  let to = at;
  let left = value;
  for (; left >= 0x80; left >>>= 7) out[to++] = (left & 0x7f) | 0x80;
  out[to++] = left;
  return to;
}

function writeLiteral(input: Uint8Array, from: number, end: number, out: Uint8Array, at: number): number {
  if (from === end) return at;
  const stored = end - from - 1;
  let to = at;
  if (stored < SHORT_LITERAL) {
    out[to++] = (stored << 2) | LITERAL;
  } else {
    const lengthBytes = stored < 0x100 ? 1 : 2;
    out[to++] = ((SHORT_LITERAL - 1 + lengthBytes) << 2) | LITERAL;
    out[to++] = stored;
    if (lengthBytes === 2) out[to++] = stored >>> 8;
  }
  return copyBytes(input, from, end, out, to);
}

/** A call into native code costs more than it saves for a few bytes. */
const NATIVE_COPY_BYTES = 64;

/** Returns the position behind the copy. */
function copyBytes(input: Uint8Array, from: number, end: number, out: Uint8Array, at: number): number {
  let to = at;
  if (end - from < NATIVE_COPY_BYTES) {
    for (let index = from; index < end; index++) out[to++] = input[index] as number;
    return to;
  }
  out.set(input.subarray(from, end), to);
  return to + end - from;
}

function writeCopy(offset: number, length: number, out: Uint8Array, at: number): number {
  let to = at;
  let left = length;
  while (left > 0) {
    // What is left for a last copy is never less than 4 bytes, which the short form needs.
    const count = left >= MAX_COPY + MIN_COPY ? MAX_COPY : left > MAX_COPY ? MAX_COPY - MIN_COPY : left;
    left -= count;
    if (count < NEAR_LENGTH && offset < NEAR_OFFSET) {
      out[to++] = ((offset >>> 8) << 5) | ((count - MIN_COPY) << 2) | COPY_NEAR;
      out[to++] = offset;
    } else {
      out[to++] = ((count - 1) << 2) | COPY_FAR;
      out[to++] = offset;
      out[to++] = offset >>> 8;
    }
  }
  return to;
}

/**
 * The content of a compressed block, or a text that says what is wrong with it. Not a byte is reserved for a content that is said to
 * be larger than 65 536 bytes.
 */
export function decompressBlock(input: Uint8Array): Buffer | string {
  const [length, start] = readVarint(input);
  if (length === undefined || length > MAX_BLOCK_BYTES) return `expected a block of at most ${MAX_BLOCK_BYTES} bytes`;
  const out = Buffer.allocUnsafe(length);
  const end = input.length;
  let at = start;
  let to = 0;
  while (at < end) {
    const tag = input[at] as number;
    const kind = tag & 3;
    const extra = extraBytes(tag);
    if (at + 1 + extra > end) return 'an element is cut off';
    const number = readNumber(input, at + 1, extra);
    at += 1 + extra;
    if (kind === LITERAL) {
      const count = (extra === 0 ? tag >>> 2 : number) + 1;
      if (count > end - at) return 'a literal is cut off';
      if (count > length - to) return 'more content than was said';
      to = copyBytes(input, at, at + count, out, to);
      at += count;
      continue;
    }
    const count = kind === COPY_NEAR ? ((tag >>> 2) & 7) + MIN_COPY : (tag >>> 2) + 1;
    const offset = kind === COPY_NEAR ? ((tag >>> 5) << 8) | number : number;
    if (offset === 0 || offset > to) return 'a copy from outside the content';
    if (count > length - to) return 'more content than was said';
    for (const copyEnd = to + count; to < copyEnd; to++) out[to] = out[to - offset] as number;
  }
  return to === length ? out : 'less content than was said';
}

/** How many bytes after the first belong to the head of an element. */
function extraBytes(tag: number): number {
  const kind = tag & 3;
  if (kind === LITERAL) return Math.max(0, (tag >>> 2) - SHORT_LITERAL + 1);
  return kind === COPY_NEAR ? 1 : kind === COPY_FAR ? 2 : 4;
}

function readNumber(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let index = count - 1; index >= 0; index--) value = value * 256 + (bytes[at + index] as number);
  return value;
}

/** The value, undefined when it is not a varint of 32 bits, and the position behind it. */
function readVarint(bytes: Uint8Array): [value: number | undefined, end: number] {
  let value = 0;
  for (let at = 0; at < 5; at++) {
    const byte = bytes[at];
    if (byte === undefined) break;
    value += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) return [value, at + 1];
  }
  return [undefined, 0];
}
