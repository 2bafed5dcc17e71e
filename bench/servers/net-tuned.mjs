// The fastest echo server we know with the public API of node:net: frames are copied into one buffer shared by all sockets, and all
// complete frames of a chunk leave in one write.
import net from 'node:net';

const OUT_BYTES = 256 * 1024;

let out = Buffer.allocUnsafeSlow(OUT_BYTES);
let used = 0;

function flush(socket) {
  if (used === 0) return;
  socket.write(used === out.length ? out : out.subarray(0, used));
  used = 0;
  // The kernel has not taken all of it: these bytes belong to the socket now.
  if (socket.writableLength !== 0) out = Buffer.allocUnsafeSlow(OUT_BYTES);
}

function append(socket, bytes, from, to) {
  const length = to - from;
  if (length > out.length - used) flush(socket);
  if (length > out.length) {
    // A 'data' chunk is never reused by node:net, so a large part of it can leave without a copy.
    socket.write(bytes.subarray(from, to));
    return;
  }
  bytes.copy(out, used, from, to);
  used += length;
}

class Framing {
  constructor() {
    // Parts of one incomplete frame, at least its header, and how many bytes of it are missing.
    this.parts = [];
    this.missing = 0;
    // A header cut by the end of a chunk: at most 3 bytes.
    this.rest = undefined;
  }

  echo(socket, chunk) {
    let bytes = chunk;
    let at = 0;
    if (this.missing > 0) {
      if (bytes.length < this.missing) {
        this.parts.push(bytes);
        this.missing -= bytes.length;
        return;
      }
      for (const part of this.parts) append(socket, part, 0, part.length);
      append(socket, bytes, 0, this.missing);
      at = this.missing;
      this.parts.length = 0;
      this.missing = 0;
    } else if (this.rest !== undefined) {
      bytes = Buffer.concat([this.rest, bytes]);
      this.rest = undefined;
    }
    const end = bytes.length;
    while (end - at >= 4) {
      const length = bytes[at] * 0x1000000 + ((bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]);
      const next = at + 4 + length;
      if (next > end) {
        this.parts.push(bytes.subarray(at));
        this.missing = next - end;
        at = end;
        break;
      }
      append(socket, bytes, at, next);
      at = next;
    }
    if (at < end) this.rest = bytes.subarray(at);
    flush(socket);
  }
}

const server = net.createServer((socket) => {
  const framing = new Framing();
  socket.setNoDelay(true);
  socket.on('data', (chunk) => framing.echo(socket, chunk));
  socket.on('error', () => socket.destroy());
});

server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port, pid: process.pid })));
process.on('SIGTERM', () => process.exit(0));
