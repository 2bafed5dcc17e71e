/** A program in which every layer has something to tell, TLS if it is told to; run by test/diagnostics.test.ts. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import {
  LineHandler,
  type Option,
  TaskPool,
  TcpServer,
  type TlsSource,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withTls,
} from 'portico';

async function talk(...tls: readonly Option<{ tls: TlsSource | undefined }>[]): Promise<void> {
  const server = new TcpServer<string>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new LineHandler({ maxLineBytes: 10 })),
    withEventListener<string, string>({ onMessage() {} }),
    ...tls,
  );
  await server.listen();
  const socket = connect(server.localAddress.port, '127.0.0.1');
  socket.on('error', () => {});
  socket.write('a line that is too long\n');
  socket.resume();
  await once(socket, 'close');
  await server.close();
}

await talk();
await new TaskPool().close();
// From here on it needs openssl.
if (process.argv[2] !== 'tls') process.exit();

const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', '/CN=x', '-days', '1'];
const pem = execFileSync('openssl', [...request, '-keyout', '-', '-out', '-'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
// What is sent is no TLS, so the handshake fails.
await talk(withTls({ cert: pem, key: pem }));
