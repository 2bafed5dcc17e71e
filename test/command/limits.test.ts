import { expect, it, vi } from 'vitest';
import type { Client } from '../../src/command/client.ts';
import type { CommandHub } from '../../src/command/hub.ts';
import { KEPT_ENTRY_BYTES } from '../../src/command/retention.ts';
import { COMMAND_ID, encodeCredit, encodeRoom, encodeVolatile } from '../../src/command/wire.ts';
import { Session } from '../../src/session/session.ts';
import { eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';
import type { NativeClient } from './native-client.ts';

function clientOf(hub: CommandHub, peer: NativeClient): Client {
  const client = hub.clients.get(peer.welcome?.id ?? '');
  if (client === undefined) throw new Error('no client');
  return client;
}

const HEADER = 8;

it('bytes kept for several clients count once, and no more once the clients have them or are over', async () => {
  const { hub, client } = await hubScene();
  const peers = [await client().open(), await client().open()];
  for (const peer of peers) peer.cut();
  await eventually(() => hub.stats().away === 2, 'both are away');
  hub.broadcast(1, 'x'.repeat(1_000));
  expect(hub.stats().retainedBytes).toBe(1_000 + HEADER + 2 * KEPT_ENTRY_BYTES);
  await peers[0]?.open();
  peers[0]?.control(Buffer.from('fffffff400000001', 'hex'));
  await eventually(() => hub.stats().retainedBytes === 1_000 + HEADER + KEPT_ENTRY_BYTES, 'the acknowledgement');
  for (const one of hub.clients.values()) one.close();
  expect(hub.stats().retainedBytes).toBe(0);
});

it('above maxTotalRetainedBytes those that are away longest can resume no more, and nothing is kept for them', async () => {
  const { hub, client } = await hubScene({ maxTotalRetainedBytes: 10_000 });
  const [first, second, third] = [await client().open(), await client().open(), await client().open()];
  // This one has its message, and has not acknowledged it.
  clientOf(hub, first).send(1, 'x'.repeat(3_000));
  await eventually(() => first.heard.length === 1, 'the message');
  for (const peer of [first, second, third]) {
    peer.cut();
    await settle();
  }
  for (const peer of [second, third]) clientOf(hub, peer).send(1, 'x'.repeat(3_000));
  expect(hub.stats()).toMatchObject({ retentionCuts: 0, forgotten: 0 });
  expect(clientOf(hub, third).send(1, 'y'.repeat(1_000))).toBe(true);
  expect(hub.stats()).toMatchObject({ retentionCuts: 1, forgotten: 1, away: 3, retainedBytes: 7_000 + 3 * (HEADER + KEPT_ENTRY_BYTES) });
  expect(clientOf(hub, first).send(1, 'z')).toBe(false);
  expect(hub.stats()).toMatchObject({ unsent: 1, retainedBytes: 7_000 + 3 * (HEADER + KEPT_ENTRY_BYTES) });
  await first.open();
  await third.open();
  expect([first.welcome?.recovered, third.welcome?.recovered]).toEqual([false, true]);
  await eventually(() => third.heard.length === 2, 'what was kept');
});

it('above maxTotalRetainedBytes a client that is there loses its oldest, when none is away, and gets everything all the same', async () => {
  const { hub, client } = await hubScene({ maxTotalRetainedBytes: 10_000 });
  const peer = await client().open();
  const mine = clientOf(hub, peer);
  for (let n = 0; n < 20; n++) mine.send(1, String(n).padEnd(1_000, '.'));
  expect(hub.stats().retainedBytes).toBeLessThanOrEqual(10_000);
  expect(hub.stats().retentionCuts).toBeGreaterThan(0);
  expect(hub.stats().forgotten).toBeGreaterThanOrEqual(10);
  await eventually(() => peer.heard.length === 20, 'all');
  expect(hub.stats()).toMatchObject({ clients: 1, violations: 0 });
});

it('znet-knet scenario 39: a frozen native client is closed SLOW, is away, and costs no more than what is kept for it', async () => {
  const away: string[] = [];
  const { hub, client, world } = await hubScene({
    maxPayloadBytes: 100_000,
    maxRetainedMessages: 20,
    onAway: (who) => void away.push(who.id),
  });
  const [slow, quick] = [await client().open(), await client().open()];
  const session = clientOf(hub, slow).session;
  world.link(0).stall('client');
  let [delivered, kept] = [0, 0];
  for (let n = 0; n < 100; n++) {
    const result = hub.broadcast(1, String(n).padEnd(60_000, '.'));
    delivered += result.delivered;
    kept += result.kept;
    if (n % 10 === 9) await eventually(() => quick.heard.length === n + 1, 'the quick one has it');
  }
  await eventually(() => away.length === 1, 'the slow one is away');
  expect((await session?.closed)?.error?.code).toBe('SLOW_READER');
  expect([away, delivered + kept]).toEqual([[slow.welcome?.id], 200]);
  expect(kept).toBeGreaterThan(10);
  const stats = hub.stats();
  // The hundred less the twenty that are kept; the quick one acknowledges in time, every 32, so that it loses some of them too.
  expect(stats.forgotten).toBeGreaterThanOrEqual(80);
  expect(stats.retainedBytes).toBeLessThanOrEqual(40 * 60_050);
  expect(stats).toMatchObject({ clients: 2, away: 1, dead: 0, unsent: 0 });
  await slow.open();
  expect(slow.welcome?.recovered).toBe(false);
  expect(hub.stats()).toMatchObject({ clients: 2, away: 0, unresumed: 1 });
});

it('the largest payload arrives in each kind of message, and one byte more is refused before it is sent', async () => {
  const max = 5_000;
  const { hub, client } = await hubScene({ maxPayloadBytes: max });
  const peer = await client().open();
  const mine = clientOf(hub, peer);
  const room = hub.room('häuser');
  room.join(mine);
  const calls: number[] = [];
  peer.onCall = (_call, _id, text) => void calls.push(text.length);
  const kinds: readonly [wrapBytes: number, send: (payload: Uint8Array) => unknown][] = [
    [0, (payload) => mine.send(1, payload)],
    [4, (payload) => mine.send(1, payload, { volatile: true })],
    [4, (payload) => hub.broadcast(1, payload, { volatile: true })],
    [5 + 7, (payload) => room.broadcast(1, payload)],
    [4 + 5 + 7, (payload) => room.broadcast(1, payload, { volatile: true })],
  ];
  for (const [wrapBytes, send] of kinds) {
    send(Buffer.alloc(max - wrapBytes));
    expect(() => send(Buffer.alloc(max - wrapBytes + 1))).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
  }
  mine.call(1, Buffer.alloc(max - 8)).catch(() => {});
  await expect(mine.call(1, Buffer.alloc(max - 7))).rejects.toMatchObject({ code: 'ENCODED_TOO_LARGE' });
  expect(() => mine.stream(1, Buffer.alloc(max - 7))).toThrow(/^failed to encode message: expected a payload of at most 4992 bytes/);
  await eventually(() => peer.heard.length === kinds.length && calls.length === 1, 'all of them');
  expect([peer.heard.map((text) => text.replace(/^.*?:/, '').length), calls]).toEqual([[5_000, 4_996, 4_996, 4_988, 4_984], [4_992]]);
  expect(peer.closes).toEqual([]);
});

it('znet-knet scenario 59: a volatile message for a room is passed on as a volatile one', async () => {
  const { hub, client } = await hubScene({ authorizeRoomMessage: () => true });
  const [ann, bob] = [await client().open(), await client().open()];
  for (const peer of [ann, bob]) hub.room('a').join(clientOf(hub, peer));
  ann.control(encodeVolatile(COMMAND_ID.ROOM, encodeRoom('a', 1, Buffer.from('typing')).subarray(4)));
  await eventually(() => bob.heard.length === 1, 'the message');
  expect(bob.heard[0]).toMatch(/^~/);
  ann.control(encodeVolatile(0xfffffffd, Buffer.from('free')));
  ann.control(encodeVolatile(COMMAND_ID.RPC, Buffer.from('not free')));
  await eventually(() => ann.closes.length === 1, 'the end');
  expect(hub.stats()).toMatchObject({ unknown: 1, violations: 1 });
});

it('credit that comes again and again while a client does not read makes nothing wait more than once', async () => {
  const { hub, client, world } = await hubScene();
  hub.handle(1, async function* () {
    for (let n = 0; n < 1_000; n++) yield Buffer.alloc(100_000);
  });
  const peer = await client().open();
  const drained = vi.spyOn(Session.prototype, 'drained');
  world.link(0).stall('client');
  const call = peer.call(1, '', 100);
  await eventually(() => drained.mock.calls.length > 0, 'the queue is full');
  for (let n = 0; n < 500; n++) {
    peer.counted(encodeCredit(call, 1));
    if (n % 50 === 49) await settle();
  }
  await settle();
  expect(drained).toHaveBeenCalledTimes(1);
  drained.mockRestore();
});

it('a stream goes on when the queue has come down, whatever else comes', async () => {
  const { hub, client, world } = await hubScene({ retentionMs: 0 });
  hub.handle(1, async function* () {
    for (let n = 0; n < 20; n++) yield Buffer.alloc(100_000);
  });
  const peer = await client().open();
  world.link(0).stall('client');
  const call = peer.call(1, '', 100);
  await settle();
  expect(peer.replies.get(call)?.length ?? 0).toBeLessThan(20);
  world.link(0).unstall('client');
  expect(await peer.repliesTo(call, 21)).toHaveLength(21);
});

it('presence that is too large for one message comes in several', async () => {
  const { hub, client, world } = await hubScene({ maxPayloadBytes: 3_000, authorizeJoin: () => true });
  const peers: NativeClient[] = [];
  for (let n = 0; n < 10; n++) peers.push(await client().open());
  for (const peer of peers) hub.room('a').join(clientOf(hub, peer), 'x'.repeat(300));
  await world.clock.advance(100);
  await settle();
  const late = await client().open();
  const [reply] = await late.repliesTo(late.callJson(COMMAND_ID.JOIN, { room: 'a', state: null }));
  const { members } = JSON.parse(reply?.text ?? '') as { members: object };
  expect(Object.keys(members).length).toBeLessThan(11);
  await world.clock.advance(20);
  await settle();
  const told = new Set(late.presence.flatMap(({ all, joined }) => Object.keys({ ...all, ...joined })));
  expect([told.size, late.presence.length >= 2, late.closes]).toEqual([11, true, []]);
  const again = await client().open({ rooms: [{ name: 'a' }] });
  await eventually(
    () => new Set(again.presence.flatMap(({ all, joined }) => Object.keys({ ...all, ...joined }))).size === 12,
    'all of the room again',
  );
});

it('presence is told before its time when too many changes wait', async () => {
  const { hub, client } = await hubScene({ presenceDelayMs: 1_000_000 });
  const peer = await client().open();
  const room = hub.room('a');
  for (let n = 0; n < 10_000; n++) room.join(clientOf(hub, peer), n);
  await eventually(() => peer.presence.length === 1, 'the presence');
  expect(peer.presence[0]?.joined).toEqual({ [peer.welcome?.id ?? '']: 9_999 });
  expect(hub.stats().presenceFlushes).toBe(1);
});

it('a failed stream tells its error once, to the first that waits; too many that wait are refused', async () => {
  const { hub, client, world } = await hubScene();
  const peer = await client().open();
  const items = clientOf(hub, peer).stream(1, '', { timeoutMs: 100 });
  const waiting = Promise.allSettled(Array.from({ length: 1_025 }, () => items.next()));
  await world.clock.advance(200);
  const results = await waiting;
  expect(results[0]).toMatchObject({ status: 'rejected', reason: { code: 'CALL_TIMEOUT' } });
  expect(results.slice(1, 1_024)).toEqual(Array(1_023).fill({ status: 'fulfilled', value: { value: undefined, done: true } }));
  expect(results[1_024]).toMatchObject({ status: 'rejected', reason: { code: 'WRONG_STATE' } });
  expect(await items.next()).toEqual({ value: undefined, done: true });
});

it.each([
  ['nesting', '{"v":1,"auth":'.concat('['.repeat(100), ']'.repeat(100), '}')],
  ['__proto__', '{"v":1,"auth":{"__proto__":{"isAdmin":true}}}'],
])('a HELLO with %s is refused before anybody looks at it', async (_what, text) => {
  const { hub, client } = await hubScene({ authenticate: () => Promise.reject(new Error('was asked')) });
  const peer = client();
  await peer.connect();
  peer.control(Buffer.concat([Buffer.from('fffffff0', 'hex'), Buffer.from(text)]));
  await eventually(() => peer.closes.length === 1, 'the end');
  expect(peer.goodbyes).toEqual([expect.objectContaining({ status: 4400 })]);
  expect(hub.stats()).toMatchObject({ violations: 1, failures: 0 });
});
