import type { PorticoError } from '../base/errors.ts';

/**
 * What a server must offer so that `BusBackplane` makes a backplane of it: topics and bytes, nothing else.
 *
 * - What one node published MUST arrive in that order at each other node, over all topics together; parts may be missing.
 * - A node MUST be given its own messages too, on topics that it subscribed to: they are how it notices that its server has frozen.
 * - A topic is text of at most 320 bytes.
 * - After the server was lost a bus MUST look for it by itself, with a back-off, and subscribe again before it tells `onUp`.
 */
export interface Bus {
  /** Connects; once. Rejects with TransportError BACKPLANE_FAILED. */
  open(sink: BusSink): Promise<void>;
  /** False: it is not taken now; `onDrain` or `onUp` comes when it may be tried again. Never throws. */
  publish(topic: string, bytes: Uint8Array): boolean;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  /** Settles, and never rejects, when the server has what was subscribed to and published before, or is lost. */
  flush(): Promise<void>;
  /** The connection seems dead although the system does not say so. */
  restart(): void;
  close(): Promise<void>;
  /** Where presence is kept beside the nodes themselves. Without one, nodes ask each other. */
  readonly directory?: BusDirectory;
}

/** All methods may be called after the end, and then do nothing. */
export interface BusSink {
  onBytes(topic: string, bytes: Uint8Array): void;
  /** The server is there again and all topics are subscribed to. Not called for `open`. */
  onUp(): void;
  /** The server is lost. Once for each loss. */
  onDown(error: PorticoError): void;
  /** `publish` takes messages again. */
  onDrain(): void;
  onError(error: PorticoError): void;
}

/** Presence in a store of the server: each node writes what is its own, all read. */
export interface BusDirectory {
  /** What was not written at once because too many commands waited for their answers. */
  readonly deferred: number;
  /** Never throw; a failure is told by `onError`, and makes the next `renew` answer false. */
  setMember(room: string, memberId: string, version: number, state: Uint8Array): void;
  removeMember(room: string, memberId: string): void;
  register(clientId: string): void;
  unregister(clientId: string): void;
  /** Keeps this node alive for so long. False: what it wrote is gone or incomplete, and it must write everything again. */
  renew(leaseMs: number): Promise<boolean>;
  /** Takes out all that this node wrote, and writes it again; it counts as alive only afterwards. Never rejects. */
  rewrite(members: Iterable<readonly [room: string, entry: DirectoryEntry]>, clients: Iterable<string>, leaseMs: number): Promise<void>;
  /** The nodes that are alive, and their members in this room. Rejects with TransportError BACKPLANE_FAILED. */
  read(room: string): Promise<ReadonlyMap<string, readonly DirectoryEntry[]>>;
  /** Rejects as `read` does. */
  locate(clientId: string): Promise<string | undefined>;
  /** Takes out what a dead node left. Does nothing when it is alive. */
  forget(nodeId: string): Promise<void>;
}

export interface DirectoryEntry {
  readonly memberId: string;
  /** The later of two is the greater. */
  readonly version: number;
  readonly state: Uint8Array;
}
