/** What every framing must do, whatever its format. */
import { describe, expect, it, vi } from 'vitest';
import { PackageReader } from '../../src/codec/package-reader.ts';
import type { PkgHandler } from '../../src/codec/pkg-handler.ts';
import { FRAMINGS, type Framing } from '../helpers/codec-framings.ts';
import { bytewise, cut, decode, encode, Recorder } from '../helpers/codec-recorder.ts';

const SIZES = [3, 0, 1, 200, 17];

function textOf(pkg: unknown): string {
  return pkg instanceof Uint8Array ? Buffer.from(pkg).toString('latin1') : String(pkg);
}

function eventOf(pkg: unknown): string {
  return `pkg ${textOf(pkg)}`;
}

/** Packages of different sizes, and how they look in the list of events. */
function packagesOf({ pkg }: Framing, count = SIZES.length): { packages: unknown[]; events: string[] } {
  const packages = Array.from({ length: count }, (_, index) => pkg(SIZES[index % SIZES.length] ?? 0, index));
  return { packages, events: packages.map(eventOf) };
}

function readerOf(handler: PkgHandler<unknown>): { reader: PackageReader<unknown>; recorder: Recorder } {
  const recorder = new Recorder();
  return { reader: new PackageReader(handler, recorder, 0), recorder };
}

const framed = FRAMINGS.filter((framing) => framing.isFramed);

describe.each(framed)('$name', (framing) => {
  it('reads back what it has written, in one chunk', () => {
    const { packages, events } = packagesOf(framing);
    expect(decode(framing.make(), [encode(framing.make(), ...packages)])).toEqual({ events, left: 0 });
  });

  it('reads back what it has written, byte by byte', () => {
    const { packages, events } = packagesOf(framing);
    expect(decode(framing.make(), bytewise(encode(framing.make(), ...packages)))).toEqual({ events, left: 0 });
  });

  it('reads 1000 frames of one chunk in order', () => {
    const { packages, events } = packagesOf(framing, 1000);
    expect(decode(framing.make(), [encode(framing.make(), ...packages)])).toEqual({ events, left: 0 });
  });

  it('reads a frame that comes in three chunks, the last with the head of the next frame', () => {
    const { packages, events } = packagesOf({ ...framing, pkg: (_size, seed) => framing.pkg(30, seed) }, 2);
    const stream = encode(framing.make(), ...packages);
    const third = Math.floor(stream.length / 6);
    const chunks = [stream.subarray(0, third), stream.subarray(third, 2 * third), stream.subarray(2 * third, -1), stream.subarray(-1)];
    expect(decode(framing.make(), chunks)).toEqual({ events, left: 0 });
  });

  it('serves many streams at once', () => {
    const handler = framing.make();
    const streams = Array.from({ length: 3 }, (_, index) => {
      const { packages, events } = packagesOf({ ...framing, pkg: (size, seed) => framing.pkg(size, seed + index) });
      return { ...readerOf(handler), bytes: encode(handler, ...packages), events };
    });
    for (let at = 0; streams.some(({ bytes }) => at < bytes.length); at++) {
      for (const { reader, bytes } of streams) reader.feed(bytes.subarray(at, at + 1));
    }
    for (const { recorder, events } of streams) expect(recorder.events).toEqual(events);
  });

  it('does not change the package that it writes', () => {
    const { packages } = packagesOf(framing);
    const before = packages.map(eventOf);
    encode(framing.make(), ...packages);
    expect(packages.map(eventOf)).toEqual(before);
  });

  it('shows a stream that ends inside a frame as truncated, after the frames before it', () => {
    const { packages, events } = packagesOf(framing, 3);
    const stream = encode(framing.make(), ...packages);
    const { events: seen, left } = decode(framing.make(), [stream.subarray(0, -1)]);
    expect(seen).toEqual(events.slice(0, -1));
    expect(left).toBeGreaterThan(0);
  });

  it('goes on behind the package at which the sink stopped', () => {
    const { packages, events } = packagesOf(framing, 9);
    const { reader, recorder } = readerOf(framing.make());
    recorder.onEach = () => false;
    const chunk = encode(framing.make(), ...packages);
    reader.feed(chunk);
    chunk.fill(0xdd);
    for (let count = 1; count < 9; count++) {
      expect(recorder.events).toEqual(events.slice(0, count));
      reader.resume();
    }
    reader.resume();
    expect([recorder.events, reader.bufferedBytes]).toEqual([events, 0]);
  });

  it('keeps the order of bytes that arrive while a package is handled', () => {
    const { packages, events } = packagesOf(framing, 12);
    const { reader, recorder } = readerOf(framing.make());
    const stream = encode(framing.make(), ...packages);
    const chunks = cut(stream, [Math.ceil(stream.length / 7)]);
    recorder.onEach = () => {
      const chunk = chunks.shift();
      if (chunk !== undefined) reader.feed(chunk);
      return true;
    };
    while (chunks.length > 0) reader.feed(chunks.shift() ?? Buffer.alloc(0));
    expect(recorder.events).toEqual(events);
  });

  it('is held to maxPackageBytes exactly, in one chunk and in pieces', () => {
    const pkg = framing.pkg(100, 0);
    const stream = encode(framing.make(), pkg);
    for (const chunks of [[stream], bytewise(stream), cut(stream, [7])]) {
      expect(decode(framing.make(), chunks, stream.length).events).toEqual([eventOf(pkg)]);
      expect(decode(framing.make(), chunks, stream.length - 1).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    }
  });

  it('is not asked more often than there are bytes when 16 KiB come one by one', () => {
    const handler = framing.make();
    const read = vi.spyOn(handler, 'read');
    const pkg = framing.pkg(16_384, 0);
    expect(decode(handler, bytewise(encode(handler, pkg))).events).toEqual([eventOf(pkg)]);
    expect(read.mock.calls.length).toBeLessThan(framing.announces ? 32 : 2 * 16_400);
  });
});

describe.each(FRAMINGS.filter(({ name }) => !name.includes('borrowed')))('packages of $name', (framing) => {
  it('are unchanged after 100 more', () => {
    const { reader, recorder } = readerOf(framing.make());
    const { packages } = packagesOf({ ...framing, pkg: (_size, seed) => framing.pkg(40, seed) }, 101);
    for (const pkg of packages) {
      const chunk = encode(framing.make(), pkg);
      reader.feed(chunk.subarray(0, -1));
      reader.feed(chunk.subarray(-1));
      chunk.fill(0xdd);
    }
    expect(recorder.packages.map(textOf).join('')).toBe(packages.map(textOf).join(''));
  });
});

describe('RawHandler', () => {
  it('keeps every byte in order, however they come', () => {
    const [raw] = FRAMINGS;
    if (raw === undefined) throw new Error('no framing');
    const { packages } = packagesOf(raw, 50);
    const stream = encode(raw.make(), ...packages);
    for (const sizes of [[1], [7, 100], [stream.length]]) {
      const { events } = decode(raw.make(), cut(stream, sizes));
      expect(events.map((event) => event.slice(4)).join('')).toBe(stream.toString());
    }
  });
});
