/**
 * A command hub to run in a process of its own: command 1 goes back to its sender, 2 to everybody. It tells in lines of JSON how it is, one
 * at first and one for each line it gets. `rate burst sendQueueBytes`, each 0 for none.
 */
import { createInterface } from 'node:readline';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { openFileLimit } from '../../src/endpoint/open-files.ts';
import { withLocalAddress, withLogger } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { rateLimit } from '../../src/rate-limit/rate-limit.ts';
import { withSendQueue } from '../../src/session/options.ts';

export interface CommandStressLine {
  readonly port: number;
  readonly openFileLimit: number;
  readonly clients: number;
  readonly handled: number;
  /** How clients have ended, by status, code of the failure if it was one, and reason. */
  readonly ends: Readonly<Record<string, number>>;
  readonly rssBytes: number;
  readonly heapBytes: number;
  readonly maxRssBytes: number;
}

const [messagesPerSecond = 0, burst = 0, sendQueueBytes = 0] = process.argv.slice(2).map(Number);
const ends: Record<string, number> = {};
const hub = new CommandHub({
  onDisconnect: (_client, { status, reason, error }) => {
    const end = `${status} ${error?.code ?? ''} ${reason}`;
    ends[end] = (ends[end] ?? 0) + 1;
  },
});
hub.on(1, (client, payload) => void client.send(1, payload));
hub.on(2, (_client, payload) => void hub.broadcast(2, payload));
const listener = messagesPerSecond === 0 ? hub : rateLimit<CommandMessage>(hub, { perSession: { messagesPerSecond, burst } });
const server = new WsServer<CommandMessage>(
  withLocalAddress('127.0.0.1:0'),
  withLogger({ warn: () => {}, error: () => {} }),
  commandWsOptions(hub, listener),
  ...(sendQueueBytes === 0 ? [] : [withSendQueue(sendQueueBytes)]),
);
await server.listen();

function tell(): void {
  const { clients, handled } = hub.stats();
  const { rss: rssBytes, heapUsed: heapBytes } = process.memoryUsage();
  const maxRssBytes = process.resourceUsage().maxRSS * 1_024;
  const { port } = server.localAddress;
  const line = { port, openFileLimit: openFileLimit() ?? 0, clients, handled, ends, rssBytes, heapBytes, maxRssBytes };
  console.log(JSON.stringify(line satisfies CommandStressLine));
}

createInterface(process.stdin)
  .on('line', tell)
  .on('close', () => process.exit(0));
tell();
