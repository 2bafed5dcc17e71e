import { ListenerError, PeerError, type PorticoError, StateError, TransportError } from '../base/errors.ts';
import { COMMAND_SUBPROTOCOL, type Goodbye } from '../command/wire.ts';
import type { ClientClose, ClientEvents, ClientState, OpenInfo } from './client-events.ts';
import type { Settings } from './client-options.ts';
import type { CloseEventLike, WebSocketLike } from './environment.ts';
import { reconnectDelayMs } from './reconnect-policy.ts';

/** One attempt, and the connection that it may become. What comes from a socket whose link is not the present one means nothing. */
export interface Link {
  socket?: WebSocketLike;
  /** When it became usable, for `minUptimeMs`. */
  openedAt?: number;
  /** The server's last words before the close. */
  goodbye?: Goodbye;
}

/** Keeps one connection, from `connect()` until it is over. */
export interface Connector {
  state(): ClientState;
  /** Closing or closed: nothing new begins. */
  isOver(): boolean;
  /** Of the connection that is open and takes messages. */
  socket(): WebSocketLike | undefined;
  /** Settles when it is open next, or over. */
  ready(): Promise<OpenInfo>;
  connect(): Promise<OpenInfo>;
  /** The native WELCOME has come, or the profile has none. */
  opened(link: Link, info: OpenInfo): void;
  /** Gives the connection up: it is dead, the server breaks the protocol, or (without an error) the page sleeps. */
  abandon(status: number, error?: PorticoError, isDead?: boolean): void;
  /** There is a reason to believe that it would work now. A server that named a time is not asked before. */
  wake(): void;
  /** No more attempts. An open connection stays until `close`, but no longer than `timeoutMs`; without one it is over at once. */
  closing(timeoutMs: number): void;
  /** While closing: closes the socket in order; it is over when the close event comes. */
  close(status: number, reason: string): void;
}

/** The server wants to be shown something else. */
const UNAUTHENTICATED = 4401;
const TIMEOUT = 4408;
const OPEN = 1;

/** Before there was anything to close. */
export const CLOSED: ClientClose = { status: 1000, reason: '', wasClean: true, by: 'client' };

/**
 * Attempts, waits, and the decision whether to go on.
 *
 * ```
 * idle --connect--> connecting --opened--> open --lost--> reconnecting --opened--> open
 *                       |  ^ retried                             |
 *                       v                                        v
 *                    closed <---- closing <---- close() ------- any     (closed: also when told not to come again)
 * ```
 *
 * What it is told with may call back into it.
 *
 * @param onSocket - the socket is open: say what is to be said first, then call `opened`.
 * @param onOpen - `opened` was called; `isFirst` since `connect()`.
 * @param onDown - the connection that was open is gone.
 * @param onOver - nothing more comes until `connect()`.
 */
