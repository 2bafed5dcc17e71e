import { type Clock, systemClock } from '../base/clock.ts';
import { debugLogger, type Logger } from '../base/log.ts';
import type { Address } from './connection.ts';

/** A multicast group that a socket takes part in. */
export interface MulticastGroup {
  /** An IPv4 address of 224.0.0.0/4 or an IPv6 one of ff00::/8. */
  readonly group: string;
  /** Take only what this host sends to the group (source-specific multicast, RFC 4607). IPv4 or IPv6 as the group. */
  readonly source?: string;
  /** The interface to join on: its IPv4 address, or for IPv6 `'::%eth0'`. Default: the system's choice. */
  readonly interfaceAddress?: string;
}

/** A token bucket over all peers. */
export interface PeerRate {
  readonly perSecond: number;
  readonly burst: number;
}

/** Looks at an address and the first datagram from it; false drops the datagram, and nothing is kept. */
export type AdmitPeer = (peerAddress: Address, firstBytes: Buffer) => boolean;

/** Settings of UDP sockets. */
export interface UdpSettings {
  /** One connection for each peer address, or one for all peers, whose messages carry the peer. */
  readonly peerMode: 'session-per-peer' | 'one-session';
  /** Peers at a time; for one more, the peer heard and spoken to longest ago is closed. */
  readonly maxPeers: number;
  readonly newPeerRate: PeerRate | undefined;
  readonly admitPeer: AdmitPeer | undefined;
  /** Bytes of datagrams that one paused connection keeps; the next one is dropped. Each counts as 64 more than it has. */
  readonly maxReceiveQueueBytes: number;
  /** Wanted size of the kernel's buffers; undefined = listening sockets try for 4 MiB to receive, and the rest is the system's. */
  readonly receiveBufferBytes: number | undefined;
  readonly sendBufferBytes: number | undefined;
  readonly reuseAddress: boolean;
  readonly ipv6Only: boolean;
  readonly sourceAddress: string | undefined;
  readonly broadcast: boolean;
  readonly ttl: number | undefined;
  readonly multicastGroups: readonly MulticastGroup[];
  readonly multicastInterface: string | undefined;
  readonly multicastTtl: number | undefined;
  readonly multicastLoopback: boolean | undefined;
  readonly logger: Logger;
  readonly clock: Clock;
}

export const UDP_DEFAULTS: UdpSettings = {
  peerMode: 'session-per-peer',
  maxPeers: 10_000,
  newPeerRate: { perSecond: 5_000, burst: 10_000 },
  admitPeer: undefined,
  maxReceiveQueueBytes: 262_144,
  receiveBufferBytes: undefined,
  sendBufferBytes: undefined,
  reuseAddress: false,
  ipv6Only: false,
  sourceAddress: undefined,
  broadcast: false,
  ttl: undefined,
  multicastGroups: [],
  multicastInterface: undefined,
  multicastTtl: undefined,
  multicastLoopback: undefined,
  logger: debugLogger,
  clock: systemClock,
};

/** What a UDP socket counts beside the counters of its sessions. */
export interface UdpStats {
  /** Peers with a session that is not closing. */
  readonly peers: number;
  /** Peers closed because there were more than `maxPeers`. */
  readonly evictedPeers: number;
  /** First datagrams of peers that were dropped: by `withAdmit`, the rate, or because the endpoint closes. */
  readonly refusedPeers: number;
  /** Datagrams from addresses that cannot be answered: port 0, broadcast, multicast, or this socket itself. */
  readonly invalidSources: number;
  /** Errors that the system reported instead of a datagram, ICMP among them. */
  readonly socketErrors: number;
  /** Datagrams that the system refused to send. */
  readonly failedSends: number;
  /** What the kernel gave, as it counts: Linux doubles what is asked for. */
  readonly receiveBufferBytes: number;
  readonly sendBufferBytes: number;
}
