import { describe, expect, it } from 'vitest';
import { AcceptorRecorder, NEVER, packageBytes, packagesIn, patternBytes, turns } from '../../src/testing/contract-scene.ts';
import { ConnectionRecorder, MemoryNetwork, type MemoryNetworkOptions, seededRandom, VirtualClock } from '../../src/testing/index.ts';

/** A network on a clock of its own, with a server at server:1. */
async function setUp(options: MemoryNetworkOptions = {}) {
  const clock = new VirtualClock();
  const network = new MemoryNetwork({ clock, ...options });
  const transport = network.transport();
  const accepted = new AcceptorRecorder();
  const acceptor = await transport.listen('server:1', accepted);
  /** Two open ends; time passes by as much as dialling takes. */
  const connect = async () => {
    const dialled = transport.dial('server:1', { signal: NEVER });
    await clock.advance(10_000);
    const client = new ConnectionRecorder(await dialled).open();
    const connection = accepted.connections.at(-1);
    const link = network.links.at(-1);
    if (connection === undefined || link === undefined) throw new Error('expected a connection');
    return { client, server: new ConnectionRecorder(connection).open(), link };
  };
  return { clock, network, transport, accepted, acceptor, connect };
}

describe('addresses of a memory network', () => {
  it('are any text, with or without memory:// in front', async () => {
    const { transport, accepted, acceptor, clock } = await setUp();
    expect(acceptor.address).toEqual({ text: 'memory://server:1', host: 'server', port: 1, family: 'memory' });
    const named = await transport.listen('the gateway', accepted);
    expect(named.address).toEqual({ text: 'memory://the gateway', host: 'the gateway', port: 0, family: 'memory' });
    const dials = [transport.dial('memory://server:1', { signal: NEVER }), transport.dial('the gateway', { signal: NEVER })];
    await clock.advance(0);
    expect((await Promise.all(dials)).map((connection) => connection.remoteAddress.text)).toEqual([
      'memory://server:1',
      'memory://the gateway',
    ]);
  });

  it('get a free port for port 0', async () => {
    const { transport, accepted } = await setUp();
    const texts: string[] = [];
    for (const asked of [':0', ':0', 'server:0', 'memory://server:0']) texts.push((await transport.listen(asked, accepted)).address.text);
    expect(new Set(texts).size).toBe(4);
    expect(texts[0]).toMatch(/^memory:\/\/localhost:\d+$/);
    expect(texts[3]).toMatch(/^memory:\/\/server:\d+$/);
    expect((await transport.listen(':7', accepted)).address.text).toBe('memory://localhost:7');
  });

  it('of clients are numbered, or come from the host of their transport', async () => {
    const { network, accepted, clock } = await setUp();
    const transports = [network.transport(), network.transport({ host: 'alice' }), network.transport()];
    const dials = transports.map((transport) => transport.dial('server:1', { signal: NEVER }));
    await clock.advance(0);
    const local = (await Promise.all(dials)).map((connection) => connection.localAddress);
    expect(local.map(({ text }) => text)).toEqual(['memory://client-1', 'memory://alice:2', 'memory://client-3']);
    expect(local[1]?.host).toBe('alice');
    expect(accepted.connections.map(({ remoteAddress }) => remoteAddress)).toEqual(local);
  });

  it('cannot be empty', async () => {
    const { transport, accepted } = await setUp();
    await expect(transport.listen('', accepted)).rejects.toMatchObject({ code: 'INVALID_ADDRESS' });
    await expect(transport.dial('memory://', { signal: NEVER })).rejects.toMatchObject({ code: 'INVALID_ADDRESS' });
  });
});

