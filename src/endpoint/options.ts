import { type BlockList, isIP } from 'node:net';
import { type Clock, systemClock } from '../base/clock.ts';
import { debugLogger, type Logger, safely } from '../base/log.ts';
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkMethods,
  checkMs,
  checkOneOf,
  checkString,
  invalid,
  type Option,
} from '../base/option.ts';
import type { CloseReason } from '../session/close-reason.ts';
import { type Defaults, SESSION_DEFAULTS, type SessionOptions } from '../session/options.ts';
import { TCP_DEFAULTS, type TcpSettings } from '../transport/tcp.ts';
import type { TlsSource } from '../transport/tls-options.ts';
import type { Upgrade } from '../transport/transport.ts';
import { BACKOFF_DEFAULTS, type Backoff } from './backoff.ts';
import { isOfWithCompression } from './compression-options.ts';
import { parseNetworks } from './networks.ts';

/** What servers and clients share. */
export interface EndPointOptions<In, Out> extends SessionOptions<In, Out> {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly upgrades: readonly Upgrade[];
}

export interface ServerOptions<In, Out> extends EndPointOptions<In, Out> {
  readonly localAddress: string;
  readonly maxSessions: number | undefined;
  readonly maxSessionsPerIp: number;
  readonly blockList: BlockList | undefined;
  readonly acceptRate: AcceptRate | undefined;
  readonly handshakeTimeoutMs: number;
}

/** A token bucket per IP address for new connections. */
export interface AcceptRate {
  readonly perSecond: number;
  readonly burst: number;
}

export type PickStrategy = 'round-robin' | 'least-pending' | 'random';

export interface ClientOptions<In, Out> extends EndPointOptions<In, Out> {
  readonly serverAddress: string;
  readonly connectionNumber: number;
  readonly connectTimeoutMs: number;
  readonly reconnect: Reconnect;
  readonly pickStrategy: PickStrategy;
}

/** How a client gets a lost session back. */
export interface Reconnect extends Backoff {
  /** Failures in a row after which a connection is given up, the first dial included. Default Infinity. */
  readonly attempts: number;
  /**
   * A session that the other side ends before it has been open for so long, without having sent a package, is one more failure;
   * otherwise failures are counted anew. Default 5 000.
   */
  readonly stableMs: number;
  /** Asked when an open session has closed; false gives the connection up. Default: always reconnect. */
  readonly shouldReconnect: (reason: CloseReason) => boolean;
}

/** A server has no source address, and a client neither backlog nor handshake time-out: their options do not compile there. */
export type TcpServerOptions<In, Out> = ServerOptions<In, Out> & Omit<TcpSettings, 'sourceAddress' | 'dialPreface'>;
export type TcpClientOptions<In, Out> = ClientOptions<In, Out> &
  Omit<TcpSettings, 'backlog' | 'ipv6Only' | 'handshakeTimeoutMs' | 'tlsReloadMs' | 'preface'>;

const END_POINT_DEFAULTS: Defaults<EndPointOptions<never, never>> = {
  ...SESSION_DEFAULTS,
  logger: debugLogger,
  clock: systemClock,
  upgrades: [],
};

export const SERVER_DEFAULTS: Defaults<ServerOptions<never, never>> = {
  ...END_POINT_DEFAULTS,
  localAddress: ':0',
  maxSessions: undefined,
  maxSessionsPerIp: 0,
  blockList: undefined,
  acceptRate: undefined,
  handshakeTimeoutMs: TCP_DEFAULTS.handshakeTimeoutMs,
};

export const CLIENT_DEFAULTS: Defaults<ClientOptions<never, never>> = {
  ...END_POINT_DEFAULTS,
  serverAddress: '',
  connectionNumber: 1,
  connectTimeoutMs: 10_000,
  reconnect: { ...BACKOFF_DEFAULTS, attempts: Number.POSITIVE_INFINITY, stableMs: 5_000, shouldReconnect: () => true },
  pickStrategy: 'round-robin',
};

export const TCP_SERVER_DEFAULTS: Defaults<TcpServerOptions<never, never>> = {
  ...SERVER_DEFAULTS,
  ...TCP_DEFAULTS,
  sessionName: 'tcp-session',
};
export const TCP_CLIENT_DEFAULTS: Defaults<TcpClientOptions<never, never>> = {
  ...CLIENT_DEFAULTS,
  ...TCP_DEFAULTS,
  sessionName: 'tcp-session',
};

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
type EndPointOption<Field extends keyof EndPointOptions<never, never>> = Option<Pick<Writable<EndPointOptions<never, never>>, Field>>;
type ServerOption<Field extends keyof ServerOptions<never, never>> = Option<Pick<Writable<ServerOptions<never, never>>, Field>>;
type ClientOption<Field extends keyof ClientOptions<never, never>> = Option<Pick<Writable<ClientOptions<never, never>>, Field>>;
type TcpOption<Field extends keyof TcpSettings> = Option<Pick<Writable<TcpSettings>, Field>>;

