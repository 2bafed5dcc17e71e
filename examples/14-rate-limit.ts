// npx tsx examples/14-rate-limit.ts
// A client that sends 300 lines at once to a server that allows 5: it is told, and closed with RATE.
import {
  LineHandler,
  type Session,
  TcpClient,
  TcpServer,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withReconnect,
  withServerAddress,
} from 'portico';
import { rateLimit } from 'portico/rate-limit';

const echo = { onMessage: (session: Session<string>, line: string) => void session.send(line) };
const limited = rateLimit(echo, {
  perSession: { messagesPerSecond: 1, burst: 5 },
  perIp: { messagesPerSecond: 50, burst: 100 },
  onExceeded: (session, _line, { limit }) => void session.send(`too fast: limit ${limit}`),
});
const framing = withPkgHandler(new LineHandler());
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), framing, withEventListener(limited));
server.on('sessionClosed', (_session, { code, text }) => console.log(`server: closed, ${code}: ${text}`));
await server.listen();

const client = new TcpClient(
  withServerAddress(server.localAddress.text),
  withReconnect(false),
  framing,
  withEventListener({ onMessage: (_session: Session<string>, line: string) => console.log(`client: ${line}`) }),
);
const session = await client.connect();
for (let number = 1; number <= 300; number++) session.send(`line ${number}`);
await session.closed;
console.log(limited.stats());
await client.close();
await server.close();
