/** The chat room itself. It knows no transport: people come by TCP and by WebSocket, and a session is a session. */
import { setTimeout as sleep } from 'node:timers/promises';
import { attributeKey, type CloseReason, EventListener, type PorticoError, type Session } from 'portico';

export const maxLineBytes = 500;
const maxNameLength = 16;
/** Handling a line takes this long: the next one waits, and a sender that is faster soon waits in its own socket. */
const msPerLine = 50;
const help = 'Commands: /name x, /who, /quit. Everything else is said to all.';

type ChatSession = Session<string>;
const nameKey = attributeKey<string>('name');

export class ChatRoom extends EventListener<string> {
  /** Of all endpoints. */
  readonly #people = new Set<ChatSession>();
  readonly #log: (line: string) => void;

  constructor(log: (line: string) => void) {
    super();
    this.#log = log;
  }

  override onOpen(session: ChatSession): void {
    this.#people.add(session);
    session.attributes.set(nameKey, `guest-${session.id}`);
    session.send(`* welcome, ${nameOf(session)}. ${help}`);
    this.#tellOthers(session, `* ${nameOf(session)} has joined`);
  }

  async onMessage(session: ChatSession, line: string): Promise<void> {
    const text = printable(line).trim();
    const [command, ...words] = text.split(/\s+/);
    if (command === '/quit') {
      session.send('* goodbye');
      void session.close();
    } else if (command === '/who') {
      session.send(`* here: ${[...this.#people].map(nameOf).sort().join(', ')}`);
    } else if (command === '/name') {
      this.#rename(session, words.join(' '));
    } else if (text.startsWith('/')) {
      session.send(`* ${help}`);
    } else if (text !== '') {
      this.#tellOthers(session, `${nameOf(session)}: ${text}`);
    }
    await sleep(msPerLine);
  }

  /** A line that is too long was skipped by the LineHandler; the session goes on behind it. */
  override onError(session: ChatSession, error: PorticoError): void {
    if (error.code === 'PACKAGE_TOO_LARGE') session.send(`* a line has at most ${maxLineBytes} bytes; yours was not passed on`);
    else this.#log(`${nameOf(session)}: ${error.code}: ${printable(error.message)}`);
  }

  override onClose(session: ChatSession, reason: CloseReason): void {
    this.#people.delete(session);
    this.#tellOthers(session, `* ${nameOf(session)} has left (${reason.code.toLowerCase()})`);
  }

  tellAll(line: string): void {
    for (const session of this.#people) if (!session.isClosed) session.send(line);
  }

  #rename(session: ChatSession, wanted: string): void {
    const name = wanted.normalize('NFKC');
    const taken = [...this.#people].some((other) => other !== session && nameOf(other).toLowerCase() === name.toLowerCase());
    if (!/^[\p{L}\p{N}_-]+$/u.test(name) || name.length > maxNameLength) {
      session.send(`* a name has 1 to ${maxNameLength} letters, digits, - or _`);
    } else if (taken || /^guest-\d+$/i.test(name)) {
      session.send(`* ${name} is taken`);
    } else {
      const before = nameOf(session);
      session.attributes.set(nameKey, name);
      session.send(`* you are ${name} now`);
      this.#tellOthers(session, `* ${before} is ${name} now`);
    }
  }

  #tellOthers(from: ChatSession, line: string): void {
    this.#log(line);
    for (const session of this.#people) if (session !== from && !session.isClosed) session.send(line);
  }
}

function nameOf(session: ChatSession): string {
  return session.attributes.get(nameKey) ?? `guest-${session.id}`;
}

/** Without what could move the cursor, change colours or turn the writing direction on other people's terminals. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '');
}
