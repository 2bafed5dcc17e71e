// The same echo through the whole framework: a session for each peer, listener, counters and limits at their defaults.
import { RawHandler, UdpEndpoint, withEventListener, withLocalAddress, withPkgHandler } from '../../dist/index.js';

const endpoint = new UdpEndpoint(
  withLocalAddress('127.0.0.1:0'),
  withPkgHandler(new RawHandler()),
  withEventListener({
    onMessage(session, datagram) {
      session.send(datagram);
    },
  }),
);
await endpoint.listen();
console.log(JSON.stringify({ port: endpoint.localAddress.port, pid: process.pid }));
process.on('SIGTERM', () => process.exit(0));
