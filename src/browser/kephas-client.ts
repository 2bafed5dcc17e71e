import { StateError } from '../base/errors.ts';
import { checkFunction, checkInteger, invalid } from '../base/option.ts';
import { COMMAND_ID, decodeJson, encodeJson, encodeText } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import { toBytes } from '../protocol/raw.ts';
import { type BrowserClient, createClient } from './client.ts';
import type { WebSocketConstructor } from './environment.ts';
import { onReserved, sendReserved } from './reserved.ts';

/** The options of knet's browser client, with its names and defaults. */
export interface KephasOptions {
  readonly url: string;
  /** Default true. */
  readonly autoReconnect?: boolean;
  /** Of the first wait; the second is twice as long, up to five times. Default 3 000. */
  readonly reconnectDelay?: number;
  /** Default Infinity. */
  readonly maxReconnectAttempts?: number;
  /** Default 10 000. */
  readonly connectionTimeout?: number;
  /** Errors are written to `log`. Default false. */
  readonly debug?: boolean;
  /** Not knet's: where to write. Default: nowhere, also with `debug`. */
  readonly log?: (message: string, error: unknown) => void;
  /** Not knet's: for Node before 22. */
  readonly webSocket?: WebSocketConstructor;
}

export type KephasState = 'DISCONNECTED' | 'CONNECTING' | 'CONNECTED' | 'RECONNECTING' | 'CLOSED';

/** A JSON-RPC 2.0 response, whole. */
export interface KephasResponse {
  readonly jsonrpc: '2.0';
  readonly id: string | number | null;
  readonly result?: unknown;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: unknown };
}

interface PendingRpc {
  readonly resolve: (response: KephasResponse) => void;
  readonly reject: (error: unknown) => void;
  readonly cancel: () => void;
}

const FIRST_RESERVED = 0xffff_fffc;
const RPC_TIMEOUT_MS = 30_000;
const MAX_PENDING = 1_000;

/**
 * knet's `KephasClient`, method for method, for code that was written against it. What it does otherwise than knet's is in
 * docs/guide/browser-client.md; new code is better off with `createClient`.
 *
 * @example
 * ```ts
 * import { KephasClient } from 'portico/browser';
 *
 * const client = new KephasClient({ url: 'ws://127.0.0.1:8080/ws' });
 * client.on(1, (payload) => console.log(new TextDecoder().decode(payload)));
 * client.connect().then(() => client.sendString(1, 'hello'), console.error);
 * ```
 */
export class KephasClient {
  readonly #client: BrowserClient;
  readonly #handlers = new Map<number, () => void>();
  readonly #pending = new Map<string, PendingRpc>();
  #lastId = 0;
  #isClosed = false;

