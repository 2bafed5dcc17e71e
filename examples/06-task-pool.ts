// npx tsx examples/06-task-pool.ts
// Slow handlers in a task pool: two sessions are served at a time, and each session keeps its order.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  EventListener,
  LineHandler,
  type Session,
  TaskPool,
  TcpClient,
  TcpServer,
  withConnectionNumber,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withServerAddress,
  withTaskPool,
} from 'portico';

let running = 0;
let mostRunning = 0;

class SlowUpperCase extends EventListener<string> {
  async onMessage(session: Session<string>, line: string): Promise<void> {
    mostRunning = Math.max(mostRunning, ++running);
    await sleep(Math.random() * 20);
    running--;
    session.send(line.toUpperCase());
  }
}

class Answers extends EventListener<string> {
  override onOpen(session: Session<string>): void {
    for (const line of ['a', 'b', 'c', 'd']) session.send(line);
  }

  onMessage(session: Session<string>, line: string): void {
    console.log(`session ${session.id}: ${line}`);
    if (line === 'D' && ++finished === 5) allDone();
  }
}

let finished = 0;
let allDone = (): void => {};
const done = new Promise<void>((resolve) => {
  allDone = resolve;
});

const pool = new TaskPool({ concurrency: 2, maxQueue: 100, overflow: 'wait' });
const lines = withPkgHandler(new LineHandler());
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), lines, withEventListener(new SlowUpperCase()), withTaskPool(pool));
await server.listen();
const client = new TcpClient(withServerAddress(server.localAddress.text), withConnectionNumber(5), lines, withEventListener(new Answers()));
await client.connect();
await done;
console.log(`never more than ${mostRunning} handlers at a time`);
await client.close();
await server.close();
await pool.close();
