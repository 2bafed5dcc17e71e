/** A client whose server is away, to run in a process of its own: nothing but its waiting to come back keeps the process alive. */
import { LineHandler } from '../../src/codec/line.ts';
import { withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import { TcpClient } from '../../src/endpoint/tcp.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';

const client = new TcpClient<string>(
  withServerAddress(process.argv[2] ?? ''),
  withPkgHandler(new LineHandler()),
  withEventListener<string, string>({ onMessage() {} }),
  withReconnect({ baseMs: 20, random: () => 0.99 }),
);
client.on('reconnecting', ({ failures }) => {
  console.log(`failures: ${failures}`);
  if (failures === 3) void client.close();
});
client.connect().catch(() => console.log('closed'));
