import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { Attributes } from '../base/attributes.ts';
import { describeThrown, ListenerError, PeerError, type PorticoError } from '../base/errors.ts';
import { log, oneLine } from '../base/log.ts';
import { WheelTimer } from '../base/wheel.ts';
import type { Address } from './connection.ts';
import type { PrefaceResult } from './preface.ts';
import { tlsInfo } from './tcp-connection.ts';
import { answer, checkAdmission, checkRequest, chooseSubprotocol, describeRequest, pathOf } from './ws-request.ts';
import { WS_REQUEST, type WsRefusal, type WsServerSettings, type WsUpgradeRequest } from './ws-settings.ts';

/** A client that was answered has this long to read the answer and to close. */
const LINGER_MS = 1000;

/** What a handshake needs from its acceptor. */
export interface HandshakeHost {
  readonly settings: WsServerSettings;
  /** Makes a WebSocket of the request; when that fails after all, the socket is closed. */
  complete(handshake: WsHandshake, request: IncomingMessage, head: Buffer, attributes: Attributes, subprotocol: string | undefined): void;
  /** The socket has closed without having become a WebSocket. */
  onLost(handshake: WsHandshake, error: PorticoError): void;
}

/**
 * One admitted connection, from its first byte to the answer: a WebSocket, or a status. All of it, hooks included, within the handshake
 * time-out.
 */
export class WsHandshake {
  readonly socket: Socket;
  readonly remoteAddress: Address;
  /** From the preface, if that tells it. */
  readonly localAddress: Address | undefined;
  readonly #attributes: Attributes;
  readonly #host: HandshakeHost;
  readonly #timer: WheelTimer;
  readonly #onGone = (): void => this.#lost();
  #aborter: AbortController | undefined;
  #isAnswered = false;
  #isOver = false;
  #error: PorticoError | undefined;

  constructor(socket: Socket, remoteAddress: Address, host: HandshakeHost, preface: PrefaceResult | undefined) {
    this.socket = socket;
    this.remoteAddress = remoteAddress;
    this.localAddress = preface?.local;
    this.#attributes = preface?.attributes ?? new Attributes();
    this.#host = host;
    this.#timer = new WheelTimer(this);
    socket.on('error', destroySocket);
    socket.on('close', this.#onGone);
    host.settings.wheel.arm(this.#timer, host.settings.handshakeTimeoutMs);
  }

  /** A request that asks for an upgrade; `head` are bytes that came behind it. */
  async upgrade(request: IncomingMessage, head: Buffer): Promise<void> {
    if (this.#isAnswered || this.#isOver) return;
    const { settings } = this.#host;
    const refusal = this.#checkPath(request) ?? checkRequest(request);
    if (refusal !== undefined) {
      this.refuse(refusal);
      return;
    }
    try {
      const asked = describeRequest(request, this.remoteAddress, this.socket instanceof TLSSocket ? tlsInfo(this.socket) : undefined);
      const unwelcome = checkAdmission(asked, settings);
      if (unwelcome !== undefined || asked === undefined) {
        this.refuse(unwelcome ?? { status: 400 });
        return;
      }
      const veto = settings.verify === undefined ? undefined : await this.#verify(asked);
      if (this.#isAnswered || this.#isOver) return;
      if (veto !== undefined) {
        this.refuse(veto);
        return;
      }
      const subprotocol = chooseSubprotocol(asked, settings);
      this.#attributes.set(WS_REQUEST, { ...asked, subprotocol: subprotocol ?? '' });
      this.#host.complete(this, request, head, this.#attributes, subprotocol);
    } catch (thrown) {
      const text = `a hook of the WebSocket handshake failed: ${describeThrown(thrown)}`;
      this.refuse({ status: 500 }, new ListenerError('LISTENER_FAILED', 'verify', text, { cause: thrown }));
    }
  }

  /** A request that does not ask for an upgrade. */
  refuseRequest(request: IncomingMessage): void {
    this.refuse(this.#checkPath(request) ?? checkRequest(request) ?? { status: 400 });
  }

  /** Answers with a status, once, and closes. */
  refuse(refusal: WsRefusal, error?: PorticoError): void {
    if (this.#isAnswered || this.#isOver) return;
    this.#isAnswered = true;
    const { remoteAddress, socket } = this;
    const why = refusal.body === undefined ? '' : `: ${oneLine(refusal.body)}`;
    this.#error = error ?? new PeerError('HANDSHAKE_FAILED', `the WebSocket handshake was answered with status ${refusal.status}${why}`);
    log.transport('refused %s: %s', remoteAddress.text, this.#error.message);
    this.#aborter?.abort(this.#error);
    answer(socket, refusal);
    socket.resume();
    this.#host.settings.wheel.arm(this.#timer, LINGER_MS);
  }

  /** The socket is a WebSocket now, and another's business. */
  release(): void {
    this.#isOver = true;
    this.#timer.cancel();
    this.socket.off('close', this.#onGone);
    this.socket.off('error', destroySocket);
  }

  onTimer(): void {
    if (this.#isAnswered) {
      this.socket.destroy();
      return;
    }
    const { handshakeTimeoutMs } = this.#host.settings;
    const text = `the WebSocket handshake was not done within ${handshakeTimeoutMs} ms`;
    this.refuse({ status: 408 }, new PeerError('HANDSHAKE_TIMEOUT', text));
  }

  #checkPath(request: IncomingMessage): WsRefusal | undefined {
    const { paths } = this.#host.settings;
    return paths.length === 0 || paths.includes(pathOf(request.url ?? '')) ? undefined : { status: 404 };
  }

  async #verify(request: WsUpgradeRequest): Promise<WsRefusal | undefined> {
    this.#aborter = new AbortController();
    const verdict = await this.#host.settings.verify?.(request, this.#aborter.signal);
    for (const [key, value] of verdict?.attributes ?? []) this.#attributes.set(key, value);
    return verdict?.refuse;
  }

  #lost(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#timer.cancel();
    const error = this.#error ?? new PeerError('HANDSHAKE_FAILED', 'the client went away before the WebSocket handshake was done');
    this.#aborter?.abort(error);
    this.#host.onLost(this, error);
  }
}

/** Node leaves a TLS socket open after an error in the stream of records. */
function destroySocket(this: Socket): void {
  this.destroy();
}
