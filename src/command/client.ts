import type { Attributes } from '../base/attributes.ts';
import { checkMs, invalid } from '../base/option.ts';
import type {
  BodySent,
  CallNames,
  ItemReceived,
  MessageNames,
  MessageType,
  Protocol,
  ReplyReceived,
  StreamNames,
} from '../protocol/protocol.ts';
import { toBytes } from '../protocol/raw.ts';
import { isOwnStatus } from '../session/close-reason.ts';
import { Frame } from './command-handler.ts';
import type { Command } from './handlers.ts';
import type { CommandProfile, CommandSession } from './link.ts';
import type { CallOptions } from './outgoing-calls.ts';
import type { Peer } from './peer.ts';
import { COMMAND_ID, encodeVolatile, WRAP_BYTES } from './wire.ts';

/** What bodies are given as when a command goes by its number. */
export type RawBody = string | ArrayBuffer | ArrayBufferView;

export interface SendOptions {
  /** Only if the client is there and takes it at once; never repeated. For what is soon out of date. */
  readonly volatile?: boolean;
}

export interface ClientCloseOptions {
  /** 3000 to 4999, or that of a code, as for `session.close`. @default 1000 */
  readonly status?: number;
  readonly reason?: string;
  /** When a native client may come again. @default up to the client */
  readonly retryAfterMs?: number;
  /** Whether a native client is told not to come again by itself. @default true, unless there is a `retryAfterMs` */
  readonly isFatal?: boolean;
}

/** Keeps the inside of a client from its users. */
const peers = new WeakMap<object, Peer>();

export function peerOf(client: object): Peer {
  const peer = peers.get(client);
  if (peer === undefined) throw invalid('client', 'a client of a hub', client);
  return peer;
}

/**
 * One client of a hub: one connection after the other, as long as it comes back in time. All methods are safe at any time; once the
 * client is over they do nothing, return false, or reject with SESSION_CLOSED.
 */
export class Client<P extends Protocol = Protocol> {
  /** Carries the type. */
  declare readonly protocol?: P;

  /** Made by hubs. */
  constructor(peer: Peer) {
    peers.set(this, peer);
  }

  /** Names it, also over connections; a UUID. */
  get id(): string {
    return peerOf(this).id;
  }

  get profile(): CommandProfile {
    return peerOf(this).profile;
  }

  /** The present connection; undefined while it is away, and when it is over. */
  get session(): CommandSession | undefined {
    const { link } = peerOf(this);
    return link?.phase === 'open' ? link.session : undefined;
  }

  /** A place for the program's own data. */
  get attributes(): Attributes {
    return peerOf(this).attributes;
  }

  /** Aborted when the client is over: by its end, not by the loss of a connection that it may come back from. */
  get signal(): AbortSignal {
    return peerOf(this).signal;
  }

  /** Whether it is there, or may come back. */
  get isAlive(): boolean {
    return peerOf(this).state !== 'over';
  }

  /** The rooms it is in. */
  get rooms(): ReadonlySet<string> {
    return peerOf(this).rooms;
  }

  /**
   * Sends a command. Native clients that are away get it when they come back, unless it is volatile. Returns false when the client is
   * above its high-water mark (the message is queued all the same) or over; when it is volatile: when it was dropped. Throws
   * ConfigError INVALID_OPTION for a command that there is not, StateError UNENCODABLE_BODY and ENCODED_TOO_LARGE "failed to encode
   * message: …".
   */
  send<Name extends MessageNames<P>>(name: Name, body: BodySent<P, Name>, options?: SendOptions): boolean;
  send(id: number, payload: RawBody, options?: SendOptions): boolean;
  send(command: Command, body: unknown, options: SendOptions = {}): boolean {
    const peer = peerOf(this);
    const isVolatile = options.volatile === true;
    const wrapBytes = isVolatile && peer.profile === 'native' ? WRAP_BYTES.VOLATILE : 0;
    const { id, payload } = peer.hub.encode('client.send', command, body, ['message'], wrapBytes);
    return isVolatile ? peer.sendVolatile(volatileFrame(peer.profile, id, payload)) : peer.send({ id, payload });
  }

  /**
   * Calls a native client. Rejects with CallError when it answers with an error, and with CALL_TIMEOUT, ABORTED, SESSION_CLOSED when the
   * client is over; with CallError LIMITED above `maxCalls`, and WRONG_STATE for clients that speak knet's profile.
   */
  call<Name extends CallNames<P>>(name: Name, body: BodySent<P, Name>, options?: CallOptions): Promise<ReplyReceived<P, Name>>;
  call(id: number, payload: RawBody, options?: CallOptions): Promise<Uint8Array>;
  async call(command: Command, body: unknown, options: CallOptions = {}): Promise<unknown> {
    const peer = peerOf(this);
    const { id, payload, type } = peer.hub.encode('client.call', command, body, ['call'], WRAP_BYTES.CALL);
    const answer = await peer.outgoing.call(id, payload, options);
    return type?.reply === undefined ? answer : type.reply.decode(answer);
  }

  /**
   * Calls a native client for a stream. It sends as many items as the loop takes, and 32 ahead. Leaving the loop cancels; the loop throws
   * what `call` rejects with. Throws at once what refuses the call.
   */
  stream<Name extends StreamNames<P>>(
    name: Name,
    body: BodySent<P, Name>,
    options?: CallOptions,
  ): AsyncIterableIterator<ItemReceived<P, Name>>;
  stream(id: number, payload: RawBody, options?: CallOptions): AsyncIterableIterator<Uint8Array>;
  stream(command: Command, body: unknown, options: CallOptions = {}): AsyncIterableIterator<unknown> {
    const peer = peerOf(this);
    const { id, payload, type } = peer.hub.encode('client.stream', command, body, ['stream'], WRAP_BYTES.CALL);
    const items = peer.outgoing.stream(id, payload, options);
    return type?.stream === undefined ? items : decoded(items, type);
  }

  /** For parts of the protocol itself, such as JSON-RPC. False: over, or above the high-water mark. */
  sendReserved(id: typeof COMMAND_ID.RPC | typeof COMMAND_ID.RPC_ERROR, payload: Uint8Array): boolean {
    const peer = peerOf(this);
    if (id !== COMMAND_ID.RPC && id !== COMMAND_ID.RPC_ERROR) throw invalid('client.sendReserved', 'the id of RPC or RPC_ERROR', id);
    peer.hub.checkPayload(id, payload);
    return peer.send({ id, payload });
  }

  /** Ends the client; what was sent before arrives before. `onDisconnect` follows. */
  close({ status = 1000, reason = '', retryAfterMs, isFatal = retryAfterMs === undefined }: ClientCloseOptions = {}): void {
    if (!isOwnStatus(status)) throw invalid('client.close status', 'a number from 3000 to 4999, or that of a code', status);
    if (retryAfterMs !== undefined) checkMs('client.close retryAfterMs', retryAfterMs, 0);
    const peer = peerOf(this);
    peer.hub.closePeer(peer, { status, reason, isFatal, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  }
}

async function* decoded(items: AsyncIterableIterator<Uint8Array>, { stream }: MessageType): AsyncIterableIterator<unknown> {
  for await (const item of items) yield stream?.decode(item);
}

export function volatileFrame(profile: CommandProfile, id: number, payload: Uint8Array): Frame {
  return profile === 'knet' ? Frame.of(id, payload) : Frame.ofMessage(encodeVolatile(id, payload));
}

/** The body of a command as bytes. */
export function encodeBody(type: MessageType | undefined, body: unknown): Uint8Array {
  return type === undefined ? toBytes(body as RawBody) : type.body.encode(body);
}
