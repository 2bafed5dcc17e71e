// npx tsx examples/01-echo.ts
// The smallest server and client: lines of text in, the same lines out.
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

class Echo extends EventListener<string> {
  onMessage(session: Session<string>, line: string): void {
    session.send(line);
  }
}

class Questions extends EventListener<string> {
  override onOpen(session: Session<string>): void {
    for (const line of ['one', 'two', 'three']) session.send(line);
  }

  onMessage(session: Session<string>, line: string): void {
    console.log(`echoed: ${line}`);
    if (line === 'three') void session.close();
  }
}

const server = new TcpServer(withLocalAddress('127.0.0.1:0'), withPkgHandler(new LineHandler()), withEventListener(new Echo()));
await server.listen();
console.log('listening on', server.localAddress.text);

const client = new TcpClient(
  withServerAddress(server.localAddress.text),
  withPkgHandler(new LineHandler()),
  withEventListener(new Questions()),
);
const session = await client.connect();
const reason = await session.closed;
console.log(`the session ended: ${reason.code} by the ${reason.by} side`);

await client.close();
await server.close();
