import { describe, expect, it } from 'vitest';
import { Attributes } from '../../src/base/attributes.ts';
import type { ByteReader } from '../../src/base/byte-reader.ts';
import { ListenerError, PeerError } from '../../src/base/errors.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { PackageReader } from '../../src/codec/package-reader.ts';
import type { PkgReader } from '../../src/codec/pkg-handler.ts';
import { bytes, decode, hex, Recorder } from '../helpers/codec-recorder.ts';

/** One digit of length, then that many bytes. */
const digit: PkgReader<string> = {
  read(stream: ByteReader): string | undefined {
    const size = stream.uint8At(0) - 0x30;
    if (size < 0 || size > 9) throw new Error(`no digit: ${size}`);
    if (stream.length < 1 + size) return stream.need(1 + size);
    stream.skip(1);
    return stream.readString(size);
  },
};

function readerOf(read: PkgReader<unknown>['read'], maxPackageBytes = 0): { reader: PackageReader<unknown>; recorder: Recorder } {
  const recorder = new Recorder();
  return { reader: new PackageReader<unknown>({ read }, recorder, maxPackageBytes), recorder };
}

describe('a chunk', () => {
  it('becomes packages in order, and its rest waits for the next chunk', () => {
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    reader.feed(bytes('1a0'));
    reader.feed(bytes('3bc'));
    expect(recorder.packages).toEqual(['a', '']);
    expect([reader.bufferedBytes, reader.isMidPackage]).toEqual([3, true]);
    reader.feed(bytes('d'));
    expect(recorder.packages).toEqual(['a', '', 'bcd']);
    expect([reader.bufferedBytes, reader.isMidPackage]).toEqual([0, false]);
  });

  it('may be empty', () => {
    expect(decode(digit, [bytes(''), bytes('1'), bytes(''), bytes('a'), bytes('')])).toEqual({ events: ['pkg a'], left: 0 });
  });

  it('may be cut inside a package and contain the head of the next one', () => {
    expect(decode(digit, [bytes('5a'), bytes('bc'), bytes('d'), bytes('e2'), bytes('xy')])).toEqual({
      events: ['pkg abcde', 'pkg xy'],
      left: 0,
    });
  });

  it('is only lent: packages and rests survive that it is overwritten', () => {
    const recorder = new Recorder<Buffer>();
    const reader = new PackageReader(new LengthFieldHandler({ lengthFieldBytes: 1 }), recorder, 0);
    const chunk = hex('02 6162 03 63');
    reader.feed(chunk);
    chunk.fill(0xdd);
    reader.feed(bytes('de'));
    expect(recorder.packages.map(String)).toEqual(['ab', 'cde']);
  });

  it('gives the handler the session', () => {
    const context = { id: 7, attributes: new Attributes() };
    const seen: unknown[] = [];
    const recorder = new Recorder();
    const handler: PkgReader<unknown> = {
      read(stream, session) {
        seen.push(session, this);
        stream.skip(1);
        return 1;
      },
    };
    new PackageReader(handler, recorder, 0, context).feed(bytes('x'));
    expect(seen).toEqual([context, handler]);
  });
});

