import { after } from '../base/wheel.ts';
import type { Inbound } from './inbound.ts';
import { type Caller, callListener } from './listener-calls.ts';

/**
 * What is left to do when the peer has finished sending: packages that came before are handled, a last one may be made of the
 * rest, and then the session closes, or tells its listener that it is half open.
 */
export class PeerEnd<In, Out> {
  readonly #caller: Caller<In, Out>;
  readonly #inbound: Inbound<In, Out>;
  #isDecoded = false;
  #isTold = false;
  #cancelTimer: (() => void) | undefined;

  constructor(caller: Caller<In, Out>, inbound: Inbound<In, Out>) {
    this.#caller = caller;
    this.#inbound = inbound;
    this.#boundHandlers();
  }

  cancel(): void {
    this.#cancelTimer?.();
  }

  /** Nothing is left to decode, and no handler runs. */
  onIdle(): void {
    const caller = this.#caller;
    const inbound = this.#inbound;
    if (caller.state !== 'open' || !inbound.isIdle) return;
    let truncatedBytes = 0;
    if (!this.#isDecoded) {
      this.#isDecoded = true;
      truncatedBytes = inbound.end();
      // A last package was made of the rest, and its handler is still at it.
      if (!inbound.isIdle && truncatedBytes === 0) return;
    }
    if (truncatedBytes > 0) {
      void caller.close({ code: 'TRUNCATED', by: 'peer', text: 'the peer finished in the middle of a package', truncatedBytes });
    } else if (!caller.options.halfOpen) {
      void caller.close({ code: 'PEER_CLOSED', by: 'peer', text: 'the peer finished' });
    } else if (!this.#isTold) {
      this.#isTold = true;
      this.cancel();
      callListener(caller, 'end', 'onEnd');
    }
  }

  /** Handlers still running when the peer has finished may take the drain time-out each, not for ever. */
  #boundHandlers(): void {
    const caller = this.#caller;
    const handledBefore = this.#inbound.packagesRead;
    this.#cancelTimer = after(caller.host.wheel, Math.max(1, caller.options.drainTimeoutMs), () => {
      if (caller.state !== 'open' || (caller.options.halfOpen && this.#isDecoded)) return;
      if (this.#inbound.packagesRead !== handledBefore) this.#boundHandlers();
      else void caller.close({ code: 'PEER_CLOSED', by: 'peer', text: 'the peer finished, and a handler did not in time' });
    });
  }
}
