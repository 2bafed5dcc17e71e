import type { PorticoError } from '../base/errors.ts';

/**
 * What joins the nodes of one service: channels, presence, and a directory of clients. A *node* is whoever opened a backplane, one hub
 * mostly; several may live in one process.
 *
 * ### Channels
 * - Messages of one node on one channel MUST arrive in the order in which they were published, each at most once. Nothing is said about
 *   the order between nodes or between channels.
 * - A node MUST NOT be given its own messages: it has delivered them itself.
 * - A message may be lost. That SHOULD become known through `onGap`, at the latest with the next heartbeat of its sender; what was sent on
 *   a channel before the first message that a node heard there can be known to nobody.
 *
 * ### Presence
 * - A node MUST hear of every member of a room that it follows, own ones excepted, through `onMember`, and of each change once: the
 *   same member with the same state is not told twice.
 * - When a node closes, or has not been heard of for the lease, its members MUST be taken out with `onMember(…, undefined, …)`,
 *   and then `onNodeDown` comes.
 *
 * ### Failure
 * - `open` rejects when the service cannot be joined. From then on no method may throw or reject because of the network: a lost server is
 *   told by `onError`, looked for again and again, and its return makes `onGap` come with the reason `disconnected`. After that the backplane
 *   MUST by itself subscribe again, announce its own members again and bring the members of others up to date.
 * - After `close` every method is safe: nothing is sent, nothing is told, `members` has nobody.
 *
 * ### Bytes
 * What is given to `publish` and `setMember` MUST NOT be changed afterwards; what comes to a sink MUST NOT be changed, and may be kept.
 */
export interface Backplane {
  /** Names this node; unique among all nodes of the service. */
  readonly nodeId: string;
  /** False before `open`, while the server is out of reach, and after `close`. */
  readonly isUp: boolean;

  /**
   * Joins the service. Once in the life of a backplane.
   * @throws StateError WRONG_STATE when it was opened before. Rejects with TransportError BACKPLANE_FAILED, and then it is closed.
   */
  open(sink: BackplaneSink): Promise<void>;

  /**
   * To all other nodes that subscribed to the channel. Never throws for reasons of the network: while the server is away, messages wait
   * in a bounded buffer, the oldest ones are dropped and counted. One above `maxMessageBytes` is dropped, counted, and told by `onError`.
   * @throws ConfigError INVALID_OPTION for a name that is not 1 to 256 bytes of text.
   */
  publish(channel: string, bytes: Uint8Array): void;

  /** As `publish`, to one node only, whatever it subscribed to. Nothing happens when there is no such node, or it is this one. */
  publishTo(nodeId: string, channel: string, bytes: Uint8Array): void;

  /** Counted: as many `unsubscribe` as `subscribe` calls end it. False when a new channel would be above `maxChannels`. */
  subscribe(channel: string): boolean;
  unsubscribe(channel: string): void;

  /**
   * Wants `onMember` for this room; those who are there already are told too. Counted as `subscribe` is. False when a new room would be
   * above `maxRooms`.
   */
  follow(room: string): boolean;
  unfollow(room: string): void;

  /**
   * Adds a member of this node to a room, or changes its state. False when it was refused (`maxMembersPerRoom`, `maxRooms`,
   * `maxStateBytes`); that is counted.
   */
  setMember(room: string, memberId: string, state: Uint8Array): boolean;
  removeMember(room: string, memberId: string): void;

  /**
   * All members of a room on all nodes, own ones included; the room need not be followed. Answers with what is known when the others
   * cannot be asked. When two nodes have a member of the same id, the later one counts.
   */
  members(room: string): Promise<ReadonlyMap<string, BackplaneMember>>;

  /** Enters a client of this node into the directory; `publishTo(await locate(id))` reaches it. False above `maxClients`; counted. */
  register(clientId: string): boolean;
  unregister(clientId: string): void;
  /** The node that has this client; undefined when none has, or none answers in time. */
  locate(clientId: string): Promise<string | undefined>;

  /** The other nodes that are alive. */
  nodes(): readonly string[];
  stats(): BackplaneStats;

