// npm start
/**
 * A chat room for `nc`: lines in, lines out. It shows what a server for strangers needs: limits per address and per line, time-outs,
 * a speed limit by back-pressure, output that cannot harm a terminal, and an orderly end.
 *
 *   PORT=7000 npm start        then, in other terminals:   nc 127.0.0.1 7000
 */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  attributeKey,
  type CloseReason,
  EventListener,
  LineHandler,
  type PorticoError,
  type Session,
  TcpServer,
  withDrainTimeoutMs,
  withEventListener,
  withIdleTimeoutMs,
  withListenerErrorPolicy,
  withLocalAddress,
  withMaxSessions,
  withMaxSessionsPerIp,
  withReader,
  withReadTimeoutMs,
  withSendQueue,
  withWriter,
} from 'portico';

const maxLineBytes = 500;
const maxNameLength = 16;
const idleMinutes = 10;
/** Handling a line takes this long: the next one waits, and a sender that is faster soon waits in its own socket. */
const msPerLine = 50;
/** A session that ends may take this long to send the rest and to see the other side's end; then it is cut off. */
const drainTimeoutMs = 800;

type ChatSession = Session<string>;
const nameKey = attributeKey<string>('name');

class ChatRoom extends EventListener<string> {
  override onOpen(session: ChatSession): void {
    session.attributes.set(nameKey, `guest-${session.id}`);
    session.send(`* welcome, ${nameOf(session)}. Commands: /name x, /who, /quit. Everything else is said to all.`);
    this.#tellOthers(session, `* ${nameOf(session)} has joined`);
  }

  async onMessage(session: ChatSession, line: string): Promise<void> {
    const text = printable(line).trim();
    const [command, ...words] = text.split(/\s+/);
    if (command === '/quit') {
      session.send('* goodbye');
      void session.close();
    } else if (command === '/who') {
      session.send(`* here: ${everybody(session).map(nameOf).sort().join(', ')}`);
    } else if (command === '/name') {
      this.#rename(session, words.join(' '));
    } else if (text.startsWith('/')) {
      session.send('* commands: /name x, /who, /quit');
    } else if (text !== '') {
      this.#tellOthers(session, `${nameOf(session)}: ${text}`);
    }
    await sleep(msPerLine);
  }

  /** A line that is too long was skipped by the LineHandler; the session goes on behind it. */
  override onError(session: ChatSession, error: PorticoError): void {
    if (error.code === 'PACKAGE_TOO_LARGE') session.send(`* a line has at most ${maxLineBytes} bytes; yours was not passed on`);
    else log(`${nameOf(session)}: ${error.code}: ${printable(error.message)}`);
  }

  override onClose(session: ChatSession, reason: CloseReason): void {
    this.#tellOthers(session, `* ${nameOf(session)} has left (${reason.code.toLowerCase()})`);
  }

  #rename(session: ChatSession, wanted: string): void {
    const name = wanted.normalize('NFKC');
    const taken = everybody(session).some((other) => other !== session && nameOf(other).toLowerCase() === name.toLowerCase());
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
    log(line);
    from.endPoint.broadcast(line, (session) => session !== from);
  }
}

function everybody(session: ChatSession): ChatSession[] {
  return [...session.endPoint.sessions.values()].filter((other) => !other.isClosed);
}

function nameOf(session: ChatSession): string {
  return session.attributes.get(nameKey) ?? `guest-${session.id}`;
}

/** Without what could move the cursor, change colours or turn the writing direction on other people's terminals. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '');
}

function log(line: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
}

const port = process.env['PORT'] ?? '7000';
const server = new TcpServer(
  withLocalAddress(`:${port}`),
  // What comes in is bounded more tightly than what goes out, which has a name in front.
  withReader(new LineHandler({ maxLineBytes, tooLong: 'skip' })),
  withWriter(new LineHandler()),
  withEventListener(new ChatRoom()),
  withMaxSessions(1_000),
  withMaxSessionsPerIp(20),
  withIdleTimeoutMs(idleMinutes * 60_000),
  // Some terminals send each character as it is typed, and people think in the middle of a line.
  withReadTimeoutMs(120_000),
  // Who reads so slowly that 256 KiB of talk wait for him is disconnected.
  withSendQueue(262_144),
  withDrainTimeoutMs(drainTimeoutMs),
  withListenerErrorPolicy('continue'),
);
server.on('refused', (address, why) => log(`refused ${address.text}: ${why}`));
server.on('error', (error) => log(`${error.code}: ${error.message}`));

let isClosing = false;
async function shutDown(signal: NodeJS.Signals): Promise<void> {
  if (isClosing) process.exit(1);
  isClosing = true;
  log(`${signal}: closing; once more to stop at once`);
  server.broadcast('* the server is going down, goodbye');
  const report = await server.close();
  log(`closed: ${report.flushed} of ${report.sessions} sessions had received everything`);
  for (const { remoteAddress, unsentBytes } of report.unflushed) log(`  ${remoteAddress}: ${unsentBytes} bytes were not sent`);
}

try {
  await server.listen();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, (name) => void shutDown(name));
  console.log(`The chat room is open. To join, in another terminal:  nc 127.0.0.1 ${server.localAddress.port}`);
  console.log('Ctrl-C closes it.');
} catch (error) {
  console.error(`cannot listen on port ${port}: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
