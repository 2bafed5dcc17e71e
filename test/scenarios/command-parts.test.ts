import { expect, it } from 'vitest';
import { CommandHandler, type CommandMessage } from '../../src/command/command-handler.ts';
import { commandOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { rateLimit } from '../../src/rate-limit/rate-limit.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, Recorder } from '../helpers/session-recorder.ts';

it('a hub goes into a rate limit: who sends too much is closed with 1008, and the hub hears of the end', async () => {
  const world = new MemoryWorld();
  const ends: number[] = [];
  const seen: number[] = [];
  const hub = new CommandHub({ clock: world.clock, streamProfile: 'knet', onDisconnect: (_client, { status }) => void ends.push(status) });
  hub.on(1, (client, payload) => {
    seen.push(payload.length);
    client.send(1, payload);
  });
  const limited = rateLimit<CommandMessage>(hub, { perSession: { messagesPerSecond: 10, burst: 20 } });
  await world.server<CommandMessage, CommandMessage>(hub.codec, hub, [commandOptions(hub, limited)]);
  const [greedy, other] = [new Recorder<CommandMessage>(), new Recorder<CommandMessage>()];
  const [one, two] = [await world.connect(new CommandHandler(), greedy), await world.connect(new CommandHandler(), other)];
  for (let n = 0; n < 25; n++) one.send({ id: 1, payload: Buffer.alloc(1) });
  two.send({ id: 1, payload: Buffer.alloc(1) });
  await greedy.until('close');
  await eventually(() => ends.length === 1, 'the end');
  await other.until('message');
  expect(seen).toHaveLength(21);
  expect(ends).toEqual([1008]);
  expect(hub.stats().clients).toBe(1);
});

it('users of one hub over two endpoints meet in one room', async () => {
  const worlds = [new MemoryWorld(), new MemoryWorld()];
  const [first] = worlds;
  const hub = new CommandHub({
    ...(first === undefined ? {} : { clock: first.clock }),
    streamProfile: 'knet',
    onConnect: (client) => void hub.room('a').join(client),
  });
  const recorders: Recorder<CommandMessage>[] = [];
  for (const world of worlds) {
    await world.server<CommandMessage, CommandMessage>(hub.codec, hub, [commandOptions(hub)]);
    const recorder = new Recorder<CommandMessage>();
    recorders.push(recorder);
    await world.connect(new CommandHandler(), recorder);
  }
  await eventually(() => hub.room('a').size === 2, 'both');
  expect(hub.room('a').broadcast(7, 'both')).toEqual({ delivered: 2, kept: 0, dropped: 0 });
  for (const recorder of recorders) {
    await recorder.until('message');
    expect(recorder.packages.map(({ id, payload }) => `${id}:${payload}`)).toEqual(['7:both']);
  }
});
