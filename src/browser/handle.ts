import { isThenable } from '../base/thenable.ts';
import { COMMAND_ID, decodeCall, decodeNumber, encodeJson, encodeReply } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodyReceived, CallNames, Protocol, ReplySent } from '../protocol/protocol.ts';
import { toBytes } from '../protocol/raw.ts';
import type { BrowserClient } from './client.ts';
import { type CallContext, IncomingCalls } from './incoming-calls.ts';

/** The calls of the server to each client that has a handler. */
const incomingOf = /* @__PURE__ */ new WeakMap<object, IncomingCalls>();

function incomingCalls({ parts: { core, settings } }: Pick<BrowserClient, 'parts'>): IncomingCalls {
  const known = incomingOf.get(core);
  if (known !== undefined) return known;
  const incoming = new IncomingCalls(settings.maxCalls, {
    reply: (call, payload) => core.answer(encodeReply(call, 0, payload)),
    replyError: (call, code, message, data) => core.answer(encodeReply(call, 1, encodeJson({ code, message, data }))),
    onFailure: (thrown, id) => core.failed(thrown, id),
  });
  core.reserved.set(COMMAND_ID.CALL, (payload) => {
    const call = decodeCall(payload);
    if (call !== undefined) incoming.receive(call.call, call.id, call.payload);
  });
  core.reserved.set(COMMAND_ID.CANCEL, (payload) => incoming.cancel(decodeNumber(payload) ?? 0));
  core.sessionEnds.add((error) => incoming.abortAll(error));
  incomingOf.set(core, incoming);
  return incoming;
}

/**
 * Answers calls of the server; one handler for each command, the later one takes over. What it throws as a `CallError` is told, of anything else only that it
 * failed. `signal` is aborted when nobody waits any more. Returns what takes it away. A function of its own, so that pages that are not called do not load it.
 *
 * @example
 * ```ts
 * import { createClient, handle } from 'portico/browser';
 *
 * const client = createClient({ url: 'wss://example.org/' });
 * handle(client, 4, () => 'a page');
 * void client.connect();
 * ```
 */
export function handle<P extends Protocol, Name extends CallNames<P>>(
  client: BrowserClient<P>,
  name: Name,
  fn: (body: BodyReceived<P, Name>, context: CallContext) => ReplySent<P, Name> | PromiseLike<ReplySent<P, Name>>,
): () => void;
export function handle<P extends Protocol>(
  client: BrowserClient<P>,
  id: number,
  fn: (payload: Uint8Array, context: CallContext) => BytesLike | PromiseLike<BytesLike>,
): () => void;
export function handle(
  client: Pick<BrowserClient, 'parts'>,
  command: string | number,
  fn: (body: never, context: CallContext) => unknown,
): () => void {
  const type = client.parts.commands.typeOf('handle', command, 'call');
  const encode = (value: unknown): Uint8Array => (type.reply === undefined ? toBytes(value as BytesLike) : type.reply.encode(value));
  return incomingCalls(client).handle(type.id, (payload, context) => {
    // The overloads tie the body to the command.
    const result = fn((type.body === undefined ? payload : type.body.decode(payload)) as never, context);
    return isThenable(result) ? result.then(encode) : encode(result);
  });
}
