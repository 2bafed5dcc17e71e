import { PeerError, type PorticoError, type TransportError } from '../../src/base/errors.ts';
import { WIDE_LIMITS } from '../../src/testing/connection-recorder.ts';
import { BaseConnection } from '../../src/transport/base-connection.ts';
import type { Address, Connection, ConnectionSink } from '../../src/transport/connection.ts';
import type { Upgrade } from '../../src/transport/transport.ts';

const GREETING_BYTES = 5;

/** A layer over a connection that exclusive-ors every byte with a key. */
class ToyConnection extends BaseConnection {
  readonly kind = 'stream';
  readonly tls = undefined;
  readonly readPath = 'chunk';
  readonly raw: Connection;
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly #key: number;
  #unsent = 0;

  constructor(lower: Connection, key: number, remoteAddress: Address) {
    super();
    this.raw = lower;
    this.#key = key;
    this.localAddress = lower.localAddress;
    this.remoteAddress = remoteAddress;
  }

  // --- from below ---

  lowerBytes(bytes: Buffer): void {
    this.onBytes(this.#crypt(bytes));
  }

  lowerEnd(): void {
    this.onEnd();
  }

  lowerClosed(error: PorticoError | undefined): void {
    this.onClosed(error);
  }

  // --- to below ---

  protected sendOpen(): void {}

  protected sendBatch(chunks: readonly Uint8Array[]): void {
    const bytes = this.#crypt(Buffer.concat(chunks));
    this.#unsent += bytes.length;
    const onSent = (): void => {
      this.#unsent -= bytes.length;
      if (this.#unsent === 0) this.onSent();
    };
    this.raw.sendShared(bytes, { onSent, onUnsent: () => {} });
  }

  protected unsentBytes(): number {
    return this.#unsent;
  }

  protected sendPause(): void {
    this.raw.pause();
  }

  protected sendResume(): void {
    this.raw.resume();
  }

  protected sendEnd(): void {
    this.raw.end();
  }

  protected sendClose(): void {
    this.raw.close();
  }

  protected sendAbort(error: TransportError | undefined): void {
    this.raw.abort(error);
  }

  #crypt(bytes: Buffer): Buffer {
    return Buffer.from(bytes.map((byte) => byte ^ this.#key));
  }
}

/**
 * An upgrade with a handshake: both sides send a greeting of 5 bytes and must get the same. What comes in one piece with it belongs
 * to the connection above, which has the address `as`, if given.
 */
export function toyUpgrade(greeting: string, key: number, as?: Address): Upgrade {
  return (lower) =>
    new Promise((resolve, reject) => {
      let above: ToyConnection | undefined;
      let greeted = '';
      const sink: ConnectionSink = {
        onBytes(bytes) {
          const taken = Math.min(bytes.length, GREETING_BYTES - greeted.length);
          greeted += bytes.toString('latin1', 0, taken);
          if (above === undefined && greeted.length === GREETING_BYTES) {
            if (greeted !== greeting) reject(new PeerError('HANDSHAKE_FAILED', `toy: expected ${greeting}, given ${greeted}`));
            above = new ToyConnection(lower, key, as ?? lower.remoteAddress);
            resolve(above);
          }
          if (taken < bytes.length) above?.lowerBytes(bytes.subarray(taken));
        },
        onEnd: () => above?.lowerEnd(),
        onClose(error) {
          above?.lowerClosed(error);
          reject(error ?? new PeerError('HANDSHAKE_FAILED', 'toy: the peer went away'));
        },
        onDrain() {},
        onBlocked() {},
        onFinished() {},
        onOverflow() {},
      };
      lower.open(sink, WIDE_LIMITS);
      lower.sendShared(Buffer.from(greeting));
    });
}