describe('a memory network', () => {
  it('checks its options', () => {
    expect(() => new MemoryNetwork({ bufferBytes: 0 })).toThrow('bufferBytes: expected a whole number, 1 or more, given 0');
    expect(() => new MemoryNetwork({ split: 'some' as 'none' })).toThrow('split: expected one of none, random, bytes, given "some"');
  });

  it('delivers nothing from inside send, and thousands of messages in one turn', async () => {
    const { connect } = await setUp({ kind: 'message', bufferBytes: 1_000_000 });
    const { client, server } = await connect();
    for (let index = 0; index < 5000; index++) client.send(packageBytes(index, 20));
    expect(server.length).toBe(0);
    await turns(1);
    expect(server.messages).toHaveLength(5000);
  });

  it('takes the same course for the same seed, and another for another one', async () => {
    const course = async (seed: number): Promise<string> => {
      const { clock, network, connect } = await setUp({ seed, split: 'random', latencyMs: [1, 30] });
      expect(network.seed).toBe(seed);
      const { client, server } = await connect();
      const log: string[] = [];
      server.onBytesHook = (bytes) => log.push(`${bytes.length}@${clock.now()}`);
      for (let index = 0; index < 20; index++) {
        client.send(patternBytes(500));
        await clock.advance(3);
      }
      await clock.advance(100);
      expect(server.length).toBe(10_000);
      return log.join(' ');
    };
    expect(await course(5)).toBe(await course(5));
    expect(await course(5)).not.toBe(await course(6));
  });

  it('spoils lent bytes after onBytes, unless it is told not to', async () => {
    for (const poison of [true, false]) {
      const { clock, connect } = await setUp({ poison });
      const { client, server } = await connect();
      const kept: Buffer[] = [];
      server.onBytesHook = (bytes) => kept.push(bytes);
      client.send(Buffer.from('kept without a copy'));
      await clock.advance(0);
      expect(String(server.bytes)).toBe('kept without a copy');
      expect(String(kept[0])).toBe(poison ? '\xdd'.repeat(19).replace(/./g, '\ufffd') : 'kept without a copy');
      if (poison) expect(kept[0]?.every((byte) => byte === 0xdd)).toBe(true);
    }
  });

  it('cuts streams as it is told, and messages never', async () => {
    for (const [split, kind, chunks] of [
      ['none', 'stream', 1],
      ['bytes', 'stream', 300],
      ['bytes', 'message', 1],
      ['random', 'message', 1],
    ] as const) {
      const { clock, connect } = await setUp({ split, kind });
      const { client, server } = await connect();
      let count = 0;
      server.onBytesHook = () => {
        count++;
      };
      client.send(patternBytes(300));
      await clock.advance(0);
      expect(server.bytes.equals(patternBytes(300))).toBe(true);
      expect(count).toBe(chunks);
    }
  });

  it('delivers a message larger than any buffer whole', async () => {
    const { clock, connect } = await setUp({ kind: 'message' });
    const { client, server } = await connect();
    client.send(patternBytes(2_000_000));
    await clock.advance(0);
    expect(server.messages.map((message) => message.length)).toEqual([2_000_000]);
  });

  it('takes as many bytes from a sender as its buffer holds, and the rest when the receiver has read', async () => {
    const { clock, connect } = await setUp({ bufferBytes: 1000 });
    const { client, server } = await connect();
    server.connection.pause();
    client.send(patternBytes(900));
    await clock.advance(0);
    expect(client.connection.pendingBytes).toBe(0);
    client.send(patternBytes(900, 2));
    await clock.advance(0);
    expect([client.connection.pendingBytes, client.blocks]).toEqual([800, 1]);
    server.connection.resume();
    await clock.advance(0);
    expect(client.connection.pendingBytes).toBe(0);
    expect(server.bytes.equals(Buffer.concat([patternBytes(900), patternBytes(900, 2)]))).toBe(true);
  });

  it('takes a message as long as there is any room', async () => {
    const { clock, connect } = await setUp({ bufferBytes: 1000, kind: 'message' });
    const { client, server } = await connect();
    server.connection.pause();
    for (let index = 0; index < 4; index++) client.send(packageBytes(index, 800));
    await clock.advance(0);
    expect(client.connection.pendingBytes).toBe(1600);
    server.connection.resume();
    await clock.advance(0);
    expect(packagesIn(server.bytes)).toEqual([0, 1, 2, 3]);
  });

  it('lists the links that are not over', async () => {
    const { clock, network, connect } = await setUp();
    const [first, second] = [await connect(), await connect()];
    expect(network.links).toEqual([first.link, second.link]);
    expect([first.link.client.localAddress.text, first.link.server.localAddress.text]).toEqual(['memory://client-1', 'memory://server:1']);
    first.client.connection.close();
    await clock.advance(0);
    expect(network.links).toHaveLength(2);
    first.server.connection.close();
    second.client.connection.abort();
    await clock.advance(0);
    expect(network.links).toEqual([]);
  });
});