describe('a sink that stops', () => {
  it('gets the next package only after `resume`', () => {
    const recorder = new Recorder<string>();
    recorder.onEach = (pkg) => pkg !== 'b';
    const reader = new PackageReader(digit, recorder, 0);
    reader.feed(bytes('1a1b1c2d'));
    expect([recorder.packages, reader.isStopped, reader.bufferedBytes]).toEqual([['a', 'b'], true, 4]);
    reader.feed(bytes('e1f'));
    expect(recorder.packages).toEqual(['a', 'b']);
    reader.resume();
    expect([recorder.packages, reader.isStopped, reader.bufferedBytes]).toEqual([['a', 'b', 'c', 'de', 'f'], false, 0]);
  });

  it('gets no package before the first `resume` when it was stopped at the start', () => {
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    reader.stop();
    reader.feed(bytes('1a'));
    expect(recorder.packages).toEqual([]);
    reader.resume();
    expect(recorder.packages).toEqual(['a']);
  });

  it('may stop and resume while it handles a package', () => {
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    recorder.onEach = () => {
      reader.stop();
      reader.resume();
      return true;
    };
    reader.feed(bytes('1a1b1c'));
    expect(recorder.packages).toEqual(['a', 'b', 'c']);
  });

  it('gets the next package only when it has handled this one, though it resumes meanwhile', () => {
    const order: string[] = [];
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    recorder.onEach = (pkg) => {
      order.push(`begin ${pkg}`);
      reader.resume();
      order.push(`end ${pkg}`);
      return true;
    };
    reader.feed(bytes('1a1b'));
    expect(order).toEqual(['begin a', 'end a', 'begin b', 'end b']);
  });

  it('may discard everything while it handles a package', () => {
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    recorder.onEach = () => {
      reader.discard();
      return true;
    };
    reader.feed(bytes('1a1b1'));
    reader.feed(bytes('c'));
    reader.resume();
    expect([recorder.packages, reader.bufferedBytes, reader.isMidPackage, reader.end()]).toEqual([['a'], 0, false, 0]);
  });

  it('that throws does not stop the reader for good, nor make it keep the lent chunk', () => {
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    recorder.onEach = (pkg) => {
      if (pkg === 'a') throw new Error('sink');
      return true;
    };
    const chunk = bytes('1a1b');
    expect(() => reader.feed(chunk)).toThrow('sink');
    chunk.fill(0xdd);
    reader.feed(bytes('1c'));
    expect(recorder.packages).toEqual(['a', 'b', 'c']);
  });
});

describe('bytes that arrive while a package is being handled', () => {
  it('are decoded after those before them', () => {
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    recorder.onEach = (pkg) => {
      if (pkg === 'a') {
        for (const chunk of [bytes('2'), bytes('xy1'), bytes('z')]) {
          reader.feed(chunk);
          chunk.fill(0xdd);
        }
      }
      return true;
    };
    reader.feed(bytes('1a1b'));
    expect(recorder.packages).toEqual(['a', 'b', 'xy', 'z']);
  });

  it('wait until the package that is being handled has been handled', () => {
    const order: string[] = [];
    const recorder = new Recorder<string>();
    const reader = new PackageReader(digit, recorder, 0);
    recorder.onEach = (pkg) => {
      order.push(`begin ${pkg}`);
      if (pkg === 'a') reader.feed(bytes('1b'));
      order.push(`end ${pkg}`);
      return true;
    };
    reader.feed(bytes('1a'));
    expect(order).toEqual(['begin a', 'end a', 'begin b', 'end b']);
  });
});

