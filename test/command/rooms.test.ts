import { expect, it } from 'vitest';
import { InProcessBackplane } from '../../src/backplane/in-process.ts';
import { InProcessNetwork } from '../../src/backplane/in-process-network.ts';
import type { Client } from '../../src/command/client.ts';
import type { CommandHub } from '../../src/command/hub.ts';
import { COMMAND_ID, encodeRoom } from '../../src/command/wire.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';
import type { NativeClient } from './native-client.ts';

function clientOf(hub: CommandHub, peer: NativeClient): Client {
  const client = hub.clients.get(peer.welcome?.id ?? '');
  if (client === undefined) throw new Error('no client');
  return client;
}

it('znet-knet scenario 59: a room reaches its members, without the sender when asked, and no more after leaving', async () => {
  const { hub, client } = await hubScene({ streamProfile: 'native' });
  const [ann, bob, eve] = [await client().open(), await client().open(), await client().open()];
  const room = hub.room('a');
  expect([room.join(clientOf(hub, ann)), room.join(clientOf(hub, bob)), room.size]).toEqual([true, true, 2]);
  expect(room.broadcast(1, 'all')).toEqual({ delivered: 2, kept: 0, dropped: 0 });
  room.broadcast(1, 'not ann', { except: clientOf(hub, ann) });
  await eventually(() => bob.heard.length === 2, 'both');
  expect([ann.heard, bob.heard, eve.heard]).toEqual([['a/1:all'], ['a/1:all', 'a/1:not ann'], []]);
  expect([room.leave(clientOf(hub, bob)), room.leave(clientOf(hub, bob)), room.has(clientOf(hub, bob))]).toEqual([true, false, false]);
  room.broadcast(1, 'ann alone');
  await eventually(() => ann.heard.length === 2, 'the last');
  expect(bob.heard).toHaveLength(2);
  expect(room.clients).toEqual([clientOf(hub, ann)]);
});

it('znet-knet scenario 59: clients join when they are allowed to, are told who is there, and of each change once', async () => {
  const { hub, client, world } = await hubScene({ authorizeJoin: (_who, room) => room !== 'secret' });
  const [ann, bob] = [await client().open(), await client().open()];
  const [annId, bobId] = [ann.welcome?.id ?? '', bob.welcome?.id ?? ''];
  const [joined] = await ann.repliesTo(ann.callJson(COMMAND_ID.JOIN, { room: 'a', state: { name: 'ann' } }));
  expect(JSON.parse(joined?.text ?? '')).toEqual({ members: { [annId]: { name: 'ann' } } });
  const [both] = await bob.repliesTo(bob.callJson(COMMAND_ID.JOIN, { room: 'a' }));
  expect(JSON.parse(both?.text ?? '')).toEqual({ members: { [annId]: { name: 'ann' }, [bobId]: null } });
  expect(await bob.failureOf(bob.callJson(COMMAND_ID.JOIN, { room: 'secret' }))).toMatchObject({ code: 'FORBIDDEN' });
  expect(await bob.failureOf(bob.callJson(COMMAND_ID.JOIN, { room: 'x'.repeat(129) }))).toMatchObject({ code: 'INVALID' });
  await world.clock.advance(60);
  await settle();
  ann.callJson(COMMAND_ID.STATE, { room: 'a', state: { name: 'anna' } });
  await settle();
  await world.clock.advance(60);
  await settle();
  bob.callJson(COMMAND_ID.LEAVE, { room: 'a' });
  await settle();
  await world.clock.advance(60);
  await eventually(() => ann.presence.length === 3, 'three changes');
  expect(ann.presence).toEqual([
    { room: 'a', joined: { [annId]: { name: 'ann' }, [bobId]: null } },
    { room: 'a', joined: { [annId]: { name: 'anna' } } },
    { room: 'a', left: [bobId] },
  ]);
  expect(await bob.failureOf(bob.callJson(COMMAND_ID.STATE, { room: 'a' }))).toMatchObject({ code: 'FORBIDDEN' });
  expect(hub.stats().joinsRefused).toBe(1);
});

it('znet-knet scenario 59: a client that is not recovered joins again by HELLO, and learns who is there', async () => {
  const { client } = await hubScene({ authorizeJoin: () => true, retentionMs: 0 });
  const ann = await client().open({ rooms: [{ name: 'a', state: 1 }] });
  const bob = await client().open({ rooms: [{ name: 'a', state: 2 }, { name: 'b' }] });
  expect(bob.welcome?.rooms).toEqual(['a', 'b']);
  await eventually(() => bob.presence.length === 2, 'both rooms');
  expect(bob.presence[0]).toEqual({ room: 'a', all: { [ann.welcome?.id ?? '']: 1, [bob.welcome?.id ?? '']: 2 } });
});

it('znet-knet scenario 59: a member that crashes leaves when its time is over, and the others learn it', async () => {
  const changes: (readonly string[])[] = [];
  const { hub, client, world } = await hubScene({ retentionMs: 3_000, onPresence: ({ left }) => void changes.push(left) });
  const [ann, bob] = [await client().open(), await client().open()];
  for (const peer of [ann, bob]) hub.room('a').join(clientOf(hub, peer));
  bob.cut();
  await settle();
  await world.clock.advance(2_000);
  expect(hub.room('a').size).toBe(2);
  await world.clock.advance(3_000);
  await eventually(() => ann.presence.some(({ left }) => left !== undefined), 'the leave');
  expect(hub.room('a').size).toBe(1);
  expect(changes.flat()).toEqual([bob.welcome?.id]);
  expect([...(await hub.room('a').members()).keys()]).toEqual([ann.welcome?.id]);
});

