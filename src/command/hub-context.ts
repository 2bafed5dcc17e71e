import type { Wheel } from '../base/wheel.ts';
import type { MessageType } from '../protocol/protocol.ts';
import type { Command, Served } from './handlers.ts';
import type { HubSettings } from './hub-options.ts';
import type { LinkEnd } from './link.ts';
import type { Peer } from './peer.ts';
import type { Retention } from './retention.ts';

/** Counted since the hub was made. */
export interface HubCounters {
  /** Messages that were given to handlers, calls included. */
  handled: number;
  /** Counted messages that came twice, and were thrown away. */
  repeated: number;
  /** Messages that nobody handles. */
  unknown: number;
  /** Bodies that their codec refused. */
  invalidBodies: number;
  /** Handlers and hooks that failed. */
  failures: number;
  /** Connections closed with 4400, for breaking the protocol. */
  violations: number;
  /** Connections that were not let in. */
  refused: number;
  /** Clients that came back and missed nothing. */
  resumed: number;
  /** Clients that wanted to come back and could not. */
  unresumed: number;
  /** Clients that did not come back in time. */
  expired: number;
  /** Clients that were away and had to go because of `maxAwayClients`. */
  evicted: number;
  /** Messages kept for clients and forgotten before they had come; a client that lacks one cannot resume. */
  forgotten: number;
  /** Times that `maxTotalRetainedBytes` was reached, so that clients lost what was kept for them. */
  retentionCuts: number;
  /** Volatile messages that were not sent, because the client was slow or away. */
  volatileDropped: number;
  /** Messages that a connection did not take, of clients that do not resume. */
  unsent: number;
  /** Calls refused with LIMITED, in both directions. */
  callsRefused: number;
  /** Calls that were not answered in time, in both directions. */
  callsLate: number;
  /** Times that a connection was not read, because its messages waited for handlers. */
  pauses: number;
  /** Times that presence was told before `presenceDelayMs`, because 10,000 changes waited. */
  presenceFlushes: number;
  /** Joins refused by a limit or by `authorizeJoin`. */
  joinsRefused: number;
  /** Messages for rooms that were not passed on. */
  roomMessagesRefused: number;
  /** Connections that were dead. */
  dead: number;
}

export function newCounters(): HubCounters {
  return {
    handled: 0,
    repeated: 0,
    unknown: 0,
    invalidBodies: 0,
    failures: 0,
    violations: 0,
    refused: 0,
    resumed: 0,
    unresumed: 0,
    expired: 0,
    evicted: 0,
    forgotten: 0,
    retentionCuts: 0,
    volatileDropped: 0,
    unsent: 0,
    callsRefused: 0,
    callsLate: 0,
    pauses: 0,
    presenceFlushes: 0,
    joinsRefused: 0,
    roomMessagesRefused: 0,
    dead: 0,
  };
}

/** What one client needs of its hub. */
export interface HubContext {
  readonly settings: HubSettings;
  readonly wheel: Wheel;
  readonly counters: HubCounters;
  readonly retention: Retention;
  /** Has a message handled. A promise, which never rejects, holds back the client's next one. */
  dispatch(peer: Peer, id: number, payload: Uint8Array): void | Promise<void>;
  servedAs(id: number): Served | undefined;
  /** The one route of whatever fails and is survived. */
  report(thrown: unknown, peer: Peer | undefined, id: number | undefined): void;
  /** The client broke the protocol: its connection is closed with 4400. */
  violated(peer: Peer, what: string): void;
  /** Throws what `CommandHandler.write` throws for a payload that is too large. */
  checkPayload(id: number, payload: Uint8Array, wrapBytes?: number): void;
  /** Checks a command, and makes bytes of what is to be sent with it; `wrapBytes` of WRAP_BYTES. */
  encode(method: string, command: Command, body: unknown, kinds: readonly MessageType['kind'][], wrapBytes?: number): Encoded;
  closePeer(peer: Peer, end: LinkEnd): void;
  onIdle(): void;
}

/** A command that is ready to be sent. */
export interface Encoded {
  readonly id: number;
  readonly payload: Uint8Array;
  readonly type: MessageType | undefined;
}
