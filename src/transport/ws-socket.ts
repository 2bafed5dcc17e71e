import { WebSocket } from 'ws';

/** What a WebSocket tells its connection. */
export interface WsSocketOwner {
  onWsMessage(data: Buffer, isBinary: boolean): void;
  onWsPing(data: Buffer): void;
  onWsPong(data: Buffer): void;
  /** The peer has sent its close frame. */
  onWsConclude(status: number, text: string): void;
  /** What the peer sent breaks the protocol; `status` is what it has to be told. Without one this side has failed. */
  onWsError(error: Error, status: number | undefined): void;
  /** Nothing more will come. */
  onWsClose(): void;
}

/** No status was in the close frame. */
export const NO_STATUS = 1005;
/** Chunks of one incomplete frame: a message of 1 MiB in segments of 64 bytes. */
export const MAX_BUFFERED_CHUNKS = 16_384;
/** The session bounds the closing handshake, with the clock that it was given. */
export const NO_CLOSE_TIMEOUT_MS: number = 2 ** 31 - 1;
/** `ws` counts in 32 bits. */
const MAX_PAYLOAD_BYTES = 2 ** 31 - 1;

/**
 * `ws` answers a close frame, and a frame that breaks the protocol, with a close frame of its own at once, by calling `close`. Here that
 * call is passed on instead: what is queued, and replies to what was received before, have to leave first.
 */
export class WsSocket extends WebSocket {
  owner: WsSocketOwner | undefined;
  /** Whether the peer's close frame has come, or nothing more can come because the peer broke the protocol. */
  hasConcluded = false;
  /** What a peer that broke the protocol has to be told. */
  failedStatus: number | undefined;

  /** From now on its events go to `owner`. MUST be called before the event loop turns. */
  attach(owner: WsSocketOwner): void {
    this.owner = owner;
    this.on('message', socketOnMessage);
    this.on('ping', socketOnPing);
    this.on('pong', socketOnPong);
    this.on('error', socketOnError);
    this.on('close', socketOnClose);
  }

  override close(code?: number, data?: string | Buffer): void {
    const { owner } = this;
    // This side's close frame has been sent: `ws` only ends the socket.
    if (owner === undefined || this.readyState !== WebSocket.OPEN) super.close(code, data);
    if (owner === undefined || this.hasConcluded) return;
    this.hasConcluded = true;
    // A close frame comes with its text, if only an empty one; a failure without, and 'error' is next.
    if (data === undefined && code !== undefined) this.failedStatus = code;
    else owner.onWsConclude(code ?? NO_STATUS, data?.toString() ?? '');
  }

  /** Sends a close frame, once; without a status when that is undefined. */
  sendClose(status: number | undefined, text: string): void {
    if (status === undefined) super.close();
    else super.close(status, text);
  }
}

function socketOnMessage(this: WebSocket, data: unknown, isBinary: boolean): void {
  (this as WsSocket).owner?.onWsMessage(data as Buffer, isBinary);
}

function socketOnPing(this: WebSocket, data: Buffer): void {
  (this as WsSocket).owner?.onWsPing(data);
}

function socketOnPong(this: WebSocket, data: Buffer): void {
  (this as WsSocket).owner?.onWsPong(data);
}

function socketOnError(this: WebSocket, error: Error): void {
  (this as WsSocket).owner?.onWsError(error, (this as WsSocket).failedStatus);
}

function socketOnClose(this: WebSocket): void {
  (this as WsSocket).owner?.onWsClose();
}

/**
 * Whether a message has begun and is not complete. `ws` does not show it; where its receiver looks different, nothing is ever seen as
 * incomplete, and only the deadline of a message is lost.
 */
export function isMidMessage(ws: WebSocket): boolean {
  const receiver: unknown = Reflect.get(ws, '_receiver');
  if (typeof receiver !== 'object' || receiver === null) return false;
  return isPositive(receiver, '_bufferedBytes') || isPositive(receiver, '_fragmented');
}

function isPositive(object: object, name: string): boolean {
  const value: unknown = Reflect.get(object, name);
  return typeof value === 'number' && value > 0;
}

/**
 * The largest message, as `ws` takes it; 0 = no limit. It holds for the compressed message too, which can be larger by a few bytes for
 * each block of zlib: the session looks at the message itself once more.
 */
export function payloadLimit(bytes: number, isCompressed: boolean): number {
  return Math.min(isCompressed && bytes > 0 ? bytes + Math.ceil(bytes / 16) + 64 : bytes, MAX_PAYLOAD_BYTES);
}

/** Changes the largest message that is taken; `ws` fixes it when it makes the socket. 0 = no limit. */
export function limitPayload(ws: WebSocket, bytes: number): void {
  const receiver: unknown = Reflect.get(ws, '_receiver');
  if (typeof receiver !== 'object' || receiver === null) return;
  Reflect.set(receiver, '_maxPayload', payloadLimit(bytes, ws.extensions !== ''));
  const extensions: unknown = Reflect.get(receiver, '_extensions');
  const deflate: unknown =
    typeof extensions === 'object' && extensions !== null ? Reflect.get(extensions, 'permessage-deflate') : undefined;
  if (typeof deflate === 'object' && deflate !== null) Reflect.set(deflate, '_maxPayload', payloadLimit(bytes, true));
}
