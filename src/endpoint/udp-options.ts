import { isIP } from 'node:net';
import { ConfigError } from '../base/errors.ts';
import { checkBoolean, checkFunction, checkInteger, invalid, type Option } from '../base/option.ts';
import type { Datagram, DatagramTo } from '../codec/datagram.ts';
import type { PkgReader, PkgWriter } from '../codec/pkg-handler.ts';
import type { Defaults } from '../session/options.ts';
import { type AdmitPeer, type MulticastGroup, UDP_DEFAULTS, type UdpSettings } from '../transport/udp-settings.ts';
import { CLIENT_DEFAULTS, type ClientOptions, SERVER_DEFAULTS, type ServerOptions } from './options.ts';

/** Nobody can finish half of a UDP session or has to shake hands, and datagrams are no stream for an upgrade to sit in. */
type NotForUdp = 'halfOpen' | 'upgrades' | 'handshakeTimeoutMs';
/** What decides who becomes a peer. */
type ForPeers = 'maxSessions' | 'maxSessionsPerIp' | 'blockList' | 'acceptRate' | 'maxPeers' | 'newPeerRate' | 'admitPeer';

/** Options of a `UdpEndpoint`; those that make no sense on UDP do not compile. */
export type UdpEndpointOptions<In, Out> = Omit<ServerOptions<In, Out>, NotForUdp> & Omit<UdpSettings, 'sourceAddress' | 'peerMode'>;

/** Options of `UdpEndpoint.oneSession`: the handler is that of a package, the listener gets packages with their peer. */
export type UdpOneSessionOptions<In, Out> = Omit<UdpEndpointOptions<Datagram<In>, DatagramTo<Out>>, 'reader' | 'writer' | ForPeers> & {
  readonly reader: PkgReader<In> | undefined;
  readonly writer: PkgWriter<Out> | undefined;
};

/** Options of a `UdpClient`. */
export type UdpClientOptions<In, Out> = Omit<ClientOptions<In, Out>, NotForUdp> &
  Omit<UdpSettings, 'peerMode' | 'maxPeers' | 'newPeerRate' | 'admitPeer' | 'ipv6Only' | 'reuseAddress' | 'multicastGroups'>;

export type BuiltUdpServer<In, Out> = ServerOptions<In, Out> & UdpSettings;
export type BuiltOneSession<In, Out> = UdpOneSessionOptions<In, Out> & BuiltUdpServer<In, Out>;
export type BuiltUdpClient<In, Out> = ClientOptions<In, Out> & UdpSettings;

const IDLE_TIMEOUT_MS = 60_000;
/** A datagram that is late is of less use than one that is lost: what does not fit is dropped, and nobody is closed for it. */
const SEND_QUEUE = { maxQueueBytes: 1_048_576, overflowPolicy: 'drop-newest' } as const;

export const UDP_ENDPOINT_DEFAULTS: Defaults<BuiltUdpServer<never, never>> = {
  ...UDP_DEFAULTS,
  ...SERVER_DEFAULTS,
  ...SEND_QUEUE,
  sessionName: 'udp-session',
  idleTimeoutMs: IDLE_TIMEOUT_MS,
  // Sessions cost no descriptors here: `maxPeers` bounds them.
  maxSessions: Number.MAX_SAFE_INTEGER,
};
export const UDP_ONE_SESSION_DEFAULTS: Defaults<BuiltUdpServer<never, never>> = {
  ...UDP_ENDPOINT_DEFAULTS,
  peerMode: 'one-session',
  idleTimeoutMs: 0,
};
export const UDP_CLIENT_DEFAULTS: Defaults<BuiltUdpClient<never, never>> = {
  ...UDP_DEFAULTS,
  ...CLIENT_DEFAULTS,
  ...SEND_QUEUE,
  sessionName: 'udp-session',
};

/** Refuses what the types keep out, for programs that are not checked. */
export function refuseForeign(built: object, defaults: object): void {
  for (const field of Object.keys(built)) {
    if (!(field in defaults)) throw new ConfigError('INVALID_OPTION', `expected options for UDP, given one that sets ${field}`);
  }
  if (Reflect.get(built, 'halfOpen') === true) throw invalid('withHalfOpen', 'false on UDP, where no side can finish alone', true);
  const upgrades: unknown = Reflect.get(built, 'upgrades');
  if (Array.isArray(upgrades) && upgrades.length > 0) throw invalid('withUpgrade', 'no upgrade on UDP', upgrades.length);
}

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
type UdpOption<Field extends keyof UdpSettings> = Option<Pick<Writable<UdpSettings>, Field>>;

/**
 * Most peers with a session at a time. One more takes the place of the peer that was heard and spoken to longest ago, whose session
 * closes (OVERLOAD). Default 10 000.
 */
export function withMaxPeers(count: number): UdpOption<'maxPeers'> {
  checkInteger('withMaxPeers', count, 1, 1_000_000);
  return (options) => {
    options.maxPeers = count;
  };
}

/**
 * Most new peers a second, over all addresses, in bursts up to `burst`: further ones are dropped and counted. Senders can invent
 * addresses, so `withAcceptRate`, which counts by address, is no protection alone. Default 5 000 and 10 000; `false` = no limit.
 */
