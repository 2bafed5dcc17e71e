import type { PorticoError } from '../base/errors.ts';
import type { Address, Connection } from './connection.ts';

/**
 * As what an address asks to be admitted: a `client` of its own; a trusted `proxy`, which will say for whom it speaks and takes a place
 * until then, while its address counts for no limit; the one `proxied`, who gets that place, or gives it up when refused; or an
 * `untrusted` one where only trusted proxies may connect.
 */
export type AdmissionRole = 'client' | 'proxy' | 'proxied' | 'untrusted';

/** What an acceptor tells its server. */
export interface AcceptorSink {
  /** Asked before anything is spent on a new connection; a text refuses it and says why. Default role: 'client'. */
  admit(remoteAddress: Address, role?: AdmissionRole): string | undefined;
  /** A connection that is ready: after TLS, in the order of readiness. The sink MUST call `open` or `abort` on it. */
  onConnection(connection: Connection): void;
  /** An admitted connection that failed before it was ready (handshake, reset), with the role that it was last admitted in. */
  onConnectionLost(remoteAddress: Address, error: PorticoError, role?: AdmissionRole): void;
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
 * CONTRACT. A layer put around a connection before there is a session: compression, encryption, a handshake. It resolves with the
 * connection to use from then on, which may be the one it was given. It
 * - MUST deliver all bytes that come behind its own, in order, once the connection it resolves with is opened, and none before;
 * - MUST NOT open the connection that it was given when it resolves with that one;
 * - MUST abort the connection below when its own is aborted;
 * - may leave its work at once when `signal` is aborted: late or failed, the connection is aborted by the caller.
 */
export type Upgrade = (connection: Connection, options: { readonly signal: AbortSignal }) => Promise<Connection>;