it('nobody joins by itself unless authorizeJoin says so, and a failing one is a no', async () => {
  const { client } = await hubScene();
  const peer = await client().open({ rooms: [{ name: 'a' }] });
  expect(peer.welcome?.rooms).toEqual([]);
  expect(await peer.failureOf(peer.callJson(COMMAND_ID.JOIN, { room: 'a' }))).toMatchObject({ code: 'FORBIDDEN' });
});

it("a client's message for a room goes to the others when it is a member and the hub allows it", async () => {
  const { hub, client } = await hubScene({ authorizeRoomMessage: (_who, _room, id) => id === 1 });
  const [ann, bob, eve] = [await client().open(), await client().open(), await client().open()];
  for (const peer of [ann, bob]) hub.room('a').join(clientOf(hub, peer));
  ann.counted(encodeRoom('a', 1, Buffer.from('hi')));
  ann.counted(encodeRoom('a', 2, Buffer.from('not allowed')));
  eve.counted(encodeRoom('a', 1, Buffer.from('not a member')));
  await eventually(() => hub.stats().roomMessagesRefused === 2 && bob.heard.length === 1, 'all');
  expect([ann.heard, bob.heard, eve.heard]).toEqual([[], ['a/1:hi'], []]);
});

it('rooms have limits: how many, how many for a client, how many members, how long a state', async () => {
  const { hub, client } = await hubScene({ maxRooms: 3, maxRoomsPerClient: 2, maxMembersPerRoom: 1, maxStateBytes: 10 });
  const [ann, bob] = [clientOf(hub, await client().open()), clientOf(hub, await client().open())];
  const limited = expect.objectContaining({ reason: 'LIMITED' });
  hub.room('1').join(ann);
  expect(() => hub.room('1').join(bob)).toThrow(limited);
  expect(() => hub.room('2').join(ann, 'x'.repeat(10))).toThrow(limited);
  hub.room('2').join(ann);
  expect(() => hub.room('3').join(ann)).toThrow(limited);
  hub.room('3').join(bob);
  expect(() => hub.room('4').join(bob)).toThrow(limited);
  expect(hub.stats()).toMatchObject({ joinsRefused: 4, rooms: 3 });
  expect(() => hub.room('')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  bob.close();
  expect(hub.stats().rooms).toBe(2);
  expect(hub.room('3').join(bob)).toBe(false);
});

it('a gap between hubs is told, and a failing hook is reported', async () => {
  const network = new InProcessNetwork();
  const backplane = new InProcessBackplane({ network, maxPendingMessages: 2 });
  const gaps: string[] = [];
  const { hub } = await hubScene({
    backplane,
    onGap: ({ reason }) => {
      gaps.push(reason);
      throw new Error('onGap');
    },
    onError: () => {},
  });
  await hub.open();
  const other = await hubScene({ backplane: new InProcessBackplane({ network }) });
  await other.hub.open();
  for (let n = 0; n < 5; n++) other.hub.broadcast(1, String(n));
  await eventually(() => gaps.length > 0, 'the gap');
  expect(gaps).toEqual(['overflow']);
  expect(hub.stats().failures).toBe(1);
});

it('two hubs on a backplane are one: broadcast, rooms, presence and sendTo', async () => {
  const network = new InProcessNetwork();
  const worlds = [new MemoryWorld(), new MemoryWorld()];
  const scenes = await Promise.all(worlds.map((world) => hubScene({ backplane: new InProcessBackplane({ network }) }, world)));
  const [here, there] = scenes;
  if (here === undefined || there === undefined) throw new Error('two scenes');
  await here.hub.open();
  await there.hub.open();
  const [ann, bob] = [await here.client().open(), await there.client().open()];
  here.hub.broadcast(1, 'to all');
  here.hub.broadcast(1, 'not bob', { except: bob.welcome?.id ?? '' });
  here.hub.broadcast(1, 'here', { filter: () => true });
  here.hub.broadcast(1, 'soon', { volatile: true });
  await eventually(() => bob.heard.length === 2 && ann.heard.length === 4, 'the broadcasts');
  expect(bob.heard).toEqual(['1:to all', '~1:soon']);
  here.hub.room('a').join(clientOf(here.hub, ann), 1);
  there.hub.room('a').join(clientOf(there.hub, bob), 2);
  await settle();
  expect(await here.hub.room('a').members()).toEqual(
    new Map([
      [bob.welcome?.id, 2],
      [ann.welcome?.id, 1],
    ]),
  );
  here.hub.room('a').broadcast(2, 'in a', { except: clientOf(here.hub, ann) });
  await eventually(() => bob.heard.length === 3, 'the room');
  expect(bob.heard[2]).toBe('a/2:in a');
  expect(ann.heard).toHaveLength(4);
  for (const world of worlds) await world.clock.advance(60);
  await eventually(() => ann.presence.some(({ joined }) => joined?.[bob.welcome?.id ?? ''] === 2), 'the presence of the other hub');
  expect(await here.hub.sendTo(bob.welcome?.id ?? '', 3, 'direct')).toBe(true);
  expect(await here.hub.sendTo('nobody', 3, 'direct')).toBe(false);
  await eventually(() => bob.heard.length === 4, 'the direct one');
  await there.hub.close();
  await settle();
  await here.world.clock.advance(60);
  await eventually(() => ann.presence.some(({ left }) => left?.includes(bob.welcome?.id ?? '') === true), 'the leave');
});
