import type { Attributes } from '../base/attributes.ts';
import type { ByteWriter } from '../base/byte-writer.ts';
import type { PeerError, PorticoError, TransportError } from '../base/errors.ts';

/**
 * CONTRACT. What a connection tells its user, the session. The law of names: `send*` goes down to the connection, `on*`
 * comes up from it. The connection
 * - MUST call nothing before `open`, and nothing after `onClose`;
 * - MUST call `onClose` exactly once, also when it was aborted by its user, and never from inside a call of its user;
 * - MUST NOT let an exception of the sink through to the event loop (the sink promises not to throw).
 */
export interface ConnectionSink {
  /**
   * Bytes of a stream, cut anywhere, or one whole message, which may be text. The buffer is only lent: it MUST be used up or
   * copied before the return, because the next read overwrites it.
   */
  onBytes(bytes: Buffer, isText: boolean): void;
  /**
   * The send queue has come down to the low-water mark: after `endPackage` said "full" (`wasFull`), or because of
   * `isDrainExpected`.
   */
  onDrain(wasFull: boolean): void;
  /**
   * The peer has finished sending, or what it sends is of no more use (`ending.error`); sending to it still works. `ending` says how,
   * where the transport tells.
   */
  onEnd(ending?: PeerEnding): void;
  /** The operating system did not take all bytes at once; `stalledBytes` falls as it does. */
  onBlocked(): void;
  /** After `close`: everything was sent, the end of the stream included. Only the peer's own end is still awaited. */
  onFinished(): void;
  /** The end. `error` is there unless both sides finished in order or this side closed. */
  onClose(error: PorticoError | undefined): void;
  /** The send queue went over the hard cap with the policy 'close'; the sink MUST close. */
  onOverflow(error: PeerError): void;
  /** Something failed that the connection survives: a datagram was refused, an ICMP error came. */
  onNotice?(error: PorticoError): void;
}

/** What one side tells the other when it closes, on transports that can tell: a WebSocket close frame (RFC 6455 section 7.4). */
export interface CloseNotice {
  readonly status: number;
  /** For people. */
  readonly text: string;
}

/** How a peer has finished sending. */
export interface PeerEnding {
  readonly notice?: CloseNotice;
  /** The peer broke the protocol of the transport; the sink MUST close. */
  readonly error?: PeerError;
}

/** What happens to a package that does not fit under the hard cap of the send queue. */
export type OverflowPolicy = 'close' | 'reject' | 'drop-oldest' | 'drop-newest';

/** Bounds of the send queue, in bytes. */
export interface SendLimits {
  readonly lowWaterMarkBytes: number;
  readonly highWaterMarkBytes: number;
  readonly maxQueueBytes: number;
  readonly overflowPolicy: OverflowPolicy;
  /** Of connections that put messages together: the largest to take from the peer; 0 = no limit, undefined = as before. */
  readonly maxPackageBytes?: number;
}

/** Follows one package to the operating system. Exactly one of the two is called, once. */
export interface SendReceipt {
  /** All bytes of the package were taken by the operating system. */
  onSent(): void;
  /** The package was dropped, or the connection ended before all of it was taken. */
  onUnsent(error: PorticoError): void;
}

/** Where a peer or a local socket is. Unix sockets have a `path` and neither host nor port. */
export interface Address {
  readonly text: string;
  readonly host: string;
  readonly port: number;
  readonly family: 'IPv4' | 'IPv6' | 'unix' | 'memory';
  readonly path?: string;
}

/** What TLS agreed on. */
export interface TlsInfo {
  readonly protocol: string | null;
  readonly cipher: string;
  readonly serverName: string | undefined;
  readonly alpnProtocol: string | undefined;
  /** Whether the peer showed a certificate that the CA vouches for. */
  readonly authorized: boolean;
  readonly peerSubject: string | undefined;
  readonly peerFingerprint256: string | undefined;
}

