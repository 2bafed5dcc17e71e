import type { Socket } from 'node:net';
import { FastBuffer } from '../base/fast-buffer.ts';
import { installStaticRead, readsStatically } from './static-read.ts';
import { WsFrameReader, type WsFrameSink } from './ws-frame-reader.ts';
import { isMidMessage, limitPayload, type WsSocket } from './ws-socket.ts';

/** Who gets what was read. */
export interface WsIntakeOwner {
  onWsMessage(data: Buffer, isBinary: boolean): void;
  /** A chunk of bytes was read; whether a message has begun in it, or before, and is not complete. */
  onWsBytes(isMidMessage: boolean): void;
}

const kIntake: unique symbol = Symbol('portico.ws-intake');
type IntakeSocket = Socket & { [kIntake]?: WsIntake };

/**
 * How a WebSocket is read: by the short way (`WsFrameReader`) out of the read buffer that all sockets share, where the runtime and the
 * extensions allow it, and by `ws` otherwise. PORTICO_WS_FRAMES=0 in the environment leaves everything to `ws`.
 */
export class WsIntake implements WsFrameSink {
  readonly readPath: 'static' | 'chunk';
  readonly #ws: WsSocket;
  readonly #socket: Socket;
  readonly #owner: WsIntakeOwner;
  readonly #reader: WsFrameReader | undefined;
  /** The listener by which `ws` reads the socket. */
  readonly #toWs: ((this: Socket, bytes: Buffer) => void) | undefined;

  /** MUST be made while the socket is paused, and before the event loop turns. */
  constructor(ws: WsSocket, socket: Socket, isServer: boolean, owner: WsIntakeOwner) {
    this.#ws = ws;
    this.#socket = socket;
    this.#owner = owner;
    this.#toWs = ws.extensions === '' && process.env['PORTICO_WS_FRAMES'] !== '0' ? takeListener(socket) : undefined;
    this.#reader = this.#toWs === undefined ? undefined : new WsFrameReader(this, isServer);
    const own: IntakeSocket = socket;
    own[kIntake] = this;
    const isStatic = this.#reader !== undefined && readsStatically() && installStaticRead(socket, socketOnStaticRead);
    this.readPath = isStatic ? 'static' : 'chunk';
    if (!isStatic) socket.on('data', socketOnData);
  }

  /** Bytes that came before the shared buffer was in place. */
  begin(): void {
    if (this.readPath === 'chunk') return;
    const early: Buffer | null = this.#socket.read();
    if (early !== null) this.onBytes(early);
  }

  /** The largest message; 0 = no limit. */
  limit(maxPackageBytes: number): void {
    limitPayload(this.#ws, maxPackageBytes);
    if (this.#reader !== undefined) this.#reader.maxPayloadBytes = maxPackageBytes;
  }

  onBytes(bytes: Buffer): void {
    const reader = this.#reader;
    if (reader === undefined) {
      this.#owner.onWsBytes(isMidMessage(this.#ws));
      return;
    }
    reader.read(bytes);
    this.#owner.onWsBytes(reader.isMidMessage || (reader.isWithWs && isMidMessage(this.#ws)));
  }

  // --- from the reader ---

  onFrameMessage(payload: Buffer, isText: boolean): void {
    this.#owner.onWsMessage(payload, !isText);
  }

  passOn(bytes: Buffer): void {
    // `ws` keeps what it is given.
    this.#toWs?.call(this.#socket, this.readPath === 'static' ? Buffer.from(bytes) : bytes);
  }
}

/** Takes the listener of `ws` off the socket; undefined where there is not just that one. */
function takeListener(socket: Socket): ((this: Socket, bytes: Buffer) => void) | undefined {
  const [listener, ...others] = socket.listeners('data');
  if (listener === undefined || others.length > 0) return undefined;
  const toWs = listener as (this: Socket, bytes: Buffer) => void;
  socket.off('data', toWs);
  return toWs;
}

function socketOnData(this: IntakeSocket, bytes: Buffer): void {
  this[kIntake]?.onBytes(bytes);
}

function socketOnStaticRead(this: IntakeSocket, byteCount: number, buffer: Uint8Array): boolean {
  this[kIntake]?.onBytes(new FastBuffer(buffer.buffer, buffer.byteOffset, byteCount));
  return true;
}
