import { expect, it, vi } from 'vitest';
import { Frame } from '../../src/command/command-handler.ts';
import { withWaterMarks } from '../../src/session/options.ts';
import { eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';

const CLIENTS = 4;
const MESSAGES = 60;

it('znet-knet scenario 38: 100 clients, the sender too, get each broadcast once, encoded once, in the order of the calls', async () => {
  const { hub, knet } = await hubScene({ streamProfile: 'knet' });
  hub.on(1, () => {
    for (let n = 0; n < 10; n++) hub.broadcast(2, String(n));
  });
  const all = await Promise.all(Array.from({ length: 100 }, () => knet()));
  await eventually(() => hub.clients.size === 100, 'all');
  const encode = vi.spyOn(Frame, 'of');
  all[0]?.session.send({ id: 1, payload: Buffer.alloc(0) });
  await Promise.all(all.map(({ recorder }) => recorder.until('message', 10)));
  expect(encode).toHaveBeenCalledTimes(10);
  encode.mockRestore();
  for (const { texts } of all) expect(texts()).toEqual(Array.from({ length: 10 }, (_, n) => `2:${n}`));
});

it('native clients keep what is broadcast in common memory, and away ones get it when they come back', async () => {
  const { hub, client } = await hubScene();
  const [here, away] = [await client().open(), await client().open()];
  away.cut();
  await settle();
  expect(hub.broadcast(1, 'news')).toEqual({ delivered: 1, kept: 1, dropped: 0 });
  expect(hub.broadcast(1, 'soon old', { volatile: true })).toEqual({ delivered: 1, kept: 0, dropped: 1 });
  expect(hub.broadcast(1, 'some', { filter: (one) => one.id === here.welcome?.id })).toEqual({ delivered: 1, kept: 0, dropped: 0 });
  await away.open();
  await eventually(() => away.heard.length === 1 && here.heard.length === 3, 'all');
  expect(away.heard).toEqual(['1:news']);
  expect(here.heard).toEqual(['1:news', '~1:soon old', '1:some']);
  expect(hub.stats().volatileDropped).toBe(1);
});

it('znet-knet scenarios 39 and 40: a client that does not read changes nothing for the others, is closed, and may be killed', async () => {
  const { hub, knet, world, server } = await hubScene({ streamProfile: 'knet', maxPayloadBytes: 100_000 });
  const all = await Promise.all(Array.from({ length: CLIENTS }, () => knet()));
  await eventually(() => hub.clients.size === CLIENTS, 'all');
  world.link(0).stall('client');
  let dropped = 0;
  const others = all.slice(1);
  for (let n = 0; n < MESSAGES; n++) {
    dropped += hub.broadcast(1, String(n).padEnd(90_000, '.')).dropped;
    if (n % 10 === 9) await Promise.all(others.map(({ recorder }) => recorder.until('message', n)));
  }
  await Promise.all(others.map(({ recorder }) => recorder.until('message', MESSAGES)));
  for (const { recorder } of others) {
    expect(recorder.packages.map(({ payload }) => Number.parseInt(String(payload), 10))).toEqual(
      Array.from({ length: MESSAGES }, (_, n) => n),
    );
  }
  await eventually(() => hub.clients.size === CLIENTS - 1, 'the slow one is closed');
  expect(dropped).toBeGreaterThan(0);
  world.link(0).reset('client');
  expect(hub.broadcast(1, 'after')).toEqual({ delivered: CLIENTS - 1, kept: 0, dropped: 0 });
  await hub.close({ drainTimeoutMs: 0 });
  await world.finish(server.close());
  expect(hub.stats().clients).toBe(0);
});

it('a slow native client is closed, kept, and resumes with all that it missed', async () => {
  const { hub, client, world } = await hubScene({ maxRetainedMessages: 10_000, maxRetainedBytes: 100_000_000, maxPayloadBytes: 100_000 });
  const [slow, quick] = [await client().open(), await client().open()];
  world.link(0).stall('client');
  for (let n = 0; n < 100; n++) {
    hub.broadcast(1, String(n).padEnd(60_000, '.'));
    if (n % 10 === 9) await eventually(() => quick.heard.length === n + 1, 'the quick one has it');
  }
  await eventually(() => hub.stats().away === 1, 'the slow one is away');
  await eventually(() => quick.heard.length === 100, 'the other one has all');
  await slow.open();
  expect(slow.welcome?.recovered).toBe(true);
});

it('volatile messages are dropped while a client is above its high-water mark, and counted', async () => {
  const { hub, knet, world } = await hubScene({ streamProfile: 'knet' });
  const { session } = await knet();
  await eventually(() => hub.clients.size === 1, 'the client');
  const [mine] = hub.clients.values();
  mine?.session?.configure(withWaterMarks(10, 20));
  world.link(0).stall('client');
  mine?.send(1, 'x'.repeat(200_000));
  await settle(2);
  expect(mine?.send(1, 'y', { volatile: true })).toBe(false);
  expect(hub.stats().volatileDropped).toBe(1);
  expect(session.isClosed).toBe(false);
});
