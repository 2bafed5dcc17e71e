import { connect, type Socket } from 'node:net';
import { onTestFinished } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import type { PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';
import {
  type TcpClientOptions,
  type TcpServerOptions,
  withLocalAddress,
  withReconnect,
  withServerAddress,
} from '../../src/endpoint/options.ts';
import { TcpClient, TcpServer } from '../../src/endpoint/tcp.ts';
import type { EventListenerLike } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { NewSession } from '../../src/session/session-host.ts';
import type { Address } from '../../src/transport/connection.ts';
import { eventually } from './session-recorder.ts';

type Framing<In, Out> = PkgReader<In> & PkgWriter<Out>;

/** A server on a free port of 127.0.0.1, closed when the test is over. */
export async function tcpServer<In, Out>(
  handler: Framing<In, Out>,
  listener: EventListenerLike<In, Out>,
  options: readonly Option<TcpServerOptions<In, Out>>[] = [],
  newSession?: NewSession<In, Out>,
): Promise<TcpServer<In, Out>> {
  const server = new TcpServer<In, Out>(withLocalAddress('127.0.0.1:0'), withPkgHandler(handler), withEventListener(listener), ...options);
  onTestFinished(async () => {
    await server.close({ drainTimeoutMs: 0 });
  });
  return server.listen(newSession);
}

/** A client of such a server, not connected yet, that does not come back. */
export function tcpClient<In, Out>(
  server: TcpServer<In, Out>,
  handler: Framing<In, Out>,
  listener: EventListenerLike<In, Out>,
  ...options: readonly Option<TcpClientOptions<In, Out>>[]
): TcpClient<In, Out> {
  const client = new TcpClient<In, Out>(
    withServerAddress(server.localAddress.text),
    withPkgHandler(handler),
    withEventListener(listener),
    withReconnect(false),
    ...options,
  );
  onTestFinished(async () => {
    await client.close({ drainTimeoutMs: 0 });
  });
  return client;
}

/** A bare socket at the other end, which does only what the test tells it to. */
export class RawPeer {
  readonly socket: Socket;
  error: Error | undefined;
  isEnded = false;
  isClosed = false;
  readonly #chunks: Buffer[] = [];
  #length = 0;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setNoDelay(true);
    socket.on('data', (bytes) => {
      this.#chunks.push(bytes);
      this.#length += bytes.length;
    });
    socket.on('end', () => {
      this.isEnded = true;
    });
    socket.on('error', (error) => {
      this.error = error;
    });
    socket.on('close', () => {
      this.isClosed = true;
    });
  }

  /** `isReading: false`: takes no bytes until `socket.resume()`. */
  static async connect(server: { readonly localAddress: Address }, isReading = true): Promise<RawPeer> {
    const { port, host } = server.localAddress;
    const socket = connect({ port, host, allowHalfOpen: true });
    onTestFinished(() => {
      socket.destroy();
    });
    const peer = new RawPeer(socket);
    if (!isReading) socket.pause();
    await eventually(() => !socket.connecting, 'the peer is connected');
    return peer;
  }

  /** All bytes received. */
  get received(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  get receivedBytes(): number {
    return this.#length;
  }

  write(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Waits until so many bytes have come in all, and returns all. */
  async receive(count: number): Promise<Buffer> {
    await eventually(() => this.#length >= count || this.isClosed, `${count} bytes have come, of which ${this.#length} have`);
    return this.received;
  }

  /** The peer's FIN. */
  async ended(): Promise<void> {
    await eventually(() => this.isEnded, 'the end of the stream has come');
  }

  async closed(): Promise<void> {
    await eventually(() => this.isClosed, 'the socket is closed');
  }
}
