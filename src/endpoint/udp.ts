import { StateError } from '../base/errors.ts';
import type { Option } from '../base/option.ts';
import { type Datagram, DatagramHandler, type DatagramTo } from '../codec/datagram.ts';
import { buildSessionOptions } from '../session/options.ts';
import type { Session } from '../session/session.ts';
import { UdpTransport } from '../transport/udp.ts';
import { UdpAcceptor } from '../transport/udp-acceptor.ts';
import { UdpPeerConnection } from '../transport/udp-connection.ts';
import type { MulticastGroup, UdpStats } from '../transport/udp-settings.ts';
import { joinGroup, leaveGroup, parseUdpAddress, setting } from '../transport/udp-setup.ts';
import { Client } from './client.ts';
import { Server } from './server.ts';
import {
  type BuiltOneSession,
  type BuiltUdpClient,
  type BuiltUdpServer,
  checkGroup,
  refuseForeign,
  UDP_CLIENT_DEFAULTS,
  UDP_ENDPOINT_DEFAULTS,
  UDP_ONE_SESSION_DEFAULTS,
  type UdpClientOptions,
  type UdpEndpointOptions,
  type UdpOneSessionOptions,
} from './udp-options.ts';

/**
 * A UDP socket with a session for each peer address: the first datagram from an address opens one, 60 s without traffic close it
 * (`withIdleTimeoutMs`), and the next datagram opens another. A package is a datagram, or several packages are. Datagrams may be
 * lost, doubled or overtaken; what is wrong with one is told (`onError`) and never ends the session.
 *
 * Closing a session sends what is queued and tells the peer nothing. Closing the endpoint closes the socket when its sessions are
 * over. `session.end()` only stops sending.
 *
 * @example
 * ```ts
 * import { RawHandler, UdpEndpoint, withEventListener, withLocalAddress, withPkgHandler } from 'portico';
 *
 * const endpoint = new UdpEndpoint<Buffer, Uint8Array>(
 *   withLocalAddress('127.0.0.1:0'),
 *   withPkgHandler(new RawHandler()),
 *   withEventListener({
 *     onMessage(session, datagram) {
 *       session.send(datagram);
 *     },
 *   }),
 * );
 * await endpoint.listen();
 * await endpoint.close();
 * ```
 */
export class UdpEndpoint<In = unknown, Out = In> extends Server<In, Out> {
  readonly #isOneSession: boolean;

  constructor(...options: readonly Option<UdpEndpointOptions<In, Out>>[]) {
    const built = buildSessionOptions<BuiltUdpServer<In, Out>>(UDP_ENDPOINT_DEFAULTS, options);
    refuseForeign(built, UDP_ENDPOINT_DEFAULTS);
    parseUdpAddress(built.localAddress, 'withLocalAddress');
    super(new UdpTransport(built), built, 'UDP_ENDPOINT');
    this.#isOneSession = built.peerMode === 'one-session';
  }

  /**
   * A UDP socket with one session for all peers, as in getty. Its packages come and go with their peer, `{ pkg, peer }`, and
   * nothing is kept of a peer. The session opens with `listen`, and the endpoint closes with it. `peer` may be any address, a
   * multicast group among them.
   *
   * @example
   * ```ts
   * import { LineHandler, UdpEndpoint, withEventListener, withLocalAddress, withPkgHandler } from 'portico';
   *
   * const endpoint = UdpEndpoint.oneSession<string>(
   *   withLocalAddress('127.0.0.1:0'),
   *   withPkgHandler(new LineHandler()),
   *   withEventListener({
   *     onMessage(session, { pkg, peer }) {
   *       session.send({ pkg: pkg.toUpperCase(), peer });
   *     },
   *   }),
   * );
   * await endpoint.listen();
   * await endpoint.close();
   * ```
   */
  static oneSession<In, Out = In>(
    ...options: readonly Option<UdpOneSessionOptions<In, Out>>[]
  ): UdpEndpoint<Datagram<In>, DatagramTo<Out>> {
    const { reader, writer, ...rest } = buildSessionOptions<BuiltOneSession<In, Out>>(UDP_ONE_SESSION_DEFAULTS, options);
    const handler = reader === undefined || writer === undefined ? undefined : new DatagramHandler(reader, writer);
    return new UdpEndpoint((target) => Object.assign(target, rest, { reader: handler, writer: handler }));
  }

  /** What the socket counts; throws WRONG_STATE before `listen` has resolved. */
  udpStats(): UdpStats {
    return this.#listening('udpStats').stats();
  }

  /** Takes part in a multicast group. Throws INVALID_OPTION, WRONG_STATE before `listen`, or TRANSPORT_FAILED when the system refuses. */
  joinGroup(group: MulticastGroup): void {
    joinGroup(this.#listening('joinGroup').socket.raw, checkGroup('joinGroup', group));
  }

  /** Leaves a multicast group that was joined with the same values. Throws as `joinGroup`. */
  leaveGroup(group: MulticastGroup): void {
    leaveGroup(this.#listening('leaveGroup').socket.raw, checkGroup('leaveGroup', group));
  }

  /** As `withBroadcast`, while listening. */
  setBroadcast(broadcast: boolean): void {
    setting('setBroadcast', () => this.#listening('setBroadcast').socket.raw.setBroadcast(broadcast));
  }

  /** As `withMulticastInterface`, while listening. */
  setMulticastInterface(address: string): void {
    setting('setMulticastInterface', () => this.#listening('setMulticastInterface').socket.raw.setMulticastInterface(address));
  }

  /** As `withMulticastTtl`, while listening. */
  setMulticastTtl(hops: number): void {
    setting('setMulticastTtl', () => this.#listening('setMulticastTtl').socket.raw.setMulticastTTL(hops));
  }

  /** As `withMulticastLoopback`, while listening. */
  setMulticastLoopback(loopback: boolean): void {
    setting('setMulticastLoopback', () => this.#listening('setMulticastLoopback').socket.raw.setMulticastLoopback(loopback));
  }

  protected override track(session: Session<In, Out>): void {
    super.track(session);
    const { connection } = session;
    if (!(connection instanceof UdpPeerConnection)) return;
    connection.onEvicted = () => {
      void session.close({ code: 'OVERLOAD', reason: 'more peers than withMaxPeers allows, and this one was used longest ago' });
    };
  }

  protected override get refusedConnections(): number {
    return super.refusedConnections + (this.acceptor instanceof UdpAcceptor ? this.acceptor.stats().refusedPeers : 0);
  }

  protected override sessionOver(session: Session<In, Out>): void {
    super.sessionOver(session);
    if (this.#isOneSession) void this.close();
  }

  #listening(call: string): UdpAcceptor {
    if (this.acceptor instanceof UdpAcceptor) return this.acceptor;
    throw new StateError('WRONG_STATE', `${call}: expected an endpoint that listens`);
  }
}

/**
 * A client over UDP: each session is a connected socket. Nothing is dialled, so it opens whether somebody listens or not; when
 * nobody does, the system mostly tells after the first datagram (`onError` DATAGRAM_FAILED), and the session goes on.
 */
export class UdpClient<In = unknown, Out = In> extends Client<In, Out> {
  constructor(...options: readonly Option<UdpClientOptions<In, Out>>[]) {
    const built = buildSessionOptions<BuiltUdpClient<In, Out>>(UDP_CLIENT_DEFAULTS, options);
    refuseForeign(built, UDP_CLIENT_DEFAULTS);
    if (built.serverAddress !== '') parseUdpAddress(built.serverAddress, 'withServerAddress');
    super(new UdpTransport(built), built, 'UDP_CLIENT');
  }
}
