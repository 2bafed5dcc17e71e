import { checkMs } from '../base/option.ts';
import { COMMAND_ID, encodeMessage, encodeVolatile, FIRST_RESERVED_ID } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodyReceived, BodySent, CallNames, MessageNames, Names, Protocol, ReplyReceived } from '../protocol/protocol.ts';
import type { CallLimits } from './calls.ts';
import { ClientCore } from './client-core.ts';
import type { ClientClose, ClientEvents, ClientState, OpenInfo } from './client-events.ts';
import { type ClientOptions, settingsOf } from './client-options.ts';
import { ask, type ClientParts } from './client-parts.ts';
import { Commands, encodeBody, MessageHandlers } from './commands.ts';
import { CLOSED } from './connector.ts';
import { reportUnheard } from './environment.ts';
import { Listeners } from './listeners.ts';

/** A protocol without messages: commands are numbers. */
export type NoProtocol = Protocol<Record<never, never>>;

export interface SendOptions {
  /** Sent now or never: not counted, not repeated, not buffered. Default false. Nothing special in the knet profile while there is a connection. */
  readonly volatile?: boolean;
}

export interface CloseOptions {
  /** Waits for open calls and for what is queued before closing. Default true. */
  readonly drain?: boolean;
  /** For all of it. Default 3 000. */
  readonly timeoutMs?: number;
  /** 1000, or from 3000 to 4999. Default 1000, after which the server keeps nothing for this client. */
  readonly status?: number;
  readonly reason?: string;
}

/** The life-cycle events of a client: `client.events.on('reconnecting', ({ delayMs }) => …)`. */
export interface ClientEventSource {
  /** Returns what takes the listener away. */
  on<Name extends keyof ClientEvents>(name: Name, fn: (...args: ClientEvents[Name]) => unknown): () => void;
  once<Name extends keyof ClientEvents>(name: Name, fn: (...args: ClientEvents[Name]) => unknown): () => void;
  off<Name extends keyof ClientEvents>(name: Name, fn?: (...args: ClientEvents[Name]) => unknown): void;
}

/**
 * A client of the command protocol that stays connected: made by `createClient`.
 *
 * Messages are handled in the order in which the server sent them; a handler that returns a promise does not hold up the next one. After `close`
 * every method is safe: sends return false, calls reject.
 */
export class BrowserClient<P extends Protocol = NoProtocol> {
  readonly events: ClientEventSource;
  /** For the functions of this module that take a client; not for programs. */
  readonly parts: ClientParts;
  readonly #events: Listeners<string, readonly unknown[]>;
  readonly #core: ClientCore;
  readonly #commands: Commands;
  readonly #handlers: MessageHandlers;
  readonly #isNative: boolean;
  #info: OpenInfo | undefined;
  #closed: Promise<ClientClose> = Promise.resolve(CLOSED);

