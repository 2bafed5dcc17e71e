import { checkFunction, checkInteger, checkOneOf, MAX_DELAY_MS } from '../base/option.ts';
import type { ReplayLimits } from '../command/replay.ts';
import type { Protocol } from '../protocol/protocol.ts';
import type { ClientClose } from './client-events.ts';
import { type ClientClock, globalPage, globalWebSocket, type PageLike, pageClock, type WebSocketConstructor } from './environment.ts';
import { isFatalByDefault, type ReconnectPolicy } from './reconnect-policy.ts';
import type { BufferSettings } from './sender.ts';

/** What `createClient` takes. Only `url` has no default. */
export interface ClientOptions<P extends Protocol = Protocol> {
  /** Where the server is, `ws:` or `wss:`. A function is asked before each attempt. */
  readonly url: string | (() => string | PromiseLike<string>);
  /** Names, ids and bodies, as the server has them. Without one, commands are numbers and bodies bytes. */
  readonly protocol?: P;
  /** What the server is shown in HELLO; asked before each attempt, so that it is fresh. Must fit JSON. Native profile only. */
  readonly auth?: () => unknown;
  /** `knet`: bare `uint32 id | payload` messages. Default `native`. */
  readonly profile?: 'native' | 'knet';
  /** How to come back after a connection is lost. `false`: not at all. */
  readonly reconnect?: Partial<ReconnectPolicy> | false;
  /** Whether the first connection is tried again too, so that `connect()` waits for the server. Default true. */
  readonly retryFirstConnect?: boolean;
  /** Only a connection that lived as long as this sets the waits back to the first. Default 5 000. */
  readonly minUptimeMs?: number;
  /** For one attempt as a whole: `url`, `auth`, the socket, and the server's welcome. Default 10 000. */
  readonly connectTimeoutMs?: number;
  /** The statuses after which the client stops. Default: 4000 to 4499 except 4408 and 4429; 4401 only the second time, see `auth`. */
  readonly isFatal?: (status: number) => boolean;
  /** Has the last word on whether to come again; undefined leaves it to the rest. */
  readonly shouldReconnect?: (close: ClientClose) => boolean | undefined;
  /** What may wait while there is no connection. `false`: nothing. */
  readonly buffer?: Partial<BufferSettings> | false;
  /** How a dead connection is found; the server's numbers by default, 25 000 when it has none. `false`: not at all. Native profile only. */
  readonly heartbeat?: { readonly intervalMs?: number; readonly timeoutMs?: number } | false;
  /** Milliseconds until a call fails, unless it says otherwise. Default 30 000. */
  readonly callTimeoutMs?: number;
  /** Open calls of this side, and of the server, at most. Default 1 000. */
  readonly maxCalls?: number;
  /** What is kept for the server until it confirms it. Default: 1 000 messages, 4 MiB, 120 000 ms. */
  readonly replay?: Partial<ReplayLimits>;
  /** Larger messages are refused. Default 10 MiB, or less when the server says so. */
  readonly maxPayloadBytes?: number;
  /** `send` returns false above this. Default 256 KiB; `drain` comes at a quarter of it. */
  readonly highWaterMarkBytes?: number;
  /** Bytes in the socket above which messages go to the buffer instead. Default 4 MiB. */
  readonly maxSocketBytes?: number;
  /** Default: the global one. Node before 22 has none: give it that of `ws`. */
  readonly webSocket?: WebSocketConstructor;
  /** Default: that of the page. */
  readonly clock?: ClientClock;
  /** A number from 0 up to 1. Default Math.random. */
  readonly random?: () => number;
  /** Default: the page or worker that this runs in. `false`: no signs of life are looked at. */
  readonly page?: PageLike | false;
}

