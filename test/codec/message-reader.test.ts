import { describe, expect, it } from 'vitest';
import type { ByteReader } from '../../src/base/byte-reader.ts';
import { type ListenerError, PeerError } from '../../src/base/errors.ts';
import { DelimiterHandler } from '../../src/codec/delimiter.ts';
import { LineHandler } from '../../src/codec/line.ts';
import { borrowMessageReader, MessageReader, returnMessageReader } from '../../src/codec/message-reader.ts';
import { NO_SESSION, type PackageSink } from '../../src/codec/package-reader.ts';
import type { PkgReader } from '../../src/codec/pkg-handler.ts';
import { RawHandler } from '../../src/codec/raw.ts';

/** Writes down what comes: packages as text, errors as their code and whether the session survives. */
class Sink implements PackageSink<unknown> {
  readonly log: string[] = [];
  onPackageHook: (pkg: unknown) => boolean = () => true;

  onPackage(pkg: unknown): boolean {
    this.log.push(String(pkg));
    return this.onPackageHook(pkg);
  }

  onPackageError(error: PeerError | ListenerError): void {
    this.log.push(`${error.code}${error instanceof PeerError && error.recoverable ? ' recoverable' : ''}`);
  }

  take(): string[] {
    return this.log.splice(0);
  }
}

interface Options {
  readonly maxPackageBytes?: number;
  readonly isDatagram?: boolean;
}

function readerOf(handler: PkgReader<unknown>, { maxPackageBytes = 100, isDatagram = true }: Options = {}) {
  const sink = new Sink();
  const reader = new MessageReader<unknown>(handler, sink, maxPackageBytes, NO_SESSION, isDatagram);
  const feed = (text: string | Buffer): void => reader.feed(Buffer.from(text), false);
  return { sink, reader, feed };
}

/** Two bytes each; a last single byte at the end of the message is one, too. '!' cannot be decoded, '?' is skipped. */
const pairs: PkgReader<string> = {
  read(bytes: ByteReader) {
    if (bytes.length < 2) return undefined;
    const text = bytes.readString(2);
    if (text.includes('?')) throw new PeerError('MALFORMED_PACKAGE', 'skipped', { recoverable: true });
    if (text.includes('!')) throw new Error('a test');
    return text;
  },
  readEnd(bytes: ByteReader) {
    return bytes.uint8At(0) === 0x2e ? undefined : bytes.readString(1);
  },
};

