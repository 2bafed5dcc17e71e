// The echo over WebSocket through the whole framework: upgrade, session, listener, counters and limits at their defaults.
import { RawHandler, WsServer, withEventListener, withLocalAddress, withPkgHandler } from '../../dist/index.js';

const server = new WsServer(
  withLocalAddress('127.0.0.1:0'),
  withPkgHandler(new RawHandler()),
  withEventListener({
    onMessage(session, pkg) {
      session.send(pkg);
    },
  }),
);
await server.listen();
console.log(JSON.stringify({ port: server.localAddress.port, pid: process.pid }));
process.on('SIGTERM', () => process.exit(0));
