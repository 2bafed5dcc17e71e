import type { Socket } from 'node:net';
import type { Attributes } from '../base/attributes.ts';
import type { Clock } from '../base/clock.ts';
import { describeThrown, PeerError } from '../base/errors.ts';
import { log, oneLine } from '../base/log.ts';
import { after, wheelOf } from '../base/wheel.ts';
import type { Address } from './connection.ts';
import type { AcceptorSink } from './transport.ts';

/** What a preface says; what it leaves out is as the socket has it. */
export interface PrefaceResult {
  /** Bytes of the preface; those behind it belong to the connection. 0 = there was none. */
  readonly byteCount: number;
  /** Who is really at the other end. */
  readonly remote?: Address;
  /** Where that one has connected to. */
  readonly local?: Address;
  /** To become the session's attributes. */
  readonly attributes?: Attributes;
}

/**
 * CONTRACT. Bytes in front of all others, those of TLS included, by which a trusted proxy tells who is at the other end. Pure: the
 * acceptor has the socket and the time. On errors see `PrefaceReads`.
 */
export interface Preface {
  /** From the accepted connection to the last byte of the preface. */
  readonly timeoutMs: number;
  /** A connection may do without: one that has sent nothing in this time goes on. */
  readonly isOptional: boolean;
  /** Asked before anything is spent on a connection: whether to read a preface, leave the bytes alone, or refuse the connection. */
  expect(remote: Address): 'read' | 'none' | 'refuse';
  /**
   * Given all bytes so far, at least one, and the ends of the socket. Undefined: more are needed. Throws PeerError, and MUST do so
   * when there are too many bytes.
   */
  read(bytes: Buffer, remote: Address, local: Address): PrefaceResult | undefined;
}

/**
 * Takes the socket behind its preface, paused, with what was read beyond the preface put back in front. MUST listen to it before it
 * returns: the end of the stream may be next.
 */
type HandPrefaced = (result: PrefaceResult) => void;

interface Pending {
  readonly remote: Address;
  readonly local: Address;
  /** Takes all listeners of the reading away. */
  readonly leave: () => void;
  readonly hand: HandPrefaced;
  bytes: Buffer;
}

/**
 * The prefaces that are being read, each within its time limit; an unfinished one costs a socket, a timer and its bytes. A connection
 * whose preface is wrong, late or cut off is dropped and told to the sink, as the proxy's.
 */
export class PrefaceReads {
  readonly #preface: Preface;
  readonly #clock: Clock;
  readonly #sink: AcceptorSink;
  readonly #pending = new Map<Socket, Pending>();

  constructor(preface: Preface, clock: Clock, sink: AcceptorSink) {
    this.#preface = preface;
    this.#clock = clock;
    this.#sink = sink;
  }

  begin(socket: Socket, remote: Address, local: Address, hand: HandPrefaced): void {
    const onData = (bytes: Buffer): void => this.#onBytes(socket, bytes);
    const onEnd = (): void => this.#lose(socket, invalid(`the peer finished after ${this.#pending.get(socket)?.bytes.length} byte(s)`));
    const onError = (error: Error): void => this.#lose(socket, invalid(oneLine(describeThrown(error)), error));
    const onClose = (): void => this.#lose(socket, invalid('the connection was closed'));
    const cancelTimer = after(wheelOf(this.#clock), this.#preface.timeoutMs, () => this.#onLate(socket));
    const leave = (): void => {
      cancelTimer();
      socket.off('data', onData).off('end', onEnd).off('error', onError).off('close', onClose);
    };
    this.#pending.set(socket, { remote, local, leave, hand, bytes: Buffer.alloc(0) });
    socket.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
  }

  close(): void {
    for (const socket of [...this.#pending.keys()]) socket.destroy();
  }

  #onBytes(socket: Socket, bytes: Buffer): void {
    const pending = this.#pending.get(socket);
    if (pending === undefined) return;
    pending.bytes = pending.bytes.length === 0 ? bytes : Buffer.concat([pending.bytes, bytes]);
    let result: PrefaceResult | undefined;
    try {
      result = this.#preface.read(pending.bytes, pending.remote, pending.local);
    } catch (thrown) {
      this.#lose(socket, thrown instanceof PeerError ? thrown : invalid(describeThrown(thrown), thrown));
      return;
    }
    if (result !== undefined) this.#hand(socket, pending, result);
  }

  #onLate(socket: Socket): void {
    const pending = this.#pending.get(socket);
    if (pending === undefined) return;
    const { bytes } = pending;
    if (bytes.length === 0 && this.#preface.isOptional) this.#hand(socket, pending, { byteCount: 0 });
    else {
      const text = `PROXY header: expected within ${this.#preface.timeoutMs} ms, given ${bytes.length} byte(s) of it`;
      this.#lose(socket, new PeerError('PROXY_HEADER_TIMEOUT', text));
    }
  }

  #hand(socket: Socket, pending: Pending, result: PrefaceResult): void {
    this.#pending.delete(socket);
    pending.leave();
    socket.pause();
    const rest = pending.bytes.subarray(result.byteCount);
    if (rest.length > 0) socket.unshift(rest);
    pending.hand(result);
  }

  #lose(socket: Socket, error: PeerError): void {
    const pending = this.#pending.get(socket);
    if (pending === undefined) return;
    this.#pending.delete(socket);
    pending.leave();
    socket.on('error', () => {});
    socket.destroy();
    log.transport('lost %s: %s', pending.remote.text, error.message);
    this.#sink.onConnectionLost(pending.remote, error, 'proxy');
  }
}

function invalid(given: string, cause?: unknown): PeerError {
  return new PeerError('PROXY_HEADER_INVALID', `PROXY header: expected one, but ${given}`, cause === undefined ? {} : { cause });
}
