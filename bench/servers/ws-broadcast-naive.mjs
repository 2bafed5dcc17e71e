// Whatever a client sends goes to all clients, with a send for each: what the ws package's own example does.
import { WebSocketServer } from 'ws';

const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false, backlog: 4096 });
server.on('connection', (socket) => {
  socket.on('message', (bytes, isBinary) => {
    for (const client of server.clients) client.send(bytes, { binary: isBinary });
  });
  socket.on('error', () => socket.terminate());
});
server.on('listening', () => console.log(JSON.stringify({ port: server.address().port, pid: process.pid })));
process.on('SIGTERM', () => process.exit(0));
