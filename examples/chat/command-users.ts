/** Those who speak the command protocol: the page and the command line. They can lose their connection and miss nothing. */
import { attributeKey } from 'portico';
import { type Client, CommandHub } from 'portico/command';
import type { Audience, Chat, TellOptions } from './chat.ts';
import { type Body, type ChatProtocol, type FromServer, limits, protocol } from './protocol.ts';

const maxUsers = 1_000;
/** Who is away for longer has left. */
const retentionMs = 60_000;

interface Wish {
  readonly name?: string;
  readonly room?: string;
}
const wishKey = attributeKey<Wish>('wish');

export class CommandUsers implements Audience {
  readonly hub: CommandHub<ChatProtocol>;
  /** Those who are here or away. */
  readonly #clients = new Map<string, Client<ChatProtocol>>();

  constructor(chat: Chat, log: (line: string) => void) {
    this.hub = new CommandHub({
      protocol,
      maxClients: maxUsers,
      maxAwayClients: maxUsers / 2,
      retentionMs,
      heartbeatMs: 10_000,
      maxRetainedBytes: 262_144,
      // More than the largest view of a room: its history, where a character has up to four bytes, and its people.
      maxPayloadBytes: limits.historySize * (limits.textLength + 100) * 6,
      maxRooms: limits.rooms,
      maxMembersPerRoom: limits.peopleInRoom,
      // Who changes rooms is in two of them for a moment.
      maxRoomsPerClient: 2,
      // The chat tells who is here, because the hub does not know those who come by other ways.
      presence: false,
      // After a restart of the server a page says again who it was and where; the chat decides what becomes of it.
      authenticate: ({ auth }) => ({ attributes: [[wishKey, toWish(auth)]] }),
      onConnect: (client) => {
        this.#clients.set(client.id, client);
        chat.join(this, client.id, client.attributes.get(wishKey));
      },
      onAway: ({ id }) => chat.setAway(id, true),
      onResume: ({ id }) => chat.setAway(id, false),
      onDisconnect: ({ id }) => {
        chat.leave(id);
        this.#clients.delete(id);
      },
      onError: (error, client) => log(`${client?.id ?? 'somebody'}: ${error.code}: ${error.message}`),
    });
    this.hub.on('say', ({ id }, text) => chat.say(id, text));
    this.hub.on('type', ({ id }) => chat.typing(id));
    this.hub.handle('rename', ({ id }, name) => chat.rename(id, name));
    this.hub.handle('enter', ({ id }, room) => chat.enter(id, room));
  }

  toRoom<Name extends FromServer>(room: string, name: Name, body: Body<Name>, options: TellOptions = {}): void {
    this.hub.room(room).broadcast(name, body, options);
  }

  toAll<Name extends FromServer>(name: Name, body: Body<Name>, options: TellOptions = {}): void {
    this.hub.broadcast(name, body, options);
  }

  toMember<Name extends FromServer>(id: string, name: Name, body: Body<Name>): void {
    this.#clients.get(id)?.send(name, body);
  }

  moved(id: string, from: string | undefined, to: string | undefined): void {
    const client = this.#clients.get(id);
    if (client === undefined) return;
    if (from !== undefined) this.hub.room(from).leave(client);
    if (to !== undefined) this.hub.room(to).join(client);
  }
}

/** `auth` is whatever a stranger has sent. */
function toWish(auth: unknown): Wish {
  if (typeof auth !== 'object' || auth === null) return {};
  const { name, room }: { name?: unknown; room?: unknown } = auth;
  return { ...(typeof name === 'string' ? { name } : {}), ...(typeof room === 'string' ? { room } : {}) };
}
