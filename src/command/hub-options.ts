import type { Backplane, BackplaneGap } from '../backplane/backplane.ts';
import { type Clock, systemClock } from '../base/clock.ts';
import type { PorticoError } from '../base/errors.ts';
import { checkBoolean, checkFunction, checkInteger, checkMs, checkOneOf, invalid } from '../base/option.ts';
import type { Protocol } from '../protocol/protocol.ts';
import type { Client } from './client.ts';
import type { CommandProfile, CommandSession } from './link.ts';
import { DEFAULT_MAX_PAYLOAD_BYTES } from './wire.ts';

/** Somebody who wants to be let in. */
export interface Authentication {
  readonly session: CommandSession;
  readonly profile: CommandProfile;
  /** What the client showed: `auth` of its HELLO. In knet's profile undefined; the request is in `session.attributes.get(WS_REQUEST)`. */
  readonly auth: unknown;
  /** Whether it resumes: then attributes that are given go to the client that it is already. */
  readonly isResuming: boolean;
}

/** The answer to an Authentication. */
export interface Admission {
  /** Put into the attributes of the client. */
  readonly attributes?: Iterable<readonly [key: unknown, value: unknown]>;
  readonly refuse?: {
    /** 4000 to 4999. Default 4401. */
    readonly status?: number;
    readonly reason?: string;
    readonly retryAfterMs?: number;
    /** Whether the client is told not to come again by itself. Default true. */
    readonly isFatal?: boolean;
  };
}

/** How a client ended. */
export interface Disconnect {
  readonly status: number;
  readonly reason: string;
  /** Who ended it: `network` when the connection was lost, and the client did not come back in time. */
  readonly by: 'client' | 'server' | 'network';
  readonly wasClean: boolean;
  /** The failure that it was, if it was one. */
  readonly error: PorticoError | undefined;
}

/** Who came and who went, put together. */
export interface PresenceChange {
  readonly room: string;
  /** Also those whose state changed. */
  readonly joined: ReadonlyMap<string, unknown>;
  readonly left: readonly string[];
}

export interface CommandHubOptions<P extends Protocol = Protocol> {
  /** What both sides have agreed on. Without it commands go by number and carry bytes. */
  readonly protocol?: P;
  /** False: knet's profile only, in which every id but those of RPC is the application's. @default true */
  readonly native?: boolean;
  /** What streams speak. @default 'native' */
  readonly streamProfile?: CommandProfile;
  /** The largest payload in bytes, in both directions, what wraps it in calls, rooms and volatile messages included. @default 10_485_760 */
  readonly maxPayloadBytes?: number;
  /** `reject`: text messages close with 1003. `binary`: they count as binary ones, as for knet. @default 'reject' */
  readonly textPolicy?: 'reject' | 'binary';
  /** The time of the endpoint; MUST be its clock. @default the machine's */
  readonly clock?: Clock;
  /** Joins this hub to others. @default none: the hub is alone. See `hub.open`. */
  readonly backplane?: Backplane;

