/** The chat itself: who is here, in which room, and what was said. It knows no transport: that is what an Audience is for. */
import { CallError } from 'portico/command';
import { checkName, Names, printable } from './names.ts';
import { type Body, type FromServer, firstRoom, limits, type Person, type PersonChange, type RoomSize, type Said } from './protocol.ts';

export interface TellOptions {
  /** The id of somebody who is left out. */
  readonly except?: string;
  /** Out of date in a moment: not for who is slow or away. */
  readonly volatile?: boolean;
}

/** One kind of users, such as those with a terminal, and how they are reached. */
export interface Audience {
  toRoom<Name extends FromServer>(room: string, name: Name, body: Body<Name>, options?: TellOptions): void;
  toAll<Name extends FromServer>(name: Name, body: Body<Name>, options?: TellOptions): void;
  toMember<Name extends FromServer>(id: string, name: Name, body: Body<Name>): void;
  /** Somebody of this audience is in another room from now on; before the first one, and after the last one, in none. */
  moved?(id: string, from: string | undefined, to: string | undefined): void;
}

/** Somebody who is here. Only the chat changes it. */
export type Member = Person & { readonly room: string };

interface Seat extends Person {
  name: string;
  isAway: boolean;
  room: string;
  readonly audience: Audience;
}

interface ChatRoom {
  readonly members: Set<Seat>;
  readonly history: Said[];
}

const roomsDelayMs = 100;