// --- every endpoint ---

/** Where warnings and errors go that no listener takes. Default: the `debug` namespace portico:endpoint, which is silent. */
export function withLogger(logger: Logger): EndPointOption<'logger'> {
  checkMethods('withLogger', logger, ['warn', 'error']);
  const safe = safely(logger);
  return (options) => {
    options.logger = safe;
  };
}

/** Where time comes from; for tests. Default: the machine's monotonic clock. */
export function withClock(clock: Clock): EndPointOption<'clock'> {
  checkMethods('withClock', clock, ['now', 'after', 'yield']);
  return (options) => {
    options.clock = clock;
  };
}

/**
 * Layers put around each connection before there is a session, in this order: the first is next to the socket. When one fails or is
 * late (`withHandshakeTimeoutMs` on servers, `withConnectTimeoutMs` on clients), the connection is dropped. The later
 * `withUpgrade` wins; the layer of `withCompression` always stands behind them. Default: none.
 */
export function withUpgrade(...upgrades: readonly Upgrade[]): EndPointOption<'upgrades'> {
  for (const upgrade of upgrades) checkFunction('withUpgrade', upgrade);
  return (options) => {
    options.upgrades = [...upgrades, ...options.upgrades.filter(isOfWithCompression)];
  };
}

// --- servers ---

/** What an address looks like is up to the transport; this is longer than any of them. */
const MAX_ADDRESS_BYTES = 1024;

/**
 * Where to listen: `127.0.0.1:9000`, `[::1]:9000`, `:9000` (all interfaces, IPv6 and IPv4), a host without a port (any free
 * port), `unix:/run/app.sock` or `unix:@name`. Default ':0'.
 */
export function withLocalAddress(address: string): ServerOption<'localAddress'> {
  checkString('withLocalAddress', address, MAX_ADDRESS_BYTES);
  return (options) => {
    options.localAddress = address;
  };
}

/**
 * Most sessions and handshakes at a time; one more is refused and counted. Default: 70 % of the open-file limit, for all servers of
 * the process together that do not set this.
 */
export function withMaxSessions(count: number): ServerOption<'maxSessions'> {
  checkInteger('withMaxSessions', count, 1);
  return (options) => {
    options.maxSessions = count;
  };
}

/**
 * Most sessions and handshakes from one IP address; an IPv6 address counts as its /64 network, and an IPv4 one written as IPv6
 * as IPv4. Default 0 = no limit.
 */
export function withMaxSessionsPerIp(count: number): ServerOption<'maxSessionsPerIp'> {
  checkInteger('withMaxSessionsPerIp', count, 0);
  return (options) => {
    options.maxSessionsPerIp = count;
  };
}

/** Addresses and networks to refuse, such as `'192.0.2.7'` or `'2001:db8::/32'`. Default: none. */
export function withBlockList(networks: readonly string[]): ServerOption<'blockList'> {
  const blockList = parseNetworks('withBlockList', networks);
  return (options) => {
    options.blockList = blockList;
  };
}

/** Most new connections a second from one IP address (grouped as in withMaxSessionsPerIp), in bursts up to `burst`. Default: no limit. */
export function withAcceptRate(perSecond: number, burst: number = perSecond): ServerOption<'acceptRate'> {
  checkInteger('withAcceptRate perSecond', perSecond, 1);
  checkInteger('withAcceptRate burst', burst, 1);
  return (options) => {
    options.acceptRate = { perSecond, burst };
  };
}

/** On a server a TLS handshake must be done within this time, and all upgrades together within the same time again. Default 10 000. */
export function withHandshakeTimeoutMs(timeoutMs: number): ServerOption<'handshakeTimeoutMs'> {
  checkMs('withHandshakeTimeoutMs', timeoutMs);
  return (options) => {
    options.handshakeTimeoutMs = timeoutMs;
  };
}

// --- clients ---

/** Where to connect, in the forms of `withLocalAddress`. Required. */
export function withServerAddress(address: string): ClientOption<'serverAddress'> {
  checkString('withServerAddress', address, MAX_ADDRESS_BYTES);
  return (options) => {
    options.serverAddress = address;
  };
}

/** How many sessions to keep open. Default 1. */
export function withConnectionNumber(count: number): ClientOption<'connectionNumber'> {
  checkInteger('withConnectionNumber', count, 1, 65_535);
  return (options) => {
    options.connectionNumber = count;
  };
}

