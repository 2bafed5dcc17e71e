type BufferView = new (memory: ArrayBufferLike, offset: number, length: number) => Buffer;

/** For a runtime whose Buffer does not name its own class: has every Buffer method, only its prototype is one step longer. */
class OwnBuffer extends Uint8Array<ArrayBufferLike> {
  constructor(memory: ArrayBufferLike, offset: number, length: number) {
    super(memory, offset, length);
  }
}
Object.setPrototypeOf(OwnBuffer.prototype, Buffer.prototype);

/**
 * A Buffer over `length` bytes of `memory` from `offset`; nothing is copied. Decoding makes one such view per package, so this
 * is the hot path: `subarray` and `Buffer.from` cost two to three times as much as the class that they make, which Buffer
 * names as its species.
 */
export const FastBuffer: BufferView = findBufferClass();

function findBufferClass(): BufferView {
  const species: unknown = Reflect.get(Buffer, Symbol.species);
  const isBufferClass = typeof species === 'function' && species.prototype === Buffer.prototype && species !== Buffer;
  return (isBufferClass ? species : OwnBuffer) as unknown as BufferView;
}

const { set } = Uint8Array.prototype;

/** `target.set(source, at)`. On a Buffer the engine looks the method up at every call, which takes as long as copying a small package. */
export function copyBytes(target: Uint8Array, source: Uint8Array, at: number): void {
  set.call(target, source, at);
}