  /** Asked for each connection, within `openTimeoutMs`. `false`, or what it throws, refuses with 4401. @default everybody is welcome */
  readonly authenticate?: (authentication: Authentication) => boolean | Admission | Promise<boolean | Admission>;
  /** A client is there. Its messages, and all broadcasts, wait until the promise settles; what is sent here is the first that it gets. */
  readonly onConnect?: (client: Client<P>) => void | Promise<void>;
  /** Its connection was lost; it may come back within `retentionMs`, and what is sent is kept. */
  readonly onAway?: (client: Client<P>) => void;
  /** It has come back and missed nothing. */
  readonly onResume?: (client: Client<P>) => void;
  /** The client is over, once. `client.signal` is aborted and `client.isAlive` false. */
  readonly onDisconnect?: (client: Client<P>, end: Disconnect) => void;
  /** A handler or hook failed, a body was refused, or something else went wrong that the client survives. */
  readonly onError?: (error: PorticoError, client: Client<P> | undefined, id: number | undefined) => void;
  /** A message that nobody handles. @default ignored and counted */
  readonly onUnknown?: (client: Client<P>, id: number, payload: Uint8Array) => void;
  /** @default no client joins by itself: refused with FORBIDDEN */
  readonly authorizeJoin?: (client: Client<P>, room: string, state: unknown) => boolean | Promise<boolean>;
  /** Whether a client's message for a room that it is in is passed on to the other members. @default false */
  readonly authorizeRoomMessage?: (client: Client<P>, room: string, id: number, payload: Uint8Array) => boolean;
  /** Who came to and went from rooms with members on this hub. */
  readonly onPresence?: (change: PresenceChange) => void;
  /** Messages between hubs were lost, or may have been; the backplane goes on by itself. */
  readonly onGap?: (gap: BackplaneGap) => void;

  /** For HELLO and `authenticate`. @default 10_000 */
  readonly openTimeoutMs?: number;
  /** What clients of the native profile are told. They are taken for dead after 2.5 times as long. @default 25_000 */
  readonly heartbeatMs?: number;
  /** How long a lost client may come back; 0: never. @default 120_000 */
  readonly retentionMs?: number;
  /** Messages kept for one client; beyond, the oldest is forgotten and it can no longer resume. @default 1_000 */
  readonly maxRetainedMessages?: number;
  /** Their bytes. @default 1_048_576 */
  readonly maxRetainedBytes?: number;
  /**
   * Bytes kept for all clients together, a message that goes to many counted once; beyond, those that are away longest can no longer
   * resume, then the one that is sent to. @default 67_108_864
   */
  readonly maxTotalRetainedBytes?: number;
  /** Clients that are away; beyond, the one that is away longest is over. @default 10_000 */
  readonly maxAwayClients?: number;
  /** Clients altogether; beyond, newcomers are refused with 4429. @default 100_000 */
  readonly maxClients?: number;
  /** Messages of one client that wait for its handlers; beyond, its connection is not read. @default 1_000 */
  readonly maxWaitingMessages?: number;
  /** Their bytes. @default 1_048_576 */
  readonly maxWaitingBytes?: number;
  /** Handlers of one client that may run at a time. More than 1 gives up its order. @default 1 */
  readonly concurrentMessages?: number;
  /** Calls of one client that are answered at a time, and calls to it that wait; more are refused with LIMITED. @default 64 */
  readonly maxCalls?: number;
  /** How long a handler may take for an answer (TIMEOUT), and the default for calls to clients. @default 30_000 */
  readonly callTimeoutMs?: number;
  /** @default 100_000 */
  readonly maxRooms?: number;
  /** Rooms that one client is in. @default 64 */
  readonly maxRoomsPerClient?: number;
  /** Of this hub. @default 10_000 */
  readonly maxMembersPerRoom?: number;
  /** A member's state, as JSON. @default 4_096 */
  readonly maxStateBytes?: number;
  /** Which rooms tell their members who is there. @default all */
  readonly presence?: boolean | ((room: string) => boolean);
  /** How long changes of presence are gathered. @default 50 */
  readonly presenceDelayMs?: number;
  /** What native clients are told when the hub closes. @default 1_000 */
  readonly retryAfterMs?: number;
}

