/**
 * `Buffer.prototype.subarray` costs 32 to 37 ns; a direct subclass of Uint8Array that shares Buffer's prototype costs 13 and
 * has every Buffer method (`Buffer.isBuffer` is true). Decoding makes one view per package, so this is the hot path.
 */
class OwnBuffer extends Uint8Array<ArrayBufferLike> {
  // biome-ignore lint/complexity/noUselessConstructor: the default one goes through rest parameters, which costs a tenth more
  constructor(memory: ArrayBufferLike, offset: number, length: number) {
    super(memory, offset, length);
  }
}
Object.setPrototypeOf(OwnBuffer.prototype, Buffer.prototype);

/** A Buffer over `length` bytes of `memory` from `offset`; nothing is copied. */
export const FastBuffer: new (memory: ArrayBufferLike, offset: number, length: number) => Buffer = OwnBuffer as unknown as new (
  memory: ArrayBufferLike,
  offset: number,
  length: number,
) => Buffer;
