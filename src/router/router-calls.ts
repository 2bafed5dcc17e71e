import { StateError } from '../base/errors.ts';
import { checkMs } from '../base/option.ts';
import { type Action, type Codecs, codecFor } from './action.ts';
import type { ActionPacket } from './action-packet.ts';
import { type PendingCall, PendingCalls } from './pending-calls.ts';
import { decodeRefusal } from './refusal.ts';
import type { ActionSession } from './route-context.ts';
import { encodeRequest } from './router-listener.ts';

export interface CallOptions {
  /** Reject with CALL_TIMEOUT when no reply has come by then. Default: that of the client, 30 000. */
  readonly timeoutMs?: number;
  /** Reject with ABORTED. The server is not told. */
  readonly signal?: AbortSignal;
}

/** What the calls of all sessions of a client have in common. */
export interface CallSettings {
  readonly codecs: Codecs;
  readonly format: string;
  readonly callTimeoutMs: number;
  readonly maxPendingCalls: number;
  readonly errorAction: number | false;
}

/**
 * One session's calls: requests that wait for the reply with their action and seq. Made by `RouterClient.of`. All methods are safe after
 * the session has closed: calls then reject, and `send` returns false.
 */
export class RouterCalls {
  readonly session: ActionSession;
  readonly #settings: CallSettings;
  readonly #pending: PendingCalls;

  constructor(session: ActionSession, settings: CallSettings) {
    this.session = session;
    this.#settings = settings;
    this.#pending = new PendingCalls(session.wheel, settings.maxPendingCalls);
    // Nothing is received any more once the session begins to close, long before it has closed.
    const { signal } = session;
    if (!signal.aborted) signal.addEventListener('abort', () => this.#pending.rejectAll(this.#closed()), { once: true });
  }

  /** How many calls wait for their reply. */
  get pendingCalls(): number {
    return this.#pending.size;
  }

  /**
   * Sends a request and resolves with its reply. Always settles: rejects with CallError (CALL_FAILED) when the server answered with an
   * error, InvalidBodyError for a reply that its codec refuses, CALL_TIMEOUT, ABORTED, SESSION_CLOSED, TOO_MANY_CALLS, UNENCODABLE_BODY,
   * INVALID_OPTION, MISSING_OPTION for a format without a codec, and as `session.send` throws.
   */
  call<Value, Reply>(action: Action<Value, unknown, never, Reply>, body: Value, options?: CallOptions): Promise<Reply>;
  call<Reply = unknown>(action: number, body?: unknown, options?: CallOptions): Promise<Reply>;
  call(action: number | Action<unknown, unknown, never>, body?: unknown, options: CallOptions = {}): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const { codecs, format, callTimeoutMs } = this.#settings;
      const { timeoutMs = callTimeoutMs, signal } = options;
      checkMs('call timeoutMs', timeoutMs);
      if (this.session.isClosed) throw this.#closed();
      if (signal?.aborted) throw new StateError('ABORTED', 'call: the signal was aborted before the call', { cause: signal.reason });
      const packet = encodeRequest(codecs, format, action, body, 0);
      const choice = typeof action === 'number' ? undefined : action.reply;
      const codec = codecFor(choice, codecs, format, packet.action);
      const request = { timeoutMs, signal, decode: (bytes: Uint8Array) => codec.decode(bytes) };
      const call = this.#pending.add(packet.action, request, { resolve, reject });
      this.#send(call, packet);
    });
  }

  #send(call: PendingCall, packet: ActionPacket): void {
    try {
      this.session.send({ ...packet, seq: call.seq });
      if (this.session.hasEnded) call.reject(this.#closed());
    } catch (thrown) {
      call.reject(thrown);
    }
  }

  /** Sends a packet that asks for nothing, with seq 0. Returns what `session.send` does, and throws as it and the codec. */
  send<Value>(action: number | Action<Value, unknown, never>, body: Value): boolean {
    const { codecs, format } = this.#settings;
    return this.session.send(encodeRequest(codecs, format, action, body, 0));
  }

  /** A packet has come: whether it is a reply to one of these calls, or to one that has ended. */
  onPacket(packet: ActionPacket): boolean {
    const call = this.#pending.find(packet.seq);
    if (packet.action === this.#settings.errorAction) {
      this.#onRefusal(call, packet.body);
      return true;
    }
    if (call?.action !== packet.action) return false;
    let value: unknown;
    try {
      value = call.decode(packet.body);
    } catch (thrown) {
      call.reject(thrown);
      return true;
    }
    call.resolve(value);
    return true;
  }

  #onRefusal(call: PendingCall | undefined, body: Uint8Array): void {
    if (call === undefined) return;
    try {
      const { action, error } = decodeRefusal(body);
      if (action === call.action) call.reject(error);
    } catch (thrown) {
      call.reject(thrown);
    }
  }

  #closed(): StateError {
    const { signal } = this.session;
    const cause: unknown = signal.aborted ? signal.reason : undefined;
    return new StateError('SESSION_CLOSED', 'call: the session has closed before the reply came', { cause });
  }
}
