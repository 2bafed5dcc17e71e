import { expect, it } from 'vitest';
import type { Client } from '../../src/command/client.ts';
import { CommandHandler } from '../../src/command/command-handler.ts';
import type { Disconnect } from '../../src/command/hub-options.ts';
import { COMMAND_ID, encodeJson, encodeMessage, encodeSeq } from '../../src/command/wire.ts';
import { eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';
import { NativeClient } from './native-client.ts';

function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => `1:${from + index}`);
}

it('znet-knet scenario 57: 100 messages sent during a cut of 2 s arrive once, in order, with the same id and rooms', async () => {
  const away: string[] = [];
  const back: string[] = [];
  const { hub, world, client } = await hubScene({
    onConnect: (who) => void hub.room('lobby').join(who),
    onAway: (who) => void away.push(who.id),
    onResume: (who) => void back.push(who.id),
  });
  const peer = await client().open();
  const id = peer.welcome?.id ?? '';
  const mine = hub.clients.get(id);
  mine?.send(1, 'before');
  await eventually(() => peer.heard.length === 1, 'the first message');
  peer.cut();
  await eventually(() => away.length === 1, 'the loss is known');
  expect(mine?.session).toBeUndefined();
  expect(mine?.isAlive).toBe(true);
  for (let n = 0; n < 100; n++) mine?.send(1, String(n));
  await world.clock.advance(2_000);
  await peer.open();
  expect(peer.welcome).toMatchObject({ id, recovered: true, rooms: ['lobby'] });
  await eventually(() => peer.heard.length >= 101, 'all has come');
  expect(peer.heard).toEqual(['1:before', ...numbers(100)]);
  expect(back).toEqual([id]);
  expect(hub.stats()).toMatchObject({ resumed: 1, clients: 1, away: 0, expired: 0 });
});

it('znet-knet scenario 57: a cut longer than the retention is not recovered, and is a new client', async () => {
  const ends: [string, Disconnect][] = [];
  const { hub, world, client } = await hubScene({ retentionMs: 5_000, onDisconnect: (who, end) => void ends.push([who.id, end]) });
  const peer = await client().open();
  const id = peer.welcome?.id ?? '';
  const mine = hub.clients.get(id);
  peer.cut();
  await settle();
  await world.clock.advance(7_000);
  expect(ends).toEqual([[id, expect.objectContaining({ status: 1006, by: 'network', wasClean: false })]]);
  expect(mine?.isAlive).toBe(false);
  expect(mine?.signal.aborted).toBe(true);
  await peer.open();
  expect(peer.welcome?.recovered).toBe(false);
  expect(peer.welcome?.id).not.toBe(id);
  expect(hub.stats()).toMatchObject({ expired: 1, unresumed: 1, resumed: 0, clients: 1 });
});

it('keeps at most so many messages of a client that is away: after that it cannot resume, and the forgotten ones are counted', async () => {
  const { hub, client } = await hubScene({ maxRetainedMessages: 10 });
  const peer = await client().open();
  const mine = hub.clients.get(peer.welcome?.id ?? '');
  peer.cut();
  await settle();
  for (let n = 0; n < 11; n++) mine?.send(1, String(n));
  expect(hub.stats().forgotten).toBe(1);
  await peer.open();
  expect(peer.welcome?.recovered).toBe(false);
  expect(mine?.isAlive).toBe(false);
});

it('keeps at most so many bytes of a client that is away', async () => {
  const { hub, client } = await hubScene({ maxRetainedBytes: 1_000 });
  const peer = await client().open();
  const mine = hub.clients.get(peer.welcome?.id ?? '');
  peer.cut();
  await settle();
  mine?.send(1, 'x'.repeat(600));
  mine?.send(1, 'y'.repeat(600));
  expect(hub.stats().forgotten).toBe(1);
});

it('keeps at most so many clients that are away: the one that is away longest has to go', async () => {
  const ended: string[] = [];
  const { hub, client } = await hubScene({ maxAwayClients: 2, onDisconnect: (who) => void ended.push(who.id) });
  const peers = [await client().open(), await client().open(), await client().open()];
  for (const peer of peers) {
    peer.cut();
    await settle();
  }
  expect(ended).toEqual([peers[0]?.welcome?.id]);
  expect(hub.stats()).toMatchObject({ evicted: 1, away: 2, clients: 2 });
});

