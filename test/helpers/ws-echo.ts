import type { ByteReader } from '../../src/base/byte-reader.ts';
import type { ByteWriter } from '../../src/base/byte-writer.ts';
import type { PorticoError } from '../../src/base/errors.ts';
import type { Option } from '../../src/base/option.ts';
import { type PkgContext, PkgHandler } from '../../src/codec/pkg-handler.ts';
import { withLocalAddress, withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import type { Server } from '../../src/endpoint/server.ts';
import { WsClient, WsServer, WssClient, WssServer } from '../../src/endpoint/ws.ts';
import {
  type WsClientOptions,
  type WsServerOptions,
  type WssClientOptions,
  type WssServerOptions,
  withPath,
} from '../../src/endpoint/ws-options.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import { EventListener } from '../../src/session/event-listener.ts';
import { withEventListener, withMaxPackageBytes, withPkgHandler, withSendQueue } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { WS_REQUEST } from '../../src/transport/ws-settings.ts';
import { until } from './raw-peer.ts';
import type { Scene } from './scene.ts';

/** A WebSocket message that knows whether it is text. */
export interface Message {
  readonly bytes: Uint8Array;
  readonly isText: boolean;
}

export type MessageSession = Session<Message>;
export type WsServerOption = Option<WsServerOptions<Message, Message>> | Option<WssServerOptions<Message, Message>>;
export type WsClientOption = Option<WsClientOptions<Message, Message>> | Option<WssClientOptions<Message, Message>>;

export function text(content: string): Message {
  return { bytes: Buffer.from(content), isText: true };
}

export function binary(bytes: Uint8Array): Message {
  return { bytes, isText: false };
}

/** Keeps text as text and binary as binary. */
export class MessageHandler extends PkgHandler<Message> {
  read(bytes: ByteReader): Message {
    const { isText } = bytes;
    return { bytes: bytes.readBytes(bytes.length), isText };
  }

  write(message: Message, _session: PkgContext, out: ByteWriter): void {
    out.isText = message.isText;
    out.writeBytes(message.bytes);
  }
}

/** Writes down what happens to its sessions. */
export class Messages extends EventListener<Message> {
  readonly opened: MessageSession[] = [];
  readonly messages: Message[] = [];
  readonly errors: PorticoError[] = [];
  readonly reasons: CloseReason[] = [];

  override onOpen(session: MessageSession): void {
    this.opened.push(session);
  }

  onMessage(_session: MessageSession, message: Message): void {
    this.messages.push(message);
  }

  override onError(_session: MessageSession, error: PorticoError): void {
    this.errors.push(error);
  }

  override onClose(_session: MessageSession, reason: CloseReason): void {
    this.reasons.push(reason);
  }

  async messagesIn(count: number): Promise<Message[]> {
    await until(() => this.messages.length >= count || this.reasons.length > 0, `${count} message(s)`, 30_000);
    return this.messages;
  }

  async closed(): Promise<CloseReason | undefined> {
    await until(() => this.reasons.length > 0, 'the close');
    return this.reasons[0];
  }
}

/**
 * Echoes what comes, text as text. Texts that begin with a slash are commands, the same as those of the peers in interop/:
 * `/close <status> <reason>` closes with them, `/subprotocol` answers with what was agreed on.
 */
export class MessageEcho extends Messages {
  override onMessage(session: MessageSession, message: Message): void {
    const [command, first = '', ...rest] =
      message.isText && message.bytes[0] === 0x2f ? Buffer.from(message.bytes).toString().split(' ') : [];
    if (command === '/close') void session.close({ status: Number(first), reason: rest.join(' ') });
    else if (command === '/subprotocol') session.send(text(session.attributes.get(WS_REQUEST)?.subprotocol ?? ''));
    else session.send(message);
  }
}

export interface WsEchoServer {
  readonly server: Server<Message, Message>;
  readonly watch: MessageEcho;
  /** With ws: or wss: and the path. */
  readonly url: string;
}

const LARGE = 67_108_864;

/** A WebSocket server on a free port, at `/echo`, that takes messages of up to 64 MiB. */
export async function wsEcho(scene: Scene, ...options: readonly WsServerOption[]): Promise<WsEchoServer> {
  return echoOf(scene, false, options);
}

/** The same over TLS, which an option sets. */
export async function wssEcho(scene: Scene, ...options: readonly WsServerOption[]): Promise<WsEchoServer> {
  return echoOf(scene, true, options);
}

async function echoOf(scene: Scene, isSecure: boolean, options: readonly WsServerOption[]): Promise<WsEchoServer> {
  const watch = new MessageEcho();
  const ServerClass = isSecure ? WssServer : WsServer;
  const server = new ServerClass<Message>(
    withLocalAddress('127.0.0.1:0'),
    withPath('/echo'),
    withPkgHandler(new MessageHandler()),
    withEventListener<Message, Message>(watch),
    withMaxPackageBytes(LARGE),
    withSendQueue(LARGE),
    ...(options as Option<WsServerOptions<Message, Message>>[]),
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  return { server, watch, url: `${isSecure ? 'wss' : 'ws'}://127.0.0.1:${server.localAddress.port}/echo` };
}

/** A client that tries once; wss: makes it one over TLS. */
export function newWsClient(
  scene: Scene,
  url: string,
  watch: EventListener<Message>,
  ...options: readonly WsClientOption[]
): WsClient<Message> {
  const ClientClass = url.startsWith('wss:') ? WssClient : WsClient;
  const client = new ClientClass<Message>(
    withServerAddress(url),
    withReconnect({ attempts: 1, shouldReconnect: () => false }),
    withPkgHandler(new MessageHandler()),
    withEventListener<Message, Message>(watch),
    withMaxPackageBytes(LARGE),
    withSendQueue(LARGE),
    ...(options as Option<WsClientOptions<Message, Message>>[]),
  );
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  return client;
}

export async function wsClient(
  scene: Scene,
  url: string,
  ...options: readonly WsClientOption[]
): Promise<{ readonly session: MessageSession; readonly watch: Messages }> {
  const watch = new Messages();
  return { session: await newWsClient(scene, url, watch, ...options).connect(), watch };
}
