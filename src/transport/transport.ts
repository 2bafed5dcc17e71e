import type { PorticoError } from '../base/errors.ts';
import type { Address, Connection } from './connection.ts';

/** What an acceptor tells its server. */
export interface AcceptorSink {
  /** Asked before anything is spent on a new connection; a text refuses it and says why. */
  admit(remoteAddress: Address): string | undefined;
  /** A connection that is ready: after TLS, in the order of readiness. The sink MUST call `open` or `abort` on it. */
  onConnection(connection: Connection): void;
  /** An admitted connection that failed before it was ready (handshake, reset). */
  onConnectionLost(remoteAddress: Address, error: PorticoError): void;
  /** Listening itself is in trouble (out of descriptors, reload failed); the acceptor goes on by itself. */
  onAcceptError(error: PorticoError): void;
}

/** A listening socket. */
export interface Acceptor {
  /** Where it listens; a port that was asked for as 0 is the real one. */
  readonly address: Address;
  /** The listening socket itself. */
  readonly raw: unknown;
  /** Takes no more connections and drops those in a handshake. Connections handed over live on. Safe to repeat. */
  close(): Promise<void>;
}

/**
 * CONTRACT. A way to get connections: one object per kind of network and its settings. `listen` and `dial` reject with a
 * PorticoError; nothing is left behind by a rejected or aborted call.
 */
export interface Transport {
  readonly name: string;
  listen(address: string, sink: AcceptorSink): Promise<Acceptor>;
  dial(address: string, options: { readonly signal: AbortSignal }): Promise<Connection>;
}

/**
 * CONTRACT. A layer put around a connection before a session sees it (PROXY protocol, encryption): resolves with the
 * connection to use from then on, which MUST deliver all bytes behind its own, or rejects, and the connection is aborted.
 */
export type Upgrade = (connection: Connection, options: { readonly signal: AbortSignal }) => Promise<Connection>;
