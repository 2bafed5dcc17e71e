import { type COMMAND_ID, encodeMessage } from '../command/wire.ts';
import type { BrowserClient } from './client.ts';

/** The two ids that both profiles reserve for JSON-RPC. */
export type ReservedId = (typeof COMMAND_ID)['RPC' | 'RPC_ERROR'];

type Client = Pick<BrowserClient, 'core'>;

/** Takes over one of the reserved ids; the later one wins. What `fn` throws goes to the event `error`. */
export function onReserved({ core }: Client, id: ReservedId, fn: (payload: Uint8Array) => void): () => void {
  const { reserved } = core;
  const guarded = (payload: Uint8Array): void => {
    try {
      fn(payload);
    } catch (thrown) {
      core.failed(thrown, id);
    }
  };
  reserved.set(id, guarded);
  return () => void (reserved.get(id) === guarded && reserved.delete(id));
}

/** As `send`, with a reserved id. */
export function sendReserved({ core }: Client, id: ReservedId, payload: Uint8Array): boolean {
  return core.send(encodeMessage(id, payload));
}
