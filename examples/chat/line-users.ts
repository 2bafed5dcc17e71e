/** Those who have a terminal and `nc`: one line is one message. */
import { attributeKey, EventListener, type PorticoError, type Session } from 'portico';
import { CallError } from 'portico/command';
import type { Audience, Chat, Member, TellOptions } from './chat.ts';
import { help, linesOf, parseLine, peopleLine } from './lines.ts';
import { type Body, type FromServer, limits, type Said } from './protocol.ts';

/** A character has at most four bytes. */
export const maxLineBytes = limits.textLength * 4;

type LineSession = Session<string>;
const memberKey = attributeKey<Member>('member');

export class LineUsers extends EventListener<string> implements Audience {
  readonly #sessions = new Map<string, LineSession>();
  readonly #chat: Chat;
  readonly #log: (line: string) => void;

  constructor(chat: Chat, log: (line: string) => void) {
    super();
    this.#chat = chat;
    this.#log = log;
  }

  // --- from terminals ---

  override onOpen(session: LineSession): void {
    const id = `terminal-${session.id}`;
    this.#sessions.set(id, session);
    session.send(`* welcome. ${help}`);
    this.#try(session, () => session.attributes.set(memberKey, this.#chat.join(this, id)));
    if (memberOf(session) === undefined) void session.close();
  }

  onMessage(session: LineSession, line: string): void {
    const { verb, rest } = parseLine(line);
    const member = memberOf(session);
    if (member === undefined) return;
    if (verb === 'say') this.#chat.say(member.id, rest);
    else if (verb === 'name') this.#try(session, () => this.#chat.rename(member.id, rest));
    else if (verb === 'join') this.#try(session, () => this.#chat.enter(member.id, rest));
    else if (verb === 'who') session.send(peopleLine(this.#chat.people(member.room)));
    else if (verb === 'help') session.send(`* ${help}`);
    else {
      session.send('* goodbye');
      void session.close();
    }
  }

  /** A line that is too long was skipped by the LineHandler; the session goes on behind it. */
  override onError(session: LineSession, error: PorticoError): void {
    if (error.code === 'PACKAGE_TOO_LARGE') session.send(`* a line has at most ${maxLineBytes} bytes; yours was not passed on`);
    else this.#log(`${memberOf(session)?.name}: ${error.code}`);
  }

  override onClose(session: LineSession): void {
    const id = `terminal-${session.id}`;
    this.#sessions.delete(id);
    this.#chat.leave(id);
  }

  #try(session: LineSession, action: () => unknown): void {
    try {
      action();
    } catch (refusal) {
      if (!(refusal instanceof CallError)) throw refusal;
      session.send(`* ${refusal.message}`);
    }
  }

  // --- to terminals ---

  toRoom<Name extends FromServer>(room: string, name: Name, body: Body<Name>, { except }: TellOptions = {}): void {
    // Who has typed a line sees it already.
    const speaker = name === 'said' ? (body as Said).from : undefined;
    this.#toEach(linesOf(name, body), ({ id, room: current }) => current === room && id !== except && id !== speaker);
  }

  toAll<Name extends FromServer>(name: Name, body: Body<Name>): void {
    this.#toEach(linesOf(name, body), () => true);
  }

  toMember<Name extends FromServer>(id: string, name: Name, body: Body<Name>): void {
    for (const line of linesOf(name, body)) this.#sessions.get(id)?.send(line);
  }

  #toEach(lines: readonly string[], isWanted: (member: Member) => boolean): void {
    if (lines.length === 0) return;
    for (const session of this.#sessions.values()) {
      const member = memberOf(session);
      if (member !== undefined && isWanted(member)) for (const line of lines) session.send(line);
    }
  }
}

function memberOf(session: LineSession): Member | undefined {
  return session.attributes.get(memberKey);
}
