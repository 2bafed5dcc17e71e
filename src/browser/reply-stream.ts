import { PeerError } from '../base/errors.ts';
import type { CallSink } from './calls.ts';

export interface ReplyStreamHost {
  /** Sends the call with credit for so many items; returns its number, or 0 after having told the sink why not. */
  begin(sink: CallSink, credit: number): number;
  credit(call: number, items: number): void;
  cancel(call: number): void;
}

/**
 * The items of a stream that is called for, for `for await`. The call leaves when the loop begins; the server may be at most `window` items ahead
 * of the loop, and leaving the loop tells it to stop.
 */
export async function* replyStream<Item>(
  host: ReplyStreamHost,
  window: number,
  decode: (payload: Uint8Array) => Item,
): AsyncGenerator<Item, undefined> {
  /** At most `window`: whoever sends without credit breaks the protocol, and would fill the memory. */
  let items: Uint8Array[] = [];
  let credit = window;
  let isOver = false;
  let failure: unknown;
  let wake = (): void => {};
  const finish = (error?: unknown): void => {
    isOver = true;
    failure = error;
    wake();
  };
  const sink: CallSink = {
    onItem(payload) {
      if (credit-- === 0) {
        host.cancel(call);
        finish(new PeerError('PROTOCOL_VIOLATION', 'stream: more items than credit'));
      } else {
        items.push(payload);
        wake();
      }
    },
    // A handler that answers instead of streaming: one item.
    onEnd(payload) {
      if (payload !== undefined) items.push(payload);
      finish();
    },
    onError: finish,
  };
  const call = host.begin(sink, window);
  try {
    for (;;) {
      const ready = items;
      items = [];
      for (const item of ready) yield decode(item);
      if (items.length > 0) continue;
      if (isOver) break;
      if (credit * 2 <= window) {
        host.credit(call, window - credit);
        credit = window;
      }
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    host.cancel(call);
  }
  if (failure !== undefined) throw failure;
  return undefined;
}
