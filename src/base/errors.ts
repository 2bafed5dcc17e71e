/**
 * Every error portico throws, rejects with or hands to `onError`.
 *
 * The class says who is at fault, `code` says what happened, `cause` holds the evidence. Programs branch on `code`, never on
 * the message. The catalogue below is the whole list; `docs/reference/errors.md` shows it and a test keeps the two equal.
 */

/** Code → the class it comes in and what it means. A code MUST NOT be given a second meaning or used again after it is retired. */
export const ERROR_CATALOGUE = {
  INVALID_OPTION: ['ConfigError', 'An option was given a value that it does not take.'],
  MISSING_OPTION: ['ConfigError', 'An option without which the endpoint or session cannot work was not given.'],
  INVALID_ADDRESS: ['ConfigError', 'An address could not be parsed.'],
  INVALID_TLS: ['ConfigError', 'A certificate, key, passphrase or CA could not be used.'],

  SESSION_CLOSED: ['StateError', 'The session is closing or closed, so nothing more can be sent on it.'],
  SEND_QUEUE_FULL: ['StateError', 'The send queue is at its hard cap and the overflow policy refused or dropped the package.'],
  NO_PACKAGE: ['StateError', 'null or undefined was given where a package is needed.'],
  ENCODED_TOO_LARGE: ['StateError', 'The PkgHandler encoded a package to more than maxPackageBytes; nothing was sent.'],
  WRONG_STATE: ['StateError', 'The call is not allowed in the present state of the session or endpoint.'],
  UNENCODABLE_BODY: ['StateError', 'A value was given that its body codec cannot encode; nothing was sent.'],
  ENDPOINT_CLOSED: ['StateError', 'The endpoint is closing or closed.'],
  NO_SESSION: ['StateError', 'The client has no open session to pick.'],
  TASK_REJECTED: ['StateError', 'The task pool is full, and its policy is to reject.'],
  TASK_TIMEOUT: ['StateError', 'A task ran longer than the task pool allows.'],
  POOL_CLOSED: ['StateError', 'The task pool is closed.'],
  ABORTED: ['StateError', 'The AbortSignal of the call was aborted.'],
  RECONNECT_EXHAUSTED: ['StateError', 'The client gave up: every reconnect attempt failed, or shouldReconnect said no.'],
  NO_PEER: ['StateError', 'A datagram was given without the IP address and port of a peer.'],
  CALL_TIMEOUT: ['StateError', 'The answer to a call did not come in time.'],
  TOO_MANY_CALLS: ['StateError', 'As many calls as allowed wait for their answers; this one was not sent.'],
  DATAGRAM_TOO_LARGE: ['StateError', 'A package is larger than a datagram can be; it was not sent.'],

  MALFORMED_PACKAGE: ['PeerError', 'The peer sent bytes that the PkgHandler cannot decode.'],
  INVALID_BODY: ['PeerError', 'The peer sent a body that its codec or schema refuses; `issues` says why.'],
  PACKAGE_TOO_LARGE: ['PeerError', 'The peer sent or announced a package above the limit.'],
  PACKAGE_TIMEOUT: ['PeerError', 'The peer began a package and did not complete it in time.'],
  HEARTBEAT_TIMEOUT: ['PeerError', 'The peer was silent for longer than the heartbeat allows.'],
  SLOW_READER: ['PeerError', 'The peer reads too slowly: the send queue reached its hard cap.'],
  WRITE_TIMEOUT: ['PeerError', 'The peer did not take the bytes sent to it in time.'],
  HANDSHAKE_FAILED: ['PeerError', 'The TLS or upgrade handshake failed.'],
  HANDSHAKE_TIMEOUT: ['PeerError', 'The TLS or upgrade handshake did not complete in time.'],
  PROTOCOL_VIOLATION: ['PeerError', 'The peer broke the protocol below its packages, such as a WebSocket frame that RFC 6455 forbids.'],
  CALL_FAILED: ['PeerError', 'The other side answered a call with an error; `reason` and `data` have what it said.'],
  RATE_EXCEEDED: ['PeerError', 'The peer sent more of something in a second than the limit allows.'],
  CLOSED_WITH_ERROR: ['PeerError', 'The peer closed with a status that means an error; `status` has it.'],
  PROXY_HEADER_INVALID: ['PeerError', 'A connection from a trusted proxy did not begin with a valid PROXY header.'],
  PROXY_HEADER_TIMEOUT: ['PeerError', 'The PROXY header did not arrive in time.'],

  CONNECTION_RESET: ['TransportError', 'The peer or the network reset the connection.'],
  CONNECT_FAILED: ['TransportError', 'The connection could not be established.'],
  CONNECT_TIMEOUT: ['TransportError', 'The connection was not established in time.'],
  SELF_CONNECT: ['TransportError', 'The client reached its own source port; the connection was dropped.'],
  LISTEN_FAILED: ['TransportError', 'The local address could not be bound.'],
  ACCEPT_FAILED: ['TransportError', 'The operating system refused to hand over an incoming connection.'],
  TRANSPORT_FAILED: ['TransportError', 'The socket failed; the cause has the system error.'],
  DATAGRAM_FAILED: ['TransportError', 'The operating system refused a datagram or reported one undeliverable (ICMP); the session goes on.'],
  BACKPLANE_FAILED: ['TransportError', 'The server of a backplane is out of reach, or refused a command; the cause has its error.'],

  LISTENER_FAILED: ['ListenerError', 'A method of the EventListener threw or rejected; `phase` says which.'],
  ENCODE_FAILED: ['ListenerError', 'PkgHandler.write threw, or returned something else than bytes; nothing was sent.'],
  NO_PROGRESS: ['ListenerError', 'PkgHandler.read returned a package without consuming a byte.'],
  PROMISE_RETURNED: ['ListenerError', 'PkgHandler.read returned a promise in place of a package; it must be synchronous.'],
  READ_OUT_OF_RANGE: ['ListenerError', 'PkgHandler.read consumed more bytes than there are, or a count that is not a whole number.'],
} as const;