const DEFAULTS = {
  protocol: undefined,
  native: true,
  streamProfile: 'native',
  maxPayloadBytes: DEFAULT_MAX_PAYLOAD_BYTES,
  textPolicy: 'reject',
  clock: systemClock,
  backplane: undefined,
  authenticate: undefined,
  onConnect: undefined,
  onAway: undefined,
  onResume: undefined,
  onDisconnect: undefined,
  onError: undefined,
  onUnknown: undefined,
  authorizeJoin: undefined,
  authorizeRoomMessage: undefined,
  onPresence: undefined,
  onGap: undefined,
  openTimeoutMs: 10_000,
  heartbeatMs: 25_000,
  retentionMs: 120_000,
  maxRetainedMessages: 1_000,
  maxRetainedBytes: 1_048_576,
  maxTotalRetainedBytes: 67_108_864,
  maxAwayClients: 10_000,
  maxClients: 100_000,
  maxWaitingMessages: 1_000,
  maxWaitingBytes: 1_048_576,
  concurrentMessages: 1,
  maxCalls: 64,
  callTimeoutMs: 30_000,
  maxRooms: 100_000,
  maxRoomsPerClient: 64,
  maxMembersPerRoom: 10_000,
  maxStateBytes: 4_096,
  presence: true,
  presenceDelayMs: 50,
  retryAfterMs: 1_000,
} as const satisfies { readonly [Key in keyof CommandHubOptions]-?: CommandHubOptions[Key] | undefined };

type Optional =
  | 'protocol'
  | 'backplane'
  | 'authenticate'
  | 'onConnect'
  | 'onAway'
  | 'onResume'
  | 'onDisconnect'
  | 'onError'
  | 'onUnknown'
  | 'authorizeJoin'
  | 'authorizeRoomMessage'
  | 'onPresence'
  | 'onGap';

/** With the defaults in place. The hub's own code does not care which protocol it is. */
export type HubSettings = Required<Omit<CommandHubOptions, Optional>> & {
  readonly [Key in Optional]: CommandHubOptions[Key] | undefined;
};

/** Checks the options; each complaint is a ConfigError INVALID_OPTION. */
export function hubSettings<P extends Protocol>(options: CommandHubOptions<P>): HubSettings {
  // Hooks are called with the clients of the protocol that they were written for.
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Partial<HubSettings>;
  const settings: HubSettings = { ...DEFAULTS, ...given };
  const name = (key: string): string => `CommandHub.${key}`;
  for (const key of Object.keys(given)) {
    if (!(key in DEFAULTS)) throw invalid('CommandHub', 'only options that it has', key);
  }
  checkBoolean(name('native'), settings.native);
  checkOneOf(name('streamProfile'), settings.streamProfile, ['native', 'knet']);
  checkOneOf(name('textPolicy'), settings.textPolicy, ['reject', 'binary']);
  for (const key of ['openTimeoutMs', 'heartbeatMs', 'callTimeoutMs'] as const) checkMs(name(key), settings[key]);
  for (const key of ['retentionMs', 'presenceDelayMs', 'retryAfterMs'] as const) checkMs(name(key), settings[key], 0);
  for (const key of ['maxRetainedMessages', 'maxRetainedBytes', 'maxAwayClients', 'maxStateBytes', 'maxPayloadBytes'] as const) {
    checkInteger(name(key), settings[key], 0, 0x7fff_ffff);
  }
  const atLeastOne = ['maxClients', 'maxWaitingMessages', 'maxWaitingBytes', 'concurrentMessages', 'maxCalls', 'maxRooms'] as const;
  for (const key of [...atLeastOne, 'maxRoomsPerClient', 'maxMembersPerRoom'] as const) checkInteger(name(key), settings[key], 1);
  for (const key of ['authenticate', 'onConnect', 'onAway', 'onResume', 'onDisconnect', 'onError', 'onUnknown'] as const) {
    if (settings[key] !== undefined) checkFunction(name(key), settings[key]);
  }
  for (const key of ['authorizeJoin', 'authorizeRoomMessage', 'onPresence', 'onGap'] as const) {
    if (settings[key] !== undefined) checkFunction(name(key), settings[key]);
  }
  checkInteger(name('maxTotalRetainedBytes'), settings.maxTotalRetainedBytes, 0);
  if (typeof settings.presence !== 'boolean') checkFunction(name('presence'), settings.presence);
  return settings;
}
