import { describe, expect, it } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import { handle } from '../../src/browser/handle.ts';
import { roomOf } from '../../src/browser/rooms.ts';
import { attachRpc } from '../../src/browser/rpc.ts';
import { stream } from '../../src/browser/stream.ts';
import { COMMAND_ID, encodeCall, encodeControl, encodeJson, encodeMessage, encodeRoom } from '../../src/command/wire.ts';
import { json } from '../../src/protocol/json.ts';
import { defineProtocol } from '../../src/protocol/protocol.ts';
import { BrowserScene } from './browser-scene.ts';

const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);
const text = (value: Uint8Array): string => new TextDecoder().decode(value);
const outcome = (promise: Promise<unknown>): Promise<unknown> => promise.catch((error: unknown) => error);

const protocol = defineProtocol({
  say: { id: 1, body: json<{ text: string }>() },
  add: { id: 2, body: json<[number, number]>(), reply: json<number>() },
  count: { id: 3, body: json<number>(), stream: json<number>() },
});

describe('calls', () => {
  it('bring typed answers, failures, and end by their signal', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open({ protocol });
    scene.hub.onCall = (call) => {
      const [left, right] = JSON.parse(text(call.payload)) as [number, number];
      if (left === 0) scene.hub.reply(call, 1, encodeJson({ code: 'ZERO', message: 'no zero', data: { left } }));
      else if (left > 0) scene.hub.reply(call, 0, encodeJson(left + right));
    };
    const sum = client.call('add', [1, 2]);
    const failed = outcome(client.call('add', [0, 2]));
    const controller = new AbortController();
    const aborted = outcome(client.call('add', [-1, 2], { signal: controller.signal }));
    await scene.clock.advance(10);
    expect(await sum).toBe(3);
    expect(await failed).toBeInstanceOf(CallError);
    expect(await failed).toMatchObject({ code: 'CALL_FAILED', reason: 'ZERO', message: 'no zero', data: { left: 0 } });
    controller.abort(new Error('enough'));
    expect(await aborted).toMatchObject({ code: 'ABORTED', cause: { message: 'enough' } });
    await scene.clock.advance(10);
    expect(scene.hub.cancelled).toEqual([3]);
    expect(await outcome(client.call('add', [1, 1], { signal: AbortSignal.abort() }))).toMatchObject({ code: 'ABORTED' });
  });

  it('survive a resume, wait while offline, are bounded, and fail at the end', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open({ maxCalls: 3 });
    const sent = client.call(1, 'sent');
    await scene.clock.advance(5);
    scene.hub.cut();
    const waiting = client.call(2, 'waiting');
    const aborted = new AbortController();
    const never = outcome(client.call(3, 'never', { signal: aborted.signal }));
    expect(await outcome(client.call(4, 'one too many'))).toMatchObject({ code: 'SEND_QUEUE_FULL' });
    aborted.abort();
    await never;
    await scene.clock.advance(2_000);
    for (const call of scene.hub.calls) scene.hub.reply(call, 0, call.payload);
    await scene.clock.advance(5);
    expect([text(await sent), text(await waiting)]).toEqual(['sent', 'waiting']);
    expect(scene.hub.calls.map(({ id }) => id)).toEqual([1, 2]);
    const open = outcome(client.call(1, 'open'));
    void client.close({ drain: false });
    await scene.clock.advance(10);
    expect(await open).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(await outcome(client.call(1, 'late'))).toMatchObject({ code: 'ENDPOINT_CLOSED' });
  });

  it('that are too large are refused, before they are sent and when a server takes less than the one before', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open({ maxPayloadBytes: 100 });
    expect(await outcome(client.call(1, new Uint8Array(93)))).toMatchObject({ code: 'ENCODED_TOO_LARGE' });
    expect(() => client.send(1, new Uint8Array(97), { volatile: true })).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
    const fits = outcome(client.call(1, new Uint8Array(92)));
    await scene.clock.advance(5);
    expect(scene.hub.calls).toHaveLength(1);
    scene.hub.maxPayloadBytes = 50;
    scene.hub.forgetAll();
    const waiting = outcome(client.call(2, new Uint8Array(60)));
    await scene.clock.advance(2_000);
    expect(await fits).toMatchObject({ code: 'SESSION_CLOSED' });
    expect(await waiting).toMatchObject({ code: 'ENCODED_TOO_LARGE' });
    expect(client.state).toBe('open');
  });

  it('that are streams take items as they are read, and leaving the loop cancels them', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open({ protocol });
    scene.hub.onCall = (call) => {
      for (let n = 0; n < 4; n++) scene.hub.reply(call, 2, encodeJson(n));
    };
    const items: number[] = [];
    const loop = (async () => {
      for await (const item of stream(client, 'count', 10, { window: 4 })) {
        items.push(item);
        if (item === 5) break;
      }
    })();
    await scene.clock.advance(10);
    expect(items).toEqual([0, 1, 2, 3]);
    expect(scene.hub.credits.reduce((sum, { items: count }) => sum + count, 0)).toBe(8);
    const [call] = scene.hub.calls;
    if (call === undefined) throw new Error('no call');
    for (let n = 4; n < 8; n++) scene.hub.reply(call, 2, encodeJson(n));
    await scene.clock.advance(10);
    await loop;
    expect(items).toEqual([0, 1, 2, 3, 4, 5]);
    expect(scene.hub.cancelled).toEqual([1]);

    scene.hub.onCall = (one) => {
      scene.hub.reply(one, 2, encodeJson(7));
      scene.hub.reply(one, 3);
    };
    const ended = stream(client, 'count', 1);
    const first = ended.next();
    await scene.clock.advance(10);
    expect(await first).toEqual({ done: false, value: 7 });
    expect(await ended.next()).toEqual({ done: true, value: undefined });

    scene.hub.onCall = (one) => {
      for (let n = 0; n < 3; n++) scene.hub.reply(one, 2, encodeJson(n));
    };
    const greedy = outcome(
      (async () => {
        for await (const _ of stream(client, 'count', 1, { window: 2 })) await new Promise(() => {});
      })(),
    );
    void greedy;
    await scene.clock.advance(10);
    expect(scene.hub.cancelled).toEqual([1, 3]);
  });

  it('of the server are answered, refused, cancelled, and told no more of a failure than a CallError says', async () => {
    const scene = new BrowserScene();
    const { client, errors } = await scene.open({ protocol });
    let signal: AbortSignal | undefined;
    handle(client, 'add', async ([left, right], context) => {
      signal = context.signal;
      if (left === 0) throw new CallError('ZERO', 'no zero', { left });
      if (left < 0) throw new Error('secret');
      if (left > 99) await new Promise(() => {});
      return left + right;
    });
    const ask = (call: number, left: number): void => scene.hub.send(encodeCall(call, 2, encodeJson([left, 2])));
    ask(1, 1);
    ask(2, 0);
    ask(3, -1);
    ask(4, 100);
    scene.hub.send(encodeCall(5, 99, bytes('')));
    await scene.clock.advance(10);
    expect(signal?.aborted).toBe(false);
    scene.hub.send(encodeMessage(COMMAND_ID.CANCEL, Uint8Array.of(0, 0, 0, 4)));
    await scene.clock.advance(10);
    expect(signal?.aborted).toBe(true);
    const failure = (call: number, code: string, message: string, data?: unknown): unknown => ({
      call,
      kind: 1,
      text: JSON.stringify({ code, message, data }),
    });
    const byCall = [...scene.hub.replies].sort((a, b) => a.call - b.call);
    expect(byCall).toEqual([
      { call: 1, kind: 0, text: '3' },
      failure(2, 'ZERO', 'no zero', { left: 0 }),
      failure(3, 'INTERNAL', 'INTERNAL'),
      failure(4, 'ABORTED', 'ABORTED'),
      failure(5, 'NOT_FOUND', 'NOT_FOUND'),
    ]);
    expect(errors).toMatchObject([{ code: 'LISTENER_FAILED', cause: { message: 'secret' } }]);
  });
});

