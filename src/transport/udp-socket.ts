import type { RemoteInfo, Socket } from 'node:dgram';
import { isIPv4 } from 'node:net';
import { getSystemErrorName } from 'node:util';
import { type StateError, TransportError } from '../base/errors.ts';
import type { Address } from './connection.ts';
import type { DirectSocket, SendRequest } from './udp-direct.ts';
import { UdpRound } from './udp-round.ts';

/** Bytes that wait in libuv, over all connections of a socket; whatever is above waits in its connection. */
const MAX_PENDING_BYTES = 262_144;

const NO_BYTES = Buffer.alloc(0);
const NOTHING: readonly Uint8Array[] = [NO_BYTES];

/** Whose datagrams a socket sends. */
export interface UdpSender {
  /** What `send` left open is over: sent, or refused. */
  onSettled(error: TransportError | undefined): void;
  /** A datagram that `sendNow` has queued is over: sent, or refused. */
  onQueuedSettled(size: number, error: TransportError | undefined): void;
}

/** Whose datagrams may leave together with others. */
export interface UdpRoundSender extends UdpSender {
  readonly host: string;
  readonly port: number;
  /** A datagram of the round has left. */
  onRoundSent(size: number): void;
}

/** Rounds that nobody uses. */
const spareRounds: UdpRound<UdpRoundSender>[] = [];
const MAX_SPARE_ROUNDS = 4;

/** What a socket receives. */
export interface UdpReceiver {
  onDatagram(bytes: Buffer, info: RemoteInfo): void;
  /** The system reported an error in place of a datagram. */
  onSocketError(error: TransportError): void;
  /** The socket is gone. */
  onSocketClose(): void;
}

interface Waiting {
  readonly sender: UdpSender;
  readonly chunks: readonly Uint8Array[];
  readonly size: number;
  readonly host: string;
  readonly port: number;
}

/** A bound or connected UDP socket, for one connection or for all peers of an endpoint. */
export class UdpSocket {
  readonly raw: Socket;
  readonly address: Address;
  /** Of a connected socket. */
  readonly isConnected: boolean;
  failedSends = 0;
  socketErrors = 0;
  readonly #direct: DirectSocket | undefined;
  readonly #isIpv6: boolean;
  /** One request for all datagrams that leave at once. */
  #request: SendRequest | undefined;
  #pendingBytes = 0;
  /** At most one datagram of each connection. */
  #waiting: Waiting[] = [];
  /** Nothing is sent any more; `#isGone`: the system has taken the socket back. */
  #isClosed = false;
  #isGone = false;
  #round: UdpRound<UdpRoundSender> | undefined;
  readonly #onRoundOver = (): void => void this.flushRound();
  readonly #sendInRound = (sender: UdpRoundSender, chunks: readonly Uint8Array[], size: number): boolean =>
    this.#sendOne(sender, chunks, size);

  constructor(raw: Socket, address: Address, isConnected: boolean, direct: DirectSocket | undefined) {
    this.raw = raw;
    this.address = address;
    this.isConnected = isConnected;
    this.#isIpv6 = address.family === 'IPv6';
    this.#direct = direct;
  }

