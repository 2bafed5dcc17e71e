import { describe, expect, it, onTestFinished } from 'vitest';
import type { BusDirectory, DirectoryEntry } from '../../src/backplane/bus.ts';
import { BusBackplane } from '../../src/backplane/bus-backplane.ts';
import type { BusBackplaneOptions } from '../../src/backplane/bus-options.ts';
import { BackplaneRecorder, seededRandom } from '../../src/testing/index.ts';
import { MemoryBus, MemoryServer, memoryNode } from '../helpers/memory-bus.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

const none = Buffer.alloc(0);

interface Node extends BackplaneRecorder {
  readonly bus: MemoryBus;
}

async function open(server: MemoryServer, options: BusBackplaneOptions = {}): Promise<Node> {
  const { bus, backplane } = memoryNode(server, options);
  const node = Object.assign(new BackplaneRecorder(backplane), { bus });
  onTestFinished(() => node.assertNoBreach());
  const opening = backplane.open(node);
  await server.clock.advance(200);
  await opening;
  return node;
}

async function pair(options: BusBackplaneOptions = {}): Promise<{ server: MemoryServer; first: Node; second: Node }> {
  const server = new MemoryServer();
  return { server, first: await open(server, options), second: await open(server, options) };
}

/** Answers when the test says so. */
class SlowDirectory implements BusDirectory {
  readonly deferred = 7;
  readonly waiting: (() => void)[] = [];
  setMember(): void {}
  removeMember(): void {}
  register(): void {}
  unregister(): void {}
  async renew(): Promise<boolean> {
    return true;
  }
  async rewrite(): Promise<void> {}
  async forget(): Promise<void> {}
  read(): Promise<ReadonlyMap<string, readonly DirectoryEntry[]>> {
    return new Promise((resolve) => this.waiting.push(() => resolve(new Map())));
  }
  locate(): Promise<string> {
    return new Promise((resolve) => this.waiting.push(() => resolve('there')));
  }
}

