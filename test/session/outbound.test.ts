import { describe, expect, it } from 'vitest';
import { LineHandler } from '../../src/codec/line.ts';
import { withDrainTimeoutMs, withMaxPackageBytes, withSendQueue, withWaterMarks, withWriteTimeoutMs } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import type { OverflowPolicy } from '../../src/transport/connection.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, eventually, Recorder, settle } from '../helpers/session-recorder.ts';

const line = new LineHandler();

interface Scene {
  readonly world: MemoryWorld;
  readonly session: Session<string>;
  readonly listener: Recorder<string>;
  readonly client: Recorder<string>;
}

/** A server's session over a network that takes 1000 bytes while the client does not read, as it does not now. */
async function stalled(lowBytes = 2_000, highBytes = 4_000, maxBytes = 10_000, policy: OverflowPolicy = 'close'): Promise<Scene> {
  const world = new MemoryWorld({ bufferBytes: 1_000 });
  const listener = new Recorder<string>();
  const limits = [withWaterMarks(lowBytes, highBytes), withSendQueue(maxBytes, policy), withWriteTimeoutMs(0)];
  await world.server(line, listener, [...limits, withDrainTimeoutMs(1_000)]);
  const client = new Recorder<string>();
  await world.connect(line, client);
  world.link().stall('client');
  return { world, session: await listener.session(), listener, client };
}

/** A package of so many bytes with its line end. */
function sized(bytes: number, name = 'x'): string {
  return name.padEnd(bytes - 1, '.');
}

/** Sends packages of 1000 bytes, each in a turn of its own, and returns what send said. */
async function sendEach(session: Session<string>, names: readonly string[]): Promise<boolean[]> {
  const results: boolean[] = [];
  for (const name of names) {
    results.push(session.send(sized(1_000, name)));
    await settle(2);
  }
  return results;
}

describe('the water marks', () => {
  it('send says false above the high one, and onDrain comes once at the low one', async () => {
    const { world, session, listener } = await stalled();
    expect(await sendEach(session, ['0', '1', '2', '3', '4', '5'])).toEqual([true, true, true, true, true, false]);
    expect([session.pendingBytes, session.isWritable]).toEqual([5_000, false]);
    world.link().unstall('client');
    await listener.until('drain');
    await eventually(() => session.pendingBytes === 0, 'everything is sent');
    expect(session.isWritable).toBe(true);
    expect(listener.events).toEqual(['open', 'drain']);
  });

  it('drained() resolves at the low mark when the queue never was above the high one', async () => {
    const { world, session, listener } = await stalled();
    expect(await sendEach(session, ['0', '1', '2', '3'])).toEqual([true, true, true, true]);
    expect([session.pendingBytes, session.isWritable]).toEqual([3_000, true]);
    let isDrained = false;
    const drained = session.drained().then(() => {
      isDrained = true;
    });
    await settle();
    expect(isDrained).toBe(false);
    world.link().unstall('client');
    await drained;
    expect(session.pendingBytes).toBeLessThanOrEqual(2_000);
    expect(listener.count('drain')).toBe(0);
  });

  it('drained() resolves at once at or below the low mark', async () => {
    const { session } = await stalled();
    await session.drained();
    await sendEach(session, ['0', '1']);
    expect(session.pendingBytes).toBe(1_000);
    await session.drained();
  });

  it('drained() rejects when its signal is aborted, before or while it waits, and when the session closes', async () => {
    const { session } = await stalled();
    await sendEach(session, ['0', '1', '2', '3', '4', '5']);
    expect(await codeOf(() => session.drained(AbortSignal.abort()))).toBe('ABORTED');
    const controller = new AbortController();
    const aborted = codeOf(() => session.drained(controller.signal));
    const closed = codeOf(() => session.drained());
    controller.abort(new Error('enough'));
    expect(await aborted).toBe('ABORTED');
    session.destroy();
    expect(await closed).toBe('SESSION_CLOSED');
    expect(await codeOf(() => session.drained())).toBe('SESSION_CLOSED');
    expect(await codeOf(() => session.drained(AbortSignal.abort()))).toBe('SESSION_CLOSED');
  });

  it('hold over a loop that sends and awaits drained(), with the memory bounded', async () => {
    const { world, session, client } = await stalled(20_000, 100_000, 1_000_000);
    world.link().unstall('client');
    let most = 0;
    for (let index = 0; index < 1_000; index++) {
      if (!session.send(sized(1_000, String(index)))) await session.drained();
      most = Math.max(most, session.pendingBytes);
    }
    await client.until('message', 1_000);
    expect(client.packages.map((text) => Number.parseInt(text, 10))).toEqual(Array.from({ length: 1_000 }, (_, index) => index));
    // The batch of a turn is looked at when it leaves, at 64 KiB.
    expect(most).toBeLessThanOrEqual(100_000 + 65_536);
  });
});

