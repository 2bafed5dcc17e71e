import { describe, expect, it } from 'vitest';
import { InProcessBackplane } from '../../src/backplane/in-process.ts';
import { InProcessNetwork } from '../../src/backplane/in-process-network.ts';
import { BackplaneRecorder } from '../../src/testing/index.ts';
import { thrownBy } from '../helpers/thrown.ts';

const none = new Uint8Array(0);

async function nodes(options: object = {}): Promise<[BackplaneRecorder, BackplaneRecorder]> {
  const network = new InProcessNetwork();
  const pair = [0, 1].map(() => new BackplaneRecorder(new InProcessBackplane({ network, ...options })));
  for (const node of pair) await node.backplane.open(node);
  return pair as [BackplaneRecorder, BackplaneRecorder];
}

describe('a backplane in one process', () => {
  it('delivers after the program that runs has returned, and the same bytes', async () => {
    const [first, second] = await nodes();
    const seen: Uint8Array[] = [];
    second.onMessage = (_channel, bytes) => seen.push(bytes);
    second.backplane.subscribe('news');
    const bytes = new Uint8Array([1, 2]);
    first.backplane.publish('news', bytes);
    expect(seen).toEqual([]);
    await Promise.resolve();
    expect(seen[0]).toBe(bytes);
  });

  it('drops the oldest when too much waits for a node, counts it there and here, and tells of the gap once', async () => {
    const [first, second] = await nodes({ maxPendingMessages: 3, maxPendingBytes: 100 });
    second.backplane.subscribe('news');
    for (let index = 0; index < 5; index++) first.backplane.publish('news', Buffer.from(`${index}`));
    await Promise.resolve();
    expect(second.on('news')).toEqual(['2', '3', '4']);
    first.backplane.publish('news', Buffer.alloc(60, 'a'));
    first.backplane.publish('news', Buffer.alloc(60, 'b'));
    expect(second.backplane.stats().pendingBytes).toBe(60);
    await Promise.resolve();
    expect(second.on('news').slice(3)).toEqual(['b'.repeat(60)]);
    expect(second.gaps).toEqual([
      { reason: 'overflow', count: 2 },
      { reason: 'overflow', count: 1 },
    ]);
    expect(first.backplane.stats()).toMatchObject({ published: 7, dropped: 3 });
    expect(second.backplane.stats()).toMatchObject({ received: 4, missed: 3, dropped: 0, pendingBytes: 0 });
  });

  it('delivers in a turn of its own what is published while it delivers', async () => {
    const [first, second] = await nodes();
    for (const { backplane } of [first, second]) backplane.subscribe('news');
    const heard: string[] = [];
    second.onMessage = (_channel, bytes) => {
      heard.push(Buffer.from(bytes).toString());
      if (heard.length < 3) second.backplane.publish('news', bytes);
    };
    first.onMessage = (_channel, bytes) => first.backplane.publish('news', bytes);
    first.backplane.publish('news', Buffer.from('a'));
    first.backplane.publish('news', Buffer.from('b'));
    for (let turn = 0; turn < 8; turn++) await Promise.resolve();
    expect(heard).toEqual(['a', 'b', 'a', 'b']);
  });

  it('tells of no more members than a room may have, and counts those left out', async () => {
    const network = new InProcessNetwork();
    const first = new BackplaneRecorder(new InProcessBackplane({ network }));
    const second = new BackplaneRecorder(new InProcessBackplane({ network, maxMembersPerRoom: 2 }));
    for (const node of [first, second]) await node.backplane.open(node);
    second.backplane.follow('lobby');
    for (const name of ['a', 'b', 'c']) first.backplane.setMember('lobby', name, none);
    await Promise.resolve();
    expect([second.changes, second.backplane.stats().refused]).toEqual([['+a', '+b'], 1]);
  });

  it('agrees on a room after more changes at once than it may have members', async () => {
    const [first, second] = await nodes({ maxMembersPerRoom: 3 });
    second.backplane.follow('lobby');
    first.backplane.setMember('lobby', 'old', none);
    await Promise.resolve();
    for (let index = 0; index < 1_000; index++) {
      first.backplane.setMember('lobby', `${index}`, none);
      if (index < 998) first.backplane.removeMember('lobby', `${index}`);
    }
    first.backplane.removeMember('lobby', 'old');
    await Promise.resolve();
    expect(second.changes).toEqual(['+old', '-old', '+998', '+999']);
    expect(second.backplane.stats().refused).toBe(0);
  });

  it('is alone without a network, and drops what is published before it opens', async () => {
    const alone = new BackplaneRecorder(new InProcessBackplane());
    alone.backplane.publish('news', none);
    expect(alone.backplane.stats().dropped).toBe(1);
    alone.backplane.subscribe('news');
    await alone.backplane.open(alone);
    alone.backplane.publish('news', none);
    await Promise.resolve();
    expect(alone.messages).toEqual([]);
    expect(alone.backplane.nodes()).toEqual([]);
  });

  it('counts what was set up before it opened', async () => {
    const network = new InProcessNetwork();
    const [first, second] = [0, 1].map(() => new BackplaneRecorder(new InProcessBackplane({ network })));
    if (first === undefined || second === undefined) throw new Error('two nodes');
    await second.backplane.open(second);
    second.backplane.follow('lobby');
    first.backplane.setMember('lobby', 'ann', none);
    first.backplane.subscribe('news');
    second.backplane.publish('news', none);
    await Promise.resolve();
    expect(second.changes).toEqual([]);
    await first.backplane.open(first);
    second.backplane.publish('news', none);
    await Promise.resolve();
    expect(second.changes).toEqual(['+ann']);
    expect(first.messages).toHaveLength(1);
  });

  it('refuses wrong options', () => {
    const network = thrownBy(() => new InProcessBackplane({ network: {} as InProcessNetwork }));
    expect(network).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/^InProcessBackplane network: expected an InProcessNetwork/),
    });
    const limit = thrownBy(() => new InProcessBackplane({ maxRooms: 0 }));
    expect(limit).toMatchObject({
      code: 'INVALID_OPTION',
      message: 'InProcessBackplane maxRooms: expected a whole number, 1 or more, given 0',
    });
  });
});
