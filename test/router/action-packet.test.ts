import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Attributes } from '../../src/base/attributes.ts';
import { ByteWriter } from '../../src/base/byte-writer.ts';
import { MessageReader } from '../../src/codec/message-reader.ts';
import type { PkgContext } from '../../src/codec/pkg-handler.ts';
import {
  type ActionPacket,
  ActionPacketHandler,
  type ActionPacketOptions,
  toSigned16,
  toUnsigned16,
} from '../../src/router/action-packet.ts';
import { actionFrame, actionMessage } from '../helpers/action-packets.ts';
import { propertyRuns } from '../helpers/codec-property.ts';
import { bytewise, cut, decode, encode, errorsOf, hex, Recorder } from '../helpers/codec-recorder.ts';
import { thrownBy } from '../helpers/thrown.ts';

/** Writes packets as text, so that recorders can compare them. */
class Shown extends ActionPacketHandler {
  override read(bytes: Parameters<ActionPacketHandler['read']>[0]): ActionPacket | undefined {
    const packet = super.read(bytes);
    return packet === undefined
      ? undefined
      : Object.assign(packet, { toString: () => `${packet.action} ${packet.seq} ${Buffer.from(packet.body).toString('latin1')}` });
  }
}

const EXAMPLE = '00 00 00 15 00 01 00 01 7B 22 66 6F 6F 22 3A 22 62 61 72 22 7D';

function asMessage(packet: ActionPacket, options?: ActionPacketOptions): Buffer {
  const context: PkgContext = { id: 0, attributes: new Attributes(), connection: { kind: 'message' } };
  const out = new ByteWriter();
  out.beginPackage();
  new ActionPacketHandler(options).write(packet, context, out);
  return Buffer.concat(out.take());
}

/** The events of messages, each whole. */
function messages(options: ActionPacketOptions, ...list: readonly (readonly [bytes: Buffer, isText: boolean])[]): Recorder {
  const recorder = new Recorder();
  const reader = new MessageReader(new Shown(options), recorder, 0, { id: 0, attributes: new Attributes() }, false);
  for (const [bytes, isText] of list) reader.feed(bytes, isText);
  return recorder;
}

describe('a packet in a stream', () => {
  it('is the example of the format, byte for byte, in both directions', () => {
    const packet = { action: 1, seq: 1, body: Buffer.from('{"foo":"bar"}') };
    expect(encode(new ActionPacketHandler(), packet)).toEqual(hex(EXAMPLE));
    expect(decode(new Shown(), [hex(EXAMPLE)])).toEqual({ events: ['pkg 1 1 {"foo":"bar"}'], left: 0 });
  });

  it('has signed numbers', () => {
    const stream = hex('00000008 ffff 8000  0000000a 8000 7fff 6869');
    expect(decode(new Shown(), [stream])).toEqual({ events: ['pkg -1 -32768 ', 'pkg -32768 32767 hi'], left: 0 });
    const packets = [
      { action: -1, seq: -32_768, body: new Uint8Array() },
      { action: -32_768, seq: 32_767, body: Buffer.from('hi') },
    ];
    expect(encode(new ActionPacketHandler(), ...packets)).toEqual(stream);
  });

  it.each([0, 4, -1, 7, -2_147_483_648])('with the length %i is malformed, for good', (length) => {
    const bytes = Buffer.alloc(12);
    bytes.writeInt32BE(length);
    expect(decode(new Shown(), [bytes, actionFrame(1, 1)])).toEqual({ events: ['fatal MALFORMED_PACKAGE'], left: 0 });
    expect(errorsOf(new Shown(), [bytes])[0]?.message).toBe(`expected a length of at least 8, given ${length}`);
  });

  it.each([101, 0x7fff_ffff])('with the length %i over a limit of 100 is refused when the length is there', (length) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32BE(length);
    expect(decode(new Shown({ maxPacketBytes: 100 }), [bytes]).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(errorsOf(new Shown({ maxPacketBytes: 100 }), [bytes])[0]?.message).toBe(
      `expected a packet of at most 100 bytes, given ${length}`,
    );
  });

  it('may be exactly as large as the limit, when read and when written', () => {
    const handler = new Shown({ maxPacketBytes: 100 });
    const body = Buffer.alloc(92, 0x61);
    const stream = encode(handler, { action: 1, seq: 1, body });
    expect(stream).toHaveLength(100);
    expect(decode(handler, [stream]).events).toHaveLength(1);
    const error = thrownBy(() => encode(handler, { action: 1, seq: 1, body: Buffer.alloc(93) }));
    expect(error).toMatchObject({ code: 'ENCODED_TOO_LARGE', message: expect.stringContaining('at most 100 bytes, given 101') });
  });

  it('owns its body, unless it is borrowed', () => {
    const chunk = Buffer.from(actionFrame(1, 1, Buffer.from('abc')));
    for (const [borrow, expected] of [
      [false, 'abc'],
      [true, '\xdd\xdd\xdd'],
    ] as const) {
      const lent = Buffer.from(chunk);
      const recorder = new Recorder<ActionPacket>();
      const reader = new MessageReader(new ActionPacketHandler({ borrow }), recorder, 0, { id: 0, attributes: new Attributes() }, false);
      reader.feed(lent.subarray(4), false);
      lent.fill(0xdd);
      expect(Buffer.from(recorder.packages[0]?.body ?? []).toString('latin1')).toBe(expected);
    }
  });
});

