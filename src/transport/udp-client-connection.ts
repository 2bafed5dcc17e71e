import { TransportError } from '../base/errors.ts';
import type { Address } from './connection.ts';
import { sizeOf } from './send-queue.ts';
import { UdpConnection } from './udp-connection.ts';
import type { UdpSocket } from './udp-socket.ts';

/** The one peer of a connected socket, which it closes in the end. */
export class UdpClientConnection extends UdpConnection {
  readonly remoteAddress: Address;
  readonly host = '';
  readonly port = 0;
  #hasLeft = false;

  constructor(socket: UdpSocket, maxReceiveQueueBytes: number, remoteAddress: Address) {
    super(socket, maxReceiveQueueBytes);
    this.remoteAddress = remoteAddress;
    socket.open({
      onDatagram: (bytes) => this.receive(bytes),
      onSocketError: (error) => this.fail(error),
      onSocketClose: () => {
        if (!this.#hasLeft) this.lose(new TransportError('TRANSPORT_FAILED', 'the socket was closed'));
      },
    });
  }

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    this.sendTo(chunks, sizeOf(chunks), this.remoteAddress.host, this.remoteAddress.port);
  }

  protected leave(): void {
    this.#hasLeft = true;
    this.socket.close();
  }

  protected over(): void {}
}