describe('rooms', () => {
  it('are joined, heard, left, and joined again by a new session; presence comes as differences', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open({ protocol });
    const room = roomOf(client, 'lobby');
    expect(roomOf(client, 'lobby')).toBe(room);
    const seen: unknown[] = [];
    room.on('say', (body) => seen.push(body.text));
    room.onPresence(({ joined, left, members }) => seen.push([[...joined.keys()], left, [...members.keys()]]));
    room.onLost(() => seen.push('lost'));
    const joined = room.join({ name: 'me' });
    await scene.clock.advance(10);
    expect([...(await joined).keys()]).toEqual(['client-1']);
    const presence = (value: object): void =>
      scene.hub.send(encodeControl(COMMAND_ID.PRESENCE, { room: 'lobby', ...value } as { room: string }));
    presence({ joined: { b: 1 } });
    presence({ left: ['b', 'nobody'], joined: { c: 2 } });
    presence({ all: { 'client-1': null, d: 3 } });
    presence({ all: { 'client-1': null, d: 3 } });
    scene.hub.send(encodeRoom('lobby', 1, bytes('{"text":"hi"}')));
    scene.hub.send(encodeRoom('elsewhere', 1, bytes('{"text":"no"}')));
    room.send('say', { text: 'to all' });
    await scene.clock.advance(10);
    expect(seen).toEqual([
      [['client-1'], [], ['client-1']],
      [['b'], [], ['client-1', 'b']],
      [['c'], ['b'], ['client-1', 'c']],
      [['d'], ['c'], ['client-1', 'd']],
      'hi',
    ]);
    expect(scene.hub.roomMessages).toEqual(['lobby 1:{"text":"to all"}']);
    scene.hub.forgetAll();
    await scene.clock.advance(2_000);
    expect(scene.hub.hellos.at(-1)).toMatchObject({ rooms: [{ name: 'lobby', state: { name: 'me' } }] });
    expect(room.isJoined).toBe(true);
    const left = room.leave();
    await scene.clock.advance(10);
    await left;
    expect(room.isJoined).toBe(false);
    scene.hub.forgetAll();
    await scene.clock.advance(2_000);
    expect(scene.hub.hellos.at(-1)?.rooms).toBeUndefined();
    expect(() => roomOf(client, '')).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    for (let n = 0; n < 999; n++) roomOf(client, `room ${n}`);
    expect(() => roomOf(client, 'one more')).toThrow(expect.objectContaining({ code: 'SEND_QUEUE_FULL' }));
  });
});

