import type { Logger } from '../base/log.ts';
import type { Wheel } from '../base/wheel.ts';
import type { CloseReason } from './close-reason.ts';
import type { Session } from './session.ts';

/**
 * The kinds of endpoints, with the numbers that getty gives them (5 and 6 were never used there). 10 is for endpoints over
 * transports that getty does not have.
 */
export const END_POINT_TYPES = {
  UDP_ENDPOINT: 0,
  UDP_CLIENT: 1,
  TCP_CLIENT: 2,
  WS_CLIENT: 3,
  WSS_CLIENT: 4,
  TCP_SERVER: 7,
  WS_SERVER: 8,
  WSS_SERVER: 9,
  CUSTOM: 10,
} as const;

export type EndPointType = keyof typeof END_POINT_TYPES;

/** The endpoint of a session, as far as a session knows it. */
export interface SessionEndPoint<In, Out> {
  readonly id: number;
  readonly type: EndPointType;
  readonly isClosed: boolean;
  /** The sessions by id that have opened and are not over; those that are closing too. */
  readonly sessions: ReadonlyMap<number, Session<In, Out>>;
  /** Sends one package to all open sessions, or those that the filter picks, encoding it once. */
  broadcast(pkg: Out, filter?: (session: Session<In, Out>) => boolean): BroadcastResult;
}

/** What became of a broadcast, in sessions. */
export interface BroadcastResult {
  /** Took the package; `full` of them are above their high-water mark now. */
  readonly sent: number;
  readonly full: number;
  /** Did not take it: closed meanwhile, their overflow policy refused it, or it does not fit under their `maxPackageBytes`. */
  readonly refused: number;
}

/** What a session asks of its endpoint. */
export interface SessionHost<In, Out> {
  readonly endPoint: SessionEndPoint<In, Out>;
  readonly wheel: Wheel;
  readonly logger: Logger;
  onSessionOpen(session: Session<In, Out>): void;
  /** The last thing that happens to a session. */
  onSessionClosed(session: Session<In, Out>, reason: CloseReason): void;
}

/** Sets one session up before it opens, usually through `session.configure`. Throwing or rejecting refuses the connection. */
export type NewSession<In, Out> = (session: Session<In, Out>) => void | Promise<void>;
