/** Joins the parts: one chat, a TCP server for terminals, and a WebSocket server on the same port as the page. */
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import {
  type Address,
  type CloseReport,
  LineHandler,
  TcpServer,
  WsServer,
  withDrainTimeoutMs,
  withEventListener,
  withHttpServer,
  withIdleTimeoutMs,
  withListenerErrorPolicy,
  withLocalAddress,
  withMaxSessions,
  withMaxSessionsPerIp,
  withPath,
  withReader,
  withReadTimeoutMs,
  withSendQueue,
  withWriter,
} from 'portico';
import { type CommandMessage, commandWsOptions } from 'portico/command';
import { KNET_RATE_LIMIT, rateLimit } from 'portico/rate-limit';
import { Chat } from './chat.ts';
import { CommandUsers } from './command-users.ts';
import { LineUsers, maxLineBytes } from './line-users.ts';
import { servePages } from './pages.ts';

const idleMinutes = 10;
/** A session that ends may take this long to send the rest and to see the other side's end; then it is cut off. */
const drainTimeoutMs = 800;

/** For both kinds of users. */
const shared = [
  withMaxSessions(1_000),
  withMaxSessionsPerIp(50),
  withDrainTimeoutMs(drainTimeoutMs),
  // What one message breaks is no reason to throw somebody out.
  withListenerErrorPolicy('continue'),
] as const;

export interface RunningChat {
  readonly port: number;
  readonly webPort: number;
  /** Says goodbye, and tells how it went. */
  close(): Promise<readonly CloseReport[]>;
}

export async function startChat(address: string, webPort: number, log: (line: string) => void): Promise<RunningChat> {
  const chat = new Chat(log);

  const terminals = new LineUsers(chat, log);
  const tcp = new TcpServer(
    withLocalAddress(address),
    // What comes in is bounded more tightly than what goes out, which has a time and a name in front.
    withReader<string>(new LineHandler({ maxLineBytes, tooLong: 'skip' })),
    withWriter<string>(new LineHandler()),
    // Who pastes a book is read slowly: nothing is lost, and the others can still follow.
    withEventListener(rateLimit(terminals, { perSession: { messagesPerSecond: 10, burst: 50 }, policy: 'delay' })),
    // Some terminals send each character as it is typed, and people think in the middle of a line.
    withReadTimeoutMs(120_000),
    withIdleTimeoutMs(idleMinutes * 60_000),
    // Who reads so slowly that so much talk waits for him is disconnected.
    withSendQueue(262_144),
    ...shared,
  );

  const { hub } = new CommandUsers(chat, log);
  const pages = servePages();
  const web = new WsServer<CommandMessage>(
    withHttpServer(pages),
    withPath('/chat'),
    // A page has no reason to send 100 messages a second: it is closed with 1008, and tells its user.
    commandWsOptions(hub, rateLimit(hub, { ...KNET_RATE_LIMIT, perIp: { messagesPerSecond: 500, burst: 2_000 } })),
    withSendQueue(1_048_576),
    ...shared,
  );

  for (const server of [tcp, web] as const) {
    server.on('refused', (from: Address, why: string) => log(`refused ${from.text}: ${why}`));
    server.on('error', (error) => log(`${error.code}: ${error.message}`));
  }
  pages.listen(webPort);
  await once(pages, 'listening');
  await Promise.all([tcp.listen(), web.listen()]);

  return {
    port: tcp.localAddress.port,
    // It listens on a port, so this is no name of a pipe.
    webPort: (pages.address() as AddressInfo).port,
    async close() {
      chat.tellAll('the server is going down, goodbye');
      pages.close();
      pages.closeIdleConnections();
      // The hub first: it tells pages when to come again.
      await hub.close({ drainTimeoutMs });
      return Promise.all([tcp.close(), web.close()]);
    },
  };
}
