import type { CloseReason } from '../session/close-reason.ts';
import type { Disconnect } from './hub-options.ts';
import type { Link } from './link.ts';

/** Failures of a connection, and not of the client behind it. */
const SURVIVABLE: ReadonlySet<string> = new Set([
  'CLOSED_WITH_ERROR',
  'SLOW_READER',
  'WRITE_TIMEOUT',
  'HEARTBEAT_TIMEOUT',
  'PACKAGE_TIMEOUT',
]);

/** Whether the end of this connection may be followed by another one of the same client. */
export function isLoss(link: Link, reason: CloseReason): boolean {
  if (link.hasLeft !== undefined) return false;
  if (link.isLost || reason.by === 'network') return true;
  if (reason.by === 'local') return false;
  if (reason.error !== undefined) return SURVIVABLE.has(reason.error.code);
  // The end of a stream says nothing; a WebSocket that is closed with 1000 was meant to be.
  return link.session.connection.kind === 'stream' || reason.status !== 1000;
}

/** How the client ended whose last connection this was. */
export function disconnectOf(link: Link, reason: CloseReason): Disconnect {
  const { error } = reason;
  if (link.hasLeft !== undefined) return { ...link.hasLeft, by: 'client', wasClean: true, error: undefined };
  if (link.isLost) return { status: 1006, reason: 'the connection was lost', by: 'network', wasClean: false, error };
  const wasClean = error === undefined || error.code === 'CLOSED_WITH_ERROR';
  const by = reason.by === 'local' ? 'server' : reason.by === 'peer' ? 'client' : 'network';
  return { status: reason.status, reason: reason.text, by, wasClean, error };
}