describe('a backplane over a bus', () => {
  it('tells of a lost last message with the next beat', async () => {
    const { server, first, second } = await pair();
    second.backplane.subscribe('news');
    first.backplane.publish('news', none);
    await server.clock.advance(10);
    server.loses = (topic) => topic === 'c.news';
    first.backplane.publish('news', none);
    first.backplane.publish('news', none);
    await server.clock.advance(10);
    expect(second.gaps).toEqual([]);
    await server.clock.advance(2_000);
    expect(second.gaps).toEqual([{ reason: 'missing', count: 2, channel: 'news', fromNode: first.backplane.nodeId }]);
    expect(second.backplane.stats().missed).toBe(2);
  });

  it('reads a room anew when an announcement was lost', async () => {
    const { server, first, second } = await pair();
    second.backplane.follow('lobby');
    first.backplane.setMember('lobby', 'ann', none);
    await server.clock.advance(10);
    server.loses = (topic) => topic === 'r.lobby';
    first.backplane.setMember('lobby', 'bob', none);
    first.backplane.removeMember('lobby', 'ann');
    await server.clock.advance(10);
    expect(second.changes).toEqual(['+ann']);
    await server.clock.advance(2_010);
    expect(second.changes).toEqual(['+ann', '+bob', '-ann']);
  });

  it('reads a room also when the first announcement of a node there was lost, and the beat that tells of it, too', async () => {
    const { server, first, second } = await pair();
    second.backplane.follow('lobby');
    await server.clock.advance(10);
    server.loses = (topic) => topic === 'r.lobby' || topic === 'n';
    first.backplane.setMember('lobby', 'ann', none);
    await server.clock.advance(2_010);
    expect(second.changes).toEqual([]);
    server.loses = () => false;
    await server.clock.advance(2_010);
    expect(second.changes).toEqual(['+ann']);
  });

  it('agrees on a room within 20 s although one message in ten is lost, beats and answers too', async () => {
    for (let seed = 1; seed <= 30; seed++) {
      const server = new MemoryServer();
      const random = seededRandom(seed);
      server.loses = () => random() < 0.1;
      const [first, second, third] = [await open(server), await open(server), await open(server)];
      third.backplane.follow('lobby');
      first.backplane.setMember('lobby', 'ann', Buffer.from('first'));
      await server.clock.advance(Math.floor(random() * 3_000));
      second.backplane.setMember('lobby', 'bob', Buffer.from('second'));
      first.backplane.removeMember('lobby', 'ann');
      await server.clock.advance(20_000);
      expect([seed, third.membersOf('lobby')]).toEqual([seed, { bob: 'second' }]);
    }
  });

  it('reads a room again with later beats when nobody answers, and asks until then', async () => {
    const { server, first, second } = await pair({ queryTimeoutMs: 100 });
    first.backplane.setMember('lobby', 'ann', none);
    await server.clock.advance(10);
    server.loses = (topic) => topic === `n.${second.backplane.nodeId}`;
    second.backplane.follow('lobby');
    await server.clock.advance(7_000);
    expect(second.changes).toEqual([]);
    server.loses = () => false;
    const members = second.backplane.members('lobby');
    await server.clock.advance(10);
    expect([...(await members).keys()]).toEqual(['ann']);
    await server.clock.advance(2_010);
    expect(second.changes).toEqual(['+ann']);
  });

  it('answers 64 questions at a time, and counts what is above', async () => {
    const { server, first, second } = await pair({ queryTimeoutMs: 60_000 });
    for (let index = 0; index < 30; index++) first.backplane.setMember('lobby', `member ${index}`, Buffer.alloc(16_384));
    await server.clock.advance(10);
    first.bus.isFull = true;
    const asked = Array.from({ length: 100 }, () => second.backplane.members('lobby'));
    await server.clock.advance(10);
    expect(first.backplane.stats().refused).toBe(36);
    // Held back, not piled up: the pause is at 256 KiB.
    expect(first.backplane.stats().pendingBytes).toBeLessThan(400_000);
    first.bus.drain();
    await server.clock.advance(1_000);
    const answers = await Promise.all(asked.slice(0, 64));
    expect(answers.every(({ size }) => size === 30)).toBe(true);
    const later = second.backplane.members('lobby');
    await server.clock.advance(100);
    expect((await later).size).toBe(30);
  });

  it('takes a repeated message for one', async () => {
    const { server, first, second } = await pair();
    second.backplane.subscribe('news');
    const deliver = server.deliver.bind(server);
    server.deliver = (topic, bytes) => {
      deliver(topic, bytes);
      if (topic === 'c.news') deliver(topic, bytes);
    };
    first.backplane.publish('news', none);
    first.backplane.publish('news', none);
    await server.clock.advance(10);
    expect(second.messages).toHaveLength(2);
    expect(second.backplane.stats().repeated).toBe(2);
  });

  it('keeps what a full bus does not take, in order, drops the oldest above the limits, and tells both sides', async () => {
    const { server, first, second } = await pair({ maxPendingMessages: 3 });
    second.backplane.subscribe('news');
    first.backplane.publish('news', Buffer.from('0'));
    first.bus.isFull = true;
    for (let index = 1; index <= 5; index++) first.backplane.publish('news', Buffer.from(`${index}`));
    expect(first.backplane.stats()).toMatchObject({ published: 1, dropped: 2 });
    expect(first.backplane.stats().pendingBytes).toBeGreaterThan(3);
    first.bus.isFull = false;
    await server.clock.advance(3_000);
    // The beat meanwhile did not tell of what still waits.
    expect(second.gaps).toEqual([]);
    first.bus.drain();
    await server.clock.advance(10);
    expect(second.on('news')).toEqual(['0', '3', '4', '5']);
    expect(second.gaps).toMatchObject([{ reason: 'missing', count: 2 }]);
    expect(first.gaps).toEqual([{ reason: 'overflow', count: 2 }]);
    expect(first.backplane.stats()).toMatchObject({ published: 4, pendingBytes: 0 });
  });

  it('bounds the bytes that wait, too', async () => {
    const { first } = await pair({ maxPendingBytes: 1_000 });
    first.bus.isFull = true;
    for (let index = 0; index < 5; index++) first.backplane.publish('news', Buffer.alloc(400));
    expect(first.backplane.stats().dropped).toBe(3);
    expect(first.backplane.stats().pendingBytes).toBeLessThanOrEqual(1_000);
  });

  it('takes a server that does not return its beats for lost, and is back with the first one', async () => {
    const { server, first, second } = await pair();
    second.backplane.follow('lobby');
    first.backplane.setMember('lobby', 'ann', none);
    await server.clock.advance(10);
    server.isFrozen = true;
    await server.clock.advance(10_500);
    expect([first, second].map(({ backplane }) => backplane.isUp)).toEqual([false, false]);
    expect(first.bus.restarts).toBe(1);
    expect(first.errors.map(({ code }) => code)).toEqual(['BACKPLANE_FAILED']);
    expect(first.errors[0]?.message).toMatch(/^the server of the backplane has been silent for \d+ ms$/);
    server.wakeUp();
    await server.clock.advance(2_100);
    expect([first, second].map(({ backplane }) => backplane.isUp)).toEqual([true, true]);
    expect(first.gaps).toEqual([{ reason: 'disconnected', count: undefined }]);
    expect(second.membersOf('lobby')).toEqual({ ann: '' });
  });

  it('gives its own beats more time while other things come, but not for ever', async () => {
    const { server, first, second } = await pair();
    const deliver = server.deliver.bind(server);
    server.deliver = (topic, bytes) => {
      const isOwnBeat = topic === 'n' && Buffer.from(bytes).includes(first.backplane.nodeId);
      if (!isOwnBeat) deliver(topic, bytes);
    };
    await server.clock.advance(20_000);
    expect([first, second].map(({ backplane }) => backplane.isUp)).toEqual([true, true]);
    await server.clock.advance(15_000);
    expect([first, second].map(({ backplane }) => backplane.isUp)).toEqual([false, true]);
    expect(first.errors.map(({ code }) => code)).toEqual(['BACKPLANE_FAILED']);
  });

  it('does not take others for dead because this process stood still', async () => {
    const { server, first, second } = await pair();
    second.backplane.follow('lobby');
    first.backplane.setMember('lobby', 'ann', none);
    await server.clock.advance(100);
    server.clock.block(60_000);
    await server.clock.advance(5_000);
    expect(second.nodesDown).toEqual([]);
    expect(second.changes).toEqual(['+ann']);
    expect(second.backplane.isUp).toBe(true);
  });

  it('finds a vanished node dead between four and five beats after the last, and welcomes it back with its members', async () => {
    const { server, first, second } = await pair();
    second.backplane.follow('lobby');
    first.backplane.setMember('lobby', 'ann', none);
    await server.clock.advance(10);
    first.bus.isCut = true;
    await server.clock.advance(7_000);
    expect(second.nodesDown).toEqual([]);
    await server.clock.advance(3_000);
    expect(second.nodesDown).toEqual([first.backplane.nodeId]);
    expect(second.changes).toEqual(['+ann', '-ann']);
    first.bus.isCut = false;
    await server.clock.advance(2_100);
    expect(second.changes).toEqual(['+ann', '-ann', '+ann']);
  });

  it('counts junk, tells of it once in ten seconds, and listens to no more nodes than it may', async () => {
    const server = new MemoryServer();
    const node = await open(server, { maxNodes: 1 });
    for (let index = 0; index < 50; index++) server.deliver('n', Buffer.from('junk'));
    await server.clock.advance(10);
    expect(node.backplane.stats().malformed).toBe(50);
    expect(node.errors.map(({ code }) => code)).toEqual(['PROTOCOL_VIOLATION']);
    expect(node.errors[0]?.message).toMatch(/^something else than portico writes to the topics of the backplane: /);
    await server.clock.advance(11_000);
    server.deliver('n', Buffer.from('junk'));
    await server.clock.advance(10);
    expect(node.errors).toHaveLength(2);
    await open(server);
    await open(server);
    expect(node.backplane.nodes()).toHaveLength(1);
    expect(node.backplane.stats().refused).toBeGreaterThan(0);
  });

  it('answers with what it knows when others do not answer in time, or too much was asked', async () => {
    const { server, first, second } = await pair({ queryTimeoutMs: 500, maxQuestions: 1 });
    first.backplane.setMember('lobby', 'ann', none);
    second.backplane.setMember('lobby', 'bob', none);
    server.loses = (topic) => topic === `n.${second.backplane.nodeId}`;
    const members = second.backplane.members('lobby');
    expect([...(await second.backplane.members('lobby')).keys()]).toEqual(['bob']);
    expect(second.backplane.stats().unanswered).toBe(1);
    await server.clock.advance(600);
    expect([...(await members).keys()]).toEqual(['bob']);
    expect(second.backplane.stats().unanswered).toBe(2);
    const located = second.backplane.locate('nobody');
    await server.clock.advance(600);
    expect(await located).toBeUndefined();
  });

  it('reads a directory for no more callers at a time than questions may be open', async () => {
    const server = new MemoryServer();
    const bus = Object.assign(new MemoryBus(server), { directory: new SlowDirectory() });
    const { directory } = bus;
    const node = new BackplaneRecorder(new BusBackplane('MemoryBackplane', bus, { clock: server.clock, maxQuestions: 2 }));
    await node.backplane.open(node);
    const asked = [node.backplane.members('a'), node.backplane.locate('ann')];
    expect([(await node.backplane.members('b')).size, await node.backplane.locate('bob')]).toEqual([0, undefined]);
    expect([directory.waiting.length, node.backplane.stats()]).toMatchObject([2, { unanswered: 2, deferred: 7 }]);
    for (const answer of directory.waiting) answer();
    await Promise.all(asked);
    const again = node.backplane.locate('ann');
    directory.waiting[2]?.();
    expect(await again).toBe('there');
    await node.backplane.close();
  });

  it('refuses members of others above the limit of a room, and counts them', async () => {
    const server = new MemoryServer();
    const first = await open(server);
    const second = await open(server, { maxMembersPerRoom: 2 });
    second.backplane.follow('lobby');
    for (const name of ['a', 'b', 'c']) first.backplane.setMember('lobby', name, none);
    await server.clock.advance(10);
    expect(second.changes).toEqual(['+a', '+b']);
    expect(second.backplane.stats().refused).toBeGreaterThan(0);
    expect([...(await second.backplane.members('lobby')).keys()]).toEqual(['a', 'b']);
  });

  it('brings thousands of members over in parts', async () => {
    const server = new MemoryServer();
    const first = await open(server);
    for (let index = 0; index < 5_000; index++) first.backplane.setMember('lobby', `member ${index}`, Buffer.alloc(100, index));
    const second = await open(server);
    second.backplane.follow('lobby');
    await server.clock.advance(2_000);
    expect(second.rooms.get('lobby')?.size).toBe(5_000);
    expect((await second.backplane.members('lobby')).get('member 4999')?.state[0]).toBe(4_999 % 256);
  });

  it('does not open where there is no server, and is closed then', async () => {
    const server = new MemoryServer();
    server.goAway();
    const { backplane } = memoryNode(server);
    expect(await rejectionOf(backplane.open(new BackplaneRecorder(backplane)))).toMatchObject({ code: 'BACKPLANE_FAILED' });
    expect(backplane.subscribe('news')).toBe(false);
    await backplane.close();
  });

  it('leaves nothing behind when it is closed while it opens, however far it has come', async () => {
    for (const ticks of [0, 1, 2, 3, 4, 5, 6, 8]) {
      const server = new MemoryServer();
      const { backplane } = memoryNode(server);
      const opening = rejectionOf(backplane.open(new BackplaneRecorder(backplane)));
      for (let tick = 0; tick < ticks; tick++) await Promise.resolve();
      const closing = backplane.close();
      await server.clock.advance(2_000);
      await closing;
      expect(await opening).toMatchObject({ code: 'WRONG_STATE', message: 'open: the backplane was closed meanwhile' });
      expect([server.clock.pendingTimers, server.buses.size]).toEqual([0, 0]);
    }
  });

  it('closes within two seconds when the server does not answer', async () => {
    const server = new MemoryServer();
    const node = await open(server);
    server.isFrozen = true;
    let isClosed = false;
    void node.backplane.close().then(() => (isClosed = true));
    await server.clock.advance(2_000);
    expect([isClosed, server.clock.pendingTimers]).toEqual([true, 0]);
  });

  it('refuses wrong options and sinks', async () => {
    const made = (options: BusBackplaneOptions): unknown => thrownBy(() => memoryNode(new MemoryServer(), options));
    expect(made({ leaseMs: 99 })).toMatchObject({
      message: 'MemoryBackplane leaseMs: expected a whole number, from 100 to 3600000, given 99',
    });
    expect(made({ maxNodes: 0.5 })).toMatchObject({ code: 'INVALID_OPTION' });
    const { backplane } = memoryNode(new MemoryServer());
    expect(await rejectionOf(backplane.open({} as BackplaneRecorder))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/^open sink: expected an object with the method\(s\) onMessage/),
    });
  });
});
