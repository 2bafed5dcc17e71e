import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { PkgHandler } from '../../src/codec/pkg-handler.ts';
import type { Server } from '../../src/endpoint/server.ts';
import { withMaxPackageBytes, withPkgHandler, withSendQueue, withWaterMarks } from '../../src/session/options.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Recorder, settle } from '../helpers/session-recorder.ts';

/** Lines that count how often they are encoded. */
class CountingLines extends PkgHandler<string> {
  encodings = 0;
  readonly #line = new LineHandler();
  read = this.#line.read.bind(this.#line);

  write(text: string): Uint8Array {
    if (text === 'bad') throw new Error('bad text');
    this.encodings++;
    return Buffer.from(`${text}\n`);
  }
}

async function three(handler: CountingLines): Promise<{ server: Server<string>; listener: Recorder<string>; clients: Recorder<string>[] }> {
  const world = new MemoryWorld({ bufferBytes: 1_000 });
  const listener = new Recorder<string>();
  const server = await world.server(handler, listener);
  const clients = [new Recorder<string>(), new Recorder<string>(), new Recorder<string>()];
  for (const client of clients) await world.connect(new LineHandler(), client);
  await listener.session(2);
  stall = (index) => world.link(index).stall('client');
  return { server, listener, clients };
}
let stall: (index: number) => void = () => {};

describe('broadcast', () => {
  it('encodes a package once for all sessions, which count it as theirs', async () => {
    const handler = new CountingLines();
    const { server, listener, clients } = await three(handler);
    expect(server.broadcast('to all')).toEqual({ sent: 3, full: 0, refused: 0 });
    for (const client of clients) await client.until('message');
    expect(clients.map(({ packages }) => packages)).toEqual([['to all'], ['to all'], ['to all']]);
    expect(handler.encodings).toBe(1);
    for (const session of listener.sessions) expect(session.stats()).toMatchObject({ packagesWritten: 1, bytesWritten: 7 });
  });

  it('encodes once for each PkgHandler, and takes the sessions that the filter picks', async () => {
    const [handler, other] = [new CountingLines(), new CountingLines()];
    const { server, listener, clients } = await three(handler);
    listener.sessions[2]?.configure(withPkgHandler(other));
    expect(server.broadcast('some', (session) => session !== listener.sessions[0])).toEqual({ sent: 2, full: 0, refused: 0 });
    await clients[1]?.until('message');
    await clients[2]?.until('message');
    expect([handler.encodings, other.encodings, clients[0]?.packages]).toEqual([1, 1, []]);
  });

  it('keeps its place among the packages of each session', async () => {
    const { server, listener, clients } = await three(new CountingLines());
    for (const session of listener.sessions) session.send(`before ${session.id}`);
    server.broadcast('all');
    for (const session of listener.sessions) session.send(`after ${session.id}`);
    for (const [index, client] of clients.entries()) {
      await client.until('message', 3);
      const id = listener.sessions[index]?.id;
      expect(client.packages).toEqual([`before ${id}`, 'all', `after ${id}`]);
      expect(listener.sessions[index]?.stats().writes).toBe(1);
    }
  });

  it('is not held up by sessions that are full, that refuse, have ended or are closed', async () => {
    const { server, listener, clients } = await three(new CountingLines());
    const [first, second, third] = listener.sessions;
    first?.configure(withWaterMarks(100, 200), withSendQueue(1_000, 'reject'));
    stall(0);
    await first?.writePkg('x'.repeat(900));
    first?.send('x'.repeat(900));
    await settle(2);
    second?.end();
    expect(server.broadcast('who is there?'.padEnd(300))).toEqual({ sent: 1, full: 0, refused: 2 });
    await clients[2]?.until('message');
    void third?.close();
    expect(server.broadcast('and now?'.padEnd(300))).toEqual({ sent: 0, full: 0, refused: 2 });
    expect(second?.stats().packagesWritten).toBe(0);
  });

  it('throws what send would throw for the package itself, with nothing sent', async () => {
    const { server, listener } = await three(new CountingLines());
    expect(await codeOf(() => server.broadcast('bad'))).toBe('ENCODE_FAILED');
    expect(await codeOf(() => server.broadcast(undefined as unknown as string))).toBe('NO_PACKAGE');
    for (const session of listener.sessions) session.configure(withMaxPackageBytes(3));
    expect(await codeOf(() => server.broadcast('four'))).toBe('ENCODED_TOO_LARGE');
    expect(server.stats()).toMatchObject({ packagesWritten: 0, bytesWritten: 0 });
  });
});

describe('a PkgHandler that broadcasts while it encodes a broadcast', () => {
  it('has both sent', async () => {
    class Nested extends CountingLines {
      server: Server<string> | undefined;
      override write(text: string): Uint8Array {
        if (text === 'outer') this.server?.broadcast('inner');
        return super.write(text);
      }
    }
    const handler = new Nested();
    const { server, clients } = await three(handler);
    handler.server = server;
    expect(server.broadcast('outer')).toEqual({ sent: 3, full: 0, refused: 0 });
    for (const client of clients) {
      await client.until('message', 2);
      expect(client.packages).toEqual(['inner', 'outer']);
    }
  });
});

describe('sendEncoded', () => {
  it('shares bytes between sessions, and the bytes are as they were', async () => {
    const { listener, clients } = await three(new CountingLines());
    const bytes = Buffer.from(`${'shared '.repeat(3_000)}\n`);
    const copy = Buffer.from(bytes);
    for (const session of listener.sessions) expect(session.sendEncoded(bytes)).toBe(true);
    for (const client of clients) await client.until('message');
    expect(clients.map(({ packages }) => packages[0])).toEqual(Array(3).fill(copy.toString().trimEnd().concat(' ')));
    expect(bytes.equals(copy)).toBe(true);
  });
});