describe('JSON-RPC', () => {
  it('goes both ways over the reserved ids, survives a resume and fails with the session', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open();
    const rpc = attachRpc(client, (peer) => peer.method('title', () => 'a page'), { clock: scene.clock });
    const sent: string[] = [];
    const { onMessage } = scene.net;
    scene.net.onMessage = (socket, message) => {
      if (message[0] === 255 && message[3] === 255) sent.push(text(message.subarray(4)));
      onMessage(socket, message);
    };
    const call = rpc.peer.call('subtract', [42, 23] as never);
    scene.hub.text(COMMAND_ID.RPC, '{"jsonrpc":"2.0","method":"title","id":"s1"}');
    await scene.clock.advance(10);
    scene.hub.cut();
    await scene.clock.advance(1_000);
    const { id } = JSON.parse(sent[0] ?? '{}') as { id: number };
    scene.hub.text(COMMAND_ID.RPC, JSON.stringify({ jsonrpc: '2.0', result: 19, id }));
    await scene.clock.advance(10);
    expect(await call).toBe(19);
    expect(JSON.parse(sent[1] ?? '{}')).toEqual({ jsonrpc: '2.0', result: 'a page', id: 's1' });
    const open = outcome(rpc.peer.call('subtract', [1, 2] as never));
    await scene.clock.advance(10);
    scene.hub.forgetAll();
    await scene.clock.advance(2_000);
    expect(await open).toMatchObject({ code: 'SESSION_CLOSED' });
    rpc.close();
    expect(rpc.peer.isClosed).toBe(true);
  });
});
