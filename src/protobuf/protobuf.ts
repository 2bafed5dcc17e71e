import { create, type DescMessage, fromBinary, type MessageInitShape, type MessageShape, toBinary } from '@bufbuild/protobuf';
import { describeThrown, StateError } from '../base/errors.ts';
import { checkInteger, invalid } from '../base/option.ts';
import type { BodyCodec } from '../protocol/body-codec.ts';
import { invalidBody } from '../protocol/invalid-body.ts';
import { planOf } from './message-plan.ts';
import { WireCheck, type WireLimits } from './wire-check.ts';

export interface ProtobufOptions {
  /** Messages within each other that are taken from a peer, 1 to 100. Default 32. */
  readonly maxDepth?: number;
  /** Fields and elements of lists, all together, that are taken from a peer. Default 10,000. */
  readonly maxElements?: number;
  /** Default 1 MiB. */
  readonly maxBytes?: number;
}

/**
 * Bodies that are one protobuf message, of a schema that `protoc-gen-es` generated. What is sent may be a message or a plain object
 * with some of its fields; what is received is a message.
 *
 * `decode` throws InvalidBodyError for bytes that break the wire format or the limits, for groups, for text that is not UTF-8 (also in
 * proto2) and for a map's key `__proto__`. Fields that the schema does not know are left out. Of a field that comes twice the last one
 * counts, messages are merged. 64-bit numbers are exact, as bigint; numbers that an open enum does not know are kept. `encode` throws StateError
 * UNENCODABLE_BODY for a value that does not fit the schema.
 */
export function protobuf<Desc extends DescMessage>(
  schema: Desc,
  options: ProtobufOptions = {},
): BodyCodec<MessageInitShape<Desc>, MessageShape<Desc>> {
  if (typeof schema !== 'object' || schema === null || schema.kind !== 'message') {
    throw invalid('protobuf', 'the schema of a message, as protoc-gen-es generates it', schema);
  }
  const { maxDepth = 32, maxElements = 10_000, maxBytes = 1_048_576 } = options;
  // The library itself has a limit of 100 levels.
  checkInteger('protobuf maxDepth', maxDepth, 1, 100);
  checkInteger('protobuf maxElements', maxElements, 1);
  checkInteger('protobuf maxBytes', maxBytes, 1);
  const limits: WireLimits = { maxDepth, maxElements };
  const plan = planOf(schema);
  return {
    name: 'protobuf',
    encode(value) {
      try {
        return toBinary(schema, create(schema, value));
      } catch (thrown) {
        throw new StateError('UNENCODABLE_BODY', `protobuf: ${describeThrown(thrown).slice(0, 200)}`, { cause: thrown });
      }
    },
    decode(bytes) {
      if (bytes.length > maxBytes) throw invalidBody('protobuf', `expected at most ${maxBytes} bytes, given ${bytes.length}`);
      new WireCheck(bytes, limits).run(plan);
      try {
        // A copy, because fields of bytes are made views of what is decoded.
        return fromBinary(schema, new Uint8Array(bytes), { readUnknownFields: false });
      } catch (thrown) {
        throw invalidBody('protobuf', describeThrown(thrown), thrown);
      }
    },
  };
}
