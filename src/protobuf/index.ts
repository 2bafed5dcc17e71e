/**
 * Bodies in protobuf, by the schemas of `@bufbuild/protobuf`, which is an optional peer: install it beside portico.
 *
 * @example
 * ```ts
 * import { TimestampSchema } from '@bufbuild/protobuf/wkt';
 * import { protobuf } from 'portico/protobuf';
 * import { defineProtocol } from 'portico/protocol';
 *
 * const clock = defineProtocol({ tick: { id: 1, body: protobuf(TimestampSchema) } });
 * const bytes = clock.spec.tick.body.encode({ seconds: 1_700_000_000n });
 * console.log(clock.spec.tick.body.decode(bytes).seconds);
 * ```
 *
 * @module
 */
export { type ProtobufOptions, protobuf } from './protobuf.ts';
