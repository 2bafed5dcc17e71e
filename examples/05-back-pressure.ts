// npx tsx examples/05-back-pressure.ts
// A producer that is faster than its reader: `send` says false above the high-water mark, `drained()` says when to go on.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  EventListener,
  LengthFieldHandler,
  type Session,
  TcpClient,
  TcpServer,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withServerAddress,
  withWaterMarks,
} from 'portico';

const packages = 2_000;
const packageBytes = 16_384;

/** Takes 5 ms for every twentieth package: the promise holds back the next one, and in the end the sender. */
class SlowReader extends EventListener<Buffer> {
  received = 0;

  async onMessage(session: Session<Buffer>): Promise<void> {
    this.received++;
    if (this.received % 20 === 0) await sleep(5);
    if (this.received === packages) void session.close();
  }
}

const reader = new SlowReader();
const framing = withPkgHandler(new LengthFieldHandler());
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), framing, withEventListener(reader));
await server.listen();
const client = new TcpClient(
  withServerAddress(server.localAddress.text),
  withWaterMarks(65_536, 262_144),
  framing,
  withEventListener({ onMessage() {} }),
);
const session = await client.connect();

let waits = 0;
let mostPending = 0;
for (let i = 0; i < packages; i++) {
  const hasRoom = session.send(Buffer.alloc(packageBytes, i));
  mostPending = Math.max(mostPending, session.pendingBytes);
  if (hasRoom) continue;
  waits++;
  await session.drained();
}
await session.closed;
console.log(`sent ${(packages * packageBytes) / 1_048_576} MiB, waited ${waits} times, never more than ${mostPending} bytes pending`);
console.log(`received ${reader.received} packages`);
await client.close();
await server.close();
