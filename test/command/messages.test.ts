import { expect, it } from 'vitest';
import type { PorticoError } from '../../src/base/errors.ts';
import type { Client } from '../../src/command/client.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { COMMAND_ID } from '../../src/command/wire.ts';
import { json } from '../../src/protocol/json.ts';
import { defineProtocol } from '../../src/protocol/protocol.ts';
import { codeOf, eventually, settle } from '../helpers/session-recorder.ts';
import { hubScene } from './hub-scene.ts';

const KNET = { streamProfile: 'knet' } as const;

it('znet-knet scenario 24: id 1 with "hello" is echoed byte for byte', async () => {
  const { hub, knet } = await hubScene(KNET);
  hub.on(1, (client, payload) => void client.send(1, payload));
  const { session, recorder, texts } = await knet();
  session.send({ id: 1, payload: Buffer.from('hello') });
  await recorder.until('message');
  expect(texts()).toEqual(['1:hello']);
});

it('znet-knet scenario 26: a message of an id alone has an empty payload', async () => {
  const { hub, knet } = await hubScene(KNET);
  const lengths: number[] = [];
  hub.on(7, (_client, payload) => void lengths.push(payload.length));
  const { session } = await knet();
  session.send({ id: 7, payload: Buffer.alloc(0) });
  await eventually(() => lengths.length === 1, 'the message');
  expect(lengths).toEqual([0]);
});

it('znet-knet scenario 28: an id that nobody handles is ignored, counted, and told to the hook', async () => {
  const unknown: number[] = [];
  const { hub, knet } = await hubScene({ ...KNET, onUnknown: (_client, id) => void unknown.push(id) });
  const { session, recorder } = await knet();
  session.send({ id: 99, payload: Buffer.alloc(3) });
  await eventually(() => unknown.length === 1, 'the hook');
  expect([hub.stats().unknown, session.isClosed, recorder.packages.length]).toEqual([1, false, 0]);
});

it("znet-knet scenario 29: reserved ids throw, those of knet's own client do not", async () => {
  const hub = new CommandHub();
  for (const id of [COMMAND_ID.RPC, COMMAND_ID.RPC_ERROR, COMMAND_ID.HELLO, COMMAND_ID.JOIN, 0xffffffe0, -1, 2 ** 32, 1.5]) {
    expect(() => hub.on(id, () => {})).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  }
  hub.on(0xfffffffd, () => {});
  hub.on(0xfffffffc, () => {});
  hub.on(0xffffffdf, () => {});
  const onlyKnet = new CommandHub({ native: false });
  onlyKnet.on(COMMAND_ID.HELLO, () => {});
  expect(() => onlyKnet.on(COMMAND_ID.RPC, () => {})).toThrow(/reserve/);
});

it('an id above the reserved ones that is free is handled in both profiles', async () => {
  const seen: string[] = [];
  const { hub, client } = await hubScene();
  hub.on(0xfffffffd, (_client, payload) => void seen.push(String(payload)));
  const peer = await client().open();
  peer.send(0xfffffffd, 'free');
  await eventually(() => seen.length === 1, 'the message');
  expect(seen).toEqual(['free']);
});

it('several handlers of a command are called in order, once only once, and each can be taken back', async () => {
  const seen: string[] = [];
  const { hub, client } = await hubScene();
  const first = hub.on(1, () => void seen.push('first'));
  hub.once(1, () => void seen.push('once'));
  hub.on(1, () => void seen.push('last'));
  const any = hub.onAny((_client, id) => void seen.push(`any ${id}`));
  const peer = await client().open();
  peer.send(1, '');
  peer.send(2, '');
  await eventually(() => seen.length === 4, 'the first two');
  first();
  first();
  any();
  peer.send(1, '');
  peer.send(2, '');
  await eventually(() => hub.stats().unknown === 1, 'all');
  expect(seen).toEqual(['first', 'once', 'last', 'any 2', 'last']);
});

it('znet-knet scenario 41: handlers that throw, reject, or never settle hurt nobody else', async () => {
  const errors: [string, number | undefined][] = [];
  const { hub, client } = await hubScene({ onError: (error: PorticoError, _client, id) => void errors.push([error.code, id]) });
  const seen: string[] = [];
  hub.on(1, () => {
    throw new Error('thrown');
  });
  hub.on(2, () => Promise.reject(new Error('rejected')));
  hub.on(3, () => new Promise(() => {}));
  hub.on(4, (_client, payload) => void seen.push(String(payload)));
  const [mine, other] = [await client().open(), await client().open()];
  mine.send(1, '');
  mine.send(2, '');
  mine.send(4, 'mine');
  mine.send(3, '');
  mine.send(4, 'never');
  other.send(4, 'other');
  await eventually(() => seen.length === 2 && errors.length === 2, 'all that can come');
  expect(seen.sort()).toEqual(['mine', 'other']);
  expect(errors).toEqual([
    ['LISTENER_FAILED', 1],
    ['LISTENER_FAILED', 2],
  ]);
  expect(hub.stats().failures).toBe(2);
  // Its heartbeats are answered all the same.
  mine.control(Buffer.from('fffffff2', 'hex'));
  await eventually(() => mine.pongs === 1, 'PONG');
});

it('what the hooks throw is reported, and onError itself may throw', async () => {
  const { hub, client } = await hubScene({
    onError: () => {
      throw new Error('onError');
    },
    onUnknown: () => {
      throw new Error('onUnknown');
    },
    onDisconnect: () => {
      throw new Error('onDisconnect');
    },
  });
  const peer = await client().open();
  peer.send(9, '');
  await eventually(() => hub.stats().failures === 1, 'the failure');
  hub.clients.get(peer.welcome?.id ?? '')?.close();
  await eventually(() => hub.stats().failures === 2, 'the other one');
});

