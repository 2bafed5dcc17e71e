import { InvalidBodyError } from '../protocol/invalid-body.ts';
import { type FieldPlan, type MessagePlan, WIRE } from './message-plan.ts';

export interface WireLimits {
  readonly maxDepth: number;
  readonly maxElements: number;
}

const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Walks the wire format of one message before it is decoded, because the library that decodes reads on where others stop: it takes
 * a field of another wire type for its own, a message that is longer than the one around it, varints of any length among
 * unknown fields, and members of a map entry that are neither key nor value. Throws InvalidBodyError.
 */
export class WireCheck {
  readonly #bytes: Uint8Array;
  readonly #limits: WireLimits;
  #at = 0;
  #elements = 0;

  constructor(bytes: Uint8Array, limits: WireLimits) {
    this.#bytes = bytes;
    this.#limits = limits;
  }

  run(plan: MessagePlan): void {
    this.#message(plan, this.#bytes.length, 1);
  }

  #message(plan: MessagePlan, end: number, depth: number): void {
    if (depth > this.#limits.maxDepth) throw this.#refuse('', `it is nested deeper than ${this.#limits.maxDepth} levels`);
    while (this.#at < end) {
      const tag = this.#tag(end);
      const wire = tag & 7;
      const field = plan.fields.get(tag >>> 3);
      this.#count('', 1);
      if (wire !== WIRE.VARINT && wire !== WIRE.BIT64 && wire !== WIRE.BYTES && wire !== WIRE.BIT32) {
        throw this.#refuse(field?.name ?? '', `wire type ${wire} is not taken`);
      }
      if (field !== undefined) this.#field(field, plan, wire, end, depth);
      else if (plan.isMapEntry) throw this.#refuse('', 'an entry of a map has more than a key and a value');
      else this.#skip('', wire, end);
    }
  }

  #field(field: FieldPlan, parent: MessagePlan, wire: number, end: number, depth: number): void {
    const { name, message, packed } = field;
    if (wire === WIRE.BYTES && packed !== -1) {
      this.#packed(name, packed, this.#length(name, end));
      return;
    }
    if (wire !== field.wire) throw this.#refuse(name, `expected wire type ${field.wire}, given ${wire}`);
    if (wire !== WIRE.BYTES) {
      this.#skip(name, wire, end);
      return;
    }
    const innerEnd = this.#length(name, end);
    // An entry of a map is no level of its own: its value is.
    if (message !== undefined) this.#message(message, innerEnd, message.isMapEntry ? depth : depth + 1);
    else if (field.isText) this.#text(field, parent, innerEnd);
    this.#at = innerEnd;
  }

  #text({ name }: FieldPlan, { isMapEntry }: MessagePlan, end: number): void {
    let text: string;
    try {
      text = utf8.decode(this.#bytes.subarray(this.#at, end));
    } catch (thrown) {
      throw this.#refuse(name, 'it is not UTF-8', thrown);
    }
    // A map becomes an object, whose prototype is nobody's to change.
    if (isMapEntry && name === 'key' && text === '__proto__') throw this.#refuse(name, 'it is __proto__');
  }

  #packed(name: string, wire: number, end: number): void {
    if (wire === WIRE.VARINT) {
      while (this.#at < end) {
        this.#count(name, 1);
        this.#varint(name, end);
      }
      return;
    }
    const size = wire === WIRE.BIT64 ? 8 : 4;
    const count = (end - this.#at) / size;
    if (!Number.isInteger(count)) throw this.#refuse(name, 'a packed list ends in the middle of an element');
    this.#count(name, count);
    this.#at = end;
  }

  #skip(name: string, wire: number, end: number): void {
    if (wire === WIRE.VARINT) this.#varint(name, end);
    else if (wire === WIRE.BYTES) this.#at = this.#length(name, end);
    else this.#at += wire === WIRE.BIT64 ? 8 : 4;
    if (this.#at > end) throw this.#refuse(name, 'it ends in the middle of a field');
  }

  #count(name: string, count: number): void {
    this.#elements += count;
    if (this.#elements > this.#limits.maxElements)
      throw this.#refuse(name, `it has more than ${this.#limits.maxElements} fields and elements`);
  }

  /** The end of a field of that many bytes. */
  #length(name: string, end: number): number {
    const start = this.#at;
    const low = this.#varint(name, end);
    // Five bytes are enough for any length there can be.
    if (this.#at - start > 5 || low > end - this.#at) throw this.#refuse(name, 'it is longer than what is around it');
    return this.#at + low;
  }

  #tag(end: number): number {
    const start = this.#at;
    const tag = this.#varint('', end);
    const size = this.#at - start;
    if (size > 5 || tag > 0xffff_ffff || tag < 8) throw this.#refuse('', 'a tag has no field number from 1 to 536870911');
    return tag;
  }

  /** The value of a varint, exact below 2^53. */
  #varint(name: string, end: number): number {
    let value = 0;
    let scale = 1;
    for (let size = 1; size <= 10; size++) {
      if (this.#at >= end) throw this.#refuse(name, 'it ends in the middle of a varint');
      const byte = this.#bytes[this.#at++] ?? 0;
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (size === 10 && byte > 1) break;
      if (byte < 0x80) return value;
    }
    throw this.#refuse(name, 'a varint has more than 64 bits');
  }

  #refuse(path: string, message: string, cause?: unknown): InvalidBodyError {
    const at = `${message}, near byte ${this.#at}`;
    return new InvalidBodyError('protobuf', [{ path, message: at }], cause === undefined ? undefined : { cause });
  }
}
