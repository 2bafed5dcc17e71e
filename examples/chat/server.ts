// npm start
/**
 * A chat room for `nc` and for browsers at once: the same listener on a TCP server and on a WebSocket server. It shows what a server
 * for strangers needs: limits per address and per line, time-outs, a speed limit by back-pressure, output that cannot harm a
 * terminal or a page, and an orderly end.
 *
 *   PORT=7000 WEB_PORT=7080 npm start      then, in other terminals:  nc 127.0.0.1 7000      or in a browser:  http://127.0.0.1:7080
 */
import { once } from 'node:events';
import {
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
  withMessageType,
  withPath,
  withReader,
  withReadTimeoutMs,
  withSendQueue,
  withWriter,
} from 'portico';
import { servePages } from './pages.ts';
import { ChatRoom, maxLineBytes } from './room.ts';

const idleMinutes = 10;
/** A session that ends may take this long to send the rest and to see the other side's end; then it is cut off. */
const drainTimeoutMs = 800;

function log(line: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
}

const room = new ChatRoom(log);
const shared = [
  // What comes in is bounded more tightly than what goes out, which has a name in front.
  withReader<string>(new LineHandler({ maxLineBytes, tooLong: 'skip' })),
  withWriter<string>(new LineHandler()),
  withEventListener(room),
  withMaxSessions(1_000),
  withMaxSessionsPerIp(20),
  withIdleTimeoutMs(idleMinutes * 60_000),
  // Who reads so slowly that 256 KiB of talk wait for him is disconnected.
  withSendQueue(262_144),
  withDrainTimeoutMs(drainTimeoutMs),
  withListenerErrorPolicy('continue'),
] as const;

const port = process.env['PORT'] ?? '7000';
const webPort = Number(process.env['WEB_PORT'] ?? 7080);
const pages = servePages();
// Some terminals send each character as it is typed, and people think in the middle of a line.
const tcp = new TcpServer(withLocalAddress(`:${port}`), withReadTimeoutMs(120_000), ...shared);
const web = new WsServer(withHttpServer(pages), withPath('/chat'), withMessageType('text'), ...shared);
const servers = [tcp, web] as const;
for (const server of servers) {
  server.on('refused', (address, why) => log(`refused ${address.text}: ${why}`));
  server.on('error', (error) => log(`${error.code}: ${error.message}`));
}

let isClosing = false;
async function shutDown(signal: NodeJS.Signals): Promise<void> {
  if (isClosing) process.exit(1);
  isClosing = true;
  log(`${signal}: closing; once more to stop at once`);
  room.tellAll('* the server is going down, goodbye');
  pages.close();
  pages.closeIdleConnections();
  for (const report of await Promise.all(servers.map((server) => server.close()))) {
    log(`closed: ${report.flushed} of ${report.sessions} sessions had received everything`);
    for (const { remoteAddress, unsentBytes } of report.unflushed) log(`  ${remoteAddress}: ${unsentBytes} bytes were not sent`);
  }
}

try {
  pages.listen(webPort);
  await once(pages, 'listening');
  await Promise.all(servers.map((server) => server.listen()));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, (name) => void shutDown(name));
  const address = pages.address();
  console.log(`The chat room is open. To join, in another terminal:  nc 127.0.0.1 ${tcp.localAddress.port}`);
  console.log(`In a browser:  http://127.0.0.1:${typeof address === 'object' ? address?.port : webPort}`);
  console.log('Ctrl-C closes it.');
} catch (error) {
  console.error(`cannot listen on ports ${port} and ${webPort}: ${error instanceof Error ? error.message : error}`);
  process.exit(1);
}
