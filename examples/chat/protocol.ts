/** What the chat's server and its clients (the page, the command line) have agreed on: the one value that all of them import. */
import { type BodySent, defineProtocol, empty, json, text } from 'portico/protocol';

export const limits = {
  /** In characters; the same for names of rooms. */
  nameLength: 20,
  textLength: 500,
  /** What newcomers of a room see of the past. */
  historySize: 50,
  rooms: 100,
  peopleInRoom: 200,
} as const;

export const firstRoom = 'lobby';
/** A page is heard of as typing for this long after the last sign of it; it sends one sign in half that time. */
export const typingMs = 4_000;

export interface Person {
  readonly id: string;
  readonly name: string;
  /** The connection is lost, and may come back. */
  readonly isAway: boolean;
}

export interface Said {
  /** Unique, also over restarts of the server. */
  readonly id: string;
  /** The id of the person, and the name at that time. */
  readonly from: string;
  readonly name: string;
  readonly text: string;
  /** When the server had it, in milliseconds since 1970. */
  readonly at: number;
}

export interface RoomSize {
  readonly name: string;
  readonly people: number;
}

/** All that somebody needs to know who has just come into a room. */
export interface RoomView {
  readonly room: string;
  /** The id of who reads this. */
  readonly you: string;
  readonly people: readonly Person[];
  readonly history: readonly Said[];
  readonly rooms: readonly RoomSize[];
}

export interface PersonChange {
  readonly person: Person;
  readonly event: 'joined' | 'renamed' | 'away' | 'back' | 'left';
  /** The name before, of somebody who is `renamed`. */
  readonly was?: string;
  readonly at: number;
}

export const protocol = defineProtocol({
  // To the server. Nothing but text: a stranger cannot send it in a wrong shape, and nobody says who he is.
  say: { id: 1, body: text() },
  type: { id: 2, body: empty() },
  // The answer is the name as it is now, or an error that can be shown.
  rename: { id: 3, body: text(), reply: text() },
  enter: { id: 4, body: text(), reply: empty() },

  // To the clients. `said`, `person` and `typing` go to rooms.
  entered: { id: 16, body: json<RoomView>() },
  said: { id: 17, body: json<Said>() },
  person: { id: 18, body: json<PersonChange>() },
  /** The id of who is typing. */
  typing: { id: 19, body: text() },
  rooms: { id: 20, body: json<readonly RoomSize[]>() },
  notice: { id: 21, body: text() },
});

export type ChatProtocol = typeof protocol;
export type FromServer = 'entered' | 'said' | 'person' | 'typing' | 'rooms' | 'notice';
export type Body<Name extends FromServer> = BodySent<ChatProtocol, Name>;