export class Chat {
  readonly #audiences = new Set<Audience>();
  readonly #seats = new Map<string, Seat>();
  readonly #names = new Names();
  readonly #rooms = new Map<string, ChatRoom>([[firstRoom, { members: new Set(), history: [] }]]);
  readonly #log: (line: string) => void;
  /** Of this run of the server, for ids that stay unique when the next one counts from 1 again. */
  readonly #run = Date.now().toString(36);
  #lastSaid = 0;
  #roomsTimer: NodeJS.Timeout | undefined;

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  /** Somebody comes in, under the name that is wished for if it is free, or one like it. */
  join(audience: Audience, id: string, wish: { readonly name?: string; readonly room?: string } = {}): Member {
    this.#audiences.add(audience);
    const seat: Seat = { id, name: this.#names.takeAny(wish.name, id), isAway: false, room: '', audience };
    this.#seats.set(id, seat);
    try {
      this.#move(seat, wish.room ?? firstRoom);
    } catch (refusal) {
      if (!(refusal instanceof CallError)) throw refusal;
      this.#move(seat, firstRoom);
    }
    if (wish.name !== undefined && wish.name !== seat.name) audience.toMember(id, 'notice', `you are ${seat.name} now`);
    return seat;
  }

  leave(id: string): void {
    const seat = this.#seats.get(id);
    if (seat === undefined) return;
    this.#seats.delete(id);
    this.#names.release(seat.name);
    this.#moveOut(seat, undefined);
  }

  /** In the name that the server knows: nobody can speak as somebody else. */
  say(id: string, words: string): void {
    const seat = this.#seat(id);
    const text = printable(words);
    if (text === '') return;
    if ([...text].length > limits.textLength) {
      seat.audience.toMember(id, 'notice', `a message has at most ${limits.textLength} characters; yours was not passed on`);
      return;
    }
    const said = { id: `${this.#run}.${++this.#lastSaid}`, from: id, name: seat.name, text, at: Date.now() };
    const history = this.#room(seat.room).history;
    history.push(said);
    if (history.length > limits.historySize) history.shift();
    this.#toRoom(seat.room, 'said', said);
    this.#log(`#${seat.room} ${seat.name}: ${text}`);
  }

  typing(id: string): void {
    this.#toRoom(this.#seat(id).room, 'typing', id, { except: id, volatile: true });
  }

  /** Returns the name as it is now. Throws CallError. */
  rename(id: string, wanted: string): string {
    const seat = this.#seat(id);
    const was = seat.name;
    const name = this.#names.take(wanted, id);
    if (was === name) return name;
    this.#names.release(was, name);
    seat.name = name;
    this.#change(seat, 'renamed', { was });
    return name;
  }

  /** Throws CallError. */
  enter(id: string, room: string): void {
    this.#move(this.#seat(id), room);
  }

  setAway(id: string, isAway: boolean): void {
    const seat = this.#seats.get(id);
    if (seat === undefined || seat.isAway === isAway) return;
    seat.isAway = isAway;
    this.#change(seat, isAway ? 'away' : 'back', { except: id });
  }

  tellAll(notice: string): void {
    for (const audience of this.#audiences) audience.toAll('notice', notice);
  }

  people(room: string): readonly Person[] {
    return [...(this.#rooms.get(room)?.members ?? [])].map(toPerson);
  }

  // --- rooms ---

  #move(seat: Seat, wanted: string): void {
    const name = checkName(wanted);
    if (name === seat.room) return;
    const known = this.#rooms.get(name);
    if (known === undefined && this.#rooms.size >= limits.rooms) throw new CallError('LIMITED', `there are at most ${limits.rooms} rooms`);
    if (known !== undefined && known.members.size >= limits.peopleInRoom) throw new CallError('LIMITED', `${name} is full`);
    const room: ChatRoom = known ?? { members: new Set(), history: [] };
    this.#rooms.set(name, room);
    this.#moveOut(seat, name);
    room.members.add(seat);
    seat.room = name;
    const view = { room: name, you: seat.id, people: this.people(name), history: room.history, rooms: this.#sizes() };
    seat.audience.toMember(seat.id, 'entered', view);
    this.#change(seat, 'joined', { except: seat.id });
  }

  #moveOut(seat: Seat, to: string | undefined): void {
    const { room: from, id } = seat;
    const left = this.#rooms.get(from);
    seat.audience.moved?.(id, from === '' ? undefined : from, to);
    this.#roomsChanged();
    if (left === undefined) return;
    left.members.delete(seat);
    this.#change(seat, 'left', { except: id });
    // Nothing is kept for a room that nobody is in, or names of rooms would fill the memory.
    if (left.members.size === 0 && from !== firstRoom) this.#rooms.delete(from);
  }

  #room(name: string): ChatRoom {
    const room = this.#rooms.get(name);
    if (room === undefined) throw new Error(`no room ${name}`);
    return room;
  }

  #seat(id: string): Seat {
    const seat = this.#seats.get(id);
    if (seat === undefined) throw new Error(`nobody has the id ${id}`);
    return seat;
  }

  #sizes(): RoomSize[] {
    return [...this.#rooms].map(([name, { members }]) => ({ name, people: members.size }));
  }

  /** Together for all who come and go at a time. */
  #roomsChanged(): void {
    this.#roomsTimer ??= setTimeout(() => {
      this.#roomsTimer = undefined;
      for (const audience of this.#audiences) audience.toAll('rooms', this.#sizes(), { volatile: true });
    }, roomsDelayMs).unref();
  }

  // --- telling ---

  #change(seat: Seat, event: PersonChange['event'], { was, except }: { readonly was?: string; readonly except?: string }): void {
    const change = { person: toPerson(seat), event, at: Date.now(), ...(was === undefined ? {} : { was }) };
    this.#toRoom(seat.room, 'person', change, except === undefined ? {} : { except });
    this.#log(`#${seat.room} ${was ?? seat.name} ${event}${was === undefined ? '' : ` ${seat.name}`}`);
  }

  #toRoom<Name extends FromServer>(room: string, name: Name, body: Body<Name>, options: TellOptions = {}): void {
    for (const audience of this.#audiences) audience.toRoom(room, name, body, options);
  }
}

function toPerson({ id, name, isAway }: Person): Person {
  return { id, name, isAway };
}