it('a newer connection with the same token takes over, and the old one is told 4409', async () => {
  const { hub, client, world } = await hubScene();
  const first = await client().open();
  const mine = hub.clients.get(first.welcome?.id ?? '');
  const second = new NativeClient(world);
  second.token = first.token;
  await second.open();
  expect(second.welcome).toMatchObject({ recovered: true, id: first.welcome?.id });
  await eventually(() => first.closes.length === 1, 'the old connection is closed');
  expect(first.goodbyes).toEqual([expect.objectContaining({ status: 4409 })]);
  expect(mine?.isAlive).toBe(true);
  mine?.send(1, 'here');
  await eventually(() => second.heard.length === 1, 'the message');
  expect(first.heard).toEqual([]);
});

it('a token is good for a second try when the WELCOME with the next one was lost', async () => {
  const { hub, world, client } = await hubScene();
  const peer = await client().open();
  const { token } = peer;
  peer.cut();
  const deaf = await world.connect(new CommandHandler(), { onMessage: () => {} });
  deaf.send({ id: COMMAND_ID.HELLO, payload: encodeJson({ v: 1, token, received: 0 }) });
  await eventually(() => hub.stats().resumed === 1, 'the server has resumed');
  deaf.destroy();
  await peer.open();
  expect(peer.welcome?.recovered).toBe(true);
  peer.cut();
  peer.token = token;
  await peer.open();
  expect(peer.welcome?.recovered).toBe(false);
});

it('a client that cannot repeat what the server lacks is not recovered', async () => {
  const { hub, world } = await hubScene();
  const peer = await new NativeClient(world, { messages: 3, bytes: 1_000_000, ageMs: 1_000_000 }).open();
  peer.cut();
  await settle();
  for (let n = 0; n < 5; n++) peer.replay.sent({ length: 1 } as never, 0);
  await peer.open();
  expect(peer.welcome?.recovered).toBe(false);
  expect(hub.stats().unresumed).toBe(1);
});

it('without retention there is no token, and a cut is the end', async () => {
  const ends: Disconnect[] = [];
  const { client } = await hubScene({ retentionMs: 0, onDisconnect: (_who, end) => void ends.push(end) });
  const peer = await client().open();
  expect(peer.welcome?.token).toBeUndefined();
  peer.cut();
  await eventually(() => ends.length === 1, 'the end');
});

it('acknowledges after 32 messages, and one second after the first that was not', async () => {
  const { hub, client, world } = await hubScene();
  hub.on(1, () => {});
  const peer = await client().open();
  for (let n = 0; n < 32; n++) peer.send(1, String(n));
  await eventually(() => peer.acks === 1, 'an ACK');
  expect(peer.replay.keptMessages).toBe(0);
  peer.send(1, 'one more');
  await settle();
  expect(peer.acks).toBe(1);
  await world.clock.advance(1_100);
  await settle();
  expect(peer.acks).toBe(2);
  expect(peer.replay.keptMessages).toBe(0);
});

it('the order of a client holds over a change of connection: its running handler is waited for', async () => {
  const seen: string[] = [];
  const gates: (() => void)[] = [];
  const { hub, client } = await hubScene();
  hub.on(1, async (_who: Client, payload) => {
    seen.push(`begin ${Buffer.from(payload)}`);
    await new Promise<void>((resolve) => gates.push(resolve));
    seen.push(`end ${Buffer.from(payload)}`);
  });
  const peer = await client().open();
  peer.send(1, 'a');
  await eventually(() => gates.length === 1, 'the first runs');
  peer.cut();
  await settle();
  await peer.open();
  peer.send(1, 'b');
  await settle();
  expect(seen).toEqual(['begin a']);
  gates[0]?.();
  await eventually(() => gates.length === 2, 'the second runs');
  gates[1]?.();
  await eventually(() => seen.length === 4, 'both have ended');
  expect(seen).toEqual(['begin a', 'end a', 'begin b', 'end b']);
});

it('a client that repeats what the server has is not handled twice', async () => {
  const seen: string[] = [];
  const { hub, client } = await hubScene();
  hub.on(1, (_who, payload) => void seen.push(String(payload)));
  const peer = await client().open();
  for (const text of ['a', 'b', 'c']) peer.send(1, text);
  peer.control(encodeSeq(COMMAND_ID.SEQ, 2));
  for (const text of ['b', 'c', 'd']) peer.control(encodeMessage(1, Buffer.from(text)));
  await eventually(() => seen.length === 4, 'all');
  expect(seen).toEqual(['a', 'b', 'c', 'd']);
  expect(hub.stats()).toMatchObject({ repeated: 2, violations: 0 });
});
