/** Checked by the compiler alone (`npm run check:types`): what is inferred from a protocol, end to end. */

import type { StandardSchemaV1 } from '@standard-schema/spec';
import { type } from 'arktype';
import {
  type AnyBodyCodec,
  type BodyCodec,
  type BodyReceived,
  type BodySent,
  type BytesLike,
  type CallNames,
  defineProtocol,
  empty,
  type ItemReceived,
  type ItemSent,
  json,
  type MessageNames,
  type Names,
  type Protocol,
  type ReplyReceived,
  type ReplySent,
  raw,
  type SchemaInput,
  type SchemaOutput,
  type StandardSchema,
  type StreamNames,
  text,
} from 'portico/protocol';
import * as v from 'valibot';
import { expectTypeOf } from 'vitest';
import { z } from 'zod';

const Login = z.object({ name: z.string(), age: z.string().transform(Number), admin: z.boolean().default(false) });
const Since = v.object({ since: v.pipe(v.string(), v.transform(Number)) });
const Line = type({ from: 'string', at: 'string.numeric.parse' });

const chat = defineProtocol({
  say: { id: 1, body: json<{ text: string }>() },
  login: { id: 2, body: json(Login), reply: json<{ token: string }>() },
  history: { id: 3, body: json(Since), stream: json(Line) },
  blob: { id: 4, body: raw() },
  ping: { id: 5, body: empty(), reply: text() },
});
type Chat = typeof chat;

expectTypeOf<Names<Chat>>().toEqualTypeOf<'say' | 'login' | 'history' | 'blob' | 'ping'>();
expectTypeOf<MessageNames<Chat>>().toEqualTypeOf<'say' | 'blob'>();
expectTypeOf<CallNames<Chat>>().toEqualTypeOf<'login' | 'ping'>();
expectTypeOf<StreamNames<Chat>>().toEqualTypeOf<'history'>();

expectTypeOf<BodySent<Chat, 'say'>>().toEqualTypeOf<{ text: string }>();
expectTypeOf<BodySent<Chat, 'login'>>().toEqualTypeOf<{ name: string; age: string; admin?: boolean | undefined }>();
expectTypeOf<BodyReceived<Chat, 'login'>>().toEqualTypeOf<{ name: string; age: number; admin: boolean }>();
expectTypeOf<ReplySent<Chat, 'login'>>().toEqualTypeOf<{ token: string }>();
expectTypeOf<ReplyReceived<Chat, 'ping'>>().toEqualTypeOf<string>();
expectTypeOf<BodySent<Chat, 'history'>>().toEqualTypeOf<{ since: string }>();
expectTypeOf<BodyReceived<Chat, 'history'>>().toEqualTypeOf<{ since: number }>();
expectTypeOf<ItemSent<Chat, 'history'>>().toEqualTypeOf<{ from: string; at: string }>();
expectTypeOf<ItemReceived<Chat, 'history'>>().toEqualTypeOf<{ from: string; at: number }>();
expectTypeOf<BodySent<Chat, 'blob'>>().toEqualTypeOf<BytesLike>();
expectTypeOf<BodyReceived<Chat, 'blob'>>().toEqualTypeOf<Uint8Array>();
expectTypeOf<BodySent<Chat, 'ping'>>().toEqualTypeOf<void>();

/** A `send` as the carriers of a protocol have it: what it takes follows from the name. */
declare function send<P extends Protocol, Name extends MessageNames<P>>(protocol: P, name: Name, body: BodySent<P, Name>): void;
declare function call<P extends Protocol, Name extends CallNames<P>>(
  protocol: P,
  name: Name,
  body: BodySent<P, Name>,
): Promise<ReplyReceived<P, Name>>;

send(chat, 'say', { text: 'hello' });
// @ts-expect-error: the body of another message
send(chat, 'say', { name: 'ada' });
// @ts-expect-error: a call is not sent
send(chat, 'login', { name: 'ada', age: '36' });
// @ts-expect-error: no such message
send(chat, 'shout', { text: 'hello' });
expectTypeOf(call(chat, 'login', { name: 'ada', age: '36' })).toEqualTypeOf<Promise<{ token: string }>>();
// @ts-expect-error: what the schema takes in, not what it makes of it
void call(chat, 'login', { name: 'ada', age: 36 });

// A protocol of which nothing is known is any protocol, a codec likewise.
expectTypeOf(chat).toExtend<Protocol>();
expectTypeOf<BodyCodec<string, number>>().toExtend<AnyBodyCodec>();
expectTypeOf<MessageNames<Protocol>>().toEqualTypeOf<string>();

// @ts-expect-error: both a reply and a stream
defineProtocol({ odd: { id: 1, body: text(), reply: text(), stream: text() } });
// @ts-expect-error: no body
defineProtocol({ odd: { id: 1 } });

// Whatever is a schema by the published types is one here, and gives the same types.
expectTypeOf<StandardSchemaV1<string, number>>().toExtend<StandardSchema<string, number>>();
expectTypeOf<SchemaInput<StandardSchemaV1<string, number>>>().toEqualTypeOf<string>();
expectTypeOf<SchemaOutput<StandardSchemaV1<string, number>>>().toEqualTypeOf<number>();
