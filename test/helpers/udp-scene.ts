import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { onTestFinished } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress, withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import { UdpClient, UdpEndpoint } from '../../src/endpoint/udp.ts';
import type { UdpClientOptions, UdpEndpointOptions } from '../../src/endpoint/udp-options.ts';
import type { EventListenerLike } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { closeLater } from './endpoint-fixtures.ts';
import { eventually } from './session-recorder.ts';

type RawListener = EventListenerLike<Buffer, Uint8Array>;

/** An endpoint on a free port of loopback whose packages are datagrams. */
export async function udpEndpoint(
  listener: RawListener,
  ...options: readonly Option<UdpEndpointOptions<Buffer, Uint8Array>>[]
): Promise<UdpEndpoint<Buffer, Uint8Array>> {
  const endpoint = closeLater(
    new UdpEndpoint<Buffer, Uint8Array>(
      withLocalAddress('127.0.0.1:0'),
      withPkgHandler(new RawHandler()),
      withEventListener(listener),
      ...options,
    ),
  );
  return endpoint.listen();
}

/** A client of this address, which does not come back by itself. */
export function udpClient(
  address: string,
  listener: RawListener,
  ...options: readonly Option<UdpClientOptions<Buffer, Uint8Array>>[]
): UdpClient<Buffer, Uint8Array> {
  return closeLater(
    new UdpClient<Buffer, Uint8Array>(
      withServerAddress(address),
      withPkgHandler(new RawHandler()),
      withEventListener(listener),
      withReconnect(false),
      ...options,
    ),
  );
}

/** Sends every datagram back. */
export const echo: RawListener = {
  onMessage(session, datagram) {
    session.send(datagram);
  },
};

/** A plain socket, for what no client of ours would do. */
export class UdpPeer {
  readonly socket: Socket;
  readonly received: Buffer[] = [];
  readonly senders: RemoteInfo[] = [];
  #isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('message', (bytes, info) => {
      this.received.push(bytes);
      this.senders.push(info);
    });
    onTestFinished(() => this.close());
  }

  static async bind(host = '127.0.0.1', port = 0): Promise<UdpPeer> {
    const peer = new UdpPeer(createSocket(host.includes(':') ? 'udp6' : 'udp4'));
    peer.socket.bind(port, host);
    await once(peer.socket, 'listening');
    return peer;
  }

  get port(): number {
    return this.socket.address().port;
  }

  get texts(): string[] {
    return this.received.map(String);
  }

  send(bytes: Uint8Array | string, port: number, host = '127.0.0.1'): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.send(bytes, port, host, (error) => (error === null ? resolve() : reject(error)));
    });
  }

  async until(count: number): Promise<void> {
    await eventually(() => this.received.length >= count, `${count} datagram(s) have come`);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.socket.close();
  }
}
