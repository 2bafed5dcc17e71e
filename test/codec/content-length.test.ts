import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ContentLengthHandler } from '../../src/codec/content-length.ts';
import { bytes, bytewise, cut, decode, encode, errorsOf } from '../helpers/codec-recorder.ts';
import { thrownBy } from '../helpers/thrown.ts';

const handler = new ContentLengthHandler({ maxFrameBytes: 100, maxHeaderBytes: 64 });
const frame = (text: string): Buffer => Buffer.from(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);

describe('ContentLengthHandler', () => {
  it('writes what it reads, byte for byte as LSP has it', () => {
    const stream = encode(handler, '{}', '', 'äöü');
    expect(stream.toString()).toBe('Content-Length: 2\r\n\r\n{}Content-Length: 0\r\n\r\nContent-Length: 6\r\n\r\näöü');
    expect(decode(new ContentLengthHandler(), [stream])).toEqual({ events: ['pkg {}', 'pkg ', 'pkg äöü'], left: 0 });
  });

  it('takes headers in any case and order, with white space, and a type that names UTF-8', () => {
    const streams = [
      'content-length:2\r\n\r\n{}',
      'CONTENT-LENGTH: \t 2 \r\n\r\n{}',
      'Content-Type: application/vscode-jsonrpc; charset=utf-8\r\nContent-Length: 0002\r\n\r\n{}',
      'Content-Length: 2\r\nContent-Type: x; charset=utf8\r\n\r\n{}',
    ];
    const wide = new ContentLengthHandler();
    for (const text of streams) expect(decode(wide, [bytes(text)]).events, text).toEqual(['pkg {}']);
  });

  it.each([
    ['no length', 'Content-Type: x\r\n\r\n'],
    ['two lengths', 'Content-Length: 1\r\nContent-Length: 1\r\n\r\n'],
    ['an empty length', 'Content-Length: \r\n\r\n'],
    ['a sign', 'Content-Length: +1\r\n\r\n'],
    ['a minus', 'Content-Length: -1\r\n\r\n'],
    ['hexadecimal digits', 'Content-Length: 0x2\r\n\r\n'],
    ['a fraction', 'Content-Length: 1.0\r\n\r\n'],
    ['digits of other scripts', 'Content-Length: \u0661\r\n\r\n'],
    ['eleven digits', 'Content-Length: 00000000001\r\n\r\n'],
    ['another charset', 'Content-Length: 1\r\nContent-Type: x; charset=latin1\r\n\r\n'],
    ['another header', 'Content-Length: 1\r\nContent-Encoding: gzip\r\n\r\n'],
    ['no colon', 'Content-Length 1\r\n\r\n'],
  ])('refuses %s for good', (_name, text) => {
    expect(decode(handler, [Buffer.from(text)]).events).toEqual(['fatal MALFORMED_PACKAGE']);
  });

  it('knows a stranger by the first wrong byte of a line: TLS, HTTP, SSH (D 8)', () => {
    for (const text of ['\x16\x03\x01', 'GET', 'S', 'Content-Length: 1\r\nHost', '\r\n\r\n']) {
      expect(decode(handler, [bytes(text)]).events, text).toEqual(['fatal MALFORMED_PACKAGE']);
    }
    expect(decode(handler, [bytes('Content-Le')])).toEqual({ events: [], left: 10 });
  });

  it('bounds the header: 1 000 000 digits are refused when the limit is full (C 11)', () => {
    const chunks = cut(bytes(`Content-Length: ${'1'.repeat(1_000_000)}`), [16]);
    const errors = errorsOf(handler, chunks.slice(0, 4));
    expect(errors).toMatchObject([{ code: 'MALFORMED_PACKAGE', recoverable: false }]);
    expect(errors[0]?.message).toContain('64');
    expect(errorsOf(handler, chunks.slice(0, 3))).toEqual([]);
    const late = `Content-Type: ${'x'.repeat(40)}\r\nContent-Length: 1\r\n\r\n1`;
    expect(errorsOf(handler, [bytes(late)])).toMatchObject([{ code: 'MALFORMED_PACKAGE' }]);
  });

  it('refuses a text above the limit by its header, before its body comes (C 48)', () => {
    expect(decode(handler, [bytes('Content-Length: 101\r\n\r\n')]).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(decode(handler, [bytes('Content-Length: 9999999999\r\n\r\n')]).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(decode(handler, [frame('x'.repeat(100))]).events).toHaveLength(1);
  });

  it('skips a text above the limit when asked to', () => {
    for (const failFast of [true, false]) {
      const skipping = new ContentLengthHandler({ maxFrameBytes: 10, tooLong: 'skip', failFast });
      const stream = Buffer.concat([frame('x'.repeat(11)), frame('next')]);
      expect(decode(skipping, bytewise(stream))).toEqual({ events: ['error PACKAGE_TOO_LARGE', 'pkg next'], left: 0 });
    }
  });

  it('refuses a text that is not UTF-8 and goes on behind it', () => {
    const stream = Buffer.concat([bytes('Content-Length: 2\r\n\r\n'), Buffer.of(0xc3, 0x28), frame('{}')]);
    expect(decode(handler, [stream]).events).toEqual(['error MALFORMED_PACKAGE', 'pkg {}']);
  });

  it('does not write what it would not read', () => {
    expect(thrownBy(() => encode(handler, 'ä'.repeat(51)))).toMatchObject({ code: 'ENCODED_TOO_LARGE' });
    expect(thrownBy(() => encode(handler, 7 as unknown as string))).toMatchObject({ code: 'ENCODE_FAILED' });
    for (const options of [{ maxFrameBytes: 0 }, { maxHeaderBytes: 31 }, { maxHeaderBytes: 65_537 }]) {
      expect(thrownBy(() => new ContentLengthHandler(options))).toMatchObject({ code: 'INVALID_OPTION' });
    }
  });

  it('decodes the same however the stream is cut', () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 20 });
    fc.assert(
      fc.property(fc.array(text, { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1 }), (texts, sizes) => {
        const stream = encode(new ContentLengthHandler(), ...texts);
        const whole = decode(new ContentLengthHandler(), [stream]);
        expect(whole.events).toEqual(texts.map((each) => `pkg ${each}`));
        expect(decode(new ContentLengthHandler(), cut(stream, sizes))).toEqual(whole);
      }),
    );
  });

  it('comes to the same end with hostile bytes, however they are cut', () => {
    const piece = fc.constantFrom('Content-Length: ', 'Content-Type: ', '2', '\r\n', '\r\n\r\n', '{}', ':', 'C', '\r', '\n', '7', ' ');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 1, max: 9 }), (pieces, size) => {
        const stream = bytes(pieces.join(''));
        expect(decode(handler, cut(stream, [size])).events).toEqual(decode(handler, [stream]).events);
      }),
      { numRuns: 500 },
    );
  });
});