describe('latency', () => {
  it('is the time from send to onBytes; dialling takes two of it', async () => {
    const { clock, network, transport, accepted } = await setUp({ latencyMs: 40 });
    let isDialled = false;
    const dialled = transport.dial('server:1', { signal: NEVER }).finally(() => {
      isDialled = true;
    });
    await clock.advance(39);
    expect(accepted.connections).toHaveLength(0);
    await clock.advance(1);
    expect([accepted.connections.length, isDialled]).toEqual([1, false]);
    await clock.advance(40);
    const client = new ConnectionRecorder(await dialled).open();
    const server = new ConnectionRecorder(network.links[0]?.server ?? expect.fail()).open();
    client.send(Buffer.of(1));
    await clock.advance(39);
    expect(server.length).toBe(0);
    await clock.advance(1);
    expect(server.length).toBe(1);
  });

  it('can change at any time, for all links or one, and never changes the order', async () => {
    const { clock, network, connect } = await setUp({ latencyMs: 100 });
    const { client, server, link } = await connect();
    client.send(packageBytes(0, 20));
    await clock.advance(10);
    network.latencyMs = 5;
    client.send(packageBytes(1, 20));
    await clock.advance(10);
    link.latencyMs = [1, 2];
    client.send(packageBytes(2, 20));
    await clock.advance(79);
    expect(server.length).toBe(0);
    await clock.advance(1);
    expect(packagesIn(server.bytes)).toEqual([0, 1, 2]);
    client.send(packageBytes(3, 20));
    await clock.advance(2);
    expect(server.length).toBe(80);
    link.latencyMs = undefined;
    client.send(packageBytes(4, 20));
    await clock.advance(4);
    expect(server.length).toBe(80);
    await clock.advance(1);
    expect(server.length).toBe(100);
  });

  it('leaves no timer behind when a dial is aborted on its way', async () => {
    for (const wait of [0, 30, 60]) {
      const { clock, network, transport, accepted } = await setUp({ latencyMs: 50 });
      const aborter = new AbortController();
      const dialled = expect(transport.dial('server:1', { signal: aborter.signal })).rejects.toMatchObject({ code: 'ABORTED' });
      await clock.advance(wait);
      aborter.abort();
      await dialled;
      await clock.advance(200);
      for (const connection of accepted.connections) new ConnectionRecorder(connection).open();
      await clock.advance(200);
      expect([clock.pendingTimers, network.links.length]).toEqual([0, 0]);
    }
  });
});