/** The options, complete. */
export interface Settings {
  readonly url: () => string | PromiseLike<string>;
  readonly auth: (() => unknown) | undefined;
  readonly isNative: boolean;
  readonly reconnect: ReconnectPolicy | undefined;
  readonly retryFirstConnect: boolean;
  readonly minUptimeMs: number;
  readonly connectTimeoutMs: number;
  readonly isFatal: (status: number) => boolean;
  readonly shouldReconnect: ((close: ClientClose) => boolean | undefined) | undefined;
  readonly buffer: BufferSettings;
  /** 0: what the server says. */
  readonly heartbeat: { readonly intervalMs: number; readonly timeoutMs: number } | false;
  readonly callTimeoutMs: number;
  readonly maxCalls: number;
  readonly replay: ReplayLimits;
  readonly maxPayloadBytes: number;
  readonly highWaterMarkBytes: number;
  readonly maxSocketBytes: number;
  readonly webSocket: WebSocketConstructor;
  readonly clock: ClientClock;
  readonly random: () => number;
  readonly page: PageLike | undefined;
}

const NUMBERS = {
  minUptimeMs: 5_000,
  connectTimeoutMs: 10_000,
  callTimeoutMs: 30_000,
  maxCalls: 1_000,
  maxPayloadBytes: 10_485_760,
  highWaterMarkBytes: 262_144,
  maxSocketBytes: 4_194_304,
};

/** Throws ConfigError (INVALID_OPTION) for the first option that makes no sense. */
export function settingsOf(options: ClientOptions): Settings {
  const { url, auth, shouldReconnect, webSocket = globalWebSocket(), reconnect = {}, buffer = {}, heartbeat = {}, page } = options;
  const limits: Partial<BufferSettings> = buffer === false ? { messages: 0 } : buffer;
  return {
    ...numbers('', options, NUMBERS),
    url: typeof url === 'string' ? () => url : checkFunction('url', url),
    auth: auth && checkFunction('auth', auth),
    isNative: checkOneOf('profile', options.profile ?? 'native', ['native', 'knet']) === 'native',
    reconnect: reconnect === false ? undefined : policyOf(reconnect),
    retryFirstConnect: options.retryFirstConnect ?? true,
    isFatal: checkFunction('isFatal', options.isFatal ?? isFatalByDefault),
    shouldReconnect,
    buffer: {
      ...numbers('buffer.', limits, { messages: 256, bytes: 1_048_576, ageMs: 120_000 }),
      policy: checkOneOf('buffer.policy', limits.policy ?? 'drop-oldest', ['drop-oldest', 'drop-newest', 'reject']),
    },
    replay: numbers('replay.', options.replay ?? {}, { messages: 1_000, bytes: 4_194_304, ageMs: 120_000 }),
    heartbeat: heartbeat && numbers('heartbeat.', heartbeat, { intervalMs: 0, timeoutMs: 0 }),
    webSocket: checkFunction('webSocket', webSocket as WebSocketConstructor),
    clock: options.clock ?? pageClock,
    random: options.random ?? Math.random,
    page: page === false ? undefined : (page ?? globalPage()),
  };
}

function policyOf(given: Partial<ReconnectPolicy>): ReconnectPolicy {
  const { attempts = Number.POSITIVE_INFINITY, delay } = given;
  return {
    ...numbers('reconnect.', given, { minMs: 500, maxMs: 30_000 }),
    jitter: checkOneOf('reconnect.jitter', given.jitter ?? 'full', ['full', 'none']),
    attempts: attempts === Number.POSITIVE_INFINITY ? attempts : checkInteger('reconnect.attempts', attempts, 0),
    delay: delay && checkFunction('reconnect.delay', delay),
  };
}

/** Whole numbers from 0 on; no longer than timers can wait. */
function numbers<T extends Readonly<Record<string, number>>>(prefix: string, given: object, defaults: T): T {
  const result: Record<string, number> = {};
  for (const [name, value] of Object.entries(defaults)) {
    const own: unknown = Reflect.get(given, name);
    result[name] = checkInteger(prefix + name, own === undefined ? value : (own as number), 0, MAX_DELAY_MS);
  }
  // It has a number for every name of the defaults.
  return result as T;
}
