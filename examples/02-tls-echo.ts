// npx tsx examples/02-tls-echo.ts
// The echo over TLS: the endpoints get one option more, the listeners do not change. The client verifies the server.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  EventListener,
  LineHandler,
  type Session,
  TcpClient,
  TcpServer,
  tlsFiles,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withServerAddress,
  withTls,
} from 'portico';

class Echo extends EventListener<string> {
  onMessage(session: Session<string>, line: string): void {
    session.send(line);
  }
}

class Question extends EventListener<string> {
  override onOpen(session: Session<string>): void {
    session.send('a secret');
  }

  onMessage(session: Session<string>, line: string): void {
    console.log(`echoed over ${session.connection.tls?.protocol}: ${line}`);
    void session.close();
  }
}

const folder = mkdtempSync(path.join(tmpdir(), 'portico-tls-'));
const [certFile, keyFile] = [path.join(folder, 'cert.pem'), path.join(folder, 'key.pem')];
const request = 'req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1';
try {
  execFileSync('openssl', [...request.split(' '), '-keyout', keyFile, '-out', certFile], { stdio: 'ignore' });
} catch {
  console.log('skipped: this example makes its certificate with openssl, which is not installed here');
  process.exit();
}

const lines = withPkgHandler(new LineHandler());
const identity = withTls(tlsFiles({ certFile, keyFile }));
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), identity, lines, withEventListener(new Echo()));
await server.listen();
const trust = withTls(tlsFiles({ caFile: certFile }));
const client = new TcpClient(withServerAddress(server.localAddress.text), trust, lines, withEventListener(new Question()));
await (await client.connect()).closed;
await client.close();
await server.close();
rmSync(folder, { recursive: true });