describe('faults of a memory network', () => {
  it('cut(): both sides get CONNECTION_RESET', async () => {
    const { clock, network, connect } = await setUp({ latencyMs: 1000 });
    const { client, server, link } = await connect();
    server.connection.pause();
    link.cut();
    link.cut();
    expect([client.closes, server.closes]).toEqual([0, 0]);
    await clock.advance(0);
    expect([client.closeError?.code, server.closeError?.code]).toEqual(['CONNECTION_RESET', 'CONNECTION_RESET']);
    expect([network.resets, network.links.length]).toEqual([2, 0]);
    expect([...client.breaches, ...server.breaches]).toEqual([]);
  });

  it('reset(side): that side gets CONNECTION_RESET, the other one when it sends', async () => {
    const { clock, network, connect } = await setUp();
    const { client, server, link } = await connect();
    link.reset('server');
    await clock.advance(1000);
    expect([client.closes, server.closeError?.code, network.resets]).toEqual([0, 'CONNECTION_RESET', 1]);
    client.send(Buffer.of(1));
    await clock.advance(0);
    expect([client.closeError?.code, network.resets, network.links.length]).toEqual(['CONNECTION_RESET', 2, 0]);
  });

  it('halfOpen(side): nothing arrives, nothing closes, and the buffer fills up', async () => {
    const { clock, network, connect } = await setUp({ bufferBytes: 1000 });
    const { client, server, link } = await connect();
    client.send(Buffer.of(1));
    link.halfOpen('client');
    client.send(patternBytes(1500));
    server.send(patternBytes(10));
    server.connection.close();
    await clock.advance(1_000_000);
    expect([client.length, server.length, client.closes, server.closes, client.ends]).toEqual([0, 0, 0, 0, 0]);
    expect(client.connection.pendingBytes).toBeGreaterThan(0);
    client.connection.abort();
    await clock.advance(1_000_000);
    expect([client.closes, server.closes, network.links.length]).toEqual([1, 0, 0]);
    server.connection.abort();
    await clock.advance(0);
    expect(server.closes).toBe(1);
  });

  it('stall(side): that side reads nothing until unstall; the other direction goes on', async () => {
    const { clock, connect } = await setUp({ bufferBytes: 1000 });
    const { client, server, link } = await connect();
    link.stall('server');
    client.send(patternBytes(3000));
    server.send(patternBytes(300));
    await clock.advance(1000);
    expect([server.length, client.length, client.connection.pendingBytes]).toEqual([0, 300, 2000]);
    link.unstall('server');
    await clock.advance(0);
    expect(server.length).toBe(3000);
    link.stall();
    client.send(patternBytes(10));
    server.send(patternBytes(10));
    await clock.advance(1000);
    expect([server.length, client.length]).toEqual([3000, 300]);
    link.unstall();
    await clock.advance(0);
    expect([server.length, client.length]).toEqual([3010, 310]);
  });

  it('refuseDials: nobody seems to listen', async () => {
    const { clock, network, transport, connect } = await setUp();
    const { client } = await connect();
    network.refuseDials = true;
    const refused = expect(transport.dial('server:1', { signal: NEVER })).rejects.toMatchObject({ code: 'CONNECT_FAILED' });
    await clock.advance(0);
    await refused;
    expect(client.closes).toBe(0);
    network.refuseDials = false;
    await connect();
  });

  it('an abort after the end was sent is no reset, until more comes in', async () => {
    const { clock, network, connect } = await setUp();
    const { client, server } = await connect();
    client.send(patternBytes(100));
    client.connection.end();
    client.connection.abort();
    await clock.advance(0);
    expect([server.length, server.ends, server.closes, network.resets]).toEqual([100, 1, 0, 0]);
    server.send(Buffer.of(1));
    await clock.advance(0);
    expect([server.closeError?.code, network.resets]).toEqual(['CONNECTION_RESET', 1]);
  });

  it('an abort when both sides have finished is no reset', async () => {
    const { clock, network, connect } = await setUp();
    const { client, server } = await connect();
    client.connection.close();
    server.connection.close();
    await clock.advance(0);
    client.connection.abort();
    server.connection.abort();
    await clock.advance(0);
    expect([client.closes, server.closes, client.closeError, server.closeError, network.resets]).toEqual([1, 1, undefined, undefined, 0]);
  });

  it('what was sent before an abort arrives before the reset', async () => {
    const { clock, connect } = await setUp({ split: 'random', seed: 9 });
    const { client, server } = await connect();
    client.send(patternBytes(5000));
    client.connection.flush();
    client.connection.abort();
    await clock.advance(0);
    expect([server.length, server.closeError?.code]).toEqual([5000, 'CONNECTION_RESET']);
  });
});

describe('seededRandom', () => {
  it('gives the same numbers for the same seed, spread over 0 to 1', () => {
    const [one, same, other] = [seededRandom(1), seededRandom(1), seededRandom(2)];
    const numbers = Array.from({ length: 1000 }, one);
    expect(Array.from({ length: 1000 }, same)).toEqual(numbers);
    expect(Array.from({ length: 1000 }, other)).not.toEqual(numbers);
    expect(Math.min(...numbers)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...numbers)).toBeLessThan(1);
    for (let tenth = 0; tenth < 10; tenth++) {
      expect(numbers.filter((number) => Math.floor(number * 10) === tenth).length).toBeGreaterThan(60);
    }
  });
});
