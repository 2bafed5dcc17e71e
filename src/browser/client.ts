import { checkMs } from '../base/option.ts';
import { encodeMessage, FIRST_RESERVED_ID, RPC_ERROR_ID } from '../command/wire.ts';
import type { BytesLike } from '../protocol/body-codec.ts';
import type { BodyReceived, BodySent, CallNames, MessageNames, Names, Protocol, ReplyReceived } from '../protocol/protocol.ts';
import { ask } from './ask.ts';
import type { CallLimits } from './calls.ts';
import { type ClientCore, makeCore } from './client-core.ts';
import type { ClientClose, ClientEvents, ClientState, OpenInfo } from './client-events.ts';
import { type ClientOptions, settingsOf } from './client-options.ts';
import { ANY, encodeBody, MessageHandlers, typeOf } from './commands.ts';
import { CLOSED } from './connector.ts';
import { reportUnheard } from './environment.ts';
import { Listeners } from './listeners.ts';
import { POLL_MS } from './sender.ts';

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
  readonly core: ClientCore;
  readonly #handlers: MessageHandlers;
  #info: OpenInfo | undefined;
  #closed: Promise<ClientClose> = Promise.resolve(CLOSED);

  constructor(options: ClientOptions<P>) {
    const settings = settingsOf(options);
    const commands = { protocol: options.protocol, maxId: (settings.isNative ? FIRST_RESERVED_ID : RPC_ERROR_ID) - 1 };
    const events = new Listeners<string>((thrown, name) => {
      if (name === 'error') reportUnheard(thrown);
      else core.failed(thrown, `the event ${name}`);
    });
    const core = makeCore(
      settings,
      commands,
      (name, ...args) => {
        const [first] = args;
        if (name === 'open' || name === 'reconnected') this.#info = first as OpenInfo;
        if (!events.emit(name, ...args) && name === 'error') reportUnheard(first);
      },
      (id, payload) => this.#handlers.dispatch(id, payload),
    );
    this.events = events;
    this.core = core;
    this.#handlers = new MessageHandlers(commands, core.failed);
  }

  // --- the connection ---

  get state(): ClientState {
    return this.core.connector.state();
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
    return this.core.heartbeat.rttMs();
  }

  /** Bytes that wait in the socket and in the buffer. */
  get sendQueueBytes(): number {
    return this.core.sender.bytes();
  }

  /** Resolves when the client is open, at once if it is; rejects when it is over. */
  get ready(): Promise<OpenInfo> {
    return this.core.connector.ready();
  }

  /**
   * Connects, and stays connected until `close`. Resolves when it is open for the first time, also after several attempts; rejects when it gives
   * up. Called again meanwhile, the same promise; after the end, a new beginning. The rejection also comes as the event `close`, so that the
   * promise may be left alone.
   */
  connect(): Promise<OpenInfo> {
    return this.core.connect();
  }

  /**
   * Ends it, and resolves with how it ended; never rejects. With `drain` (default) calls and queued messages are waited for first, as far as
   * `timeoutMs` allows. `connect()` may be called at once, without waiting.
   */
  close(options: CloseOptions = {}): Promise<ClientClose> {
    const { drain = true, timeoutMs = 3_000, status = 1000, reason = '' } = options;
    checkMs('timeoutMs', timeoutMs, 0);
    const { connector, isIdle, settings } = this.core;
    if (this.state !== 'idle' && !connector.isOver()) {
      this.#closed = new Promise((resolve) => this.events.once('close', resolve));
      connector.closing(timeoutMs);
      const close = (): void => {
        if (!drain || isIdle()) connector.close(status, reason);
        else if (this.state === 'closing') settings.clock.after(POLL_MS, close);
      };
      close();
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
    const { core } = this;
    const type = typeOf(core.commands, 'send', command, 'message');
    const frame = encodeMessage(type.id, encodeBody(type, body));
    return options.volatile ? core.sender.sendVolatile(frame) : core.send(frame);
  }

  /** A handler, one of any number. By name it gets the body, by number the bytes. Returns what takes it away. */
  on<Name extends Names<P>>(name: Name, fn: (body: BodyReceived<P, Name>) => unknown): () => void;
  on(id: number, fn: (payload: Uint8Array) => unknown): () => void;
  on(command: string | number, fn: (body: never) => unknown): () => void {
    return this.#handlers.handle(command, fn);
  }

  /** A handler for the next one alone. */
  once<Name extends Names<P>>(name: Name, fn: (body: BodyReceived<P, Name>) => unknown): () => void;
  once(id: number, fn: (payload: Uint8Array) => unknown): () => void;
  once(command: string | number, fn: (body: never) => unknown): () => void {
    return this.#handlers.handle(command, fn, true);
  }

  /** Takes away that handler of the command, or all of them. */
  off(command: Names<P> | number, fn?: (body: never) => unknown): void {
    this.#handlers.off(command, fn);
  }

  /** A handler for every message: its name, or its number where it has none, and its body, or its bytes. */
  onAny(fn: (command: Names<P> | number, body: unknown) => unknown): () => void {
    return this.#handlers.on(ANY, fn);
  }

  // --- calls ---

  /**
   * Asks, and resolves with the answer. Always settles: CALL_FAILED (a `CallError`) when the server says so, CALL_TIMEOUT, ABORTED,
   * SESSION_CLOSED when the connection is lost and cannot be resumed, SEND_QUEUE_FULL with too many open calls. Native profile only.
   */
  call<Name extends CallNames<P>>(name: Name, body: BodySent<P, Name>, limits?: CallLimits): Promise<ReplyReceived<P, Name>>;
  call(id: number, body?: BytesLike, limits?: CallLimits): Promise<Uint8Array>;
  async call(command: string | number, body?: unknown, limits?: CallLimits): Promise<unknown> {
    const type = typeOf(this.core.commands, 'call', command, 'call');
    const payload = await ask(this.core, type.id, encodeBody(type, body), limits);
    return !type.reply ? payload : type.reply.decode(payload);
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