  constructor(options: ClientOptions<P>) {
    const settings = settingsOf(options);
    this.#isNative = settings.profile === 'native';
    this.#commands = new Commands(options.protocol, this.#isNative ? FIRST_RESERVED_ID : COMMAND_ID.RPC_ERROR);
    this.#handlers = new MessageHandlers(this.#commands, (thrown, command) => this.#core.failed(thrown, command));
    this.#events = new Listeners((thrown, name) => {
      if (name === 'error') reportUnheard(thrown);
      else this.#core.failed(thrown, `the event ${name}`);
    });
    this.events = {
      on: (name, fn) => this.#events.add(name, fn as () => unknown),
      once: (name, fn) => this.#events.add(name, fn as () => unknown, true),
      off: (name, fn) => this.#events.remove(name, fn),
    };
    this.#core = new ClientCore(settings, {
      emit: (name, ...args) => this.#emit(name, args),
      onMessage: (id, payload) => this.#handlers.dispatch(id, payload),
      wantedRooms: () => this.parts.rooms?.wanted() ?? [],
      onNewSession: (names) => this.parts.rooms?.onNewSession(names),
    });
    this.parts = { core: this.#core, commands: this.#commands, settings };
  }

  // --- the connection ---

  get state(): ClientState {
    return this.#core.connector.state;
  }

  /** What names this client at the server; undefined before the first connection, empty in the knet profile. */
  get id(): string | undefined {
    return this.#info?.id;
  }

  /** Whether the present connection went on where the one before had ended, with nothing lost. */
  get recovered(): boolean {
    return this.#info?.recovered ?? false;
  }

  /** How long the last heartbeat took there and back; undefined before the first and in the knet profile. */
  get rttMs(): number | undefined {
    return this.#core.heartbeat.rttMs;
  }

  /** Bytes that wait in the socket and in the buffer. */
  get sendQueueBytes(): number {
    return this.#core.sender.queuedBytes;
  }

  /** Resolves when the client is open, at once if it is; rejects when it is over. */
  get ready(): Promise<OpenInfo> {
    return this.#core.connector.ready;
  }

  /**
   * Connects, and stays connected until `close`. Resolves when it is open for the first time, also after several attempts; rejects when it gives
   * up. Called again meanwhile, the same promise; after the end, a new beginning. The rejection also comes as the event `close`, so that the
   * promise may be left alone.
   */
  connect(): Promise<OpenInfo> {
    return this.#core.connect();
  }

  /**
   * Ends it, and resolves with how it ended; never rejects. With `drain` (default) calls and queued messages are waited for first, as far as
   * `timeoutMs` allows. `connect()` may be called at once, without waiting.
   */
  close(options: CloseOptions = {}): Promise<ClientClose> {
    const { drain = true, timeoutMs = 3_000, status = 1000, reason = '' } = options;
    checkMs('timeoutMs', timeoutMs, 0);
    const { connector } = this.#core;
    if (connector.state === 'idle' || connector.state === 'closed') {
      return this.#closed;
    }
    if (connector.state !== 'closing') {
      this.#closed = new Promise((resolve) => this.events.once('close', resolve));
      connector.beginClosing(timeoutMs);
      if (drain) this.#core.drained(() => connector.shut(status, reason));
      else connector.shut(status, reason);
    }
    return this.#closed;
  }

  // --- messages ---

  /**
   * Sends a message, or keeps it until there is a connection (`buffer`). False: go slower, until the event `drain`; or it was dropped, which the
   * event `dropped` tells. Throws for what cannot be sent: INVALID_OPTION, UNENCODABLE_BODY, ENCODED_TOO_LARGE, and SEND_QUEUE_FULL when the buffer's
   * policy is to reject.
   */
  send<Name extends MessageNames<P>>(name: Name, body: BodySent<P, Name>, options?: SendOptions): boolean;
  send(id: number, body?: BytesLike, options?: SendOptions): boolean;
  send(command: string | number, body?: unknown, options: SendOptions = {}): boolean {
    const type = this.#commands.typeOf('send', command, 'message');
    const payload = encodeBody(type, body);
    const frame = encodeMessage(type.id, payload);
    if (options.volatile !== true) return this.#core.sender.send(frame);
    return this.#core.sender.sendVolatile(this.#isNative ? encodeVolatile(type.id, payload) : frame, frame);
  }

  /** A handler, one of any number. By name it gets the body, by number the bytes. Returns what takes it away. */
  on<Name extends Names<P>>(name: Name, fn: (body: BodyReceived<P, Name>) => unknown): () => void;
  on(id: number, fn: (payload: Uint8Array) => unknown): () => void;
  on(command: string | number, fn: (body: never) => unknown): () => void {
    return this.#handlers.add(command, fn);
  }

  /** A handler for the next one alone. */
  once<Name extends Names<P>>(name: Name, fn: (body: BodyReceived<P, Name>) => unknown): () => void;
  once(id: number, fn: (payload: Uint8Array) => unknown): () => void;
  once(command: string | number, fn: (body: never) => unknown): () => void {
    return this.#handlers.add(command, fn, true);
  }

  /** Takes away that handler of the command, or all of them. */
  off(command: Names<P> | number, fn?: (body: never) => unknown): void {
    this.#handlers.remove(command, fn);
  }

  /** A handler for every message: its name, or its number where it has none, and its body, or its bytes. */
  onAny(fn: (command: Names<P> | number, body: unknown) => unknown): () => void {
    return this.#handlers.addAny(fn as (command: string | number, body: unknown) => unknown);
  }

  // --- calls ---

  /**
   * Asks, and resolves with the answer. Always settles: CALL_FAILED (a `CallError`) when the server says so, CALL_TIMEOUT, ABORTED,
   * SESSION_CLOSED when the connection is lost and cannot be resumed, SEND_QUEUE_FULL with too many open calls. Native profile only.
   */
  call<Name extends CallNames<P>>(name: Name, body: BodySent<P, Name>, limits?: CallLimits): Promise<ReplyReceived<P, Name>>;
  call(id: number, body?: BytesLike, limits?: CallLimits): Promise<Uint8Array>;
  async call(command: string | number, body?: unknown, limits?: CallLimits): Promise<unknown> {
    const type = this.#commands.typeOf('call', command, 'call');
    const payload = await ask(this.parts, type.id, encodeBody(type, body), limits);
    return type.reply === undefined ? payload : type.reply.decode(payload);
  }

  // --- private ---

  #emit<Name extends keyof ClientEvents>(name: Name, args: ClientEvents[Name]): void {
    if (name === 'open' || name === 'reconnected') this.#info = args[0] as OpenInfo;
    if (!this.#events.emit(name, ...args) && name === 'error') reportUnheard(args[0]);
  }
}

/**
 * A client for the server at `url`; `connect()` begins. Throws ConfigError for options that make no sense.
 *
 * @example
 * ```ts
 * import { createClient } from 'portico/browser';
 * import { defineProtocol, json } from 'portico/protocol';
 *
 * const chat = defineProtocol({ say: { id: 1, body: json<{ text: string }>() } });
 * const client = createClient({ url: 'wss://example.org/chat', protocol: chat });
 * client.on('say', ({ text }) => console.log(text));
 * client.events.on('reconnecting', ({ delayMs }) => console.log(`back in ${delayMs} ms`));
 * void client.connect();
 * client.send('say', { text: 'hello' });
 * ```
 */
export function createClient<P extends Protocol = NoProtocol>(options: ClientOptions<P>): BrowserClient<P> {
  return new BrowserClient(options);
}
