import type { RemoteInfo } from 'node:dgram';
import { isIPv4 } from 'node:net';
import { networkInterfaces } from 'node:os';
import { publish } from '../base/diagnostics.ts';
import { describeThrown, TransportError } from '../base/errors.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { tcpAddress } from './address.ts';
import type { Address } from './connection.ts';
import type { Acceptor, AcceptorSink } from './transport.ts';
import { UdpAllPeersConnection } from './udp-all-peers-connection.ts';
import { type UdpOwner, UdpPeerConnection } from './udp-connection.ts';
import { UdpPeers } from './udp-peers.ts';
import type { UdpSettings, UdpStats } from './udp-settings.ts';
import { bufferSizes } from './udp-setup.ts';
import type { UdpReceiver, UdpSocket } from './udp-socket.ts';

/** Peers that are closing may hold up their memory for a while: of all together there are at most this many times `maxPeers`. */
const CLOSING_SHARE = 2;

/** A bound UDP socket: gives each datagram to the connection of its peer, and decides who becomes a peer. */
export class UdpAcceptor implements Acceptor, UdpReceiver, UdpOwner<UdpPeerConnection | UdpAllPeersConnection> {
  readonly socket: UdpSocket;
  readonly #settings: UdpSettings;
  readonly #sink: AcceptorSink;
  readonly #peers = new UdpPeers<UdpPeerConnection>();
  #all: UdpAllPeersConnection | undefined;
  /** Connections that are not over, those that are closing included. */
  readonly #connections = new Set<UdpPeerConnection | UdpAllPeersConnection>();
  #isStopped = false;
  #evictedPeers = 0;
  #refusedPeers = 0;
  #invalidSources = 0;
  readonly #newPeers: TokenBucket | undefined;

  constructor(socket: UdpSocket, settings: UdpSettings, sink: AcceptorSink) {
    this.socket = socket;
    this.#settings = settings;
    this.#sink = sink;
    if (settings.newPeerRate !== undefined) this.#newPeers = new TokenBucket(settings.newPeerRate, settings.clock.now());
  }

  get address(): Address {
    return this.socket.address;
  }

  get raw(): unknown {
    return this.socket.raw;
  }

