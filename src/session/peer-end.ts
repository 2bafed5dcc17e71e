import { after } from '../base/wheel.ts';
import type { PeerEnding } from '../transport/connection.ts';
import { type CloseRequest, requestForEnding } from './close-reason.ts';
import type { Inbound } from './inbound.ts';
import { type Caller, callListener } from './listener-calls.ts';

const LATE: CloseRequest = { code: 'PEER_CLOSED', by: 'peer', text: 'the peer finished, and a handler did not in time' };

/**
 * What is left to do when the peer has finished sending: packages that came before are handled, a last one may be made of the
 * rest, and then the session closes, or tells its listener that it is half open.
 */
export class PeerEnd<In, Out> {
  readonly #caller: Caller<In, Out>;
  readonly #inbound: Inbound<In, Out>;
  readonly #ending: PeerEnding | undefined;
  #isDecoded = false;
  #isTold = false;
  #cancelTimer: (() => void) | undefined;

  constructor(caller: Caller<In, Out>, inbound: Inbound<In, Out>, ending: PeerEnding | undefined) {
    this.#caller = caller;
    this.#inbound = inbound;
    this.#ending = ending;
    this.#boundHandlers();
  }

  cancel(): void {
    this.#cancelTimer?.();
  }

  /** The close of a peer that has said why, and is gone before its last packages are handled. */
  get toldBefore(): CloseRequest | undefined {
    return this.#ending === undefined ? undefined : { ...requestForEnding(this.#ending), isForced: true };
  }

  /** Nothing is left to decode, and no handler runs. */
  onIdle(): void {
    const caller = this.#caller;
    const inbound = this.#inbound;
    if (caller.state !== 'open' || !inbound.isIdle) return;
    if (this.#ending?.error !== undefined) {
      // What is left of a broken stream is no package.
      void caller.close({ ...requestForEnding(this.#ending), truncatedBytes: inbound.bufferedBytes });
      return;
    }
    let truncatedBytes = 0;
    if (!this.#isDecoded) {
      this.#isDecoded = true;
      truncatedBytes = inbound.end();
      // A last package was made of the rest, and its handler is still at it.
      if (!inbound.isIdle && truncatedBytes === 0) return;
    }
    if (truncatedBytes > 0) {
      void caller.close({ code: 'TRUNCATED', by: 'peer', text: 'the peer finished in the middle of a package', truncatedBytes });
    } else if (!caller.options.halfOpen || this.#ending !== undefined) {
      void caller.close(requestForEnding(this.#ending));
    } else if (!this.#isTold) {
      this.#isTold = true;
      this.cancel();
      callListener(caller, 'end', 'onEnd');
    }
  }

  /** Handlers still running when the peer has finished may take the drain time-out each, not for ever. A program that pauses may. */
  #boundHandlers(): void {
    const caller = this.#caller;
    const handledBefore = this.#inbound.packagesRead;
    this.#cancelTimer = after(caller.host.wheel, Math.max(1, caller.options.drainTimeoutMs), () => {
      if (caller.state !== 'open' || (caller.options.halfOpen && this.#isDecoded)) return;
      const { isPaused, packagesRead, bufferedBytes } = this.#inbound;
      if (isPaused || packagesRead !== handledBefore) this.#boundHandlers();
      else void caller.close({ ...(this.#ending === undefined ? LATE : requestForEnding(this.#ending)), truncatedBytes: bufferedBytes });
    });
  }
}