describe('a reader of messages', () => {
  it('makes several packages of one message, and lines need not be ended by it', () => {
    const { sink, reader, feed } = readerOf(new LineHandler());
    feed('one\ntwo\n');
    feed('three\n');
    expect(sink.take()).toEqual(['one', 'two', 'three']);
    expect(reader.isPristine).toBe(true);
  });

  it('reports the rest that makes no package, and begins anew with the next message', () => {
    const { sink, reader, feed } = readerOf(new DelimiterHandler({ delimiters: ['\n'] }));
    feed('one\ntw');
    feed('o\n');
    expect(sink.take()).toEqual(['one', 'MALFORMED_PACKAGE recoverable', 'o']);
    expect([reader.bufferedBytes, reader.isMidPackage, reader.end()]).toEqual([0, false, 0]);
  });

  it('asks readEnd for a last package at the end of each message', () => {
    const { sink, feed } = readerOf(pairs);
    feed('abc');
    feed('de.');
    feed('f');
    feed('gh');
    expect(sink.take()).toEqual(['ab', 'c', 'de', 'MALFORMED_PACKAGE recoverable', 'f', 'gh']);
  });

  it('tells the handler that it reads a message, and whether that is text', () => {
    const seen: unknown[] = [];
    const { reader } = readerOf({
      read(bytes) {
        seen.push([bytes.isMessage, bytes.isText, bytes.length, bytes.state]);
        bytes.state = 7;
        return bytes.readString(bytes.length);
      },
    });
    reader.feed(Buffer.from('a'), true);
    reader.feed(Buffer.from('bc'), false);
    // What a handler has noted is that of one message.
    expect(seen).toEqual([
      [true, true, 1, 0],
      [true, false, 2, 0],
    ]);
  });

  it('takes an empty message for a package where the handler does; elsewhere an empty datagram is told, another message is nothing', () => {
    const raw = readerOf(new RawHandler());
    raw.feed('');
    raw.feed('x');
    raw.feed('');
    expect(raw.sink.take()).toEqual(['', 'x', '']);
    const lines = readerOf(new LineHandler());
    lines.feed('');
    expect(lines.sink.take()).toEqual(['MALFORMED_PACKAGE recoverable']);
    expect(lines.reader.isPristine).toBe(true);
    const messages = readerOf(new LineHandler(), { isDatagram: false });
    messages.feed('');
    expect(messages.sink.take()).toEqual([]);
    expect(messages.reader.isPristine).toBe(true);
  });

  it('stops in the middle of a message, keeps later ones, and goes on in order', () => {
    const { sink, reader, feed } = readerOf(pairs);
    sink.onPackageHook = (pkg) => pkg !== 'ab' && pkg !== 'gh';
    feed('abcde');
    expect(sink.take()).toEqual(['ab']);
    expect([reader.isStopped, reader.isPristine]).toEqual([true, false]);
    feed('fg');
    feed('');
    feed('gh.');
    feed('ij');
    expect(sink.take()).toEqual([]);
    // Waiting messages are charged for more than their bytes: an empty one costs memory, too.
    expect(reader.bufferedBytes).toBe(3 + 7 + 4 * 64);
    reader.resume();
    expect(sink.take()).toEqual(['cd', 'e', 'fg', 'MALFORMED_PACKAGE recoverable', 'gh']);
    expect(reader.isStopped).toBe(true);
    reader.resume();
    expect(sink.take()).toEqual(['MALFORMED_PACKAGE recoverable', 'ij']);
    expect([reader.isPristine, reader.bufferedBytes]).toEqual([true, 0]);
  });

  it('owns what it keeps: the memory of a message may be used again at once', () => {
    const { sink, reader } = readerOf(pairs);
    sink.onPackageHook = () => false;
    const memory = Buffer.from('abcd');
    reader.feed(memory, false);
    memory.fill('x');
    memory.write('efgh');
    reader.feed(memory, false);
    memory.fill('x');
    for (let count = 0; count < 4; count++) reader.resume();
    expect(sink.take()).toEqual(['ab', 'cd', 'ef', 'gh']);
  });

  it('hands the memory of a datagram on when all of it is one package, and copies everything else', () => {
    const datagram = Buffer.from('whole');
    const packages: unknown[] = [];
    for (const isDatagram of [true, false]) {
      const { sink, reader } = readerOf(new RawHandler(), { isDatagram });
      sink.onPackageHook = (pkg) => packages.push(pkg) > 0;
      reader.feed(datagram, false);
    }
    const part = readerOf({ read: (bytes) => bytes.readBytes(3, 1) });
    part.sink.onPackageHook = (pkg) => packages.push(pkg) > 0;
    part.reader.feed(Buffer.from('abcd'), false);
    expect(packages[0]).toBe(datagram);
    expect(packages[1]).not.toBe(datagram);
    expect(packages.map(String)).toEqual(['whole', 'whole', 'bcd']);
  });

  it('stopped from outside while nothing is there, it keeps what comes', () => {
    const { sink, reader, feed } = readerOf(pairs);
    reader.stop();
    feed('ab');
    expect(sink.take()).toEqual([]);
    reader.resume();
    expect(sink.take()).toEqual(['ab']);
  });

  it('takes messages that come while one is being handled after it', () => {
    const { sink, feed } = readerOf(pairs);
    sink.onPackageHook = (pkg) => {
      if (pkg === 'ab') {
        feed('xy');
        feed('z');
      }
      return true;
    };
    feed('abcd');
    expect(sink.take()).toEqual(['ab', 'cd', 'xy', 'z']);
  });

  it('goes on when it is resumed from inside a package', () => {
    const { sink, reader, feed } = readerOf(pairs);
    sink.onPackageHook = (pkg) => {
      if (pkg !== 'ab') return true;
      reader.stop();
      feed('ef');
      reader.resume();
      return true;
    };
    feed('abcd');
    expect(sink.take()).toEqual(['ab', 'cd', 'ef']);
  });

  it('uses another handler and limit from the next package on', () => {
    const { sink, reader, feed } = readerOf(pairs);
    sink.onPackageHook = () => {
      reader.configure(new RawHandler(), 3);
      return true;
    };
    feed('abcde');
    feed('fghi');
    expect(sink.take()).toEqual(['ab', 'cde', 'PACKAGE_TOO_LARGE recoverable']);
  });

  it('takes nothing more after discard', () => {
    const { sink, reader, feed } = readerOf(pairs);
    sink.onPackageHook = () => false;
    feed('abcd');
    feed('ef');
    reader.discard();
    reader.resume();
    feed('gh');
    reader.resume();
    expect(sink.take()).toEqual(['ab']);
  });
});