  /** Begins to deliver. */
  open(): void {
    this.socket.open(this);
    if (this.#settings.peerMode === 'session-per-peer') return;
    const connection = new UdpAllPeersConnection(this.socket, this.#settings.maxReceiveQueueBytes, this);
    if (this.#sink.admit(connection.remoteAddress) !== undefined) return;
    this.#all = connection;
    this.#connections.add(connection);
    this.#sink.onConnection(connection);
  }

  stats(): UdpStats {
    return {
      peers: this.#peers.size,
      evictedPeers: this.#evictedPeers,
      refusedPeers: this.#refusedPeers,
      invalidSources: this.#invalidSources,
      socketErrors: this.socket.socketErrors,
      failedSends: this.socket.failedSends,
      ...bufferSizes(this.socket.raw),
    };
  }

  async close(): Promise<void> {
    this.#isStopped = true;
    this.#closeIfUnused();
  }

  // --- from the socket ---

  onDatagram(bytes: Buffer, info: RemoteInfo): void {
    const { address, port } = info;
    const peer = this.#peers.find(address, port);
    if (peer !== undefined) {
      this.#peers.touch(peer);
      peer.receive(bytes);
    } else if (this.#isInvalidSource(address, port)) {
      this.#invalidSources++;
    } else if (this.#settings.peerMode === 'session-per-peer') {
      this.#onStranger(bytes, address, port);
    } else {
      this.#all?.receiveFrom(address, port, bytes);
    }
  }

  onSocketError(error: TransportError): void {
    if (this.#all !== undefined) this.#all.fail(error);
    else this.#sink.onAcceptError(error);
  }

  onSocketClose(): void {
    this.#isStopped = true;
    for (const connection of [...this.#connections]) connection.lose(new TransportError('TRANSPORT_FAILED', 'the socket was closed'));
  }

  // --- from connections ---

  onUsed(connection: UdpPeerConnection | UdpAllPeersConnection): void {
    if (connection instanceof UdpPeerConnection) this.#peers.touch(connection);
  }

  onLeft(connection: UdpPeerConnection | UdpAllPeersConnection): void {
    if (connection instanceof UdpPeerConnection) this.#peers.remove(connection);
    else this.#all = undefined;
  }

  onOver(connection: UdpPeerConnection | UdpAllPeersConnection): void {
    this.#connections.delete(connection);
    // One session for all peers is all that its socket is for.
    if (connection instanceof UdpAllPeersConnection) this.#isStopped = true;
    this.#closeIfUnused();
  }

  // --- new peers ---

  #onStranger(bytes: Buffer, host: string, port: number): void {
    const { maxPeers, maxReceiveQueueBytes, admitPeer } = this.#settings;
    const address = tcpAddress(host, port);
    if (this.#isStopped || !this.#passes(admitPeer, address, bytes) || !this.#hasRoom(address)) {
      this.#refusedPeers++;
      return;
    }
    if (this.#sink.admit(address) !== undefined) return;
    while (this.#peers.size >= maxPeers) this.#evictOldest();
    const connection = new UdpPeerConnection(this.socket, maxReceiveQueueBytes, address, this);
    this.#peers.add(connection);
    this.#connections.add(connection);
    this.#sink.onConnection(connection);
    connection.receive(bytes);
  }

  #passes(admitPeer: UdpSettings['admitPeer'], address: Address, bytes: Buffer): boolean {
    if (admitPeer === undefined) return true;
    try {
      return admitPeer(address, bytes) === true;
    } catch (thrown) {
      this.#sink.onAcceptError(new TransportError('ACCEPT_FAILED', `withAdmit failed: ${describeThrown(thrown)}`, { cause: thrown }));
      return false;
    }
  }

  /** Whether the rate of new peers and the number of those that are still closing leave room for one more. */
  #hasRoom(remoteAddress: Address): boolean {
    const { maxPeers, clock } = this.#settings;
    let limit = this.#connections.size >= maxPeers * CLOSING_SHARE ? 'udp-closing-peers' : undefined;
    if (limit === undefined && this.#newPeers?.take(1, clock.now()) === false) limit = 'udp-peer-rate';
    if (limit === undefined) return true;
    publish('limit', () => ({ limit, acceptor: this, remoteAddress }));
    return false;
  }

  #evictOldest(): void {
    const { oldest } = this.#peers;
    if (oldest === undefined) return;
    this.#peers.remove(oldest);
    this.#evictedPeers++;
    publish('limit', () => ({ limit: 'udp-peers', acceptor: this, connection: oldest }));
    oldest.evict();
  }

  /** Addresses that cannot be those of a peer, or would make this socket talk to itself for ever. */
  #isInvalidSource(host: string, port: number): boolean {
    if (port === 0) return true;
    if (isIPv4(host)) {
      const first = Number.parseInt(host, 10);
      if (first === 0 || first >= 224) return true;
    } else if (/^(?:::$|ff)/i.test(host)) {
      return true;
    }
    // Sockets that share a port are different ones at the same address.
    return port === this.address.port && !this.#settings.reuseAddress && isOwnAddress(host, this.address.host);
  }

  #closeIfUnused(): void {
    if (this.#isStopped && this.#connections.size === 0) this.socket.close();
  }
}

function isOwnAddress(host: string, boundHost: string): boolean {
  if (host === boundHost) return true;
  if (boundHost !== '0.0.0.0' && boundHost !== '::') return false;
  const plain = host.replace(/^::ffff:/i, '').replace(/%.*$/, '');
  if (plain.startsWith('127.')) return true;
  return Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === plain));
}
