// npx tsx examples/07-unix-socket.ts
// The echo over a Unix socket: only the address changes. `unix:@name` is a Linux abstract socket, without a file.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
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

class Question extends EventListener<string> {
  override onOpen(session: Session<string>): void {
    session.send('hello');
  }

  onMessage(session: Session<string>, line: string): void {
    console.log(`echoed over ${session.remoteAddress.text}: ${line}`);
    void session.close();
  }
}

const lines = withPkgHandler(new LineHandler());
const folder = mkdtempSync(path.join(tmpdir(), 'portico-'));
const addresses = [`unix:${path.join(folder, 'echo.sock')}`];
if (process.platform === 'linux') addresses.push(`unix:@portico-echo-${process.pid}`);

for (const address of addresses) {
  const server = new TcpServer(withLocalAddress(address), lines, withEventListener(new Echo()));
  await server.listen();
  const client = new TcpClient(withServerAddress(address), lines, withEventListener(new Question()));
  const session = await client.connect();
  await session.closed;
  await client.close();
  await server.close();
}
rmSync(folder, { recursive: true });