describe('withSendQueue', () => {
  /** One package on its way and nine queued: 9000 bytes wait, of 10 000. */
  const first = Array.from({ length: 10 }, (_, index) => `${index}:`);

  it("'close': the package too many ends the session as SLOW", async () => {
    const { session, listener } = await stalled(2_000, 4_000, 10_000, 'close');
    await sendEach(session, first);
    const write = codeOf(() => session.writePkg(sized(1_000, 'fits')));
    const tooMany = codeOf(() => session.writePkg(sized(1_000, 'too many')));
    expect(await tooMany).toBe('SEND_QUEUE_FULL');
    expect(await write).toBe('SESSION_CLOSED');
    expect(await session.closed).toMatchObject({ code: 'SLOW', by: 'peer', error: { code: 'SLOW_READER' }, unsentBytes: 10_000 });
    expect(session.stats()).toMatchObject({ packagesWritten: 11, packagesDropped: 1 });
    expect(listener.events).toEqual(['open', 'error', 'close']);
    expect(session.send('after')).toBe(false);
  });

  it("'reject': send throws and writePkg rejects; the session lives and the others arrive", async () => {
    const { world, session, listener, client } = await stalled(2_000, 4_000, 10_000, 'reject');
    await sendEach(session, first);
    expect(session.send(sized(1_000, 'fits'))).toBe(false);
    expect(await codeOf(() => session.send(sized(1_000, 'too many')))).toBe('SEND_QUEUE_FULL');
    expect(await codeOf(() => session.writePkg(sized(1_000, 'too many')))).toBe('SEND_QUEUE_FULL');
    expect(await codeOf(() => session.sendEncoded(Buffer.alloc(1_000, 'x\n')))).toBe('SEND_QUEUE_FULL');
    expect(session.stats()).toMatchObject({ state: 'open', packagesWritten: 11, packagesDropped: 3, pendingBytes: 10_000 });
    world.link().unstall('client');
    await client.until('message', 11);
    expect(client.packages.map((text) => text.replaceAll('.', ''))).toEqual([...first, 'fits']);
    await listener.until('drain');
    expect(listener.events).toEqual(['open', 'drain']);
  });

  it("'drop-oldest': whole waiting packages make room for new ones, and their writes reject", async () => {
    const { world, session, client } = await stalled(2_000, 4_000, 10_000, 'drop-oldest');
    await sendEach(session, ['0:', '1:']);
    const oldest = codeOf(() => session.writePkg(sized(1_000, '2:')));
    await sendEach(session, ['3:', '4:', '5:', '6:', '7:', '8:', '9:', 'fits:']);
    expect(session.stats()).toMatchObject({ pendingBytes: 10_000, packagesWritten: 11, packagesDropped: 0 });
    const newest = session.writePkg(sized(1_500, 'new:'));
    expect(await oldest).toBe('SEND_QUEUE_FULL');
    expect(session.stats()).toMatchObject({ state: 'open', packagesWritten: 10, packagesDropped: 2, pendingBytes: 9_500 });
    world.link().unstall('client');
    expect(await newest).toEqual({ total: 1_500, sent: 1_500 });
    await client.until('message', 10);
    const expected = ['0:', '1:', '4:', '5:', '6:', '7:', '8:', '9:', 'fits:', 'new:'];
    expect(client.packages.map((text) => text.replaceAll('.', ''))).toEqual(expected);
  });

  it("'drop-newest': the package itself is dropped and its write rejects", async () => {
    const { world, session, client } = await stalled(2_000, 4_000, 10_000, 'drop-newest');
    await sendEach(session, [...first, 'fits:']);
    expect(session.send(sized(1_000, 'lost'))).toBe(false);
    expect(await codeOf(() => session.writePkg(sized(1_000, 'lost')))).toBe('SEND_QUEUE_FULL');
    expect(session.stats()).toMatchObject({ state: 'open', packagesWritten: 11, packagesDropped: 2, pendingBytes: 10_000 });
    world.link().unstall('client');
    await client.until('message', 11);
    session.send('and on');
    await client.until('message', 12);
    expect(client.packages.map((text) => text.replaceAll('.', ''))).toEqual([...first, 'fits:', 'and on']);
  });

  it('refuses bytes that would never fit, and a package above the limit', async () => {
    const { session } = await stalled();
    expect(await codeOf(() => session.writeBytes(Buffer.alloc(10_001)))).toBe('SEND_QUEUE_FULL');
    session.configure(withMaxPackageBytes(100));
    expect(await codeOf(() => session.send(sized(101)))).toBe('ENCODED_TOO_LARGE');
    expect(await codeOf(() => session.writePkg(sized(101)))).toBe('ENCODED_TOO_LARGE');
    expect(session.send(sized(100))).toBe(true);
    expect(session.stats()).toMatchObject({ packagesWritten: 1, packagesDropped: 0 });
  });
});