  /** Takes this node out, which the others learn at once. Never rejects; may be called often. */
  close(): Promise<void>;
}

/** What a backplane tells. What a method throws or rejects with is logged, and changes nothing. No method may be called before `open` was. */
export interface BackplaneSink {
  onMessage(channel: string, bytes: Uint8Array, fromNode: string): void;
  /** A member on another node came or changed its state, or left (`undefined`). */
  onMember(room: string, memberId: string, state: Uint8Array | undefined, fromNode: string): void;
  /** Another node is gone; its members have been taken out before. */
  onNodeDown(nodeId: string): void;
  /** Messages were lost, or may have been. */
  onGap(gap: BackplaneGap): void;
  /** The backplane goes on by itself. */
  onError(error: PorticoError): void;
}

export interface BackplaneGap {
  /**
   * - `missing`: messages of `fromNode` on `channel` did not arrive.
   * - `disconnected`: the server was out of reach and is back; whatever was published meanwhile may be lost.
   * - `overflow`: messages of this node, or for it, were dropped because too many waited.
   */
  readonly reason: 'missing' | 'disconnected' | 'overflow';
  /** How many; undefined when nobody can know. */
  readonly count: number | undefined;
  readonly channel?: string;
  readonly fromNode?: string;
}

export interface BackplaneMember {
  readonly nodeId: string;
  readonly state: Uint8Array;
}

/** Counters since the start, and sizes as they are. */
export interface BackplaneStats {
  /** Messages given to `publish` and `publishTo` that left this node. */
  readonly published: number;
  /** Messages given to `onMessage`. */
  readonly received: number;
  /** Own messages dropped because too many waited, or because there was nobody to send by. */
  readonly dropped: number;
  /** Own messages above `maxMessageBytes`. */
  readonly tooLarge: number;
  /** Messages of others that did not arrive, as far as their numbers tell. */
  readonly missed: number;
  /** Messages that arrived twice, or too late, and were not told. */
  readonly repeated: number;
  /** What came in and was none of ours. */
  readonly malformed: number;
  /** Rooms, members, clients, channels, nodes and questions of other nodes above a limit; each was refused. */
  readonly refused: number;
  /** Times that the server was lost. */
  readonly disconnects: number;
  /** Questions to other nodes that not all of them answered in time; questions that were one too many. */
  readonly unanswered: number;
  /** Members and clients that the server was not told of at once because too many commands waited; it is with a later heartbeat. */
  readonly deferred: number;
  /** Bytes that wait to be sent. */
  readonly pendingBytes: number;
  readonly nodes: number;
  readonly channels: number;
  readonly rooms: number;
  /** Own members, over all rooms. */
  readonly members: number;
  readonly clients: number;
}

/** What no backplane goes beyond. */
export interface BackplaneLimits {
  /** Default 1 000 000 bytes, which with its header fits what nats-server takes by default. */
  readonly maxMessageBytes: number;
  /** State of a member. Default 16 384. */
  readonly maxStateBytes: number;
  /** Bytes that wait to be sent; the oldest messages are dropped. Default 4 MiB. */
  readonly maxPendingBytes: number;
  /** Messages that wait to be sent; the oldest ones are dropped. Default 16 384. */
  readonly maxPendingMessages: number;
  /** Channels subscribed to. Default 100 000. */
  readonly maxChannels: number;
  /** Rooms followed, and rooms with own members, each. Default 100 000. */
  readonly maxRooms: number;
  /** Members of one room on this node, and on all others together. Default 10 000. */
  readonly maxMembersPerRoom: number;
  /** Own clients in the directory. Default 1 000 000. */
  readonly maxClients: number;
  /** Other nodes over a server; those above are not listened to. Default 1 000. */
  readonly maxNodes: number;
}

export const BACKPLANE_LIMITS: BackplaneLimits = {
  maxMessageBytes: 1_000_000,
  maxStateBytes: 16_384,
  maxPendingBytes: 4 * 1024 * 1024,
  maxPendingMessages: 16_384,
  maxChannels: 100_000,
  maxRooms: 100_000,
  maxMembersPerRoom: 10_000,
  maxClients: 1_000_000,
  maxNodes: 1_000,
};
