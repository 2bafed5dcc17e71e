import { describe, expect, it } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { LineHandler } from '../../src/codec/line.ts';
import type { Server } from '../../src/endpoint/server.ts';
import { type SessionOptions, withSendQueue, withWaterMarks, withWriteTimeoutMs } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const line = new LineHandler();

/** A session of a TCP server and the bare socket at its other end. */
async function lines(
  isReading = true,
  ...options: Option<SessionOptions<string, string>>[]
): Promise<{ session: Session<string>; peer: RawPeer; listener: Recorder<string> }> {
  const listener = new Recorder<string>();
  const server = await tcpServer(line, listener, options);
  const peer = await RawPeer.connect(server, isReading);
  return { session: await listener.session(), peer, listener };
}

/** A session whose peer does not read: the network takes 1000 bytes, and the rest waits. */
async function stalled(...options: Option<SessionOptions<string, string>>[]): Promise<{
  world: MemoryWorld;
  server: Server<string>;
  session: Session<string>;
  listener: Recorder<string>;
  client: Recorder<string>;
}> {
  const world = new MemoryWorld({ bufferBytes: 1_000 });
  const listener = new Recorder<string>();
  const server = await world.server(line, listener, options);
  const client = new Recorder<string>();
  await world.connect(line, client);
  world.link().stall('client');
  return { world, server, session: await listener.session(), listener, client };
}