it('znet-knet scenario 42: 1,000 messages of a client are handled in order, also when handlers take their time', async () => {
  const seen: number[] = [];
  const { hub, client } = await hubScene();
  hub.on(1, async (_client, payload) => {
    const n = Number(String(payload));
    if (n % 3 === 0) await Promise.resolve();
    if (n % 100 === 0) await settle(1);
    seen.push(n);
  });
  const peer = await client().open();
  for (let n = 0; n < 1_000; n++) peer.send(1, String(n));
  await eventually(() => seen.length === 1_000, 'all');
  expect(seen).toEqual(Array.from({ length: 1_000 }, (_, n) => n));
});

it('handles several messages of a client at a time when asked to', async () => {
  let running = 0;
  let most = 0;
  const gates: (() => void)[] = [];
  const { hub, client } = await hubScene({ concurrentMessages: 3 });
  hub.on(1, async () => {
    most = Math.max(most, ++running);
    await new Promise<void>((resolve) => gates.push(resolve));
    running--;
  });
  const peer = await client().open();
  for (let n = 0; n < 5; n++) peer.send(1, '');
  await eventually(() => gates.length === 3, 'three run');
  await settle();
  expect(most).toBe(3);
  for (let n = 0; n < 5; n++) {
    await eventually(() => gates.length > n, 'the next');
    gates[n]?.();
  }
  await eventually(() => running === 0, 'all have ended');
});

it('reads a connection no further when too many of its messages wait, and goes on when few do', async () => {
  let open = (): void => {};
  const { hub, client } = await hubScene({ maxWaitingMessages: 10 });
  const seen: string[] = [];
  hub.on(1, (_client, payload) => {
    seen.push(String(payload));
    return seen.length === 1 ? new Promise<void>((resolve) => (open = resolve)) : undefined;
  });
  const peer = await client().open();
  for (let n = 0; n < 100; n++) peer.send(1, String(n));
  await settle();
  expect(hub.stats().pauses).toBe(1);
  open();
  await eventually(() => seen.length === 100, 'all');
  expect(seen).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
});

it('reads a connection no further when too many bytes of its messages wait', async () => {
  const { hub, client } = await hubScene({ maxWaitingBytes: 1_000 });
  hub.on(1, () => new Promise(() => {}));
  const peer = await client().open();
  for (let n = 0; n < 3; n++) peer.send(1, 'x'.repeat(600));
  await eventually(() => hub.stats().pauses === 1, 'the pause');
});

const protocol = defineProtocol({
  say: { id: 1, body: json<{ text: string }>() },
  login: { id: 2, body: json<{ name: string }>(), reply: json<{ id: number }>() },
});

it('a protocol gives names and types: bodies are decoded for handlers and encoded to be sent', async () => {
  const { hub, client } = await hubScene({ protocol });
  hub.on('say', (from, { text }) => void from.send('say', { text: text.toUpperCase() }));
  const peer = await client().open();
  peer.send(1, '{"text":"hi"}');
  await eventually(() => peer.heard.length === 1, 'the answer');
  expect(peer.heard).toEqual(['1:{"text":"HI"}']);
  const calls: (() => unknown)[] = [
    () => hub.on('login' as never, (() => {}) as never),
    () => hub.broadcast('login' as never, {} as never),
    () => hub.on('other' as never, (() => {}) as never),
    () => new CommandHub().on('say' as never, (() => {}) as never),
  ];
  for (const call of calls) expect(await codeOf(call)).toBe('INVALID_OPTION');
});

it('an invalid body is told to its sender alone, and its next message is handled', async () => {
  const errors: string[] = [];
  const { hub, client } = await hubScene({ protocol, onError: (error) => void errors.push(error.code) });
  const seen: string[] = [];
  hub.on('say', (_from: Client<typeof protocol>, { text }) => void seen.push(text));
  const [bad, good] = [await client().open(), await client().open()];
  bad.send(1, '{"text":');
  good.send(1, '{"text":"good"}');
  bad.send(1, '{"text":"better"}');
  await eventually(() => seen.length === 2, 'the others');
  expect(await bad.failureOf(0)).toMatchObject({ code: 'INVALID', data: { id: 1 } });
  expect(good.replies.size).toBe(0);
  expect(errors).toEqual(['INVALID_BODY']);
  expect(hub.stats().invalidBodies).toBe(1);
});

it('other parts bind to the ids of RPC, one each', async () => {
  const { hub, client } = await hubScene();
  const unbind = hub.reserved(
    COMMAND_ID.RPC,
    (from, payload) => void from.sendReserved(COMMAND_ID.RPC, Buffer.from(`re: ${Buffer.from(payload)}`)),
  );
  expect(() => hub.reserved(COMMAND_ID.RPC, () => {})).toThrow(/nothing is bound/);
  expect(() => hub.reserved(1 as never, () => {})).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  const peer = await client().open();
  peer.send(COMMAND_ID.RPC, '{}');
  await eventually(() => peer.heard.length === 1, 'the answer');
  expect(peer.heard).toEqual([`${COMMAND_ID.RPC}:re: {}`]);
  unbind();
  peer.send(COMMAND_ID.RPC, '{}');
  await eventually(() => hub.stats().unknown === 1, 'nobody is there');
});