  constructor(options: KephasOptions) {
    const { url, autoReconnect = true, reconnectDelay = 3_000, maxReconnectAttempts = Number.POSITIVE_INFINITY } = options;
    const { connectionTimeout = 10_000, debug = false, log, webSocket } = options;
    if (typeof url !== 'string') throw invalid('url', 'a string', url);
    this.#client = createClient({
      url,
      profile: 'knet',
      connectTimeoutMs: connectionTimeout,
      retryFirstConnect: false,
      minUptimeMs: 0,
      buffer: false,
      reconnect: autoReconnect && {
        attempts: maxReconnectAttempts,
        delay: (attempt) => reconnectDelay * Math.min(attempt, 5),
      },
      isFatal: () => false,
      ...(webSocket === undefined ? {} : { webSocket }),
    });
    this.#client.events.on('error', (error) => (debug ? log?.(error.message, error) : undefined));
    const onLost = (): void => this.#failAll();
    this.#client.events.on('reconnecting', onLost);
    this.#client.events.on('close', onLost);
    for (const id of [COMMAND_ID.RPC, COMMAND_ID.RPC_ERROR] as const) onReserved(this.#client, id, (payload) => this.#onRpc(payload));
  }

  /** Rejects when the first connection fails, and does not go on in the background then. */
  async connect(): Promise<void> {
    this.#isClosed = false;
    await this.#client.connect();
  }

  /** For good: the state is CLOSED until `connect` is called again. */
  disconnect(): void {
    this.#isClosed = true;
    void this.#client.close({ drain: false, reason: 'Client disconnect' });
  }

  /** One handler for each id: the later one takes over. Throws for the ids that knet's client keeps, 0xFFFFFFFC and above. */
  on(commandId: number, handler: (payload: Uint8Array) => unknown): void {
    checkId(commandId);
    checkFunction('on', handler);
    this.off(commandId);
    this.#handlers.set(commandId, this.#client.on(commandId, handler));
  }

  off(commandId: number): void {
    this.#handlers.get(commandId)?.();
    this.#handlers.delete(commandId);
  }

  /** Rejects with "Not connected to server" while there is no connection. */
  async send(commandId: number, payload: BytesLike): Promise<void> {
    checkId(commandId);
    if (!this.isConnected()) throw new StateError('NO_SESSION', 'Not connected to server');
    this.#client.send(commandId, toBytes(payload));
  }

  sendString(commandId: number, text: string): Promise<void> {
    return this.send(commandId, encodeText(text));
  }

  sendJSON(commandId: number, value: unknown): Promise<void> {
    return this.send(commandId, encodeJson(value));
  }

  /**
   * Calls a JSON-RPC method, and resolves with the whole response, also when it has an error. Rejects after 30 s, and when the connection is lost.
   */
  async sendJSONRPC(method: string, params: unknown, id: string | number = ++this.#lastId): Promise<KephasResponse> {
    if (!this.isConnected()) throw new StateError('NO_SESSION', 'Not connected to server');
    const key = keyOf(id);
    if (this.#pending.has(key)) throw invalid('sendJSONRPC', 'an id that is not in use', id);
    if (this.#pending.size >= MAX_PENDING)
      throw new StateError('SEND_QUEUE_FULL', `sendJSONRPC: expected at most ${MAX_PENDING} open calls`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#settle(key)?.reject(new StateError('CALL_TIMEOUT', 'JSON-RPC request timeout'));
      }, RPC_TIMEOUT_MS);
      this.#pending.set(key, { resolve, reject, cancel: () => clearTimeout(timer) });
      sendReserved(this.#client, COMMAND_ID.RPC, encodeJson({ jsonrpc: '2.0', method, params, id }));
    });
  }

  isConnected(): boolean {
    return this.#client.state === 'open';
  }

  getState(): KephasState {
    switch (this.#client.state) {
      case 'connecting':
        return 'CONNECTING';
      case 'open':
        return 'CONNECTED';
      case 'reconnecting':
        return 'RECONNECTING';
      default:
        return this.#isClosed ? 'CLOSED' : 'DISCONNECTED';
    }
  }

  #onRpc(payload: Uint8Array): void {
    const response = decodeJson(payload);
    const responses: unknown[] = Array.isArray(response) ? response : [response];
    for (const one of responses) {
      if (isResponse(one)) this.#settle(keyOf(one.id))?.resolve(one);
    }
  }

  #settle(key: string): PendingRpc | undefined {
    const pending = this.#pending.get(key);
    this.#pending.delete(key);
    pending?.cancel();
    return pending;
  }

  #failAll(): void {
    for (const key of [...this.#pending.keys()]) this.#settle(key)?.reject(new StateError('SESSION_CLOSED', 'the connection is lost'));
  }
}

/** The number 1 and the text "1" are different ids. */
function keyOf(id: string | number | null): string {
  return JSON.stringify(id);
}

function checkId(id: number): void {
  checkInteger('commandId', id, 0, FIRST_RESERVED - 1);
}

function isResponse(value: unknown): value is KephasResponse {
  if (typeof value !== 'object' || value === null || !('id' in value)) return false;
  const { id } = value;
  return (typeof id === 'string' || typeof id === 'number') && ('result' in value || 'error' in value);
}
