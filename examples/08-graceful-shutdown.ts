// npx tsx examples/08-graceful-shutdown.ts
// A server that ends in order on SIGTERM or Ctrl-C: running handlers reply, queued bytes leave, then the process ends by itself.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  EventListener,
  LineHandler,
  type Session,
  TcpClient,
  TcpServer,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withServerAddress,
} from 'portico';

class SlowWorker extends EventListener<string> {
  async onMessage(session: Session<string>, job: string): Promise<void> {
    await sleep(300);
    session.send(`done: ${job}`);
  }
}

class Customer extends EventListener<string> {
  override onOpen(session: Session<string>): void {
    session.send('a long job');
  }

  onMessage(_session: Session<string>, line: string): void {
    console.log('the customer got:', line);
  }
}

const lines = withPkgHandler(new LineHandler());
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), lines, withEventListener(new SlowWorker()));
await server.listen();
const client = new TcpClient(withServerAddress(server.localAddress.text), lines, withEventListener(new Customer()));
await client.connect();

async function shutDown(signal: NodeJS.Signals): Promise<void> {
  console.log(`${signal}: closing`);
  const report = await server.close({ drainTimeoutMs: 5_000 });
  console.log('the server is closed:', report);
  await client.close();
}
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, (name) => void shutDown(name));

// What an init system would do while the job runs.
await sleep(100);
process.kill(process.pid, 'SIGTERM');
