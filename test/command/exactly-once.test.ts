import { expect, it } from 'vitest';
import { Replay } from '../../src/command/replay.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';

/** Small, good, and repeatable: mulberry32. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const MESSAGES = 300;

it.each([1, 2, 3, 4, 5, Date.now() % 1_000_000])(
  'whatever is cut and when, every message of both sides is handled once and in order (seed %i)',
  async (seed) => {
    const next = random(seed);
    const world = new MemoryWorld({ split: 'random', seed });
    const seen: string[] = [];
    const { hub, client } = await hubScene({}, world);
    hub.on(1, (_who, payload) => {
      seen.push(String(payload));
      // Some take their time.
      return Number(String(payload)) % 7 === 0 ? Promise.resolve() : undefined;
    });
    const peer = await client().open();
    const mine = hub.clients.get(peer.welcome?.id ?? '');
    for (let n = 0; n < MESSAGES; n++) {
      peer.send(1, String(n));
      mine?.send(1, String(n));
      if (next() < 0.1) await settle(Math.floor(next() * 4));
      if (next() < 0.03) await world.clock.advance(Math.floor(next() * 1_500));
      if (next() < 0.05) {
        peer.cut();
        await settle(Math.floor(next() * 3));
        await peer.open();
        expect(peer.welcome?.recovered).toBe(true);
      }
    }
    await eventually(() => seen.length >= MESSAGES && peer.heard.length >= MESSAGES, `all has come (seed ${seed})`);
    await settle();
    const all = Array.from({ length: MESSAGES }, (_, n) => String(n));
    expect(seen).toEqual(all);
    expect(peer.heard).toEqual(all.map((n) => `1:${n}`));
    expect(hub.stats().violations).toBe(0);
    expect(mine?.isAlive).toBe(true);
  },
);

it('numbers go on behind the largest: 1 follows 2^32 - 1', () => {
  const limits = { messages: 10, bytes: 1_000, ageMs: 1_000 };
  const [sender, receiver] = [new Replay<{ length: number }>(limits), new Replay<{ length: number }>(limits)];
  // Nobody sends so many in a test: both sides are put to the end of the numbers.
  expect(receiver.expect(1)).toBe(true);
  for (const replay of [sender, receiver]) Object.assign(replay, { receivedSeq: 0xffff_fffe });
  sender.resumed();
  receiver.resumed();
  expect([receiver.received(), receiver.receivedSeq]).toEqual([true, 0xffff_ffff]);
  expect([receiver.received(), receiver.receivedSeq]).toEqual([true, 1]);
  expect(receiver.expect(0xffff_ffff)).toBe(true);
  expect([receiver.received(), receiver.received(), receiver.received()]).toEqual([false, false, true]);
  expect(receiver.receivedSeq).toBe(2);
  expect([receiver.expect(4), receiver.expect(0), receiver.expect(3)]).toEqual([false, false, true]);
});

it('forgets what is acknowledged, too old, too many or too large, and knows what it cannot repeat', () => {
  const replay = new Replay<{ length: number }>({ messages: 3, bytes: 100, ageMs: 50 });
  for (let n = 0; n < 4; n++) replay.sent({ length: 10 }, 0);
  expect([replay.keptMessages, replay.keptBytes, replay.forgotten, replay.oldestSeq]).toEqual([3, 30, 1, 2]);
  expect([replay.canRepeatAfter(0), replay.canRepeatAfter(1), replay.canRepeatAfter(4), replay.canRepeatAfter(5)]).toEqual([
    false,
    true,
    true,
    false,
  ]);
  expect(replay.acknowledged(5)).toBe(false);
  expect(replay.acknowledged(2)).toBe(true);
  expect(replay.keptMessages).toBe(2);
  replay.sent({ length: 95 }, 10);
  expect([replay.keptMessages, replay.forgotten]).toEqual([1, 3]);
  replay.forgetOld(61);
  expect([replay.keptMessages, replay.keptBytes, replay.forgotten, replay.oldestSeq]).toEqual([0, 0, 4, 6]);
  expect(replay.acknowledged(1)).toBe(true);
});
