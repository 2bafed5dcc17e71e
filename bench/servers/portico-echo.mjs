// The same echo through the whole framework: framing, session, listener, counters and limits at their defaults.
import { LengthFieldHandler, TcpServer, withEventListener, withLocalAddress, withPkgHandler } from '../../dist/index.js';

const server = new TcpServer(
  withLocalAddress('127.0.0.1:0'),
  withPkgHandler(new LengthFieldHandler({ borrow: process.argv.includes('--borrow') })),
  withEventListener({
    onMessage(session, pkg) {
      session.send(pkg);
    },
  }),
);
await server.listen();
console.log(JSON.stringify({ port: server.localAddress.port, pid: process.pid }));
process.on('SIGTERM', () => process.exit(0));