describe('errors', () => {
  it('of a datagram are survived: the rest of it is lost, and the next one is fine', () => {
    const { sink, reader, feed } = readerOf(pairs, { maxPackageBytes: 10 });
    for (const text of ['ab!!cd', 'ef', 'gh', 'a?cd']) feed(text);
    expect(sink.take()).toEqual(['ab', 'MALFORMED_PACKAGE recoverable', 'ef', 'gh', 'MALFORMED_PACKAGE recoverable', 'cd']);
    expect(reader.isPristine).toBe(true);
  });

  it('of a datagram above the limit are survived, in the middle of waiting ones as well', () => {
    const { sink, reader, feed } = readerOf(new RawHandler(), { maxPackageBytes: 4 });
    sink.onPackageHook = (pkg) => String(pkg) !== 'stop';
    for (const text of ['stop', '12345', '', '1234', '123456', '1']) feed(text);
    reader.resume();
    expect(sink.take()).toEqual(['stop', 'PACKAGE_TOO_LARGE recoverable', '', '1234', 'PACKAGE_TOO_LARGE recoverable', '1']);
  });

  it('of messages in a stream end it, unless they are recoverable', () => {
    const { sink, feed } = readerOf(pairs, { isDatagram: false });
    for (const text of ['a?cd', '!!', 'gh']) feed(text);
    expect(sink.take()).toEqual(['MALFORMED_PACKAGE recoverable', 'cd', 'MALFORMED_PACKAGE']);
  });

  it('of the handler itself end the session on datagrams, too', () => {
    const { sink, feed } = readerOf({ read: (bytes) => (bytes.length > 1 ? 'nothing consumed' : undefined) });
    feed('ab');
    feed('cd');
    expect(sink.take()).toEqual(['NO_PROGRESS']);
  });
});

describe('borrowing', () => {
  it('gives a reader back to another session with nothing of the first', () => {
    const [first, second] = [new Sink(), new Sink()];
    const reader = borrowMessageReader<unknown>(new LineHandler(), first, 100, NO_SESSION, true);
    reader.feed(Buffer.from('one\n'), false);
    expect(reader.isPristine).toBe(true);
    returnMessageReader(reader);
    const again = borrowMessageReader<unknown>(pairs, second, 100, NO_SESSION, false);
    expect(again).toBe(reader);
    again.feed(Buffer.from('a!'), false);
    expect([first.take(), second.take()]).toEqual([['one'], ['MALFORMED_PACKAGE']]);
    expect(again.isPristine).toBe(false);
  });
});
