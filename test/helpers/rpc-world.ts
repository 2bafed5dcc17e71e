import type { RpcPeerParts } from '../../src/rpc/rpc-peer.ts';
import { RpcPeer } from '../../src/rpc/rpc-peer.ts';
import type { RpcPeerOptions } from '../../src/rpc/rpc-types.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import type { RpcWire } from './rpc-vectors.ts';

/** One peer without any I/O: what it sends is written down, and time passes when the test says so. */
export class BarePeer implements RpcWire {
  readonly clock = new VirtualClock();
  readonly received: string[] = [];
  readonly isError: boolean[] = [];
  readonly errors: unknown[] = [];
  readonly rpc: RpcPeer;
  /** Thrown by the next sends, while set. */
  sendError: Error | undefined;

  constructor(options: RpcPeerOptions = {}, parts: RpcPeerParts = {}) {
    const onError = (error: unknown): void => void this.errors.push(error);
    this.rpc = new RpcPeer(
      {
        send: (text, isError) => {
          if (this.sendError !== undefined) throw this.sendError;
          this.received.push(text);
          this.isError.push(isError);
        },
        now: () => this.clock.now(),
        after: (delayMs, callback) => this.clock.after(delayMs, callback),
      },
      { onError, ...options },
      parts,
    );
  }

  send(payload: string | Uint8Array): void {
    this.rpc.receive(payload);
  }

  peer(): RpcPeer {
    return this.rpc;
  }

  /** Sends a request or a batch of them as JSON. */
  ask(message: unknown): void {
    this.send(JSON.stringify(message));
  }

  /** What was sent, parsed, since the last time. */
  take(): unknown[] {
    return this.received.splice(0).map((text) => JSON.parse(text) as unknown);
  }

  /** Lets promises settle. */
  settle(): Promise<void> {
    return this.clock.advance(0);
  }
}

/** Two peers, each the other side of the other; nothing in between but a turn of the microtask queue. */
export function peerPair(
  left: RpcPeerOptions = {},
  right: RpcPeerOptions = {},
): { readonly a: RpcPeer; readonly b: RpcPeer; readonly clock: VirtualClock; readonly texts: string[] } {
  const clock = new VirtualClock();
  const texts: string[] = [];
  const timing = { now: () => clock.now(), after: (delayMs: number, callback: () => void) => clock.after(delayMs, callback) };
  const a: RpcPeer = new RpcPeer({ ...timing, send: (text) => queueMicrotask(() => b.receive(text)) }, left);
  const b: RpcPeer = new RpcPeer(
    {
      ...timing,
      send: (text) => {
        texts.push(text);
        queueMicrotask(() => a.receive(text));
      },
    },
    right,
  );
  return { a, b, clock, texts };
}
