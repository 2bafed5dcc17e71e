import { create, createFileRegistry, type DescMessage, toBinary } from '@bufbuild/protobuf';
import {
  AnySchema,
  FileDescriptorProtoSchema,
  FieldDescriptorProto_Label as Label,
  StringValueSchema,
  StructSchema,
  TimestampSchema,
  FieldDescriptorProto_Type as Type,
} from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { protobuf } from '../../src/protobuf/protobuf.ts';
import { InvalidBodyError } from '../../src/protocol/invalid-body.ts';
import { ChatSchema, Mood } from '../helpers/chat-pb.ts';
import { anyCharacter, propertyRuns } from '../helpers/codec-property.ts';

const codec = protobuf(ChatSchema);
const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));

function refusal(call: () => unknown): string {
  try {
    call();
  } catch (thrown) {
    if (thrown instanceof InvalidBodyError && thrown.code === 'INVALID_BODY' && thrown.recoverable) return thrown.message;
    throw thrown;
  }
  throw new Error('it was not refused');
}

/** A message type of one field, made at run time. */
function typeWith(syntax: 'proto2' | 'proto3', type: Type, label: Label = Label.OPTIONAL): DescMessage {
  const field = { name: 'field', number: 1, label, type, ...(type === Type.GROUP ? { typeName: '.Test' } : {}) };
  const file = create(FileDescriptorProtoSchema, { name: 'test.proto', syntax, messageType: [{ name: 'Test', field: [field] }] });
  const desc = createFileRegistry(file, () => undefined).getMessage('Test');
  if (desc === undefined) throw new Error('no such type');
  return desc;
}

