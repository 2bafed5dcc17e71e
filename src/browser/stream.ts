import { PeerError } from '../base/errors.ts';
import { CREDIT_ID, encodeNumbers } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodySent, ItemReceived, Protocol, StreamNames } from '../protocol/protocol.ts';
import type { CallLimits } from './calls.ts';
import type { BrowserClient } from './client.ts';
import { encodeBody, typeOf } from './commands.ts';

export interface StreamOptions extends Omit<CallLimits, 'timeoutMs'> {
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
  client: Pick<BrowserClient, 'core'>,
  command: string | number,
  body?: unknown,
  options: StreamOptions = {},
): AsyncGenerator<unknown, undefined> {
  const type = typeOf(client.core.commands, 'stream', command, 'stream');
  return items(client, type.id, encodeBody(type, body), options, (item) => (!type.stream ? item : type.stream.decode(item)));
}

async function* items(
  { core }: Pick<BrowserClient, 'core'>,
  id: number,
  payload: Uint8Array,
  { window = 32, ...limits }: StreamOptions,
  decode: (item: Uint8Array) => unknown,
): AsyncGenerator<unknown, undefined> {
  /** At most `window`: whoever sends without credit breaks the protocol, and would fill the memory. */
  let received: Uint8Array[] = [];
  let credit = window;
  let isOver = false;
  let failure: unknown;
  let wake = (): void => {};
  const call = core.calls.begin(
    id,
    payload,
    limits,
    (error, item, isLast) => {
      // A handler that answers instead of streaming: one item, for which no credit is needed.
      if (isLast || credit-- > 0) {
        if (item !== undefined) received.push(item);
        isOver = isLast;
        failure = error;
      } else {
        core.calls.cancel(call, new PeerError('PROTOCOL_VIOLATION', 'more items than credit'));
      }
      wake();
    },
    window,
  );
  try {
    for (;;) {
      const ready = received;
      received = [];
      for (const item of ready) yield decode(item);
      if (received.length > 0) continue;
      if (isOver) break;
      if (credit * 2 <= window) {
        core.answer(encodeNumbers([CREDIT_ID, call, window - credit]));
        credit = window;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    core.calls.cancel(call);
  }
  if (failure !== undefined) throw failure;
  return undefined;
}
