import { StateError } from '../base/errors.ts';
import { checkMs } from '../base/option.ts';
import type { CallLimits, CallSink } from './calls.ts';
import type { ClientCore } from './client-core.ts';
import type { Settings } from './client-options.ts';
import type { Commands } from './commands.ts';

/** What the client asks whoever keeps its rooms. */
export interface RoomKeeper {
  /** For HELLO. */
  wanted(): readonly { readonly name: string; readonly state?: unknown }[];
  /** The session is a new one, which is in these rooms. */
  onNewSession(names: readonly string[]): void;
}

/** What a client is made of, for the functions that pages load only when they use them. */
export interface ClientParts {
  readonly core: ClientCore;
  readonly commands: Commands;
  readonly settings: Settings;
  /** Set by the first `roomOf`. */
  rooms?: RoomKeeper;
}

/** Begins a call, or tells the sink why not: 0 then. */
export function beginCall(
  { core, settings }: ClientParts,
  id: number,
  payload: Uint8Array,
  limits: CallLimits,
  sink: CallSink,
  credit?: number,
): number {
  const { state } = core.connector;
  const isClosed = state === 'closed' || state === 'closing';
  if (settings.profile === 'native' && !isClosed) return core.calls.begin(id, payload, limits, sink, credit);
  sink.onError(
    isClosed ? new StateError('ENDPOINT_CLOSED', 'the client is closed') : new StateError('WRONG_STATE', 'not in the knet profile'),
  );
  return 0;
}

/** A call with one answer. */
export function ask(
  parts: ClientParts,
  id: number,
  payload: Uint8Array,
  { signal, timeoutMs = parts.settings.callTimeoutMs }: CallLimits = {},
): Promise<Uint8Array> {
  checkMs('timeoutMs', timeoutMs);
  return new Promise((resolve, reject) => {
    beginCall(
      parts,
      id,
      payload,
      { signal, timeoutMs },
      { onItem() {}, onEnd: (answer) => resolve(answer ?? new Uint8Array(0)), onError: reject },
    );
  });
}
