import { expect } from 'vitest';
import { ByteWriter } from '../../src/base/byte-writer.ts';

/** From this size on bytes are passed by reference. */
export const LARGE = 8192;

/** What one ByteWriter should hold: finished packages, and one being written. */
export class ByteWriterModel {
  readonly out = new ByteWriter();
  #done = Buffer.alloc(0);
  #parts: Buffer[] = [];
  /** Bytes at the front of the package before any large byte array. */
  #settable = 0;
  #isSettable = true;
  readonly #kept: [readonly Uint8Array[], Buffer][] = [];
  #now: [readonly Uint8Array[], Buffer] | undefined;

  constructor() {
    this.out.beginPackage();
  }

  apply(operation: number, size: number, value: number): void {
    const { out } = this;
    switch (operation) {
      case 0: {
        out.writeUint8(value & 0xff);
        this.#add(Buffer.of(value & 0xff));
        break;
      }
      case 1: {
        const expected = Buffer.alloc(4);
        expected.writeUInt32LE(value);
        out.writeUint32(value, true);
        this.#add(expected);
        break;
      }
      case 2:
      case 3: {
        const large = operation === 3;
        const given = Buffer.alloc(large ? LARGE + size : size, value & 0xff);
        const expected = Buffer.from(given);
        out.writeBytes(given);
        if (given.length < LARGE) given.fill(0xdd);
        this.#add(expected, large);
        break;
      }
      case 4: {
        const text = '€'.repeat(size % 1500);
        expect(out.writeString(text)).toBe(Buffer.byteLength(text));
        this.#add(Buffer.from(text));
        break;
      }
      case 5: {
        if (this.#settable < 4) return;
        const at = size % (this.#settable - 3);
        out.setUint32At(at, value);
        const pkg = Buffer.concat(this.#parts);
        pkg.writeUInt32BE(value, at);
        this.#parts = [pkg];
        break;
      }
      case 6:
        out.cancelPackage();
        this.#parts = [];
        this.#begin();
        break;
      case 7:
        this.#done = Buffer.concat([this.#done, ...this.#parts]);
        this.#parts = [];
        this.#begin();
        break;
      default:
        this.#take(operation);
        break;
    }
  }

  check(): void {
    const length = this.#parts.reduce((sum, part) => sum + part.length, 0);
    expect(this.out.length).toBe(length);
    expect(this.out.batchLength).toBe(this.#done.length + length);
  }

  finish(): void {
    this.apply(7, 0, 0);
    this.#take(8);
    for (const [chunks, expected] of this.#kept) expect(Buffer.concat(chunks).equals(expected)).toBe(true);
  }

  #add(bytes: Buffer, isLarge = false): void {
    this.#parts.push(bytes);
    if (isLarge) this.#isSettable = false;
    if (this.#isSettable) this.#settable += bytes.length;
  }

  #begin(): void {
    this.out.beginPackage();
    this.#settable = 0;
    this.#isSettable = true;
  }

  #take(operation: number): void {
    const { out } = this;
    const expected = Buffer.concat([this.#done, ...this.#parts]);
    if (this.#now !== undefined) expect(Buffer.concat(this.#now[0]).equals(this.#now[1])).toBe(true);
    const chunks = operation === 8 ? out.takeCopies() : out.take();
    expect(Buffer.concat(chunks).equals(expected)).toBe(true);
    if (operation === 9) out.reuse();
    if (operation === 10) out.release();
    if (operation === 8 || operation === 10) this.#kept.push([chunks, expected]);
    // Neither reuse nor release: the memory stays in use, and the next batch goes behind it.
    if (operation === 11) this.#now = [chunks, expected];
    else this.#now = undefined;
    this.#done = Buffer.alloc(0);
    this.#parts = [];
    this.#begin();
  }
}
