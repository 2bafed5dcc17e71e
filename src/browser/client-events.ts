import type { PorticoError } from '../base/errors.ts';

/**
 * idle → connecting → open ⇄ reconnecting → closing → closed. `connecting` lasts until the first WELCOME, also over several attempts;
 * `closed` is left by `connect()`.
 */
export type ClientState = 'idle' | 'connecting' | 'open' | 'reconnecting' | 'closing' | 'closed';

/** Why a connection is over, or why an attempt failed. */
export interface ClientClose {
  /** The status of the close, 1006 when the connection broke or was never made. */
  readonly status: number;
  readonly reason: string;
  /** Both sides closed in order. */
  readonly wasClean: boolean;
  /** Who closed. */
  readonly by: 'client' | 'server' | 'network';
  /** What failed, where something did. */
  readonly error?: PorticoError | undefined;
  /** When the server wants the client back. */
  readonly retryAfterMs?: number | undefined;
  /** The server's own word on whether to come again. */
  readonly isFatal?: boolean | undefined;
}

/** What the client was told when it became open. */
export interface OpenInfo {
  /** Names this client at the server, and stays across resumes. */
  readonly id: string;
  /** Nothing was lost in either direction. */
  readonly recovered: boolean;
}

/** A message that will not arrive, or may not have arrived. */
export interface DroppedMessage {
  readonly id: number;
  readonly payload: Uint8Array;
  /**
   * `full`, `age`: the offline buffer's policy. `offline`: volatile, or the buffer is off. `closed`: the client was closed. `lost`: it was
   * sent, but resuming failed before the server confirmed it: it may have arrived.
   */
  readonly reason: 'full' | 'age' | 'offline' | 'closed' | 'lost' | 'too-large';
}

/** Event → what its listeners are given. */
export interface ClientEvents {
  /** The first connection of a `connect()`. */
  open: [info: OpenInfo];
  /** A later connection. `recovered` false: the server knows nothing of the client any more; rooms are joined again, open calls have failed. */
  reconnected: [info: OpenInfo];
  /** The connection is gone; the client waits `delayMs` before it tries again. */
  reconnecting: [next: { readonly attempt: number; readonly delayMs: number; readonly close: ClientClose }];
  /** It is over: `close()`, a status that is fatal, or the last attempt failed. Once for each `connect()`. */
  close: [close: ClientClose];
  state: [state: ClientState, before: ClientState];
  /** A handler threw, the server broke the protocol, an attempt failed. Nothing is over because of it. */
  error: [error: PorticoError];
  /** `sendQueueBytes` is below the low-water mark again after a `send` returned false. */
  drain: [];
  dropped: [message: DroppedMessage];
}
