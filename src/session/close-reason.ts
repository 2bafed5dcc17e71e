import { describeThrown, type ErrorCode, PeerError, PorticoError, TransportError } from '../base/errors.ts';
import { oneLine } from '../base/log.ts';
import type { CloseNotice, PeerEnding } from '../transport/connection.ts';

/**
 * Why a session ended. The numbers are its status on transports that carry one (WebSocket close codes, RFC 6455 section 7.4;
 * 4000 to 4999 is the private range).
 */
export const CLOSE_STATUS = {
  /** This side called `close()`. */
  NORMAL: 1000,
  /** The endpoint is shutting down. */
  GOING_AWAY: 1001,
  /** The peer finished in order. */
  PEER_CLOSED: 1000,
  /** The peer finished in the middle of a package; `truncatedBytes` says how much of it there was. */
  TRUNCATED: 1002,
  /** The peer sent what cannot be decoded. */
  PROTOCOL: 1002,
  /** A package over the limit. */
  TOO_LARGE: 1009,
  /** A package or handshake was not completed in time. */
  TIMEOUT: 4408,
  /** No traffic for longer than an idle time-out. */
  IDLE: 4408,
  /** The peer did not answer the heartbeat. */
  HEARTBEAT: 4408,
  /** The peer reads too slowly. */
  SLOW: 1008,
  /** The connection was reset or the network failed. */
  RESET: 1006,
  /** User code failed. */
  INTERNAL: 1011,
  /** A task pool or limit of this side is full. */
  OVERLOAD: 1013,
  /** Too many packages from this peer. */
  RATE: 4429,
  /** The peer is not who it must be. */
  AUTH: 4401,
} as const;

export type CloseCode = keyof typeof CLOSE_STATUS;

/** How a session ended. */
export interface CloseReason {
  readonly code: CloseCode;
  /** Which side ended it; 'network' when neither did. */
  readonly by: 'local' | 'peer' | 'network';
  /** For people. */
  readonly text: string;
  /** That of `code`, or the one that was given: by the peer when it closed a WebSocket, by the program to `close`. */
  readonly status: number;
  /** The failure that ended it, if one did; `onError` had it before. */
  readonly error: PorticoError | undefined;
  /** Bytes received that made no whole package. */
  readonly truncatedBytes: number;
  /** Bytes accepted by `send` that the operating system did not take any more. */
  readonly unsentBytes: number;
}

/** Why and how a session is to be closed. */
export interface CloseRequest {
  readonly code: CloseCode;
  readonly by: CloseReason['by'];
  readonly text: string;
  /** Default: that of `code`. */
  readonly status?: number;
  /** What the peer is told, where the transport can tell it. Default: `text`. */
  readonly told?: string;
  readonly error?: PorticoError;
  /** Nothing is flushed. */
  readonly isForced?: boolean;
  readonly drainTimeoutMs?: number;
  /** For the flush alone. Default: `drainTimeoutMs`. */
  readonly flushTimeoutMs?: number;
  readonly truncatedBytes?: number;
}

const CODE_OF_ERROR: Partial<Record<ErrorCode, CloseCode>> = {
  MALFORMED_PACKAGE: 'PROTOCOL',
  INVALID_BODY: 'PROTOCOL',
  PACKAGE_TOO_LARGE: 'TOO_LARGE',
  PACKAGE_TIMEOUT: 'TIMEOUT',
  HANDSHAKE_TIMEOUT: 'TIMEOUT',
  HEARTBEAT_TIMEOUT: 'HEARTBEAT',
  SLOW_READER: 'SLOW',
  WRITE_TIMEOUT: 'SLOW',
  HANDSHAKE_FAILED: 'AUTH',
  PROTOCOL_VIOLATION: 'PROTOCOL',
  RATE_EXCEEDED: 'RATE',
  CLOSED_WITH_ERROR: 'PEER_CLOSED',
  TASK_REJECTED: 'OVERLOAD',
  TASK_TIMEOUT: 'OVERLOAD',
  POOL_CLOSED: 'OVERLOAD',
};

/** The close code that a failure leads to. */
export function closeCodeOf(error: PorticoError): CloseCode {
  return CODE_OF_ERROR[error.code] ?? (error.name === 'TransportError' ? 'RESET' : 'INTERNAL');
}

/** The close that a failure of the peer or of this side leads to. */
export function requestForFailure(error: PorticoError): CloseRequest {
  // A peer that takes no bytes cannot be flushed to.
  const isForced = error.code === 'SLOW_READER' || error.code === 'WRITE_TIMEOUT';
  const by = error.name === 'PeerError' ? 'peer' : 'local';
  const status = error instanceof PeerError && error.status !== undefined ? { status: error.status } : {};
  return { code: closeCodeOf(error), by, text: error.message, error, isForced, ...status };
}

/** Statuses with which a WebSocket is closed in order: done, going away, none given. */
const ORDERLY: readonly number[] = [1000, 1001, 1005];

/** The close that follows when the peer has finished sending. */
export function requestForEnding(ending: PeerEnding | undefined): CloseRequest {
  if (ending?.error !== undefined) return requestForFailure(ending.error);
  const { notice } = ending ?? {};
  if (notice === undefined) return { code: 'PEER_CLOSED', by: 'peer', text: 'the peer finished' };
  const { status } = notice;
  const text = notice.text === '' ? 'the peer closed' : notice.text;
  if (ORDERLY.includes(status)) return { code: 'PEER_CLOSED', by: 'peer', text, status };
  const why = notice.text === '' ? '' : `: ${oneLine(notice.text)}`;
  const error = new PeerError('CLOSED_WITH_ERROR', `the peer closed with status ${status}${why}`, { status });
  return { code: 'PEER_CLOSED', by: 'peer', text, status, error };
}

/** Whether a program may give its peer this status. 1006 means that nothing was told, and is never sent. */
export function isOwnStatus(status: number): boolean {
  if (status === CLOSE_STATUS.RESET) return false;
  return (Number.isInteger(status) && status >= 3000 && status <= 4999) || Object.values<number>(CLOSE_STATUS).includes(status);
}

/** What the peer is told of a close. What this side's own code says when it fails is not for strangers. */
export function noticeOf({ code, text, error, told, status = CLOSE_STATUS[code] }: CloseRequest): CloseNotice {
  return { status, text: told ?? (error === undefined || error instanceof PeerError ? text : '') };
}

/** The close of a session whose connection has ended already; `bufferedBytes` of it were never made into packages. */
export function requestForEnd(error: PorticoError | undefined, bufferedBytes: number): CloseRequest {
  if (error === undefined) return { code: 'PEER_CLOSED', by: 'peer', text: 'the connection has ended', isForced: true };
  const text = error.message;
  return { code: closeCodeOf(error), by: 'network', text, error, isForced: true, truncatedBytes: bufferedBytes };
}

/** The close that `destroy` asks for. */
export function requestForDestroy(error: Error | undefined): CloseRequest {
  if (error === undefined) return { code: 'NORMAL', by: 'local', text: 'destroyed by this side', isForced: true };
  const cause = error instanceof PorticoError ? error : new TransportError('TRANSPORT_FAILED', describeThrown(error), { cause: error });
  return { code: closeCodeOf(cause), by: 'local', text: cause.message, error: cause, isForced: true };
}
