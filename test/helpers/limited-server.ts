/** An echo server to run in a process of its own: it tells in lines of JSON how it is, one at first and one for each line it gets. */
import { createInterface } from 'node:readline';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { openFileLimit } from '../../src/endpoint/open-files.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { EventListener } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';

export interface LimitedServerLine {
  readonly port: number;
  readonly limit: number;
  readonly openSessions: number;
  readonly refused: number;
  readonly reasons: Readonly<Record<string, number>>;
  readonly troubles: readonly string[];
  readonly readPath: string;
}

class Echo extends EventListener<Buffer, Uint8Array> {
  onMessage(session: Session<Buffer, Uint8Array>, pkg: Buffer): void {
    session.send(pkg);
  }
}

const server = new TcpServer<Buffer, Uint8Array>(
  withLocalAddress('127.0.0.1:0'),
  withPkgHandler(new LengthFieldHandler()),
  withEventListener<Buffer, Uint8Array>(new Echo()),
);
const reasons: Record<string, number> = {};
const troubles: string[] = [];
server.on('refused', (_address, why) => {
  reasons[why] = (reasons[why] ?? 0) + 1;
});
server.on('error', (error) => troubles.push(error.code));
await server.listen();

function tell(): void {
  const { openSessions, refusedConnections: refused, readPath } = server.stats();
  const { port } = server.localAddress;
  console.log(
    JSON.stringify({ port, limit: openFileLimit(), openSessions, refused, reasons, troubles, readPath } satisfies LimitedServerLine),
  );
}

createInterface(process.stdin)
  .on('line', tell)
  .on('close', () => void server.close({ drainTimeoutMs: 0 }));
tell();