describe('one write', () => {
  it('24. writePkg resolves with the encoded length, all of it sent', async () => {
    const { session, peer } = await lines();
    expect(await session.writePkg('hello')).toEqual({ total: 6, sent: 6 });
    expect(await session.writePkg('é'.repeat(30_000))).toEqual({ total: 60_001, sent: 60_001 });
    expect((await peer.receive(60_007)).length).toBe(60_007);
    expect(session.stats()).toMatchObject({ bytesWritten: 60_007, packagesWritten: 2, pendingBytes: 0 });
  });

  it.each([undefined, null])('25. %s is no package: writePkg rejects and send throws', async (nothing) => {
    const { session, peer } = await lines();
    const none = nothing as unknown as string;
    expect(await codeOf(() => session.writePkg(none))).toBe('NO_PACKAGE');
    expect(await codeOf(() => session.send(none))).toBe('NO_PACKAGE');
    expect(await codeOf(() => session.writeBytes(none as unknown as Buffer))).toBe('NO_PACKAGE');
    expect(await session.writePkg('')).toEqual({ total: 1, sent: 1 });
    expect((await peer.receive(1)).toString()).toBe('\n');
    expect(session.stats().packagesWritten).toBe(1);
  });

  it('26. an encoder that throws: the write rejects, the session lives, and nothing of it is on the wire', async () => {
    const listener = new Recorder<string>();
    const half = {
      read: line.read.bind(line),
      write: (text: string, ...[, out]: [unknown, Parameters<typeof line.write>[2]]) => {
        out.writeString(text);
        if (text.startsWith('bad')) throw new Error('no such text');
        out.writeUint8(0x0a);
      },
    };
    const server = await tcpServer<string, string>(half, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    session.send('before');
    expect(await codeOf(() => session.send('bad one'))).toBe('ENCODE_FAILED');
    const rejected = session.writePkg('bad two');
    await expect(rejected).rejects.toMatchObject({ code: 'ENCODE_FAILED', phase: 'write', cause: { message: 'no such text' } });
    session.send('after');
    expect((await peer.receive(13)).toString()).toBe('before\nafter\n');
    expect(session.stats()).toMatchObject({ state: 'open', bytesWritten: 13, packagesWritten: 2 });
    expect(listener.events).toEqual(['open']);
  });

  it('28. writeBytes sends 128 times 1023 bytes unchanged and counts them all', async () => {
    const { session, peer } = await lines();
    const bytes = Buffer.from(Array.from({ length: 128 * 1_023 }, (_, index) => (index * 7) % 251));
    expect(await session.writeBytes(bytes)).toEqual({ total: 130_944, sent: 130_944 });
    expect((await peer.receive(130_944)).equals(bytes)).toBe(true);
    expect(session.stats()).toMatchObject({ bytesWritten: 130_944, packagesWritten: 1 });
  });

  it('29. writeBytesArray joins its parts on a stream, in one write, and counts each as a package', async () => {
    const { session, peer } = await lines();
    const parts = ['a', 'bc', 'def'].map((text) => Buffer.from(text));
    expect(await session.writeBytesArray(parts)).toEqual({ total: 6, sent: 6 });
    expect((await peer.receive(6)).toString()).toBe('abcdef');
    expect(session.stats()).toMatchObject({ bytesWritten: 6, packagesWritten: 3, writes: 1 });
    expect(await session.writeBytesArray([])).toEqual({ total: 0, sent: 0 });
    expect(await session.writeBytesArray([Buffer.from('x')])).toEqual({ total: 1, sent: 1 });
    expect(session.stats()).toMatchObject({ bytesWritten: 7, packagesWritten: 4, writes: 2 });
  });
});

describe('many writers', () => {
  it('27. fifty writers at once, 20 KiB a package: every package arrives whole', async () => {
    const frames = new LengthFieldHandler();
    const listener = new Recorder<Buffer, Uint8Array>();
    const server = await tcpServer(frames, listener);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    const rounds = 4;
    const writers = Array.from({ length: 50 }, async (_, writer) => {
      for (let round = 0; round < rounds; round++) {
        const bytes = Buffer.alloc(20_480, writer);
        bytes[0] = round;
        expect(await session.writePkg(bytes)).toEqual({ total: 20_484, sent: 20_484 });
      }
    });
    await Promise.all(writers);
    const all = await peer.receive(50 * rounds * 20_484);
    const nextRound = new Array<number>(50).fill(0);
    for (let at = 0; at < all.length; at += 20_484) {
      const writer = all[at + 5] ?? -1;
      expect(all.readUInt32BE(at)).toBe(20_480);
      expect(all[at + 4]).toBe(nextRound[writer]);
      expect(all.subarray(at + 5, at + 20_484).every((byte) => byte === writer)).toBe(true);
      nextRound[writer] = (nextRound[writer] ?? 0) + 1;
    }
    expect(nextRound).toEqual(new Array<number>(50).fill(rounds));
  });
});

describe('a peer that does not read', () => {
  it('30. a write with a time-out of 200 ms rejects then; as the package was cut, the session closes', async () => {
    const { world, session, listener } = await stalled();
    const write = codeOf(() => session.writePkg('x'.repeat(5_000), { timeoutMs: 200 }));
    await world.clock.advance(190);
    expect(session.state).toBe('open');
    await world.clock.advance(20);
    expect(await write).toBe('WRITE_TIMEOUT');
    expect(await session.closed).toMatchObject({ code: 'SLOW', by: 'peer', error: { code: 'WRITE_TIMEOUT' } });
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });

  it('30. a package of which no byte has left is taken back at its time-out; the session and later writes are as before', async () => {
    const { world, session, listener, client } = await stalled();
    const first = session.writePkg('x'.repeat(5_000));
    await settle();
    const second = codeOf(() => session.writePkg('taken back', { timeoutMs: 200 }));
    const third = session.writePkg('later');
    await world.clock.advance(210);
    expect(await second).toBe('WRITE_TIMEOUT');
    await world.clock.advance(5_000);
    expect(session.state).toBe('open');
    world.link().unstall('client');
    expect(await first).toEqual({ total: 5_001, sent: 5_001 });
    expect(await third).toEqual({ total: 6, sent: 6 });
    await client.until('message', 2);
    expect(client.packages).toEqual(['x'.repeat(5_000), 'later']);
    expect(listener.count('error')).toBe(0);
  });

  it('30. the same over TCP: the write rejects in time, and the session closes because the package was cut', async () => {
    const { session, listener } = await lines(false, withSendQueue(33_554_432));
    const start = performance.now();
    await expect(session.writeBytes(Buffer.alloc(16_777_216), { timeoutMs: 200 })).rejects.toMatchObject({ code: 'WRITE_TIMEOUT' });
    const took = performance.now() - start;
    expect(took).toBeGreaterThanOrEqual(199);
    expect(took).toBeLessThan(600);
    expect(await session.closed).toMatchObject({ code: 'SLOW' });
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });

  it('30. without a time-out of its own, a peer that takes nothing is closed at the write time-out of the session', async () => {
    const { world, session, listener } = await stalled(withWriteTimeoutMs(1_000));
    const write = codeOf(() => session.writePkg('x'.repeat(5_000)));
    await world.clock.advance(990);
    expect(session.state).toBe('open');
    await world.clock.advance(600);
    expect(await session.closed).toMatchObject({ code: 'SLOW', error: { code: 'WRITE_TIMEOUT' }, unsentBytes: 4_001 });
    expect(await write).not.toBe('no error');
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });

  it('31. pendingBytes rises, isWritable turns false, and after the peer has resumed onDrain comes and drained() resolves', async () => {
    const { session, peer, listener } = await lines(false, withWaterMarks(10_000, 100_000), withSendQueue(33_554_432));
    const text = 'x'.repeat(65_535);
    let sent = 0;
    let isBelowMark = true;
    while (isBelowMark || session.isWritable) {
      isBelowMark = session.send(text);
      sent++;
      await settle(1);
    }
    expect(session.pendingBytes).toBeGreaterThan(100_000);
    expect(session.stats().pendingBytes).toBe(session.pendingBytes);
    expect([session.isWritable, listener.count('drain')]).toEqual([false, 0]);
    const drained = session.drained();
    peer.socket.resume();
    await drained;
    await listener.until('drain');
    expect(session.isWritable).toBe(true);
    await peer.receive(sent * 65_536);
    expect(peer.receivedBytes).toBe(sent * 65_536);
    await eventually(() => session.pendingBytes === 0, 'everything is sent');
    expect(listener.events).toEqual(['open', 'drain']);
  });
});

describe('closing with bytes in the queue', () => {
  it('32. ten megabytes that are queued reach a peer that reads', async () => {
    const { session, peer } = await lines(false, withSendQueue(16_777_216));
    const bytes = Buffer.alloc(1_048_576, 'portico ');
    for (let index = 0; index < 10; index++) void session.writeBytes(bytes);
    const closing = session.close({ drainTimeoutMs: 5_000 });
    expect(session.state).toBe('closing');
    peer.socket.resume();
    await peer.ended();
    peer.socket.end();
    expect(await closing).toMatchObject({ code: 'NORMAL', unsentBytes: 0 });
    expect(peer.receivedBytes).toBe(10_485_760);
    expect(session.stats().bytesWritten).toBe(10_485_760);
  });

  it('32. a peer that is dead is given up at the drain time-out, and the reason says what was lost', async () => {
    const { session, listener } = await lines(false, withSendQueue(16_777_216));
    const write = codeOf(() => session.writeBytes(Buffer.alloc(10_485_760)));
    const start = performance.now();
    const reason = await session.close({ drainTimeoutMs: 100 });
    const took = performance.now() - start;
    expect(took).toBeGreaterThanOrEqual(99);
    expect(took).toBeLessThan(500);
    expect(reason.unsentBytes).toBeGreaterThan(0);
    expect(reason.unsentBytes).toBeLessThanOrEqual(10_485_760);
    expect(await write).toBe('SESSION_CLOSED');
    expect(listener.events).toEqual(['open', 'close']);
  });
});
