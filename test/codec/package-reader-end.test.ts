import { describe, expect, it } from 'vitest';
import type { ByteReader } from '../../src/base/byte-reader.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { PackageReader } from '../../src/codec/package-reader.ts';
import type { PkgReader } from '../../src/codec/pkg-handler.ts';
import { bytes, decode, Recorder } from '../helpers/codec-recorder.ts';

/** One digit of length, then that many bytes. */
const digit: PkgReader<string> = {
  read(stream: ByteReader): string | undefined {
    const size = stream.uint8At(0) - 0x30;
    if (stream.length < 1 + size) return stream.need(1 + size);
    stream.skip(1);
    return stream.readString(size);
  },
};

describe('the end of the stream', () => {
  it('leaves nothing behind complete packages', () => {
    expect(decode(digit, [bytes('1a1b')]).left).toBe(0);
  });

  it('counts the bytes of a package that was cut', () => {
    expect(decode(digit, [bytes('1a5bcd')])).toEqual({ events: ['pkg a'], left: 4 });
  });

  it('counts 1 for a package whose bytes were dropped as they came', () => {
    const drop: PkgReader<string> = {
      read(stream) {
        stream.discard(1_000_000);
        return undefined;
      },
    };
    expect(decode(drop, [bytes('abc'), bytes('d')])).toEqual({ events: [], left: 1 });
  });

  it('lets the handler make a last package of the rest, once', () => {
    const last: PkgReader<string> = { read: () => undefined, readEnd: (stream) => stream.readString(2) };
    expect(decode(last, [bytes('abcde')])).toEqual({ events: ['pkg ab'], left: 3 });
  });

  it('does not ask for a last package when nothing is left', () => {
    const last: PkgReader<string> = { read: (stream) => stream.readString(1), readEnd: () => 'never' };
    expect(decode(last, [bytes('ab')])).toEqual({ events: ['pkg a', 'pkg b'], left: 0 });
  });

  it('holds the last package to the limit, and to progress', () => {
    const last: PkgReader<string> = { read: () => undefined, readEnd: (stream) => stream.readString(3) };
    expect(decode(last, [bytes('abc')], 3)).toEqual({ events: ['pkg abc'], left: 0 });
    const greedy: PkgReader<string> = {
      read: () => undefined,
      readEnd(stream) {
        stream.discard(4);
        return 'all';
      },
    };
    expect(decode(greedy, [bytes('abc')], 3)).toEqual({ events: ['fatal PACKAGE_TOO_LARGE'], left: 0 });
    const idle: PkgReader<string> = { read: (stream) => (stream.length < 2 ? undefined : stream.readString(2)), readEnd: () => 'again' };
    expect(decode(idle, [bytes('abc')])).toEqual({ events: ['pkg ab', 'fatal NO_PROGRESS'], left: 0 });
  });

  it('does not blame the peer for a sink that throws', () => {
    const recorder = new Recorder();
    recorder.onEach = () => {
      throw new Error('sink');
    };
    const reader = new PackageReader({ read: () => undefined, readEnd: (stream) => stream.readString(1) }, recorder, 0);
    reader.feed(bytes('a'));
    expect(() => reader.end()).toThrow('sink');
    expect(recorder.errors).toEqual([]);
  });

  it('reports what readEnd throws', () => {
    const last: PkgReader<string> = {
      read: () => undefined,
      readEnd() {
        throw new Error('cut');
      },
    };
    expect(decode(last, [bytes('abc')])).toEqual({ events: ['fatal MALFORMED_PACKAGE'], left: 0 });
  });
});

describe('another handler', () => {
  it('takes over behind the package that asked for it', () => {
    const recorder = new Recorder<unknown>();
    const reader = new PackageReader<unknown>(digit, recorder, 0);
    recorder.onEach = (pkg) => {
      if (pkg === 'up') reader.configure(new LineHandler(), 0);
      return true;
    };
    reader.feed(bytes('1a2up1b\n2c\n'));
    expect(recorder.packages).toEqual(['a', 'up', '1b', '2c']);
  });

  it('is asked at once about bytes for which the one before it needed many more', () => {
    const recorder = new Recorder<unknown>();
    const reader = new PackageReader<unknown>({ read: (stream) => stream.need(1000) }, recorder, 0);
    reader.feed(bytes('a'));
    reader.configure(new LineHandler(), 0);
    reader.feed(bytes('b\n'));
    expect(recorder.packages).toEqual(['ab']);
  });

  it('begins with nothing examined and state 0', () => {
    const recorder = new Recorder<unknown>();
    const reader = new PackageReader<unknown>(new LineHandler({ maxLineBytes: 3, tooLong: 'skip' }), recorder, 0);
    reader.feed(bytes('too long'));
    expect(recorder.events).toEqual(['error PACKAGE_TOO_LARGE']);
    const seen: number[][] = [];
    const next: PkgReader<string> = {
      read(stream) {
        seen.push([stream.examined, stream.state]);
        return stream.readString(stream.length);
      },
    };
    reader.configure(next, 0);
    reader.feed(bytes('x'));
    expect(seen[0]).toEqual([0, 0]);
  });

  it('is not forgotten by a change of the limit alone', () => {
    const recorder = new Recorder<unknown>();
    const handler = new LineHandler({ maxLineBytes: 3, tooLong: 'skip' });
    const reader = new PackageReader<unknown>(handler, recorder, 0);
    reader.feed(bytes('too long'));
    reader.configure(handler, 100);
    reader.feed(bytes(' still\nok\n'));
    expect(recorder.events).toEqual(['error PACKAGE_TOO_LARGE', 'pkg ok']);
  });
});
