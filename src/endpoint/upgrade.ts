import { describeThrown, PeerError, PorticoError } from '../base/errors.ts';
import { show } from '../base/option.ts';
import type { Connection } from '../transport/connection.ts';
import type { Upgrade } from '../transport/transport.ts';

/**
 * Runs upgrades in order, each around the connection of the one before it. Rejects with a PorticoError when one of them fails or
 * the signal is aborted, whose reason MUST be a PorticoError; the connection is aborted then.
 */
export async function upgradeConnection(connection: Connection, upgrades: readonly Upgrade[], signal: AbortSignal): Promise<Connection> {
  let upgraded = connection;
  try {
    for (const upgrade of upgrades) {
      signal.throwIfAborted();
      const next = await untilAborted(upgrade(upgraded, { signal }), signal);
      if (typeof next?.open !== 'function') throw new TypeError(`expected a connection, given ${show(next)}`);
      upgraded = next;
    }
    signal.throwIfAborted();
    return upgraded;
  } catch (thrown) {
    upgraded.abort();
    if (thrown instanceof PorticoError) throw thrown;
    throw new PeerError('HANDSHAKE_FAILED', `upgrade: ${describeThrown(thrown)}`, { cause: thrown });
  }
}

/** What a promise resolves with, unless the signal is aborted first; a connection that comes too late is aborted. */
async function untilAborted(upgrading: Promise<Connection>, signal: AbortSignal): Promise<Connection> {
  let onAbort = (): void => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([upgrading, aborted]);
  } catch (thrown) {
    Promise.resolve(upgrading)
      .then((late) => late.abort())
      .catch(() => {});
    throw thrown;
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
