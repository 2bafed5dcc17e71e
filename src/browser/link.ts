import type { CloseEventLike, WebSocketConstructor, WebSocketLike } from './environment.ts';

/** Told what happens to one socket, until it is detached. */
export interface LinkOwner {
  onLinkOpen(link: Link): void;
  onLinkMessage(link: Link, data: unknown): void;
  onLinkClose(link: Link, status: number, reason: string, wasClean: boolean): void;
}

const OPEN = 1;

/** One socket of one attempt. Once detached it never says another word, however late its events come. */
export class Link {
  readonly #socket: WebSocketLike;
  /** When it became usable, for `minUptimeMs`. */
  openedAt: number | undefined;
  /** The server's last words before the close. */
  goodbye: { readonly status: number; readonly reason: string; readonly retryAfterMs?: number; readonly isFatal?: boolean } | undefined;

  /** Throws what the constructor of the socket throws, such as a SyntaxError for a URL that is none. */
  constructor(owner: LinkOwner, make: WebSocketConstructor, url: string, subprotocols: string[]) {
    const socket = new make(url, subprotocols);
    this.#socket = socket;
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => owner.onLinkOpen(this);
    socket.onmessage = (event: { readonly data: unknown }) => owner.onLinkMessage(this, event.data);
    // The close event that follows says all that a page may know.
    socket.onerror = ignore;
    socket.onclose = (event: CloseEventLike) => owner.onLinkClose(this, event.code, event.reason, event.wasClean);
  }

  get subprotocol(): string {
    return this.#socket.protocol;
  }

  get isOpen(): boolean {
    return this.#socket.readyState === OPEN;
  }

  /** Bytes that the socket has taken and not yet written. */
  get queuedBytes(): number {
    return this.#socket.bufferedAmount;
  }

  send(bytes: Uint8Array): void {
    // A socket that closes takes bytes and forgets them; the replay has what must not be lost.
    if (this.isOpen) this.#socket.send(bytes as Uint8Array<ArrayBuffer>);
  }

  /** Closes in order; the close event is still told. */
  close(status: number, reason: string): void {
    try {
      this.#socket.close(status, reason);
    } catch {
      this.#socket.close();
    }
  }

  detach(): void {
    const socket = this.#socket;
    socket.onopen = null;
    socket.onmessage = null;
    socket.onclose = null;
  }

  /** Detaches and closes, whatever state the socket is in. `isDead`: there is nobody to close in order with. */
  drop(status: number, reason: string, isDead = false): void {
    this.detach();
    this.close(status, reason);
    if (isDead) this.#socket.terminate?.();
  }
}

function ignore(): void {}