describe('protobuf', () => {
  it('reads what it wrote, from plain objects and from messages', () => {
    const full = {
      from: 'ada',
      at: 9_223_372_036_854_775_807n,
      tags: ['x', 'grüße'],
      replyTo: { from: 'bob', at: -9_223_372_036_854_775_808n },
      votes: { yes: 3, no: -1 },
      blob: new Uint8Array([1, 2, 3]),
      mood: Mood.ANGRY,
      numbers: [-1, 2_147_483_647, -2_147_483_648],
      score: 0.5,
      extra: { case: 'code', value: 0xffff_ffff } as const,
    };
    const message = codec.decode(codec.encode(full));
    expect(message).toEqual(create(ChatSchema, full));
    expect(codec.decode(codec.encode(message))).toEqual(message);
    expect(codec.encode({}).length).toBe(0);
    expect(codec.decode(new Uint8Array(0))).toEqual(create(ChatSchema));
  });

  it('speaks the well-known types', () => {
    const time = protobuf(TimestampSchema);
    expect(time.decode(time.encode({ seconds: 1n, nanos: 5 }))).toMatchObject({ seconds: 1n, nanos: 5 });
    const text = protobuf(StringValueSchema);
    expect(text.decode(text.encode({ value: 'x' })).value).toBe('x');
    const any = protobuf(AnySchema);
    expect(any.decode(any.encode({ typeUrl: 't', value: new Uint8Array([1]) }))).toMatchObject({
      typeUrl: 't',
      value: new Uint8Array([1]),
    });
  });

  it.each([
    ['a truncated varint', '10 80', /^invalid protobuf body: at: it ends in the middle of a varint, near byte 2$/],
    ['a varint of 11 bytes', '10 80 80 80 80 80 80 80 80 80 80 01', /a varint has more than 64 bits/],
    ['a varint of 65 bits', '10 ff ff ff ff ff ff ff ff ff 02', /a varint has more than 64 bits/],
    ['an unknown varint of 11 bytes', 'f8 07 80 80 80 80 80 80 80 80 80 80 01', /a varint has more than 64 bits/],
    ['another wire type than that of the field', '0d 01 00 00 00', /from: expected wire type 2, given 5/],
    ['a varint for a message', '20 01', /reply_to: expected wire type 2, given 0/],
    ['field 0', '00 01', /a tag has no field number/],
    ['a tag of more than 32 bits', '88 80 80 80 10 01', /a tag has no field number/],
    ['the begin of a group', '0b 0c', /from: wire type 3 is not taken/],
    ['an unknown group', 'fb 07 fc 07', /wire type 3 is not taken/],
    ['the end of a group', 'fc 07', /wire type 4 is not taken/],
    ['wire type 6', '0e', /from: wire type 6 is not taken/],
    ['text longer than the body', '0a 05 61', /from: it is longer than what is around it/],
    ['bytes of 2^32 - 1', '32 ff ff ff ff 0f', /blob: it is longer than what is around it/],
    ['a message longer than the one around it', '22 04 22 08 0a 00 0a 00 0a 00 0a 00', /reply_to: it is longer than what is around it/],
    ['a message that cuts a field', '22 02 0a 01 61', /from: it is longer than what is around it/],
    ['text that is not UTF-8', '0a 02 c3 28', /from: it is not UTF-8/],
    ['a fixed number that is cut', '49 00 00', /score: it ends in the middle of a field/],
    ['a packed list that is cut', '42 02 01 80', /numbers: it ends in the middle of a varint/],
    ['a third member in an entry of a map', '2a 06 0a 01 61 18 01 00', /an entry of a map has more than a key and a value/],
    ['the key __proto__ in a map', '2a 0d 0a 09 5f 5f 70 72 6f 74 6f 5f 5f 10 01', /key: it is __proto__/],
  ])('refuses %s', (_what, bytes, message) => {
    expect(refusal(() => codec.decode(hex(bytes)))).toMatch(message);
  });

  it('refuses depth 33 and takes 32', () => {
    const nest = (depth: number): Uint8Array => {
      let bytes = new Uint8Array(0);
      for (let level = 1; level < depth; level++) bytes = toBinary(AnyBytes, create(AnyBytes, { value: bytes }));
      return bytes;
    };
    // A message whose only field is bytes 4, which is what a reply looks like.
    const AnyBytes = replyType();
    expect(codec.decode(nest(32)).replyTo).toBeDefined();
    expect(refusal(() => codec.decode(nest(33)))).toContain('nested deeper than 32 levels');
    expect(refusal(() => codec.decode(nest(2000)))).toContain('nested deeper than 32 levels');
    expect(refusal(() => protobuf(ChatSchema, { maxDepth: 1 }).decode(nest(2)))).toContain('nested deeper than 1 levels');
    expect(refusal(() => protobuf(StructSchema).decode(hex('0a 02 18 01')))).toContain('an entry of a map');
  });

  it('takes 10,000 elements and fields, packed or not, and no more', () => {
    const packed = (count: number): Uint8Array => codec.encode({ numbers: Array.from({ length: count }, () => 1) });
    expect(codec.decode(packed(9_999)).numbers.length).toBe(9_999);
    expect(refusal(() => codec.decode(packed(10_000)))).toContain('numbers: it has more than 10000 fields and elements');
    const tags = codec.encode({ tags: Array.from({ length: 10_001 }, () => '') });
    expect(refusal(() => codec.decode(tags))).toContain('more than 10000 fields');
    const fixed = protobuf(typeWith('proto3', Type.FIXED32, Label.REPEATED), { maxElements: 3 });
    expect(fixed.decode(hex('0a 08 01 00 00 00 02 00 00 00'))).toMatchObject({ field: [1, 2] });
    expect(refusal(() => fixed.decode(hex('0a 04 01 00 00 00 0a 08 02 00 00 00 03 00 00 00')))).toContain('field: it has more than 3');
    const wide = protobuf(typeWith('proto3', Type.FIXED64, Label.REPEATED), { maxElements: 3 });
    expect(wide.decode(hex('0a 10 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00'))).toMatchObject({ field: [1n, 2n] });
    expect(refusal(() => wide.decode(hex('0a 04 01 00 00 00')))).toContain('a packed list ends in the middle of an element');
    expect(refusal(() => fixed.decode(hex('0a 0c 01 00 00 00 02 00 00 00 03 00 00 00')))).toContain('field: it has more than 3');
    expect(refusal(() => fixed.decode(hex('0a 03 01 00 00')))).toContain('field: a packed list ends in the middle of an element');
    expect(refusal(() => protobuf(ChatSchema, { maxBytes: 10 }).decode(packed(20)))).toContain('expected at most 10 bytes, given 22');
  });

  it('lets the last of two fields count, merges messages, and drops what the schema does not know', () => {
    const twice = codec.decode(hex('0a 01 61 0a 01 62 22 03 0a 01 78 22 02 38 01'));
    expect([twice.from, twice.replyTo?.from, twice.replyTo?.mood]).toEqual(['b', 'x', Mood.ANGRY]);
    const unknown = Buffer.concat([hex('0a 01 61 a2 06 80 80 01'), Buffer.alloc(16_384, 0x41)]);
    const message = codec.decode(unknown);
    expect([message.from, message.$unknown]).toEqual(['a', undefined]);
    // Numbers that an open enum does not know are kept.
    expect(codec.decode(hex('38 63')).mood).toBe(99);
  });

  it('gives bytes that are the program’s own', () => {
    const lent = Buffer.from(codec.encode({ blob: new Uint8Array([1, 2, 3]) }));
    const { blob } = codec.decode(lent);
    lent.fill(0);
    expect([blob.constructor, [...blob]]).toEqual([Uint8Array, [1, 2, 3]]);
  });

  it('takes any bytes, or refuses them; and takes all that it writes', () => {
    const chat = fc.record({
      from: fc.string({ unit: anyCharacter }),
      at: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
      tags: fc.array(fc.string({ unit: anyCharacter }), { maxLength: 5 }),
      votes: fc.dictionary(
        fc.string({ unit: anyCharacter }).filter((key) => key !== '__proto__'),
        fc.integer(),
        { maxKeys: 5, noNullPrototype: true },
      ),
      blob: fc.uint8Array({ maxLength: 20 }),
      numbers: fc.array(fc.integer(), { maxLength: 10 }),
      score: fc.double(),
    });
    fc.assert(
      fc.property(chat, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), (value, changes) => {
        const bytes = codec.encode(value);
        expect(codec.decode(bytes)).toEqual(create(ChatSchema, value));
        for (const [at, byte] of changes) if (bytes.length > 0) bytes[at % bytes.length] = byte;
        try {
          codec.decode(bytes);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(InvalidBodyError);
        }
      }),
      propertyRuns(200),
    );
  });

  it('refuses text of proto2 that is not UTF-8, and schemas with groups', () => {
    const old = protobuf(typeWith('proto2', Type.STRING));
    expect(refusal(() => old.decode(hex('0a 02 c3 28')))).toContain('field: it is not UTF-8');
    expect(() => protobuf(typeWith('proto2', Type.GROUP))).toThrow('protobuf: expected a message without groups, given "Test.field"');
    // The compiler would refuse these.
    expect(() => protobuf({} as never)).toThrow('protobuf: expected the schema of a message');
    expect(() => protobuf(ChatSchema, { maxDepth: 101 })).toThrow('protobuf maxDepth: expected a whole number, from 1 to 100, given 101');
  });

  it('refuses groups at any depth, also when a type that contains the first one is tried next', () => {
    const optional = { label: Label.OPTIONAL };
    const file = create(FileDescriptorProtoSchema, {
      name: 'cycle.proto',
      syntax: 'proto2',
      messageType: [
        {
          name: 'A',
          field: [
            { ...optional, name: 'b', number: 1, type: Type.MESSAGE, typeName: '.B' },
            { ...optional, name: 'group', number: 2, type: Type.GROUP, typeName: '.A' },
          ],
        },
        { name: 'B', field: [{ ...optional, name: 'a', number: 1, type: Type.MESSAGE, typeName: '.A' }] },
      ],
    });
    const registry = createFileRegistry(file, () => undefined);
    for (const name of ['A', 'B', 'A']) {
      const desc = registry.getMessage(name);
      if (desc === undefined) throw new Error('no such type');
      expect(() => protobuf(desc)).toThrow('protobuf: expected a message without groups, given "A.group"');
    }
  });

  it('does not write what does not fit the schema', () => {
    const wrong = [{ numbers: [1.5] }, { numbers: [2 ** 31] }, { at: 2n ** 63n }, { blob: 'x' as never }];
    for (const value of wrong) {
      expect(() => codec.encode(value)).toThrow(expect.objectContaining({ name: 'StateError', code: 'UNENCODABLE_BODY' }));
    }
  });
});

/** A message type with bytes as field 4. */
function replyType(): DescMessage {
  const field = { name: 'value', number: 4, label: Label.OPTIONAL, type: Type.BYTES };
  // proto2, so that no bytes are not the same as none.
  const file = create(FileDescriptorProtoSchema, { name: 'r.proto', syntax: 'proto2', messageType: [{ name: 'Reply', field: [field] }] });
  const desc = createFileRegistry(file, () => undefined).getMessage('Reply');
  if (desc === undefined) throw new Error('no such type');
  return desc;
}