  /** Begins to deliver. Called once. */
  open(receiver: UdpReceiver): void {
    this.raw.on('message', (bytes, info) => {
      if (this.#round === undefined && this.#direct !== undefined) this.#beginRound();
      receiver.onDatagram(bytes, info);
    });
    this.raw.on('error', (error) => {
      this.socketErrors++;
      receiver.onSocketError(datagramError(error));
    });
    this.raw.on('close', () => {
      this.#isClosed = true;
      this.#isGone = true;
      const waiting = this.#waiting;
      this.#waiting = [];
      for (const { sender } of waiting) sender.onSettled(new TransportError('DATAGRAM_FAILED', 'the socket was closed'));
      receiver.onSocketClose();
    });
  }

  /** Closes once everything handed over has left. */
  close(): void {
    if (this.#isClosed) return;
    if (this.#round?.isEncoding) {
      process.nextTick(() => this.close());
      return;
    }
    this.flushRound();
    this.#isClosed = true;
    this.#closeWhenSent();
  }

  /** Where replies are put together while datagrams are being handed out. */
  get round(): UdpRound<UdpRoundSender> | undefined {
    return this.#round;
  }

  #beginRound(): void {
    this.#round = spareRounds.pop() ?? new UdpRound();
    // Behind all that is handed out in this turn of the event loop.
    setImmediate(this.#onRoundOver);
  }

  /** Sends what was put together, unless a package of it is not complete. Returns a copy of what was written behind the datagrams. */
  flushRound(): Buffer {
    const round = this.#round;
    if (round === undefined || round.isEncoding) return NO_BYTES;
    // What is sent on account of a failure goes its own way.
    this.#round = undefined;
    const rest = round.flush(this.#sendInRound);
    if (spareRounds.length < MAX_SPARE_ROUNDS) spareRounds.push(round);
    return rest;
  }

  /** Whether the memory of the datagram is free again. */
  #sendOne(sender: UdpRoundSender, chunks: readonly Uint8Array[], size: number): boolean {
    const direct = this.#direct;
    if (direct === undefined || this.#isGone) {
      sender.onQueuedSettled(size, this.#failed(new TransportError('DATAGRAM_FAILED', 'the socket was closed')));
      return true;
    }
    const result = this.#sendDirect(direct, chunks, sender.host, sender.port);
    if (result > 0) sender.onRoundSent(size);
    else if (result < 0) sender.onQueuedSettled(size, this.#failed(datagramError(systemError(result))));
    else this.#keepQueued(sender, chunks, size);
    return result !== 0;
  }

  /** Whether `sendNow` may be called. */
  get isFree(): boolean {
    return this.#direct !== undefined && this.#pendingBytes === 0 && !this.#isClosed;
  }

  /**
   * Sends without waiting. 'sent': the memory is free again. 'queued': it is in use for a while, and `sender.onQueuedSettled` follows.
   * 'failed': use `send`, which says why.
   */
  sendNow(sender: UdpSender, chunks: readonly Uint8Array[], size: number, host: string, port: number): 'sent' | 'queued' | 'failed' {
    const direct = this.#direct;
    if (direct === undefined) return 'failed';
    const result = this.#sendDirect(direct, chunks, host, port);
    if (result === 0) this.#keepQueued(sender, chunks, size);
    return result > 0 ? 'sent' : result < 0 ? 'failed' : 'queued';
  }

  #keepQueued(sender: UdpSender, chunks: readonly Uint8Array[], size: number): void {
    this.#keep(chunks, size, (error) => sender.onQueuedSettled(size, error === undefined ? undefined : this.#failed(datagramError(error))));
  }

  /** True: sent. False: `sender.onSettled` follows. An error: refused. */
  send(sender: UdpSender, chunks: readonly Uint8Array[], size: number, host: string, port: number): boolean | TransportError {
    if (this.#isClosed) return this.#failed(new TransportError('DATAGRAM_FAILED', 'the socket was closed'));
    this.flushRound();
    if (this.#pendingBytes < MAX_PENDING_BYTES) return this.#handOver(sender, chunks, size, host, port);
    this.#waiting.push({ sender, chunks, size, host, port });
    return false;
  }

  #handOver(sender: UdpSender, chunks: readonly Uint8Array[], size: number, host: string, port: number): boolean | TransportError {
    const direct = this.#direct;
    if (direct === undefined) return this.#sendByNode(sender, chunks, size, this.#hostFor(host), port);
    const result = this.#sendDirect(direct, chunks, host, port);
    if (result > 0) return true;
    if (result < 0) return this.#failed(datagramError(systemError(result)));
    this.#keep(chunks, size, (error) => sender.onSettled(error === undefined ? undefined : this.#failed(datagramError(error))));
    return false;
  }

  /** Above 0: sent. 0: the datagram waits in libuv, and `#keep` MUST follow. Below: an error of the system. */
  #sendDirect(direct: DirectSocket, chunks: readonly Uint8Array[], host: string, port: number): number {
    const request = this.#request ?? new direct.Request();
    this.#request = request;
    const list = chunks.length === 0 ? NOTHING : chunks;
    if (!this.isConnected) return direct.handle.send(request, list, list.length, port, this.#hostFor(host), true);
    const result = direct.handle.send(request, list, list.length, true);
    // What is refused is a datagram sent before: this one has not left either.
    return result < 0 && this.#onSendError(result) ? direct.handle.send(request, list, list.length, true) : result;
  }

  /** An IPv6 socket knows IPv4 addresses in IPv6 clothes only. */
  #hostFor(host: string): string {
    return this.#isIpv6 && isIPv4(host) ? `::ffff:${host}` : host;
  }

  /** Tells of an ICMP error that came in answer to an earlier datagram; false when it is none. */
  #onSendError(result: number): boolean {
    if (getSystemErrorName(result) !== 'ECONNREFUSED') return false;
    this.raw.emit('error', systemError(result));
    return true;
  }

  /** A datagram waits in libuv. */
  #keep(chunks: readonly Uint8Array[], size: number, onDone: (error: Error | undefined) => void): void {
    const request = this.#request;
    this.#request = undefined;
    if (request === undefined) return;
    this.#pendingBytes += Math.max(1, size);
    request.list = chunks;
    request.oncomplete = (error) => this.#onTaken(size, onDone, error === 0 ? undefined : systemError(error));
  }

  #sendByNode(sender: UdpSender, chunks: readonly Uint8Array[], size: number, host: string, port: number): false {
    this.#pendingBytes += Math.max(1, size);
    const settle = (error: Error | undefined): void =>
      sender.onSettled(error === undefined ? undefined : this.#failed(datagramError(error)));
    const onDone = (error: Error | null): void => this.#onTaken(size, settle, error ?? undefined);
    try {
      if (this.isConnected) this.raw.send(chunks, onDone);
      else this.raw.send(chunks, port, host, onDone);
    } catch (thrown) {
      process.nextTick(onDone, thrown);
    }
    return false;
  }

  #onTaken(size: number, onDone: (error: Error | undefined) => void, error: Error | undefined): void {
    this.#pendingBytes -= Math.max(1, size);
    onDone(error);
    while (this.#waiting.length > 0 && this.#pendingBytes < MAX_PENDING_BYTES) {
      const next = this.#waiting.shift();
      if (next === undefined) break;
      const result = this.#handOver(next.sender, next.chunks, next.size, next.host, next.port);
      if (result !== false) next.sender.onSettled(result === true ? undefined : result);
    }
    if (this.#isClosed) this.#closeWhenSent();
  }

  #closeWhenSent(): void {
    if (this.#isGone || this.#pendingBytes > 0) return;
    this.#isGone = true;
    this.raw.close();
  }

  #failed(error: TransportError): TransportError {
    this.failedSends++;
    return error;
  }
}

/** The most that a datagram to this address can carry (65 535 bytes of IP, less the headers). */
export function maxDatagramBytes(host: string): number {
  return isIPv4(host) || host.startsWith('::ffff:') ? 65_507 : 65_527;
}

function systemError(errno: number): Error {
  const code = getSystemErrorName(errno);
  return Object.assign(new Error(`send ${code}`), { code, errno, syscall: 'send' });
}

/** What the system says of one datagram. */
function datagramError(cause: Error): TransportError {
  return new TransportError('DATAGRAM_FAILED', cause.message, { cause });
}

/** Whether the system found a datagram too large for the way to its peer. */
export function isTooLarge(error: TransportError | StateError): boolean {
  return error.cause instanceof Error && Reflect.get(error.cause, 'code') === 'EMSGSIZE';
}
