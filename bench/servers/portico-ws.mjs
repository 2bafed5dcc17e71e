// The echo over WebSocket through the whole framework: upgrade, session, listener, counters and limits at their defaults. With
// --broadcast every message goes to all sessions.
import { RawHandler, WsServer, withEventListener, withLocalAddress, withPkgHandler } from '../../dist/index.js';

const echo = {
  onMessage(session, pkg) {
    session.send(pkg);
  },
};
const toAll = {
  onMessage(session, pkg) {
    session.endPoint.broadcast(pkg);
  },
};
const server = new WsServer(
  withLocalAddress('127.0.0.1:0'),
  withPkgHandler(new RawHandler()),
  withEventListener(process.argv.includes('--broadcast') ? toAll : echo),
);
await server.listen();
console.log(JSON.stringify({ port: server.localAddress.port, pid: process.pid }));
process.on('SIGTERM', () => process.exit(0));
