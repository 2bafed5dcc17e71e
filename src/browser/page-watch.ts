import type { PageEvent, PageLike } from './environment.ts';

/**
 * Listens to the life of a page or worker until the function that it returns is called.
 *
 * @param wake - the page is back, or the network: connect now, or find out whether the connection still lives.
 * @param doubt - the network is said to be gone, which is often not true of the way to this server: find out.
 * @param suspend - the page goes into the back/forward cache, where no socket may be; `wake` follows when it comes out.
 */
export function watchPage(page: PageLike | undefined, wake: () => void, doubt: () => void, suspend: () => void): () => void {
  const onEvent = ({ type, persisted }: PageEvent): void => {
    if (type === 'offline') doubt();
    else if (type === 'pagehide') {
      if (persisted) suspend();
    } else if (type !== 'visibilitychange' || page?.document?.visibilityState === 'visible') wake();
  };
  const each = (method: 'addEventListener' | 'removeEventListener'): void => {
    for (const type of ['online', 'offline', 'pageshow', 'pagehide']) page?.window[method](type, onEvent);
    for (const type of ['visibilitychange', 'resume']) page?.document?.[method](type, onEvent);
  };
  each('addEventListener');
  return () => each('removeEventListener');
}
