import { encodeCredit } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodySent, ItemReceived, Protocol, StreamNames } from '../protocol/protocol.ts';
import type { BrowserClient } from './client.ts';
import { beginCall } from './client-parts.ts';
import { encodeBody } from './commands.ts';
import { replyStream } from './reply-stream.ts';

export interface StreamOptions {
  readonly signal?: AbortSignal;
  /** Items that the server may be ahead of the loop. Default 32. */
  readonly window?: number;
}

/**
 * Asks for a stream. The call leaves when the loop begins, leaving the loop cancels it, and the server is never more than `window` items ahead. The loop
 * throws what `call` rejects with; there is no time-out but that of `signal`. A function of its own, so that pages without streams do not load it.
 *
 * @example
 * ```ts
 * import { createClient, stream } from 'portico/browser';
 *
 * const client = createClient({ url: 'wss://example.org/' });
 * await client.connect();
 * for await (const item of stream(client, 3)) console.log(item.length);
 * ```
 */
export function stream<P extends Protocol, Name extends StreamNames<P>>(
  client: BrowserClient<P>,
  name: Name,
  body: BodySent<P, Name>,
  options?: StreamOptions,
): AsyncGenerator<ItemReceived<P, Name>, undefined>;
export function stream<P extends Protocol>(
  client: BrowserClient<P>,
  id: number,
  body?: BytesLike,
  options?: StreamOptions,
): AsyncGenerator<Uint8Array, undefined>;
export function stream(
  { parts }: Pick<BrowserClient, 'parts'>,
  command: string | number,
  body?: unknown,
  { signal, window = 32 }: StreamOptions = {},
): AsyncGenerator<unknown, undefined> {
  const { core, commands } = parts;
  const type = commands.typeOf('stream', command, 'stream');
  const payload = encodeBody(type, body);
  return replyStream<unknown>(
    {
      begin: (sink, credit) => beginCall(parts, type.id, payload, { signal }, sink, credit),
      credit: (call, items) => core.answer(encodeCredit(call, items)),
      cancel: (call) => core.calls.cancel(call),
    },
    window,
    (item) => (type.stream === undefined ? item : type.stream.decode(item)),
  );
}
