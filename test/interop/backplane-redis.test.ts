import { createClient } from '@redis/client';
import { expect, onTestFinished } from 'vitest';
import { newPrefix } from '../helpers/backplane-server.ts';
import { arrives, serverCases } from '../helpers/backplane-server-cases.ts';
import { until } from '../helpers/raw-peer.ts';

serverCases('redis', ({ server, open }, it) => {
  const client = async () => {
    const redis = createClient({ socket: { path: `${server().place}`, tls: false } });
    redis.on('error', () => {});
    onTestFinished(() => redis.destroy());
    await redis.connect();
    return redis;
  };

  it('goes on when a key has the wrong type, by asking the other nodes', async () => {
    const prefix = newPrefix();
    const redis = await client();
    const [first, second] = [await open(prefix), await open(prefix)];
    first.backplane.setMember('lobby', 'ann', Buffer.from('1'));
    first.backplane.register('client');
    await until(() => second.backplane.nodes().length === 1, 'the nodes to know each other');
    await redis.set(`${prefix}:nodes`, 'not a set');
    await redis.set(`${prefix}:node:${first.backplane.nodeId}:room:cellar`, 'not a hash');
    second.backplane.follow('lobby');
    await until(() => second.membersOf('lobby')['ann'] === '1', 'the member');
    expect([...(await second.backplane.members('lobby')).keys()]).toEqual(['ann']);
    expect(await second.backplane.locate('client')).toBe(first.backplane.nodeId);
    second.backplane.follow('cellar');
    first.backplane.setMember('cellar', 'bob', Buffer.from('2'));
    await until(() => second.membersOf('cellar')['bob'] === '2', 'the other member');
    expect(second.errors[0]).toMatchObject({ code: 'BACKPLANE_FAILED' });
    expect(second.errors[0]?.message).toMatch(/presence cannot be kept: WRONGTYPE|presence cannot be kept: .*WRONGTYPE/);
    // What is this node's own is mended with one of the next beats.
    await redis.del(`${prefix}:nodes`);
    const key = `${prefix}:node:${first.backplane.nodeId}:room:cellar`;
    let type = '';
    await until(() => {
      void redis.type(key).then((found) => {
        type = found;
      });
      return type === 'hash';
    }, 'the key to be a hash');
  });

  it('counts junk on its channels, tells of it once, and goes on', async () => {
    const prefix = newPrefix();
    const redis = await client();
    const [first, second] = [await open(prefix), await open(prefix)];
    second.backplane.subscribe('news');
    await arrives(first, second, 'before');
    for (const junk of ['', 'junk', '\u00b7', '{"a":1}', 'x'.repeat(100_000)]) {
      for (const topic of ['n', `n.${second.backplane.nodeId}`, 'c.news']) await redis.publish(`${prefix}:${topic}`, junk);
    }
    await until(() => second.backplane.stats().malformed === 15, 'the junk');
    expect(second.errors.map(({ code }) => code)).toEqual(['PROTOCOL_VIOLATION']);
    await arrives(first, second, 'after');
    expect(second.on('news').filter((text) => !['before', 'after'].includes(text))).toEqual([]);
  });

  it('leaves no key behind: a node that closes takes its own, and the next one those of a dead node', async () => {
    const prefix = newPrefix();
    const redis = await client();
    const keys = async () => (await redis.keys(`${prefix}:*`)).sort();
    await redis.sAdd(`${prefix}:nodes`, 'dead');
    await redis.sAdd(`${prefix}:node:dead:rooms`, 'lobby');
    await redis.hSet(`${prefix}:node:dead:room:lobby`, 'ghost', 'a state of nobody');
    const first = await open(prefix);
    first.backplane.setMember('lobby', 'ann', Buffer.from('1'));
    first.backplane.setMember('cellar', 'bob', Buffer.from('1'));
    first.backplane.removeMember('cellar', 'bob');
    first.backplane.register('client');
    expect([...(await first.backplane.members('lobby')).keys()]).toEqual(['ann']);
    const node = `${prefix}:node:${first.backplane.nodeId}`;
    expect(await keys()).toEqual([node, `${node}:clients`, `${node}:room:lobby`, `${node}:rooms`, `${prefix}:nodes`].sort());
    expect(await redis.sMembers(`${node}:rooms`)).toEqual(['lobby']);
    const leftMs = await redis.pTTL(node);
    expect(leftMs > 0 && leftMs <= 2_000).toBe(true);
    await first.backplane.close();
    expect(await keys()).toEqual([]);
  });
});
