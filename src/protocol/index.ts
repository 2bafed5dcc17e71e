/**
 * One typed value that a server and its clients share: the names, bodies, replies and streams of a protocol, and the codecs of
 * bodies. Runs in Node.js and in browsers.
 *
 * @example
 * ```ts
 * import { type BodyReceived, defineProtocol, json, text } from 'portico/protocol';
 *
 * const chat = defineProtocol({
 *   say: { id: 1, body: json<{ text: string }>() },
 *   rename: { id: 2, body: text(), reply: json<{ previous: string }>() },
 *   history: { id: 3, body: json<{ last: number }>(), stream: json<{ from: string; text: string }>() },
 * });
 *
 * type Said = BodyReceived<typeof chat, 'say'>;
 * const said: Said = { text: 'hello' };
 * console.log(chat.byName.get('say')?.body.encode(said).length);
 * ```
 *
 * @module
 */
export type { AnyBodyCodec, BodyCodec, BytesLike } from './body-codec.ts';
export { type BodyIssue, InvalidBodyError } from './invalid-body.ts';
export { type JsonOptions, json } from './json.ts';
export {
  type BodyReceived,
  type BodySent,
  type CallNames,
  type CallSpec,
  defineProtocol,
  type ItemReceived,
  type ItemSent,
  MAX_MESSAGE_ID,
  type MessageNames,
  type MessageSpec,
  type MessageType,
  type Names,
  type Protocol,
  type ProtocolOptions,
  type ProtocolSpec,
  type ReceivedOf,
  type ReplyReceived,
  type ReplySent,
  type SentOf,
  type StreamNames,
  type StreamSpec,
} from './protocol.ts';
export { empty, raw, text } from './raw.ts';
export type { SchemaInput, SchemaIssue, SchemaOutput, SchemaResult, StandardSchema } from './standard-schema.ts';
