import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withSendQueue } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

type Reply = (session: Session<string>, text: string) => void | Promise<void>;

/** Sends 100 lines in one chunk, and returns how many writes the replies took. */
async function writesFor(reply: Reply, world = new MemoryWorld()): Promise<number> {
  const listener = new Recorder<string>({ onMessage: reply });
  const client = new Recorder<string>();
  await world.server(line, listener);
  const session = await world.connect(line, client);
  await session.writePkg(Array.from({ length: 100 }, (_, index) => index).join(';'));
  await listener.until('message');
  const before = (await listener.session()).stats().writes;
  void session.writeBytes(Buffer.from(Array.from({ length: 100 }, (_, index) => `${index}\n`).join('')));
  await client.until('message', 101);
  expect(client.packages.slice(1)).toEqual(Array.from({ length: 100 }, (_, index) => String(index)));
  return (await listener.session()).stats().writes - before;
}

describe('the packages of one turn leave in one write', () => {
  it('replies made while one chunk is handled', async () => {
    expect(await writesFor((session, text) => void session.send(text))).toBe(1);
  });

  it('replies made after an await in the same turn', async () => {
    const reply: Reply = async (session, text) => {
      await null;
      session.send(text);
    };
    expect(await writesFor(reply)).toBe(1);
  });

  it('replies of which every other one waits', async () => {
    const reply: Reply = (session, text) => {
      if (text.endsWith('1')) return Promise.resolve().then(() => void session.send(text));
      session.send(text);
      return undefined;
    };
    // What was ready leaves at the end of the chunk, the rest when the promises have had their say.
    expect(await writesFor(reply)).toBeLessThanOrEqual(2);
  });

  it('replies by writePkg, writeBytes and sendEncoded among them, in the order of the calls', async () => {
    const reply: Reply = (session, text) => {
      const bytes = Buffer.from(`${text}\n`);
      if (text.endsWith('1')) void session.writePkg(text);
      else if (text.endsWith('2')) void session.writeBytes(bytes);
      else if (text.endsWith('3')) void session.writeBytesArray([bytes]);
      else if (text.endsWith('4')) session.sendEncoded(bytes);
      else session.send(text);
    };
    expect(await writesFor(reply)).toBe(1);
  });

  it('sends from outside of a handler', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    for (let index = 0; index < 50; index++) session.send('hello');
    expect(session.stats()).toMatchObject({ writes: 0, pendingBytes: 300, packagesWritten: 50 });
    await null;
    session.send('hello');
    await peer.receive(306);
    expect(session.stats()).toMatchObject({ writes: 1, pendingBytes: 0, bytesWritten: 306, packagesWritten: 51 });
    await settle(1);
    session.send('hello');
    await peer.receive(312);
    expect(session.stats().writes).toBe(2);
  });

  it('interleaved sends over several sessions: one write for each', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener);
    const peers = [await RawPeer.connect(server), await RawPeer.connect(server), await RawPeer.connect(server)];
    const sessions = [await listener.session(0), await listener.session(1), await listener.session(2)];
    const expected = sessions.map(() => '');
    for (let round = 0; round < 30; round++) {
      for (const [index, session] of sessions.entries()) {
        const text = `${'x'.repeat(round * index * 10)}${round}`;
        session.send(text);
        expected[index] += `${text}\n`;
      }
      if (round === 15) await null;
    }
    for (const [index, peer] of peers.entries()) {
      expect((await peer.receive(expected[index]?.length ?? 0)).toString()).toBe(expected[index]);
    }
    expect(sessions.map((session) => session.stats().writes)).toEqual([1, 1, 1]);
  });

  it('a reply to one session made by the handler of another', async () => {
    const listener = new Recorder<string>({
      onMessage: (session, text) => {
        for (const other of server.sessions.values()) other.send(`${session.id}: ${text}`);
      },
    });
    const server = await tcpServer(line, listener);
    const peers = [await RawPeer.connect(server), await RawPeer.connect(server)];
    await listener.session(1);
    peers[0]?.write('a\nb\nc\n');
    const id = listener.sessions[0]?.id;
    for (const peer of peers) {
      expect((await peer.receive(3 * `${id}: a\n`.length)).toString()).toBe(`${id}: a\n${id}: b\n${id}: c\n`);
    }
    expect(listener.sessions.map((session) => session.stats().writes)).toEqual([1, 1]);
  });

  it('up to 64 KiB: what is more leaves as it comes', async () => {
    const listener = new Recorder<string>();
    const server = await tcpServer(line, listener, [withSendQueue(16_777_216)]);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    for (let index = 0; index < 640; index++) session.send('x'.repeat(1_023));
    await peer.receive(655_360);
    expect(peer.receivedBytes).toBe(655_360);
    expect(session.stats().writes).toBeGreaterThanOrEqual(2);
    expect(session.stats().writes).toBeLessThanOrEqual(11);
  });

  it('packages that a PkgHandler sends from inside write, behind or before the one being written', async () => {
    const chatty = {
      read: line.read.bind(line),
      write: (text: string, context: { readonly id: number }) => {
        if (text === 'outer') listener.sessions.find((session) => session.id === context.id)?.send('inner');
        return Buffer.from(`${text}\n`);
      },
    };
    const listener = new Recorder<string>();
    const server = await tcpServer<string, string>(chatty, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.send('first');
    session.send('outer');
    session.send('last');
    const lines = (await peer.receive(23)).toString().trimEnd().split('\n');
    expect(lines.toSorted()).toEqual(['first', 'inner', 'last', 'outer']);
    expect([lines[0], lines[3]]).toEqual(['first', 'last']);
    expect(session.stats()).toMatchObject({ packagesWritten: 4, bytesWritten: 23 });
  });
});
