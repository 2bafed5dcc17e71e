/**
 * What the client needs of the place it runs in, as the smallest shapes that a page, a worker and Node all have. Each part can be given in
 * the options, which is how tests hold time still and cut connections.
 */

/** The part of the WebSocket interface that the client uses. That of pages has it, that of Node from 22 on, and that of `ws`. */
export interface WebSocketLike {
  binaryType: string;
  readonly protocol: string;
  readonly readyState: number;
  readonly bufferedAmount: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(bytes: Uint8Array<ArrayBuffer>): void;
  close(status?: number, reason?: string): void;
  /** `ws` has it: ends the connection without the closing handshake, which a dead one cannot do. */
  terminate?(): void;
}

export type WebSocketConstructor = new (url: string, subprotocols: string[]) => WebSocketLike;

/** What the client reads of a close event. */
export interface CloseEventLike {
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
}

/** Time. `VirtualClock` of `portico/testing` is one. */
export interface ClientClock {
  /** Milliseconds since some fixed moment; never goes backwards. */
  now(): number;
  /** Runs `callback` once, no earlier than `delayMs` from now. Returns its cancellation. */
  after(delayMs: number, callback: () => void): () => void;
}

/** Something that dispatches events, as `window`, `document` and a worker's `self` do. */
export interface EventSource {
  addEventListener(type: string, listener: (event: PageEvent) => void): void;
  removeEventListener(type: string, listener: (event: PageEvent) => void): void;
}

export interface PageEvent {
  readonly type: string;
  /** Of `pageshow` and `pagehide`: the page comes from or goes into the back/forward cache. */
  readonly persisted?: boolean;
}

/** Where the signs of a page's life come from. */
export interface PageLike {
  /** `online`, `offline`, `pageshow`, `pagehide`. */
  readonly window: EventSource;
  /** `visibilitychange`, `freeze`, `resume`; none in a worker. */
  readonly document?: (EventSource & { readonly visibilityState?: string }) | undefined;
}

interface Globals {
  readonly WebSocket?: WebSocketConstructor;
  readonly document?: EventSource & { readonly visibilityState?: string };
  readonly addEventListener?: unknown;
  reportError?(error: unknown): void;
}

// The global object has whatever the place has; each part is looked for before it is used.
const globals = globalThis as unknown as Globals & EventSource;

export const pageClock: ClientClock = {
  now: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

export function globalWebSocket(): WebSocketConstructor | undefined {
  return globals.WebSocket;
}

/** The page or worker this runs in; undefined in Node, where nobody dispatches these events. */
export function globalPage(): PageLike | undefined {
  return typeof globals.addEventListener === 'function' ? { window: globals, document: globals.document } : undefined;
}

/** For an error that nobody listens to: pages show it as uncaught, without ending anything. */
export function reportUnheard(error: unknown): void {
  globals.reportError?.(error);
}
