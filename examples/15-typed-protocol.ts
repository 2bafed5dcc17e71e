// npx tsx examples/15-typed-protocol.ts
// One value says what the messages are; bodies are checked by a schema, and the compiler knows both sides.
import { type BodyReceived, type BodySent, defineProtocol, InvalidBodyError, json, type ReplySent } from 'portico/protocol';
import { z } from 'zod';

const Order = z.object({ item: z.string().min(1), count: z.number().int().positive().default(1) });

const shop = defineProtocol({
  order: { id: 1, body: json(Order), reply: json<{ total: number }>() },
});
type Shop = typeof shop;

/** Gets what the schema made of the body: `count` is always there. */
function onOrder({ item, count }: BodyReceived<Shop, 'order'>): ReplySent<Shop, 'order'> {
  console.log(`server: ${count} x ${item}`);
  return { total: count * 7 };
}

/** What portico/command does with it: bytes in, bytes out. */
function serve(bytes: Uint8Array): Uint8Array {
  const { body, reply } = shop.spec.order;
  return reply.encode(onOrder(body.decode(bytes)));
}

// `count` may be left out here, and `{ item: 7 }` would not compile.
const order: BodySent<Shop, 'order'> = { item: 'tea' };
const { body, reply } = shop.spec.order;
console.log('client:', reply.decode(serve(body.encode(order))));

for (const wrong of ['{"item":"","count":0}', '{"item":"tea","__proto__":{}}', '{']) {
  try {
    serve(new TextEncoder().encode(wrong));
  } catch (error) {
    if (!(error instanceof InvalidBodyError)) throw error;
    console.log(`server: refused ${wrong}:`, error.issues);
  }
}
