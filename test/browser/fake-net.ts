import type { WebSocketConstructor, WebSocketLike } from '../../src/browser/environment.ts';
import type { VirtualClock } from '../../src/testing/virtual-clock.ts';

type Handler = ((event: never) => void) | null;

/** The client's end of a simulated WebSocket; what the server's end does is in its methods. */
export class FakeSocket implements WebSocketLike {
  binaryType = 'blob';
  protocol = '';
  readyState = 0;
  bufferedAmount = 0;
  onopen: Handler = null;
  onmessage: Handler = null;
  onclose: Handler = null;
  onerror: Handler = null;
  readonly url: string;
  readonly subprotocols: readonly string[];
  /** How the client closed. */
  closedWith: { status: number | undefined; reason: string | undefined } | undefined;
  /** Neither end hears of the other, and nobody is told. */
  isFrozen = false;
  /** What the client sends stays in `bufferedAmount`. */
  isStuck = false;
  /** The server's answer to the client's close frame is held back. */
  holdsClose = false;
  readonly #net: FakeNet;

  constructor(net: FakeNet, url: string, subprotocols: readonly string[]) {
    this.#net = net;
    this.url = url;
    this.subprotocols = subprotocols;
  }

  send(bytes: Uint8Array): void {
    if (this.readyState !== 1) return;
    if (this.isStuck) {
      this.bufferedAmount += bytes.length;
      return;
    }
    const copy = Uint8Array.from(bytes);
    this.#net.later(() => {
      if (this.readyState === 1 && !this.isFrozen) this.#net.onMessage(this, copy);
    });
  }

  close(status?: number, reason?: string): void {
    if (status !== undefined && status !== 1000 && (status < 3000 || status > 4999)) throw new Error(`a page may not close with ${status}`);
    if (this.readyState >= 2) return;
    const wasOpen = this.readyState === 1;
    this.closedWith = { status, reason };
    this.readyState = 2;
    if (!wasOpen) this.net(() => this.#closed(1006, '', false));
    else if (!this.isFrozen && !this.holdsClose) this.answerClose();
  }

  /** The closing handshake ends. */
  answerClose(): void {
    this.#net.later(() => {
      this.#net.onClosed(this);
      this.#net.later(() => this.#closed(this.closedWith?.status ?? 1005, this.closedWith?.reason ?? '', true));
    });
  }

  // --- the server's end, and the network ---

  accept(protocol: string | undefined = this.subprotocols[0]): void {
    if (this.readyState !== 0) return;
    this.protocol = protocol ?? '';
    this.readyState = 1;
    this.#tell(this.onopen, {});
  }

  refuse(): void {
    this.#tell(this.onerror, {});
    this.#closed(1006, '', false);
  }

  deliver(bytes: Uint8Array | string): void {
    const data = typeof bytes === 'string' ? bytes : Uint8Array.from(bytes).buffer;
    this.#net.later(() => {
      if (this.readyState === 1 && !this.isFrozen) this.#tell(this.onmessage, { data });
    });
  }

  closeByServer(status: number, reason = ''): void {
    this.#net.later(() => {
      if (this.readyState === 1) this.#closed(status, reason, true);
    });
  }

  /** The connection breaks, and the client is told at once. */
  cut(): void {
    if (this.readyState === 3) return;
    this.#tell(this.onerror, {});
    this.#closed(1006, '', false);
  }

  net(fn: () => void): void {
    this.#net.later(fn);
  }

  #closed(code: number, reason: string, wasClean: boolean): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    this.#tell(this.onclose, { code, reason, wasClean });
  }

  #tell(handler: Handler, event: unknown): void {
    handler?.(event as never);
  }
}

/** Sockets without a network, on a virtual clock: each way takes `latencyMs`. */
export class FakeNet {
  readonly clock: VirtualClock;
  readonly sockets: FakeSocket[] = [];
  readonly webSocket: WebSocketConstructor;
  /** Times at which a socket was made. */
  readonly attempts: number[] = [];
  latencyMs = 1;
  /** What happens to a new socket after the way there. */
  onConnect: (socket: FakeSocket) => void = (socket) => socket.accept();
  onMessage: (socket: FakeSocket, bytes: Uint8Array) => void = () => {};
  /** The client has closed in order. */
  onClosed: (socket: FakeSocket) => void = () => {};

  constructor(clock: VirtualClock) {
    this.clock = clock;
    const net = this;
    this.webSocket = class extends FakeSocket {
      constructor(url: string, subprotocols: string[]) {
        super(net, url, subprotocols);
        net.sockets.push(this);
        net.attempts.push(clock.now());
        net.later(() => net.onConnect(this));
      }
    };
  }

  get last(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (socket === undefined) throw new Error('there is no socket yet');
    return socket;
  }

  get openSockets(): FakeSocket[] {
    return this.sockets.filter(({ readyState }) => readyState === 1);
  }

  later(fn: () => void): void {
    this.clock.after(this.latencyMs, fn);
  }
}