export function makeConnector(
  settings: Settings,
  emit: <Name extends 'state' | 'reconnecting' | 'error'>(name: Name, ...args: ClientEvents[Name]) => void,
  onSocket: (link: Link, socket: WebSocketLike, auth: unknown) => void,
  onMessage: (link: Link, socket: WebSocketLike, data: unknown) => void,
  onOpen: (info: OpenInfo, isFirst: boolean) => void,
  onDown: (close: ClientClose) => void,
  onOver: (close: ClientClose) => void,
): Connector {
  const { clock, reconnect, isNative } = settings;
  let state: ClientState = 'idle';
  let current: Link | undefined;
  let cancelTimer: (() => void) | undefined;
  /** The wait for the next attempt can be cut short. */
  let canHurry = false;
  let lastAttemptAt = 0;
  let failures = 0;
  let hasAskedAgain = false;
  let wasOpen = false;
  let ready: Promise<OpenInfo>;
  let resolve: (info: OpenInfo) => void;
  let reject: (error: PorticoError) => void;

  function renewReady(): void {
    ready = new Promise((...settle) => {
      [resolve, reject] = settle;
    });
    // The 'close' event tells it too: a promise that nobody looks at MUST NOT end the process.
    ready.catch(() => {});
  }
  renewReady();

  function to(next: ClientState): void {
    const before = state;
    if (next === before) return;
    state = next;
    if (before === 'open' || before === 'closed') renewReady();
    emit('state', next, before);
  }

  function setTimer(delayMs?: number, fn?: () => void): void {
    cancelTimer?.();
    canHurry = false;
    cancelTimer = fn && clock.after(delayMs ?? 0, fn);
  }

  function isOver(): boolean {
    return state === 'closing' || state === 'closed';
  }

  function socket(): WebSocketLike | undefined {
    const open = state === 'open' || state === 'closing' ? current?.socket : undefined;
    return open?.readyState === OPEN ? open : undefined;
  }

  /** From here on the socket is not listened to. `isDead`: there is nobody to close in order with. */
  function drop(status: number, reason: string, isDead?: boolean): void {
    const gone = current?.socket;
    current = undefined;
    if (!gone) return;
    close(gone, status, reason);
    if (isDead) gone.terminate?.();
  }

  // --- attempts ---

  async function attempt(): Promise<void> {
    const link: Link = {};
    current = link;
    lastAttemptAt = clock.now();
    const fail = (cause: unknown): void => {
      if (current !== link) return;
      const code = cause === undefined ? 'CONNECT_TIMEOUT' : 'CONNECT_FAILED';
      // Not 1000, which would tell the server that the client leaves for good.
      abandon(TIMEOUT, cause instanceof PeerError ? cause : new TransportError(code, 'no connection', { cause }), true);
    };
    setTimer(settings.connectTimeoutMs, () => fail(undefined));
    try {
      const [url, auth] = await Promise.all([settings.url(), isNative && settings.auth?.()]);
      if (current !== link) return;
      const made = new settings.webSocket(url, isNative ? [COMMAND_SUBPROTOCOL] : []);
      link.socket = made;
      made.binaryType = 'arraybuffer';
      made.onopen = () => {
        try {
          if (current === link) onSocket(link, made, auth);
        } catch (thrown) {
          fail(thrown);
        }
      };
      made.onmessage = ({ data }: { readonly data: unknown }) => {
        if (current === link) onMessage(link, made, data);
      };
      // The close event that follows says all that a page may know.
      made.onerror = () => {};
      made.onclose = ({ code, reason, wasClean }: CloseEventLike) => {
        if (current !== link) return;
        const by = wasClean ? (state === 'closing' ? 'client' : 'server') : 'network';
        lost({ status: code, reason, wasClean, by, ...link.goodbye });
      };
    } catch (thrown) {
      fail(thrown);
    }
  }

  function abandon(status: number, error?: PorticoError, isDead?: boolean): void {
    // Between two attempts there is nothing to give up.
    if (!current) return;
    const reason = error?.message ?? 'suspended';
    const { openedAt } = current;
    drop(status, reason, isDead);
    lost(brokenBy('network', reason, error), openedAt);
  }

  /** The attempt or the connection is over. */
  function lost(closed: ClientClose, openedAt = current?.openedAt): void {
    // Takes the place of the link: when it stands there no more, a listener has closed or connected meanwhile.
    const gap: Link = {};
    current = gap;
    setTimer();
    if (closed.error) emit('error', closed.error);
    if (openedAt !== undefined && clock.now() - openedAt >= settings.minUptimeMs) {
      failures = 0;
      hasAskedAgain = false;
    }
    const isWorthIt = state !== 'closing' && (wasOpen || settings.retryFirstConnect);
    const delayMs = isWorthIt ? nextDelayMs(closed) : undefined;
    const isUp = state === 'open';
    if (isUp && current === gap && delayMs !== undefined) to('reconnecting');
    if (isUp && current === gap) onDown(closed);
    if (current !== gap) return;
    current = undefined;
    if (delayMs === undefined || state === 'closing') {
      finish(closed);
      return;
    }
    setTimer(delayMs, () => void attempt());
    canHurry = closed.retryAfterMs === undefined;
    emit('reconnecting', { attempt: failures, delayMs, close: closed });
  }

  /** Undefined: do not come again. */
  function nextDelayMs(closed: ClientClose): number | undefined {
    if (!reconnect || ++failures > reconnect.attempts) return undefined;
    try {
      const verdict = settings.shouldReconnect?.(closed);
      if (verdict === undefined && closed.status === UNAUTHENTICATED && settings.auth && !hasAskedAgain) {
        hasAskedAgain = true;
        return 0;
      }
      const isOver = verdict === undefined ? (closed.isFatal ?? settings.isFatal(closed.status)) : !verdict;
      return isOver ? undefined : reconnectDelayMs(failures, closed, reconnect, settings.random);
    } catch (cause) {
      emit('error', new ListenerError('LISTENER_FAILED', 'close', 'an option threw', { cause }));
      return reconnect.maxMs;
    }
  }

  function finish(closed: ClientClose): void {
    drop(1000, closed.reason);
    setTimer();
    if (state === 'closed') return;
    const error = overError(closed, reconnect !== undefined && failures > reconnect.attempts);
    to('closed');
    reject(error);
    onOver(closed.by === 'client' ? closed : { ...closed, error });
  }

  return {
    state: () => state,
    isOver,
    socket,
    ready: () => ready,
    abandon,
    connect() {
      if (state === 'closing') finish(brokenBy('client', 'timeout'));
      if (state === 'idle' || state === 'closed') {
        failures = 0;
        hasAskedAgain = wasOpen = false;
        to('connecting');
        // A listener may have had other ideas.
        if (!current && !isOver()) void attempt();
      }
      return ready;
    },
    opened(link, info) {
      if (link !== current) return;
      setTimer();
      link.openedAt = clock.now();
      const isFirst = !wasOpen;
      wasOpen = true;
      to('open');
      resolve(info);
      onOpen(info, isFirst);
    },
    wake() {
      if (canHurry && clock.now() - lastAttemptAt >= (reconnect?.minMs ?? 0)) void attempt();
    },
    closing(timeoutMs) {
      if (state !== 'open') {
        finish(CLOSED);
        return;
      }
      to('closing');
      setTimer(timeoutMs, () => finish(brokenBy('client', 'timeout')));
    },
    close(status, reason) {
      if (state === 'closing' && current?.socket) close(current.socket, status, reason);
    },
  };
}

/** Whatever state the socket is in, and whatever status a user thought of. */
function close(socket: WebSocketLike, status: number, reason: string): void {
  try {
    socket.close(status, reason);
  } catch {
    socket.close();
  }
}

function brokenBy(by: ClientClose['by'], reason: string, error?: PorticoError): ClientClose {
  return { status: 1006, reason, wasClean: false, by, error };
}

function overError({ by, status, reason, error }: ClientClose, isExhausted: boolean): PorticoError {
  if (by === 'client') return new StateError('ENDPOINT_CLOSED', 'the client is closed');
  if (isExhausted) return new StateError('RECONNECT_EXHAUSTED', 'no attempt is left', { cause: error });
  return error ?? new PeerError('CLOSED_WITH_ERROR', `closed with ${status} ${reason}`, { status });
}