export function withNewPeerRate(perSecond: number | false, burst: number = perSecond === false ? 1 : perSecond): UdpOption<'newPeerRate'> {
  if (perSecond !== false) checkInteger('withNewPeerRate perSecond', perSecond, 1);
  checkInteger('withNewPeerRate burst', burst, 1);
  return (options) => {
    options.newPeerRate = perSecond === false ? undefined : { perSecond, burst };
  };
}

/**
 * Asked about the first datagram of each peer before anything is spent on it: false drops the datagram, which is counted and never
 * answered. The bytes MUST NOT be changed. Throwing counts as false. Default: all are admitted.
 */
export function withAdmit(admit: AdmitPeer): UdpOption<'admitPeer'> {
  checkFunction('withAdmit', admit);
  return (options) => {
    options.admitPeer = admit;
  };
}

/**
 * Bytes of datagrams that one paused session keeps; the next one is dropped and counted. Each counts as 64 bytes more than it has.
 * Default 262 144.
 */
export function withReceiveQueue(maxBytes: number): UdpOption<'maxReceiveQueueBytes'> {
  checkInteger('withReceiveQueue', maxBytes, 1);
  return (options) => {
    options.maxReceiveQueueBytes = maxBytes;
  };
}

/**
 * Sizes of the kernel's buffers in bytes; when the kernel gives less, the logger is warned. Default: an endpoint tries for 4 MiB to
 * receive, and the rest is the system's choice.
 */
export function withSocketBuffers(buffers: {
  readonly receiveBytes?: number;
  readonly sendBytes?: number;
}): UdpOption<'receiveBufferBytes' | 'sendBufferBytes'> {
  if (typeof buffers !== 'object' || buffers === null) throw invalid('withSocketBuffers', 'an object', buffers);
  const { receiveBytes, sendBytes } = buffers;
  if (receiveBytes !== undefined) checkInteger('withSocketBuffers receiveBytes', receiveBytes, 1, 2_147_483_647);
  if (sendBytes !== undefined) checkInteger('withSocketBuffers sendBytes', sendBytes, 1, 2_147_483_647);
  return (options) => {
    options.receiveBufferBytes = receiveBytes;
    options.sendBufferBytes = sendBytes;
  };
}

/** Let several sockets use the same address, as listeners of one multicast group do. Default false. */
export function withReuseAddress(reuseAddress: boolean): UdpOption<'reuseAddress'> {
  checkBoolean('withReuseAddress', reuseAddress);
  return (options) => {
    options.reuseAddress = reuseAddress;
  };
}

/** Allow datagrams to broadcast addresses. Default false. */
export function withBroadcast(broadcast: boolean): UdpOption<'broadcast'> {
  checkBoolean('withBroadcast', broadcast);
  return (options) => {
    options.broadcast = broadcast;
  };
}

/** How many routers a datagram may pass, 1 to 255. Default: the system's, mostly 64. */
export function withTtl(hops: number): UdpOption<'ttl'> {
  checkInteger('withTtl', hops, 1, 255);
  return (options) => {
    options.ttl = hops;
  };
}

/** Groups to join when listening; `listen` rejects with TRANSPORT_FAILED when that fails. Default: none. */
export function withMulticastGroups(...groups: readonly MulticastGroup[]): UdpOption<'multicastGroups'> {
  for (const group of groups) checkGroup('withMulticastGroups', group);
  return (options) => {
    options.multicastGroups = groups;
  };
}

/** The interface that multicast leaves by: its IPv4 address, or for IPv6 `'::%eth0'`. Default: the system's choice. */
export function withMulticastInterface(address: string): UdpOption<'multicastInterface'> {
  checkInterface('withMulticastInterface', address);
  return (options) => {
    options.multicastInterface = address;
  };
}

/** How many routers multicast may pass, 0 to 255. Default: the system's, mostly 1. */
export function withMulticastTtl(hops: number): UdpOption<'multicastTtl'> {
  checkInteger('withMulticastTtl', hops, 0, 255);
  return (options) => {
    options.multicastTtl = hops;
  };
}

/** Whether multicast is also heard on this host. Default: the system's, mostly true. */
export function withMulticastLoopback(loopback: boolean): UdpOption<'multicastLoopback'> {
  checkBoolean('withMulticastLoopback', loopback);
  return (options) => {
    options.multicastLoopback = loopback;
  };
}

/** Throws ConfigError unless it is a multicast group. */
export function checkGroup(name: string, given: MulticastGroup): MulticastGroup {
  if (typeof given !== 'object' || given === null) throw invalid(name, 'an object with group', given);
  const { group, source, interfaceAddress } = given;
  const family = isIP(group);
  const first = Number.parseInt(group, family === 4 ? 10 : 16);
  const isMulticast = (family === 4 && first >= 224 && first <= 239) || (family === 6 && /^ff/i.test(group));
  if (!isMulticast) throw invalid(`${name} group`, 'an address of 224.0.0.0/4 or ff00::/8', group);
  if (source !== undefined && isIP(source) !== family) throw invalid(`${name} source`, `an IPv${family} address`, source);
  if (interfaceAddress !== undefined) checkInterface(`${name} interfaceAddress`, interfaceAddress);
  return given;
}

function checkInterface(name: string, address: string): void {
  if (typeof address !== 'string' || isIP(address) === 0) throw invalid(name, "an IP address, such as '192.0.2.1' or '::%eth0'", address);
}
