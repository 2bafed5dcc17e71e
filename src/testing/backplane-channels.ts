import assert from 'node:assert/strict';
import { ConfigError, StateError } from '../base/errors.ts';
import { type BackplaneCase, type BackplaneHarness, bytesOf } from './backplane-scene.ts';

/** Names that a server might take for something else. */
const ODD_NAMES = ['a b', 'a.b', '*', '>', '$SYS.x', 'ä', '😀', '[a-z]?', '\u0000\r\n', 'x'.repeat(256), 'é'.repeat(128)];

/** Messages come in order, at most once, to those who subscribed; what is missing is told; nothing is unbounded. */
export function channelCases(it: BackplaneCase, { isLossy = false, messages = 2000 }: BackplaneHarness): void {
  it('delivers the messages of each node in order, at most once, and tells what is missing', async (scene) => {
    const [first, second, third] = await scene.open(3);
    assert.ok(first && second && third);
    third.backplane.subscribe('news');
    await scene.hears(third, first, 'news');
    await scene.hears(third, second, 'news');
    for (let index = 0; index < messages; index++) {
      first.backplane.publish('news', bytesOf(`1 ${index}`));
      if (index % 2 === 0) second.backplane.publish('news', bytesOf(`2 ${index / 2}`));
      if (index % 500 === 0) await scene.service.turn?.();
    }
    const total = messages + Math.ceil(messages / 2);
    // A message that opened the channel may come late.
    const arrived = (): number => (third.messages.length < total / 2 ? 0 : third.on('news').filter((text) => /^\d /.test(text)).length);
    await scene.until(
      () => (isLossy || third.messages.length >= total) && arrived() + (isLossy ? third.missed : 0) >= total,
      'all messages to arrive or to be missed',
    );
    for (const sender of ['1', '2']) {
      const numbers = third
        .on('news')
        .filter((text) => text.startsWith(`${sender} `))
        .map((text) => Number(text.slice(2)));
      assert.ok(
        numbers.every((number, index) => index === 0 || number > (numbers[index - 1] ?? -1)),
        `the messages of node ${sender} are in order`,
      );
    }
    if (!isLossy) assert.equal(arrived(), total);
    assert.deepEqual(first.messages, []);
  });

  it('counts subscriptions, and delivers nothing without one', async (scene) => {
    const [first, second] = await scene.open(2);
    assert.ok(first && second);
    assert.equal(second.backplane.subscribe('a'), true);
    second.backplane.subscribe('a');
    second.backplane.subscribe('b');
    await scene.hears(second, first, 'a');
    await scene.hears(second, first, 'b');
    second.backplane.unsubscribe('a');
    await scene.hears(second, first, 'a');
    second.backplane.unsubscribe('a');
    second.backplane.unsubscribe('a');
    first.backplane.publish('a', bytesOf('no'));
    first.backplane.publish('c', bytesOf('no'));
    await scene.hears(second, first, 'b');
    assert.deepEqual(second.on('a'), []);
    assert.deepEqual(second.on('c'), []);
    assert.equal(second.backplane.stats().channels, 1);
  });

  it('delivers bytes of every size up to the limit, and tells of one more', async (scene) => {
    if (isLossy) return;
    const [first, second] = await scene.open(2, { maxMessageBytes: 100_000 });
    assert.ok(first && second);
    second.backplane.subscribe('sizes');
    await scene.hears(second, first, 'sizes');
    const sizes = [0, 1, 2, 255, 256, 65_535, 65_536, 100_000];
    for (const size of sizes) first.backplane.publish('sizes', Buffer.alloc(size, size % 251));
    first.backplane.publish('sizes', Buffer.alloc(100_001));
    await scene.until(() => second.messages.length === sizes.length, 'all sizes');
    const expected = sizes.map((size) => Buffer.alloc(size, size % 251).toString('latin1'));
    assert.ok(second.on('sizes').every((text, index) => text === expected[index]));
    assert.equal(first.backplane.stats().tooLarge, 1);
    const [error] = first.errors;
    assert.equal(error?.code, 'ENCODED_TOO_LARGE');
    assert.equal(error?.message, 'publish: expected at most 100000 bytes, given 100001');
  });

  it('takes every name of 1 to 256 bytes for a channel, a room, a member and a client', async (scene) => {
    if (isLossy) return;
    const [first, second] = await scene.open(2);
    assert.ok(first && second);
    for (const name of ODD_NAMES) {
      second.backplane.subscribe(name);
      second.backplane.follow(name);
      first.backplane.setMember(name, name, bytesOf(name.slice(0, 1)));
      first.backplane.register(name);
    }
    for (const name of ODD_NAMES) {
      await scene.hears(second, first, name);
      await scene.until(() => second.rooms.get(name)?.has(name) === true, `the member ${name}`);
      await scene.locates(second, name, first);
    }
    const { backplane } = first;
    const calls: ((name: string) => unknown)[] = [
      (name) => backplane.publish(name, bytesOf('')),
      (name) => backplane.subscribe(name),
      (name) => backplane.follow(name),
      (name) => backplane.setMember(name, 'x', bytesOf('')),
      (name) => backplane.setMember('x', name, bytesOf('')),
      (name) => backplane.register(name),
    ];
    for (const call of calls) {
      for (const name of ['', 'x'.repeat(257), 'é'.repeat(129)]) {
        assert.throws(
          () => call(name),
          (thrown) => thrown instanceof ConfigError && /expected a string of 1 to 256 bytes/.test(thrown.message),
        );
      }
    }
  });

  it('sends to one node, whatever that one subscribed to, and to nobody when it is not there', async (scene) => {
    if (isLossy) return;
    const [first, second, third] = await scene.open(3);
    assert.ok(first && second && third);
    for (const node of [second, third]) node.backplane.subscribe('all');
    for (const node of [second, third]) await scene.hears(node, first, 'all');
    for (let index = 0; index < 100; index++) first.backplane.publishTo(second.backplane.nodeId, 'you', bytesOf(`${index}`));
    first.backplane.publishTo('nobody', 'you', bytesOf('nobody'));
    first.backplane.publishTo(first.backplane.nodeId, 'you', bytesOf('me'));
    await scene.until(() => second.on('you').length === 100, 'the messages to one node');
    assert.deepEqual(
      second.on('you'),
      Array.from({ length: 100 }, (_, index) => `${index}`),
    );
    await scene.hears(third, first, 'all');
    assert.deepEqual(third.on('you'), []);
    assert.deepEqual(first.messages, []);
  });

  it('opens once, refuses what is above its limits, and is safe after close', async (scene) => {
    const [node] = await scene.open(1, { maxChannels: 2, maxRooms: 2, maxMembersPerRoom: 2, maxClients: 2, maxStateBytes: 4 });
    assert.ok(node);
    const { backplane } = node;
    await assert.rejects(backplane.open(node), (thrown) => thrown instanceof StateError && thrown.code === 'WRONG_STATE');
    assert.deepEqual(
      ['a', 'b', 'c', 'a'].map((name) => backplane.subscribe(name)),
      [true, true, false, true],
    );
    assert.deepEqual(
      ['a', 'b', 'c', 'a'].map((name) => backplane.follow(name)),
      [true, true, false, true],
    );
    assert.deepEqual(
      ['a', 'b', 'c', 'a'].map((name) => backplane.register(name)),
      [true, true, false, true],
    );
    assert.deepEqual(
      ['1', '2', '3', '1'].map((id) => backplane.setMember('a', id, bytesOf(''))),
      [true, true, false, true],
    );
    assert.deepEqual(
      ['b', 'c'].map((room) => backplane.setMember(room, '1', bytesOf(''))),
      [true, false],
    );
    assert.equal(backplane.setMember('a', '1', bytesOf('12345')), false);
    assert.equal(backplane.stats().refused, 6);
    assert.deepEqual(await scene.membersOf(node, 'a'), { 1: '', 2: '' });

    await scene.settled(backplane.close());
    await scene.settled(backplane.close());
    assert.equal(backplane.isUp, false);
    backplane.publish('a', bytesOf('x'));
    backplane.publishTo('x', 'a', bytesOf('x'));
    assert.equal(backplane.subscribe('a'), false);
    backplane.unsubscribe('a');
    assert.equal(backplane.follow('a'), false);
    backplane.unfollow('a');
    assert.equal(backplane.setMember('a', '1', bytesOf('')), false);
    backplane.removeMember('a', '1');
    assert.equal(backplane.register('a'), false);
    backplane.unregister('a');
    assert.deepEqual(await scene.membersOf(node, 'a'), {});
    assert.equal(await scene.settled(backplane.locate('a')), undefined);
    assert.deepEqual(backplane.nodes(), []);
    await assert.rejects(backplane.open(node), (thrown) => thrown instanceof StateError && thrown.code === 'WRONG_STATE');
  });

  it('goes on when the sink throws', async (scene) => {
    if (isLossy) return;
    const [first, second] = await scene.open(2);
    assert.ok(first && second);
    second.failure = new Error('the sink of a test');
    second.backplane.subscribe('news');
    second.backplane.follow('lobby');
    await scene.hears(second, first, 'news');
    first.backplane.setMember('lobby', 'ann', bytesOf(''));
    await scene.tells(second, 'lobby', { ann: '' });
    first.backplane.publish('news', bytesOf('after'));
    await scene.until(() => second.on('news').includes('after'), 'the message after that');
  });
}
