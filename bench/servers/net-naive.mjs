// The obvious echo server on node:net: joined leftovers, one new buffer and one write for each frame.
import net from 'node:net';

const server = net.createServer((socket) => {
  let rest = Buffer.alloc(0);
  socket.setNoDelay(true);
  socket.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    while (bytes.length - at >= 4) {
      const length = bytes.readUInt32BE(at);
      if (bytes.length - at - 4 < length) break;
      const reply = Buffer.allocUnsafe(4 + length);
      reply.writeUInt32BE(length, 0);
      bytes.copy(reply, 4, at + 4, at + 4 + length);
      socket.write(reply);
      at += 4 + length;
    }
    rest = bytes.subarray(at);
  });
  socket.on('error', () => socket.destroy());
});

server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port, pid: process.pid })));
process.on('SIGTERM', () => process.exit(0));
