// npx tsx examples/04-client-pool.ts
// A client keeps three sessions open: one that is lost comes back. Another client finds nobody and gives up after three failures.
import {
  EventListener,
  LineHandler,
  type Session,
  TcpClient,
  TcpServer,
  withConnectionNumber,
  withEventListener,
  withLocalAddress,
  withPickStrategy,
  withPkgHandler,
  withReconnect,
  withServerAddress,
} from 'portico';

class Show extends EventListener<string> {
  onMessage(session: Session<string>, line: string): void {
    console.log(`server session ${session.id} got: ${line}`);
    // The fourth line closes its session rudely, as a network fault would.
    if (line === 'four') session.destroy();
  }
}

const lines = withPkgHandler(new LineHandler());
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), lines, withEventListener(new Show()));
await server.listen();

const client = new TcpClient(
  withServerAddress(server.localAddress.text),
  withConnectionNumber(3),
  withPickStrategy('round-robin'),
  withReconnect({ baseMs: 100, maxMs: 1_000 }),
  lines,
  withEventListener({ onMessage() {} }),
);
client.on('reconnecting', ({ slot, failures, delayMs }) => {
  console.log(`connection ${slot} is lost, failures in a row: ${failures}, next attempt in ${delayMs} ms`);
});
const isBack = new Promise<void>((resolve) => client.on('reconnected', () => resolve()));
await client.connect();
for (const line of ['one', 'two', 'three', 'four']) client.send(line);
await isBack;
console.log(`${client.sessions.size} sessions are open again`);

const lonely = new TcpClient(
  withServerAddress('127.0.0.1:1'),
  withReconnect({ baseMs: 20, attempts: 3 }),
  lines,
  withEventListener({ onMessage() {} }),
);
lonely.on('gaveUp', ({ failures, error }) => console.log(`gave up after ${failures} failures: ${error.code}`));
await lonely.connect().catch(() => {});
await client.close();
await server.close();