/** A dial, with its TLS handshake and its upgrades, must be done within this time. Default 10 000. */
export function withConnectTimeoutMs(timeoutMs: number): ClientOption<'connectTimeoutMs'> {
  checkMs('withConnectTimeoutMs', timeoutMs);
  return (options) => {
    options.connectTimeoutMs = timeoutMs;
  };
}

/**
 * How lost sessions are got back: waiting a random time up to `baseMs` (300), twice that after each further failure, at most
 * `maxMs` (30 000), for `attempts` failures in a row (Infinity). A session that the other side ends within `stableMs` (5 000), with
 * not a package received, is a failure too. `false`: never.
 */
export function withReconnect(reconnect: Partial<Reconnect> | false): ClientOption<'reconnect'> {
  if (reconnect !== false && (typeof reconnect !== 'object' || reconnect === null))
    throw invalid('withReconnect', 'false or an object', reconnect);
  const built: Reconnect = {
    ...CLIENT_DEFAULTS.reconnect,
    ...(reconnect === false ? { attempts: 1, shouldReconnect: () => false } : reconnect),
  };
  checkMs('withReconnect baseMs', built.baseMs);
  checkMs('withReconnect maxMs', built.maxMs);
  checkMs('withReconnect stableMs', built.stableMs, 0);
  if (built.maxMs < built.baseMs) throw invalid('withReconnect maxMs', `at least baseMs (${built.baseMs})`, built.maxMs);
  if (built.attempts !== Number.POSITIVE_INFINITY) checkInteger('withReconnect attempts', built.attempts, 1);
  checkFunction('withReconnect shouldReconnect', built.shouldReconnect);
  checkFunction('withReconnect random', built.random);
  return (options) => {
    options.reconnect = built;
  };
}

/** Which session `client.pick()` and `client.send()` use. Default 'round-robin'. */
export function withPickStrategy(strategy: PickStrategy): ClientOption<'pickStrategy'> {
  checkOneOf('withPickStrategy', strategy, ['round-robin', 'least-pending', 'random']);
  return (options) => {
    options.pickStrategy = strategy;
  };
}

// --- TCP ---

/** Speak TLS, with these certificates or with what the function returns. Default: plain TCP. */
export function withTls(source: TlsSource): TcpOption<'tls'> {
  if (typeof source !== 'function' && (typeof source !== 'object' || source === null))
    throw invalid('withTls', 'TLS options or a function', source);
  return (options) => {
    options.tls = source;
  };
}

/**
 * Look for changed certificates this often, by asking the TLS source again. Sessions keep theirs; one that cannot be used is
 * reported ('error' event) and the last good one stays. Default 0 = only when `reloadTls()` is called.
 */
export function withTlsReloadMs(periodMs: number): TcpOption<'tlsReloadMs'> {
  checkMs('withTlsReloadMs', periodMs, 0);
  return (options) => {
    options.tlsReloadMs = periodMs;
  };
}

/** Switch Nagle's algorithm off; portico batches by itself. Default true. */
export function withNoDelay(noDelay: boolean): TcpOption<'noDelay'> {
  checkBoolean('withNoDelay', noDelay);
  return (options) => {
    options.noDelay = noDelay;
  };
}

/** Idle time before TCP probes whether the peer is there. Default 30 000; 0 = no probes. */
export function withKeepAliveMs(idleMs: number): TcpOption<'keepAliveMs'> {
  checkMs('withKeepAliveMs', idleMs, 0);
  return (options) => {
    options.keepAliveMs = idleMs;
  };
}

/** How many connections the system holds before they are accepted. Default 511. */
export function withBacklog(count: number): TcpOption<'backlog'> {
  checkInteger('withBacklog', count, 1, 65_535);
  return (options) => {
    options.backlog = count;
  };
}

/** On an IPv6 address, leave IPv4 alone. Default false: `:port` takes both. */
export function withIpv6Only(ipv6Only: boolean): TcpOption<'ipv6Only'> {
  checkBoolean('withIpv6Only', ipv6Only);
  return (options) => {
    options.ipv6Only = ipv6Only;
  };
}

/** The local IP address that a client dials from. Default: the system's choice. */
export function withSourceAddress(address: string): TcpOption<'sourceAddress'> {
  const ip = typeof address === 'string' ? address.replace(/^\[(.*)\]$/, '$1') : '';
  if (isIP(ip) === 0) throw invalid('withSourceAddress', 'an IP address without a port', address);
  return (options) => {
    options.sourceAddress = ip;
  };
}

/** Use one read buffer for all sockets where the runtime can (see docs/decisions). Default true. */
export function withStaticRead(staticRead: boolean): TcpOption<'staticRead'> {
  checkBoolean('withStaticRead', staticRead);
  return (options) => {
    options.staticRead = staticRead;
  };
}
