import { fromJson, type JsonObject, toJson } from '@bufbuild/protobuf';
import { StructSchema } from '@bufbuild/protobuf/wkt';
import { protobuf } from '../../src/protobuf/protobuf.ts';
import type { BodyCodec } from '../../src/protocol/body-codec.ts';

/** Objects as google.protobuf.Struct: the protobuf message that every implementation has without generated code. */
export function struct<T extends object>(): BodyCodec<T> {
  const message = protobuf(StructSchema);
  return {
    name: message.name,
    // A Struct carries any JSON object, which the type of the caller claims to be one.
    encode: (value) => message.encode(fromJson(StructSchema, value as JsonObject)),
    decode: (bytes) => toJson(StructSchema, message.decode(bytes)) as T,
  };
}