describe('a packet in a message', () => {
  it('has no length', () => {
    expect(asMessage({ action: 1, seq: 2, body: Buffer.from('{"a":1}') })).toEqual(
      Buffer.concat([hex('0001 0002'), Buffer.from('{"a":1}')]),
    );
    const { events } = messages({}, [actionMessage(1, 2, { a: 1 }), false], [hex('ffff 8000'), false]);
    expect(events).toEqual(['pkg 1 2 {"a":1}', 'pkg -1 -32768 ']);
  });

  it.each([0, 1, 3])('of %i bytes is malformed', (size) => {
    expect(messages({}, [Buffer.alloc(size), false]).events).toEqual(['fatal MALFORMED_PACKAGE']);
  });

  it('is held to the limit as if it had its length', () => {
    expect(messages({ maxPacketBytes: 100 }, [Buffer.alloc(96), false]).events).toHaveLength(1);
    expect(messages({ maxPacketBytes: 100 }, [Buffer.alloc(97), false]).events).toEqual(['fatal PACKAGE_TOO_LARGE']);
    expect(asMessage({ action: 0, seq: 0, body: Buffer.alloc(92) }, { maxPacketBytes: 100 })).toHaveLength(96);
  });

  it('that came as text is refused, skipped or taken', () => {
    const list = [[actionMessage(1, 1, 5), true] as const, [actionMessage(2, 2, 6), false] as const];
    const { events, errors } = messages({}, ...list);
    expect(events).toEqual(['fatal PROTOCOL_VIOLATION']);
    expect(errors).toMatchObject([{ status: 1003, message: 'expected a binary message, given text' }]);
    expect(messages({ text: 'skip' }, ...list).events).toEqual(['error PROTOCOL_VIOLATION', 'pkg 2 2 6']);
    const behindEmpty = messages({ text: 'skip' }, [Buffer.alloc(0), true], [actionMessage(2, 2, 6), false]);
    expect(behindEmpty.events.at(-1)).toBe('pkg 2 2 6');
    expect(messages({ text: 'binary' }, ...list).events).toEqual(['pkg 1 1 5', 'pkg 2 2 6']);
  });
});

describe('writing', () => {
  const body = Buffer.alloc(0);

  it.each([
    [{ action: 32_768, seq: 0, body }, 'action: a whole number from -32768 to 32767, given 32768'],
    [{ action: -32_769, seq: 0, body }, 'action: a whole number from -32768 to 32767, given -32769'],
    [{ action: 1.5, seq: 0, body }, 'action: a whole number from -32768 to 32767, given 1.5'],
    [{ action: Number.NaN, seq: 0, body }, 'action: a whole number from -32768 to 32767, given NaN'],
    [{ action: 0, seq: 65_535, body }, 'seq: a whole number from -32768 to 32767, given 65535'],
    [{ action: 0, seq: 0, body: 'text' as unknown as Uint8Array }, 'body: a Uint8Array, given "text"'],
  ])('%j throws ENCODE_FAILED', (packet, text) => {
    const error = thrownBy(() => encode(new ActionPacketHandler(), packet));
    expect(error).toMatchObject({ code: 'ENCODE_FAILED', message: `ActionPacketHandler.write: expected ${text}` });
  });
});

describe('options', () => {
  it.each([
    [{ maxPacketBytes: 7 }, 'ActionPacketHandler.maxPacketBytes: expected a whole number, from 8 to 2147483647, given 7'],
    [{ text: 'drop' as 'skip' }, 'ActionPacketHandler.text: expected one of reject, skip, binary, given "drop"'],
    [{ borrow: 1 as unknown as boolean }, 'ActionPacketHandler.borrow: expected true or false, given 1'],
  ])('%j are refused', (options, message) => {
    expect(thrownBy(() => new ActionPacketHandler(options))).toMatchObject({ code: 'INVALID_OPTION', message });
  });
});

describe('the unsigned view', () => {
  it('goes both ways over the whole range', () => {
    expect([0, 1, -1, 32_767, -32_768].map(toUnsigned16)).toEqual([0, 1, 65_535, 32_767, 32_768]);
    const all = Array.from({ length: 65_536 }, (_, value) => value);
    expect(all.filter((value) => toUnsigned16(toSigned16(value)) !== value)).toEqual([]);
  });
});

/** Decodes a whole stream, sharing no code with the handler. */
function oracle(stream: Buffer, max: number): { events: string[]; left: number } {
  const events: string[] = [];
  for (let at = 0; ; ) {
    if (stream.length - at < 4) return { events, left: stream.length - at };
    const length = stream.readInt32BE(at);
    if (length < 8) return { events: [...events, 'fatal MALFORMED_PACKAGE'], left: 0 };
    if (length > max) return { events: [...events, 'fatal PACKAGE_TOO_LARGE'], left: 0 };
    if (stream.length - at < length) return { events, left: stream.length - at };
    const body = stream.toString('latin1', at + 8, at + length);
    events.push(`pkg ${stream.readInt16BE(at + 4)} ${stream.readInt16BE(at + 6)} ${body}`);
    at += length;
  }
}

describe('any cutting of a stream', () => {
  it('gives the same packets and errors', () => {
    const int16 = fc.integer({ min: -32_768, max: 32_767 });
    const lie = fc.oneof({ weight: 8, arbitrary: fc.constant(undefined) }, fc.integer({ min: -3, max: 50 }), fc.integer());
    const frames = fc.array(fc.tuple(int16, int16, fc.uint8Array({ maxLength: 14 }), lie), { maxLength: 10 });
    const sizes = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(frames, sizes, fc.integer({ min: 8, max: 24 }), (list, cutting, max) => {
        const stream = Buffer.concat(list.map(([action, seq, body, length]) => actionFrame(action, seq, body, length)));
        const expected = oracle(stream, max);
        for (const chunks of [cut(stream, cutting), bytewise(stream), [stream]]) {
          expect(decode(new Shown({ maxPacketBytes: max }), chunks)).toEqual(expected);
        }
      }),
      propertyRuns(500),
    );
  });
});