describe('the signal of a write', () => {
  it('aborted in the turn of the write rejects, and the package leaves with the others of the turn', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<string>();
    await world.server(line, listener);
    const session = await world.connect(line, new Recorder<string>());
    const controller = new AbortController();
    session.send('before');
    const write = codeOf(() => session.writePkg('aborted', { signal: controller.signal }));
    session.send('behind');
    controller.abort();
    expect(await write).toBe('ABORTED');
    await listener.until('message', 3);
    expect(listener.packages).toEqual(['before', 'aborted', 'behind']);
    expect(session.stats()).toMatchObject({ packagesWritten: 3, packagesDropped: 0, writes: 1 });
    expect(session.isClosed).toBe(false);
  });

  it('has nothing to do with a timeoutMs of 0, which is none', async () => {
    const { world, session } = await stalled();
    const write = session.writePkg(sized(3_000), { timeoutMs: 0 });
    await world.clock.advance(1_000_000);
    world.link().unstall('client');
    expect(await write).toEqual({ total: 3_000, sent: 3_000 });
  });

  it('takes a package back that waits in the queue; the session and the others are not touched', async () => {
    const { world, session, client } = await stalled();
    await sendEach(session, ['0:', '1:']);
    const controller = new AbortController();
    const write = codeOf(() => session.writePkg('taken back', { signal: controller.signal }));
    session.send('after');
    controller.abort();
    expect(await write).toBe('ABORTED');
    expect(session.stats()).toMatchObject({ packagesWritten: 3, packagesDropped: 0 });
    world.link().unstall('client');
    await client.until('message', 3);
    expect(client.packages.at(-1)).toBe('after');
    expect(session.state).toBe('open');
  });

  it('that is aborted before the call rejects at once, and nothing is sent', async () => {
    const { session } = await stalled();
    expect(await codeOf(() => session.writePkg('no', { signal: AbortSignal.abort() }))).toBe('ABORTED');
    expect(session.stats()).toMatchObject({ packagesWritten: 0, pendingBytes: 0 });
  });

  it('that is aborted when the package is partly sent rejects; the rest is sent, so that the stream stays whole', async () => {
    const { world, session, client } = await stalled();
    const controller = new AbortController();
    const write = codeOf(() => session.writePkg(sized(3_000, 'cut'), { signal: controller.signal }));
    await settle();
    controller.abort();
    expect(await write).toBe('ABORTED');
    world.link().unstall('client');
    session.send('next');
    await client.until('message', 2);
    expect(client.packages).toEqual([sized(3_000, 'cut'), 'next']);
  });

  it('leaves nothing behind on it when the package is sent', async () => {
    const { world, session } = await stalled();
    world.link().unstall('client');
    const controller = new AbortController();
    const counts: number[] = [];
    const { signal } = controller;
    const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      counts.push(1);
      add(...args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      counts.push(-1);
      remove(...args);
    };
    await session.writePkg('short', { signal });
    await session.writePkg(sized(3_000), { signal, timeoutMs: 1_000 });
    expect(counts).toEqual([1, -1, 1, -1]);
    controller.abort();
    await settle();
    expect(session.state).toBe('open');
  });
});