type ErrorClassName = 'ConfigError' | 'StateError' | 'PeerError' | 'TransportError' | 'ListenerError';

/** What happened. See {@link ERROR_CATALOGUE}. */
export type ErrorCode = keyof typeof ERROR_CATALOGUE;

type CodeOf<Class extends ErrorClassName> = {
  [Code in ErrorCode]: (typeof ERROR_CATALOGUE)[Code][0] extends Class ? Code : never;
}[ErrorCode];

/** The root of portico's errors; `instanceof PorticoError` tells them from all others. */
export abstract class PorticoError extends Error {
  readonly code: ErrorCode;

  protected constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** The program was set up wrongly: thrown at once, where the wrong value was given. */
export class ConfigError extends PorticoError {
  override readonly name = 'ConfigError';
  constructor(code: CodeOf<'ConfigError'>, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** A call came too late, too early or into a full queue. */
export class StateError extends PorticoError {
  override readonly name = 'StateError';
  constructor(code: CodeOf<'StateError'>, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** The remote side broke the protocol or a limit. */
export class PeerError extends PorticoError {
  override readonly name = 'PeerError';
  declare readonly code: CodeOf<'PeerError'>;
  /**
   * `true`: the stream is still in step, so the session goes on after `onError`. A PkgHandler throws a recoverable error
   * after it has skipped a bad package.
   */
  readonly recoverable: boolean;
  /** On transports that tell why they close: the status that the peer gave, or is given. Default: that of the close reason. */
  readonly status: number | undefined;
  constructor(code: CodeOf<'PeerError'>, message: string, options?: ErrorOptions & { recoverable?: boolean; status?: number }) {
    super(code, message, options);
    this.recoverable = options?.recoverable ?? false;
    this.status = options?.status;
  }
}

/** The network or the operating system failed; `cause` is the system error. */
export class TransportError extends PorticoError {
  override readonly name = 'TransportError';
  constructor(code: CodeOf<'TransportError'>, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

/** Where user code was when it failed. */
export type ListenerPhase =
  | 'verify'
  | 'newSession'
  | 'open'
  | 'message'
  | 'cron'
  | 'drain'
  | 'end'
  | 'error'
  | 'close'
  | 'closeCallback'
  | 'read'
  | 'write'
  | 'heartbeat';

/** The user's own listener or handler threw, rejected or broke its contract; `cause` is what it threw. */
export class ListenerError extends PorticoError {
  override readonly name = 'ListenerError';
  readonly phase: ListenerPhase;
  constructor(code: CodeOf<'ListenerError'>, phase: ListenerPhase, message: string, options?: ErrorOptions) {
    super(code, message, options);
    this.phase = phase;
  }
}

/** One line for any thrown value, also when it is not an Error. */
export function describeThrown(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message || thrown.name;
  try {
    return String(thrown);
  } catch {
    return Object.prototype.toString.call(thrown);
  }
}
