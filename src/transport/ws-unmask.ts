import { endianness } from 'node:os';

/** Below this the words cost more than they save; on a big-endian machine they are in the wrong order. */
const MIN_WORDS_BYTES = endianness() === 'LE' ? 16 : Number.POSITIVE_INFINITY;

let wordsMemory: ArrayBufferLike | undefined;
let words: Int32Array = new Int32Array(0);

/** A memory as words: made once for each chunk, and once for all in the case of the shared read buffer. */
export function wordsOf(memory: ArrayBufferLike): Int32Array {
  if (wordsMemory !== memory) {
    words = new Int32Array(memory, 0, memory.byteLength >>> 2);
    wordsMemory = memory;
  }
  return words;
}

/**
 * XORs bytes [start, end) with the four bytes of the key, in place (RFC 6455 section 5.3). Its own inverse. `memory`: `wordsOf` the
 * memory of the bytes.
 */
export function unmask(bytes: Uint8Array, memory: Int32Array, start: number, end: number, keyAt: number): void {
  const low = (bytes[keyAt] as number) | ((bytes[keyAt + 1] as number) << 8);
  const key = low | ((bytes[keyAt + 2] as number) << 16) | ((bytes[keyAt + 3] as number) << 24);
  let at = start;
  if (end - start >= MIN_WORDS_BYTES) {
    const offset = bytes.byteOffset;
    for (; ((offset + at) & 3) !== 0; at++) bytes[at] = (bytes[at] as number) ^ (key >>> (((at - start) & 3) << 3));
    const turn = ((at - start) & 3) << 3;
    const word = turn === 0 ? key : (key >>> turn) | (key << (32 - turn));
    const last = (offset + end) >>> 2;
    for (let index = (offset + at) >>> 2; index < last; index++) memory[index] = (memory[index] as number) ^ word;
    at = (last << 2) - offset;
  }
  for (; at < end; at++) bytes[at] = (bytes[at] as number) ^ (key >>> (((at - start) & 3) << 3));
}
