import type { PageEvent, PageLike } from './environment.ts';

export interface PageWatchHost {
  /** The page is back, or the network: connect now, or find out whether the connection still lives. */
  onWake(): void;
  /** The network is said to be gone, which is often not true of the way to this server: find out. */
  onDoubt(): void;
  /** The page goes into the back/forward cache, where no socket may be. `onWake` follows when it comes out. */
  onSuspend(): void;
}

/** Listens to the life of a page or worker while a client wants to be connected. */
export class PageWatch {
  readonly #page: PageLike | undefined;
  readonly #host: PageWatchHost;
  #isWatching = false;
  readonly #onEvent = (event: PageEvent): void => this.#handle(event);

  constructor(page: PageLike | undefined, host: PageWatchHost) {
    this.#page = page;
    this.#host = host;
  }

  start(): void {
    if (!this.#isWatching) this.#each('addEventListener');
    this.#isWatching = true;
  }

  stop(): void {
    if (this.#isWatching) this.#each('removeEventListener');
    this.#isWatching = false;
  }

  #each(method: 'addEventListener' | 'removeEventListener'): void {
    for (const type of ['online', 'offline', 'pageshow', 'pagehide']) this.#page?.window[method](type, this.#onEvent);
    for (const type of ['visibilitychange', 'resume']) this.#page?.document?.[method](type, this.#onEvent);
  }

  #handle({ type, persisted }: PageEvent): void {
    if (type === 'offline') this.#host.onDoubt();
    else if (type === 'pagehide') {
      if (persisted) this.#host.onSuspend();
    } else if (type !== 'visibilitychange' || this.#page?.document?.visibilityState === 'visible') this.#host.onWake();
  }
}
