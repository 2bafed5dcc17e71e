import { expect, it } from 'vitest';
import type { Client } from '../../src/command/client.ts';
import { CommandHub } from '../../src/command/hub.ts';
import type { Disconnect } from '../../src/command/hub-options.ts';
import { COMMAND_ID, encodeControl, encodeMessage, encodeSeq } from '../../src/command/wire.ts';
import { codeOf, Deferred, eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';
import { NativeClient } from './native-client.ts';

const KNET = { streamProfile: 'knet' } as const;

it('znet-knet scenario 32: onConnect comes before messages and broadcasts; what is sent there is the first frame', async () => {
  const gate = new Deferred();
  const seen: string[] = [];
  const { hub, knet } = await hubScene({
    ...KNET,
    onConnect: async (client) => {
      client.send(1, 'welcome');
      await gate.promise;
      seen.push('connected');
    },
  });
  hub.on(2, () => void seen.push('message'));
  const { session, recorder, texts } = await knet();
  session.send({ id: 2, payload: Buffer.alloc(0) });
  await recorder.until('message');
  expect(hub.broadcast(3, 'too early')).toEqual({ delivered: 0, kept: 0, dropped: 0 });
  await settle();
  gate.resolve();
  await eventually(() => seen.length === 2, 'both');
  hub.broadcast(3, 'news');
  await recorder.until('message', 2);
  expect(texts()).toEqual(['1:welcome', '3:news']);
  expect(seen).toEqual(['connected', 'message']);
});

it('znet-knet scenario 32: a native client gets WELCOME, and then what onConnect sends', async () => {
  const { client } = await hubScene({ onConnect: (who) => void who.send(1, 'first') });
  const peer = await client().open();
  await eventually(() => peer.heard.length === 1, 'the message');
  expect(peer.ids).toEqual([COMMAND_ID.WELCOME, 1]);
});

it('an onConnect that fails ends that client with 1011, which is told nothing more', async () => {
  const ends: Disconnect[] = [];
  const { hub, client } = await hubScene({
    onConnect: () => Promise.reject(new Error('secret')),
    onDisconnect: (_client, end) => void ends.push(end),
  });
  const peer = await client().open();
  await eventually(() => ends.length === 1, 'the end');
  expect(peer.goodbyes).toEqual([expect.objectContaining({ status: 1011, reason: '' })]);
  expect(hub.clients.size).toBe(0);
});

it('znet-knet scenario 33: server close(4001, "x") is told as server-initiated, once, with the client over already', async () => {
  const ends: [Disconnect, boolean, boolean][] = [];
  const { hub, client } = await hubScene({
    onDisconnect: (who, end) => void ends.push([end, who.signal.aborted, who.isAlive]),
  });
  const peer = await client().open();
  const mine = hub.clients.get(peer.welcome?.id ?? '') as Client;
  const { signal } = mine;
  mine.close({ status: 4001, reason: 'x' });
  mine.close({ status: 4002, reason: 'y' });
  expect([signal.aborted, mine.isAlive, hub.clients.size]).toEqual([true, false, 0]);
  await eventually(() => ends.length > 0, 'the end');
  await settle();
  expect(ends).toEqual([[{ status: 4001, reason: 'x', by: 'server', wasClean: true, error: undefined }, true, false]]);
  expect(peer.goodbyes).toEqual([{ status: 4001, reason: 'x', isFatal: true }]);
  expect(mine.send(1, 'late')).toBe(false);
  expect(await codeOf(() => mine.call(1, 'late'))).toBe('SESSION_CLOSED');
});

it('znet-knet scenario 33: a reset is 1006 and not clean', async () => {
  const ends: Disconnect[] = [];
  const { world, knet } = await hubScene({ ...KNET, onDisconnect: (_who, end) => void ends.push(end) });
  await knet();
  await settle();
  world.link().reset('server');
  await eventually(() => ends.length === 1, 'the end');
  expect(ends[0]).toMatchObject({ status: 1006, by: 'network', wasClean: false });
});

it('a native client on a stream says GOODBYE to leave for good: it is not waited for', async () => {
  const ends: Disconnect[] = [];
  const { hub, client } = await hubScene({ onDisconnect: (_who, end) => void ends.push(end) });
  const peer = await client().open();
  peer.control(encodeControl(COMMAND_ID.GOODBYE, { status: 1000, reason: 'bye' }));
  await eventually(() => ends.length === 1, 'the end');
  expect(ends).toEqual([{ status: 1000, reason: 'bye', by: 'client', wasClean: true, error: undefined }]);
  expect(hub.stats()).toMatchObject({ clients: 0, away: 0 });
});

it('znet-knet scenario 34: 10 queued messages arrive before the close', async () => {
  const { hub, client } = await hubScene();
  const peer = await client().open();
  const mine = hub.clients.get(peer.welcome?.id ?? '');
  for (let n = 0; n < 10; n++) mine?.send(1, String(n));
  mine?.close({ status: 4001, reason: 'bye' });
  await eventually(() => peer.closes.length === 1, 'the close');
  expect(peer.heard).toHaveLength(10);
  expect(peer.goodbyes).toEqual([{ status: 4001, reason: 'bye', isFatal: true }]);
  expect(() => mine?.close({ status: 12 })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});

it('authenticate lets in, gives attributes, and refuses; the refusal says whether to come again', async () => {
  const { hub, client } = await hubScene({
    authenticate: ({ auth }) => {
      if (auth === 'broken') throw new Error('secret');
      if (auth === 'busy') return { refuse: { status: 4429, reason: 'busy', retryAfterMs: 500, isFatal: false } };
      return auth === 'ann' ? { attributes: [['name', 'ann']] } : false;
    },
    onError: () => {},
  });
  const ann = await client().open({ auth: 'ann' });
  expect(hub.clients.get(ann.welcome?.id ?? '')?.attributes.get('name')).toBe('ann');
  const refusals = [];
  for (const auth of ['bob', 'broken', 'busy']) {
    const peer = await client().open({ auth });
    await eventually(() => peer.goodbyes.length === 1, 'the refusal');
    refusals.push(peer.goodbyes[0]);
  }
  expect(refusals).toEqual([
    { status: 4401, reason: 'not authenticated', isFatal: true },
    { status: 4401, reason: 'not authenticated', isFatal: true },
    { status: 4429, reason: 'busy', retryAfterMs: 500, isFatal: false },
  ]);
  expect(hub.stats()).toMatchObject({ refused: 3, clients: 1 });
});

it('a connection that does not say HELLO in time, or is not answered in time, is closed', async () => {
  const { hub, world } = await hubScene({ authenticate: () => new Promise<boolean>(() => {}) });
  const [silent, waiting] = [new NativeClient(world), new NativeClient(world)];
  await silent.connect();
  await waiting.connect();
  waiting.control(encodeControl(COMMAND_ID.HELLO, { v: 1 }));
  await settle();
  await world.clock.advance(12_000);
  await eventually(() => silent.closes.length === 1 && waiting.closes.length === 1, 'both are closed');
  expect(silent.goodbyes[0]?.status).toBe(4400);
  expect(hub.stats().refused).toBe(2);
});

it('more clients than the hub takes are refused with 4429 and a time to come again', async () => {
  const { hub, client } = await hubScene({ maxClients: 1 });
  await client().open();
  const peer = await client().open();
  await eventually(() => peer.goodbyes.length === 1, 'the refusal');
  expect(peer.goodbyes[0]).toEqual({ status: 4429, reason: 'too many clients', retryAfterMs: 1_000, isFatal: false });
  expect(hub.stats().refused).toBe(1);
});

it.each([
  ['a message before HELLO', encodeMessage(1), false],
  ['another version', encodeMessage(COMMAND_ID.HELLO, Buffer.from('{"v":2}')), false],
  ['a second HELLO', encodeControl(COMMAND_ID.HELLO, { v: 1 }), true],
  ['an ACK of what was not sent', encodeSeq(COMMAND_ID.ACK, 7), true],
  ['a SEQ that leaves out', encodeSeq(COMMAND_ID.SEQ, 7), true],
  ['an ACK of 3 bytes', encodeMessage(COMMAND_ID.ACK, Buffer.alloc(3)), true],
  ['a long PING', encodeMessage(COMMAND_ID.PING, Buffer.alloc(9)), true],
  ['a REPLY of an unknown kind', encodeMessage(COMMAND_ID.REPLY, Buffer.from([0, 0, 0, 1, 9])), true],
  ['a CALL with the number 0', encodeMessage(COMMAND_ID.CALL, Buffer.alloc(8)), true],
  ['a short CREDIT', encodeMessage(COMMAND_ID.CREDIT, Buffer.alloc(7)), true],
  ['a ROOM without a name', encodeMessage(COMMAND_ID.ROOM, Buffer.alloc(8)), true],
  ['a VOLATILE of a control message', encodeMessage(COMMAND_ID.VOLATILE, Buffer.from('fffffff4', 'hex')), true],
])('%s closes with 4400, and the others stay', async (_what, message, isOpen) => {
  const { hub, client, world } = await hubScene();
  const other = await client().open();
  const peer = new NativeClient(world);
  if (isOpen) await peer.open();
  else await peer.connect();
  peer.control(message);
  await eventually(() => peer.closes.length === 1, 'the close');
  expect(peer.goodbyes[0]?.status).toBe(4400);
  expect(hub.stats()).toMatchObject({ violations: 1, clients: 1 });
  expect(other.session?.isClosed).toBe(false);
});

it('answers PING before WELCOME too', async () => {
  const { world } = await hubScene();
  const peer = new NativeClient(world);
  await peer.connect();
  peer.control(encodeMessage(COMMAND_ID.PING, Buffer.from('mark')));
  await eventually(() => peer.pongs === 1, 'PONG');
});

it('takes a client for dead after 2.5 heartbeats without a word, and keeps it for a return', async () => {
  const { hub, client, world } = await hubScene({ heartbeatMs: 10_000 });
  const peer = await client().open();
  await world.clock.advance(20_000);
  peer.control(encodeMessage(COMMAND_ID.PING));
  await settle();
  await world.clock.advance(20_000);
  await settle();
  expect(peer.closes).toHaveLength(0);
  await world.clock.advance(7_000);
  await eventually(() => hub.stats().away === 1, 'the loss');
  expect(hub.stats().dead).toBe(1);
  await peer.open();
  expect(peer.welcome?.recovered).toBe(true);
});

it('znet-knet scenario 50: close lets running handlers finish, tells 1001 and when to come again, and ends every client once', async () => {
  const gate = new Deferred();
  const ends: Disconnect[] = [];
  const { hub, client, server, world } = await hubScene({ onDisconnect: (_who, end) => void ends.push(end) });
  let calls = 0;
  hub.on(1, async (who) => {
    calls++;
    await gate.promise;
    who.send(2, 'done');
  });
  const [busy, idle, gone] = [await client().open(), await client().open(), await client().open()];
  gone.cut();
  busy.send(1, '');
  await eventually(() => calls === 1 && hub.stats().away === 1, 'the handler runs');
  await server.stopAccepting();
  const closing = hub.close({ drainTimeoutMs: 5_000 });
  busy.send(1, 'is not handled any more');
  await settle();
  expect(idle.goodbyes).toEqual([]);
  gate.resolve();
  await closing;
  await hub.close();
  expect(busy.heard).toEqual(['2:done']);
  for (const peer of [busy, idle]) {
    expect(peer.goodbyes).toEqual([{ status: 1001, reason: 'the server is closing', retryAfterMs: 1_000 }]);
  }
  expect(ends).toEqual(Array(3).fill(expect.objectContaining({ status: 1001, by: 'server' })));
  expect(calls).toBe(1);
  expect(hub.stats()).toMatchObject({ clients: 0, away: 0 });
  await world.finish(server.close());
});

it('znet-knet scenario 50: a handler that never ends is waited for no longer than the drain time-out', async () => {
  const { hub, client, world } = await hubScene();
  hub.on(1, () => new Promise(() => {}));
  const peer = await client().open();
  peer.send(1, '');
  await settle();
  let isClosed = false;
  const closing = hub.close({ drainTimeoutMs: 5_000 }).then(() => {
    isClosed = true;
  });
  await world.clock.advance(4_900);
  await settle();
  expect(isClosed).toBe(false);
  await world.clock.advance(10_000);
  await closing;
});

it('znet-knet scenario 50: a closed hub stays closed, and sends newcomers away', async () => {
  const { hub, client } = await hubScene();
  await hub.close();
  const peer = client();
  await peer.connect();
  await eventually(() => peer.closes.length === 1, 'the end');
  expect(peer.goodbyes).toEqual([{ status: 1001, reason: 'the server is closing', retryAfterMs: 1_000 }]);
  expect(hub.stats()).toMatchObject({ clients: 0, refused: 0 });
});

it('an endpoint that closes without the hub ends its clients, who are not kept', async () => {
  const ends: Disconnect[] = [];
  const { hub, client, server, world } = await hubScene({ onDisconnect: (_who, end) => void ends.push(end) });
  await client().open();
  await world.finish(server.close());
  expect(ends).toEqual([expect.objectContaining({ by: 'server', status: 1001 })]);
  expect(hub.stats().clients).toBe(0);
});

it('what authenticate gives wrongly ends the connection, and nothing else', async () => {
  const errors: string[] = [];
  const { hub, client } = await hubScene({
    authenticate: ({ auth }) => (auth === 'status' ? { refuse: { status: 12 } } : { attributes: 7 as never }),
    onError: (error) => void errors.push(error.code),
  });
  for (const auth of ['status', 'attributes']) {
    const peer = await client().open({ auth });
    await eventually(() => peer.goodbyes.length === 1, 'the refusal');
    expect(peer.goodbyes[0]?.status).toBe(4401);
  }
  expect(errors).toEqual(['INVALID_OPTION', 'LISTENER_FAILED']);
  expect(hub.stats().clients).toBe(0);
});

it('what authorizeJoin sends to a client that comes with rooms arrives behind WELCOME, with its number', async () => {
  const { hub, client } = await hubScene({ authorizeJoin: (who, room) => who.send(1, room) });
  const peer = await client().open({ rooms: [{ name: 'a' }] });
  hub.clients.get(peer.welcome?.id ?? '')?.send(1, 'next');
  await eventually(() => peer.heard.length === 2, 'both');
  expect(peer.heard).toEqual(['1:a', '1:next']);
  peer.cut();
  await settle();
  hub.clients.get(peer.welcome?.id ?? '')?.send(1, 'last');
  await peer.open();
  expect(peer.welcome?.recovered).toBe(true);
  await eventually(() => peer.heard.length === 3, 'the last');
  expect(peer.heard[2]).toBe('1:last');
});

it('refuses options that it does not have or take', () => {
  const wrong = [
    { heartbeatMs: 0 },
    { maxClients: 0 },
    { textPolicy: 'text' },
    { onConnect: 1 },
    { retentionMS: 1 },
    { presence: 1 },
    { native: 1 },
  ];
  for (const options of wrong) {
    expect(() => new CommandHub(options as never)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  }
});