describe('the limit', () => {
  it('refuses an announced package before its body arrives', () => {
    expect(decode(digit, [bytes('5a')], 5).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(decode(digit, [bytes('4a')], 5).events).toEqual([]);
  });

  it('refuses bytes that are needed behind a header that was already consumed', () => {
    // A handler that consumes its header and then asks for the body, as a state machine does.
    const { reader, recorder } = readerOf((stream) => {
      if (stream.state === 0) {
        stream.skip(1);
        stream.state = 1;
        return stream.need(1_000_000);
      }
      return stream.readBytes(1_000_000);
    }, 100);
    reader.feed(bytes('x'));
    for (let count = 0; count < 20; count++) reader.feed(Buffer.alloc(50));
    expect(recorder.events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(reader.bufferedBytes).toBe(0);
  });

  it('bounds the memory of a handler that always needs more', () => {
    const { reader, recorder } = readerOf(() => undefined, 65_536);
    let most = 0;
    for (let count = 0; count < 160; count++) {
      reader.feed(Buffer.alloc(65_536));
      most = Math.max(most, reader.bufferedBytes);
    }
    expect(recorder.events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(most).toBeLessThanOrEqual(65_536);
  });

  it('bounds the memory of a handler that needs a number of bytes that is none', () => {
    const { reader, recorder } = readerOf((stream) => stream.need(Number.NaN), 100);
    for (let count = 0; count < 20; count++) reader.feed(Buffer.alloc(50));
    expect(recorder.events).toEqual(['fatal READ_OUT_OF_RANGE']);
    expect(reader.bufferedBytes).toBe(0);
  });

  it('does not count bytes that are skipped', () => {
    const { reader, recorder } = readerOf((stream) => {
      stream.discard(1_000_000);
      return undefined;
    }, 100);
    for (let count = 0; count < 10; count++) reader.feed(Buffer.alloc(100_000));
    expect([recorder.events, reader.isMidPackage]).toEqual([[], false]);
  });

  it('is off when 0', () => {
    const { reader, recorder } = readerOf((stream) => stream.need(3_000_000));
    for (let count = 0; count < 20; count++) reader.feed(Buffer.alloc(100_000));
    expect([recorder.events, reader.bufferedBytes]).toEqual([[], 2_000_000]);
  });
});

describe('a handler that breaks its contract', () => {
  it('by a package without consuming a byte ends the stream with NO_PROGRESS, and nothing is delivered', () => {
    const { reader, recorder } = readerOf(() => 'again');
    reader.feed(bytes('abc'));
    reader.feed(bytes('abc'));
    expect([recorder.packages, recorder.events]).toEqual([[], ['fatal NO_PROGRESS']]);
    expect(recorder.errors[0]).toBeInstanceOf(ListenerError);
  });

  it('by reading past the end ends the stream with READ_OUT_OF_RANGE, after the packages before', () => {
    const { reader, recorder } = readerOf((stream) => stream.readString(2));
    reader.feed(bytes('abcde'));
    reader.feed(bytes('fgh'));
    expect(recorder.events).toEqual(['pkg ab', 'pkg cd', 'fatal READ_OUT_OF_RANGE']);
  });

  it.each([-1, 0.5, Number.NaN])('by reading %d bytes ends the stream with READ_OUT_OF_RANGE', (count) => {
    const { reader, recorder } = readerOf((stream) => stream.readBytes(count));
    reader.feed(bytes('abc'));
    expect(recorder.events).toEqual(['fatal READ_OUT_OF_RANGE']);
  });

  it('by throwing anything ends the stream with MALFORMED_PACKAGE and what it threw as cause', () => {
    for (const thrown of [new TypeError('bad magic'), 'text', undefined, null, Object.create(null)]) {
      const { reader, recorder } = readerOf(() => {
        throw thrown;
      });
      reader.feed(bytes('abc'));
      reader.feed(bytes('abc'));
      expect(recorder.events).toEqual(['fatal MALFORMED_PACKAGE']);
      expect(recorder.errors[0]?.cause).toBe(thrown);
    }
  });

  it('by a recoverable error without having skipped a byte ends the stream, instead of reading the same bytes for ever', () => {
    const { reader, recorder } = readerOf(() => {
      throw new PeerError('MALFORMED_PACKAGE', 'again', { recoverable: true });
    });
    reader.feed(bytes('abc'));
    expect(recorder.errors.length).toBe(1);
    reader.feed(bytes('abc'));
    expect([recorder.errors.length, reader.bufferedBytes]).toEqual([1, 0]);
  });

  it('takes false, 0, null and the empty text for packages', () => {
    const values: unknown[] = [false, 0, null, ''];
    let turn = 0;
    const { reader, recorder } = readerOf((stream) => {
      stream.skip(1);
      return values[turn++];
    });
    reader.feed(bytes('abcd'));
    expect(recorder.packages).toEqual(values);
  });
});

describe('a recoverable error', () => {
  it('leaves the packages behind it readable in the same chunk', () => {
    const { reader, recorder } = readerOf((stream) => {
      const text = stream.readString(1);
      if (text === '!') throw new PeerError('MALFORMED_PACKAGE', 'bad', { recoverable: true });
      return text;
    });
    reader.feed(bytes('a!b!!c'));
    expect(recorder.events).toEqual([
      'pkg a',
      'error MALFORMED_PACKAGE',
      'pkg b',
      'error MALFORMED_PACKAGE',
      'error MALFORMED_PACKAGE',
      'pkg c',
    ]);
  });
});

describe('a failed stream', () => {
  it('takes no more bytes, holds none and is in no package', () => {
    const { reader, recorder } = readerOf((stream) => {
      stream.discard(1000);
      throw new Error('bad');
    });
    reader.feed(bytes('abc'));
    reader.feed(bytes('abc'));
    expect([recorder.events.length, reader.bufferedBytes, reader.isMidPackage, reader.end()]).toEqual([1, 0, false, 0]);
  });
});
