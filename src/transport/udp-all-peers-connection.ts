import { StateError } from '../base/errors.ts';
import { joinedPeerBytes, joinPeer, splitPeer } from '../base/peer-header.ts';
import { tcpAddress } from './address.ts';
import type { Address } from './connection.ts';
import { sizeOf } from './send-queue.ts';
import { UdpConnection, type UdpOwner } from './udp-connection.ts';
import type { UdpSocket } from './udp-socket.ts';

/** All peers of a socket: a message carries the address of its peer. See `DatagramHandler`. */
export class UdpAllPeersConnection extends UdpConnection {
  readonly remoteAddress: Address;
  readonly host = '';
  readonly port = 0;
  readonly #owner: UdpOwner<UdpAllPeersConnection>;

  constructor(socket: UdpSocket, maxReceiveQueueBytes: number, owner: UdpOwner<UdpAllPeersConnection>) {
    super(socket, maxReceiveQueueBytes);
    this.remoteAddress = tcpAddress(socket.address.family === 'IPv6' ? '::' : '0.0.0.0', 0);
    this.#owner = owner;
  }

  receiveFrom(host: string, port: number, bytes: Buffer): void {
    this.receive(joinPeer(host, port, bytes));
  }

  protected override onBytes(bytes: Buffer): void {
    // The peer in front of a message was never on the wire.
    this.bytesRead -= joinedPeerBytes(bytes);
    super.onBytes(bytes);
  }

  /** The peer has to be taken off first. */
  protected override get hasPeer(): boolean {
    return false;
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    const size = sizeOf(chunks);
    const last = chunks.at(-1);
    const to = last === undefined ? undefined : splitPeer(last);
    if (last === undefined || to === undefined) {
      this.refuse(size, new StateError('NO_PEER', 'expected a package with its peer: writeBytes has none'));
      return;
    }
    const { host, port, rest } = to;
    const overhead = last.length - rest.length;
    this.bytesWritten -= overhead;
    this.sendTo([...chunks.slice(0, -1), rest], size - overhead, host, port);
  }

  protected leave(): void {
    this.#owner.onLeft(this);
  }

  protected over(): void {
    this.#owner.onOver(this);
  }
}
