import { expect, it } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import type { Client } from '../../src/command/client.ts';
import type { CallContext } from '../../src/command/handlers.ts';
import { encodeCancel, encodeCredit, encodeJson, encodeReply } from '../../src/command/wire.ts';
import { json } from '../../src/protocol/json.ts';
import { defineProtocol } from '../../src/protocol/protocol.ts';
import { codeOf, eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';

const protocol = defineProtocol({
  add: { id: 1, body: json<number[]>(), reply: json<number>() },
  count: { id: 2, body: json<{ to: number }>(), stream: json<number>() },
  ping: { id: 3, body: json<string>(), reply: json<string>() },
});

it('a call is answered with the value of its handler, sync or not', async () => {
  const { hub, client } = await hubScene({ protocol });
  hub.handle('add', (_client, list) => list.reduce((sum, n) => sum + n, 0));
  hub.handle('ping', async (_client, text) => `${text} pong`);
  const peer = await client().open();
  expect(await peer.repliesTo(peer.callJson(1, [1, 2, 3]))).toEqual([{ kind: 0, text: '6' }]);
  expect(await peer.repliesTo(peer.callJson(3, 'ping'))).toEqual([{ kind: 0, text: '"ping pong"' }]);
});

it("errors are told by code: no command, a bad body, the handler's own, and nothing of any other", async () => {
  const reported: string[] = [];
  const { hub, client } = await hubScene({ protocol, onError: (error) => void reported.push(error.message) });
  hub.handle('add', () => 1);
  hub.handle('ping', (_client, text) => {
    if (text === 'own') throw new CallError('TAKEN', 'that name is taken', { name: text });
    throw new Error('secret');
  });
  const peer = await client().open();
  expect(await peer.failureOf(peer.call(77, ''))).toMatchObject({ code: 'NOT_FOUND' });
  expect(await peer.failureOf(peer.call(1, '{'))).toMatchObject({ code: 'INVALID', data: { issues: [expect.anything()] } });
  expect(await peer.failureOf(peer.callJson(3, 'own'))).toEqual({ code: 'TAKEN', message: 'that name is taken', data: { name: 'own' } });
  expect(await peer.failureOf(peer.callJson(3, 'other'))).toEqual({ code: 'INTERNAL', message: 'the handler failed' });
  expect(reported).toEqual(['a handler failed: secret']);
});

it('a command is answered by one function, until it is taken back', async () => {
  const { hub, client } = await hubScene();
  const off = hub.handle(5, () => Buffer.from('one'));
  expect(() => hub.handle(5, () => undefined)).toThrow(/nothing answers yet/);
  off();
  hub.handle(5, () => undefined);
  const peer = await client().open();
  expect(await peer.repliesTo(peer.call(5, ''))).toEqual([{ kind: 0, text: '' }]);
});

it('znet-knet scenario 41: a call that is never answered ends with TIMEOUT at its deadline', async () => {
  let context: CallContext | undefined;
  const { hub, client, world } = await hubScene({ callTimeoutMs: 2_000 });
  hub.handle(5, (_client, _payload, own) => {
    context = own;
    return new Promise<undefined>(() => {});
  });
  const peer = await client().open();
  const call = peer.call(5, '');
  await eventually(() => context !== undefined, 'the call');
  const { signal } = context as unknown as CallContext;
  await world.clock.advance(2_100);
  expect(await peer.failureOf(call)).toMatchObject({ code: 'TIMEOUT' });
  expect(signal.aborted).toBe(true);
  expect(hub.stats().callsLate).toBe(1);
});

it('more calls at a time than allowed are refused with LIMITED', async () => {
  const { hub, client } = await hubScene({ maxCalls: 2 });
  hub.handle(5, () => new Promise<undefined>(() => {}));
  const peer = await client().open();
  for (let n = 0; n < 2; n++) peer.call(5, '');
  expect(await peer.failureOf(peer.call(5, ''))).toMatchObject({ code: 'LIMITED' });
  expect(hub.stats().callsRefused).toBe(1);
});

it('a stream sends no more items than it was given credit for, and then its end', async () => {
  const { hub, client } = await hubScene({ protocol });
  let made = 0;
  hub.handle('count', async function* (_client, { to }) {
    for (let n = 1; n <= to; n++) {
      made++;
      yield n;
    }
  });
  const peer = await client().open();
  const call = peer.callJson(2, { to: 5 });
  peer.counted(encodeCredit(call, 2));
  expect(await peer.repliesTo(call, 2)).toEqual([
    { kind: 2, text: '1' },
    { kind: 2, text: '2' },
  ]);
  await settle();
  expect(made).toBe(2);
  peer.counted(encodeCredit(call, 10));
  expect((await peer.repliesTo(call, 6)).map(({ kind, text }) => `${kind}${text}`)).toEqual(['21', '22', '23', '24', '25', '3']);
});

it('a cancelled call is answered ABORTED at once, its signal aborted, its stream closed', async () => {
  const ended: string[] = [];
  const { hub, client } = await hubScene();
  hub.handle(5, async function* (_client: Client, _payload: Uint8Array, { signal }: CallContext) {
    signal.addEventListener('abort', () => ended.push('signal'));
    try {
      for (;;) yield Buffer.from('x');
    } finally {
      ended.push('stream');
    }
  });
  const peer = await client().open();
  const call = peer.call(5, '', 3);
  await peer.repliesTo(call, 3);
  peer.counted(encodeCancel(call));
  expect((await peer.repliesTo(call, 4))[3]).toMatchObject({ kind: 1, text: expect.stringContaining('ABORTED') });
  await eventually(() => ended.length === 2, 'both');
});

it('a call that waits behind a message can be cancelled, and keeps the credit that came early', async () => {
  let open = (): void => {};
  const begun: string[] = [];
  const { hub, client } = await hubScene();
  hub.on(1, () => new Promise<void>((resolve) => (open = resolve)));
  hub.handle(5, async function* (_client: Client, payload: Uint8Array) {
    begun.push(String(payload));
    yield Buffer.from('item');
  });
  const peer = await client().open();
  peer.send(1, '');
  const [cancelled, kept] = [peer.call(5, 'cancelled', 1), peer.call(5, 'kept', 1)];
  peer.counted(encodeCancel(cancelled));
  expect(await peer.failureOf(cancelled)).toMatchObject({ code: 'ABORTED' });
  open();
  await eventually(() => (peer.replies.get(kept)?.length ?? 0) >= 1, 'the item');
  expect(begun).toEqual(['kept']);
});

it('a stream waits while too much of it is not acknowledged, and survives a resume', async () => {
  const { hub, client } = await hubScene({ maxRetainedMessages: 20 });
  hub.handle(5, async function* () {
    for (let n = 0; n < 200; n++) yield Buffer.from(String(n));
  });
  const peer = await client().open();
  const call = peer.call(5, '', 1_000);
  await peer.repliesTo(call, 5);
  peer.cut();
  await settle();
  await peer.open();
  expect(peer.welcome?.recovered).toBe(true);
  for (let n = 0; n < 200 && (peer.replies.get(call)?.length ?? 0) < 201; n++) {
    await settle(3);
    peer.control(Buffer.concat([Buffer.from('fffffff4', 'hex'), uint32(peer.replay.takeAck())]));
  }
  const texts = (await peer.repliesTo(call, 201)).map(({ text }) => text);
  expect(texts).toEqual([...Array.from({ length: 200 }, (_, n) => String(n)), '']);
  expect(hub.stats().forgotten).toBe(0);
});

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

it('the server calls clients, by name with types; every call settles', async () => {
  const { hub, client, world } = await hubScene({ protocol, maxCalls: 3 });
  const peer = await client().open();
  const mine = hub.clients.get(peer.welcome?.id ?? '');
  if (mine === undefined) throw new Error('no client');
  peer.onCall = (call, id, text) => {
    if (text === '"no"') peer.counted(encodeReply(call, 1, encodeJson({ code: 'BUSY', message: 'later', data: 7 })));
    else if (text !== '"never"') peer.counted(encodeReply(call, 0, encodeJson(`${id} ${text}`)));
  };
  expect(await mine.call('ping', 'hi')).toBe('3 "hi"');
  await expect(mine.call('ping', 'no')).rejects.toMatchObject({ code: 'CALL_FAILED', reason: 'BUSY', message: 'later', data: 7 });
  const late = codeOf(() => mine.call('ping', 'never', { timeoutMs: 100 }));
  const controller = new AbortController();
  const aborted = codeOf(() => mine.call('ping', 'never', { signal: controller.signal }));
  const open = codeOf(() => mine.call('ping', 'never'));
  await expect(mine.call('ping', 'too many')).rejects.toMatchObject({ reason: 'LIMITED' });
  await world.clock.advance(150);
  expect(await late).toBe('CALL_TIMEOUT');
  controller.abort();
  expect(await aborted).toBe('ABORTED');
  mine.close();
  expect(await open).toBe('SESSION_CLOSED');
  expect(hub.stats()).toMatchObject({ callsLate: 1, callsRefused: 1 });
});

it('the server reads streams of clients, with credit, and cancels when the loop is left', async () => {
  const { hub, client } = await hubScene({ protocol });
  const peer = await client().open();
  const mine = hub.clients.get(peer.welcome?.id ?? '');
  let number = 0;
  peer.onCall = (call) => {
    number = call;
    for (let n = 0; n < 20; n++) peer.counted(encodeReply(call, 2, encodeJson(n)));
    peer.counted(encodeReply(call, 3));
  };
  const items: number[] = [];
  for await (const item of mine?.stream('count', { to: 20 }) ?? []) items.push(item);
  expect(items).toEqual(Array.from({ length: 20 }, (_, n) => n));
  peer.onCall = (call) => {
    for (let n = 0; n < 32; n++) peer.counted(encodeReply(call, 2, encodeJson(n)));
  };
  for await (const item of mine?.stream('count', { to: 99 }) ?? []) if (item === 3) break;
  await eventually(() => peer.ids.includes(0xfffffffa), 'CANCEL');
  expect(number).toBe(1);
  peer.onCall = (call) => {
    for (let n = 0; n < 40; n++) peer.counted(encodeReply(call, 2, encodeJson(n)));
  };
  const greedy = mine?.stream('count', { to: 40 })[Symbol.asyncIterator]();
  await settle();
  const seen: unknown[] = [];
  await expect(
    (async () => {
      for (;;) seen.push((await greedy?.next())?.value);
    })(),
  ).rejects.toMatchObject({ reason: 'LIMITED' });
  expect(seen).toHaveLength(32);
});

it("knet's profile has no calls: they are refused at once", async () => {
  const { hub, knet } = await hubScene({ streamProfile: 'knet' });
  await knet();
  await eventually(() => hub.clients.size === 1, 'the client');
  const [mine] = hub.clients.values();
  expect(await codeOf(() => mine?.call(1, ''))).toBe('WRONG_STATE');
});

it('an answer of the largest size arrives, and one byte more is a failure of the handler', async () => {
  const { hub, client } = await hubScene({ maxPayloadBytes: 20_000 });
  hub.handle(5, (_client, payload) => Buffer.alloc(19_995 + payload.length, 'x'));
  const peer = await client().open();
  const [reply] = await peer.repliesTo(peer.call(5, ''));
  expect([reply?.kind, reply?.text.length]).toEqual([0, 19_995]);
  expect(await peer.failureOf(peer.call(5, '1'))).toMatchObject({ code: 'INTERNAL' });
  expect(hub.stats()).toMatchObject({ away: 0, clients: 1 });
});