/**
 * CONTRACT. A socket's face: bytes or messages in both directions, with back-pressure, closed once. `kind` decides what an
 * `onBytes` means and replaces every "if tcp": a 'stream' may cut bytes anywhere, a 'message' connection delivers whole
 * messages and sends one per package.
 *
 * All methods MUST be safe after the end: they do nothing, or report through the receipt.
 */
export interface Connection {
  readonly kind: 'stream' | 'message';
  /** Whether each message stands alone: it may be lost, doubled or overtaken, and a bad one says nothing about the next. */
  readonly isDatagram: boolean;
  /** What was learnt of the peer before there was a session, to become the session's attributes. */
  readonly attributes: Attributes | undefined;
  readonly localAddress: Address;
  readonly remoteAddress: Address;
  readonly tls: TlsInfo | undefined;
  /** The socket itself, for what portico does not cover. Reading or writing it breaks the session. */
  readonly raw: unknown;
  /** Bytes of packages: before TLS when sent, after decryption when received. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Calls that handed bytes to the operating system. */
  readonly writes: number;
  /** Packages that the overflow policy dropped or refused. */
  readonly droppedPackages: number;
  /** Packages accepted at first and not sent after all: dropped by the policy, taken back, or given when sending was over. */
  readonly lostPackages: number;
  /** Which read path is active: the buffer shared by all sockets, or a chunk per read. */
  readonly readPath: 'static' | 'chunk';
  /** How long the peer took to answer the last ping of the transport; undefined where there are none, or none was answered yet. */
  readonly roundTripMs: number | undefined;

  /** Begins delivery to `sink`. Called once; a second call MUST throw WRONG_STATE. */
  open(sink: ConnectionSink, limits: SendLimits): void;
  /** Replaces the bounds of the send queue; what is queued already stays. */
  limitSending(limits: SendLimits): void;
  /** Bytes accepted from `endPackage` that the operating system has not taken. */
  readonly pendingBytes: number;
  /**
   * Those of them that were handed to the operating system. Shrinks as a large write makes progress: `bytesWritten` without them
   * tells a slow peer from a dead one.
   */
  readonly stalledBytes: number;

  /**
   * Opens a package and returns where to put its bytes. Every call MUST be followed by one `endPackage` or `cancelPackage`.
   * All packages of one batch (one `onBytes`, or one turn of the event loop) leave together.
   */
  beginPackage(): ByteWriter;
  /** False: the bytes are accepted, but the queue is above the high-water mark. Throws StateError by the overflow policy. */
  endPackage(receipt?: SendReceipt): boolean;
  cancelPackage(): void;
  /**
   * Bytes encoded before, shared with other connections (broadcast): passed on by reference. Same result as `endPackage`.
   * `isText`: as `ByteWriter.isText`.
   */
  sendShared(bytes: Uint8Array, receipt?: SendReceipt, isText?: boolean): boolean;
  /**
   * Takes a package back that waits in the queue, so that not a byte of it has left; true when it was. Never one of a batch: its bytes
   * stand between those of others, and leave with this turn.
   */
  unsend(receipt: SendReceipt): boolean;
  /** Set it to have `onDrain` come once at the low-water mark although `endPackage` did not say "full". */
  isDrainExpected: boolean;
  /** Hands what is batched to the operating system now. */
  flush(): void;

  /** Stops reading: after the return no `onBytes` or `onEnd` comes until `resume`. */
  pause(): void;
  resume(): void;
  /** Finishes sending (FIN) once everything is flushed; reading goes on. */
  end(): void;
  /**
   * Sends everything, then the end of the stream, waits for the peer's end and closes. Bytes that still come in are thrown
   * away. The user bounds this with a timer and `abort`. `notice` is for the peer, where the transport can tell it.
   */
  close(notice?: CloseNotice): void;
  /** Closes at once. Unsent bytes are lost. */
  abort(error?: TransportError): void;
}
