// npx tsx examples/03-custom-protocol.ts
// A protocol of your own: | CA FE | kind: 1 byte | body length: 2 bytes | body |. One handler object serves all sessions.
import {
  type ByteReader,
  type ByteWriter,
  EventListener,
  type PkgContext,
  PkgHandler,
  type Session,
  TcpClient,
  TcpServer,
  withEventListener,
  withLocalAddress,
  withPkgHandler,
  withServerAddress,
} from 'portico';

type Message = { kind: 'text'; text: string } | { kind: 'move'; x: number; y: number };

class GameHandler extends PkgHandler<Message> {
  read(bytes: ByteReader): Message | undefined {
    if (bytes.length < 5) return bytes.need(5);
    if (bytes.uint16At(0) !== 0xcafe) throw new Error('the magic number is missing');
    const [kind, size] = [bytes.uint8At(2), bytes.uint16At(3)];
    if (bytes.length < 5 + size) return bytes.need(5 + size);
    bytes.skip(5);
    if (kind === 1) return { kind: 'text', text: bytes.readString(size) };
    const body = bytes.readView(size); // used up before the return, so it needs no copy
    return { kind: 'move', x: body.readInt32BE(0), y: body.readInt32BE(4) };
  }

  write(message: Message, _session: PkgContext, out: ByteWriter): void {
    out.writeUint16(0xcafe);
    out.writeUint8(message.kind === 'text' ? 1 : 2);
    out.writeUint16(8);
    if (message.kind === 'text') out.setUint16At(3, out.writeString(message.text));
    else for (const value of [message.x, message.y]) out.writeUint32(value);
  }
}

class Show extends EventListener<Message> {
  onMessage(session: Session<Message>, message: Message): void {
    console.log(session.endPoint.type, 'got', message);
    if (message.kind === 'move') session.send({ kind: 'text', text: 'moved ✓' });
    else void session.close();
  }
}

const [framing, listener] = [withPkgHandler(new GameHandler()), withEventListener(new Show())];
const server = new TcpServer(withLocalAddress('127.0.0.1:0'), framing, listener);
await server.listen();
const client = new TcpClient(withServerAddress(server.localAddress.text), framing, listener);
const session = await client.connect();
session.send({ kind: 'move', x: 3, y: -4 });
await session.closed;
await client.close();
await server.close();
