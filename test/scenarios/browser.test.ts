import { describe, expect, it } from 'vitest';
import { roomOf } from '../../src/browser/rooms.ts';
import { statsOf } from '../../src/browser/stats.ts';
import { COMMAND_ID } from '../../src/command/wire.ts';
import { BrowserScene } from '../browser/browser-scene.ts';

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

describe('a client of pages', () => {
  it('znet-knet scenario 51: finds a server that comes up later, after growing waits with jitter, and is open once', async () => {
    const scene = new BrowserScene();
    scene.net.onConnect = (socket) => socket.refuse();
    const halves = scene.client({ random: () => 0.5 });
    const others = scene.client({ random: () => 0.9 });
    const connected = halves.client.connect();
    void others.client.connect();
    await scene.clock.advance(20_000);
    expect(halves.delays.slice(0, 6)).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000]);
    expect(others.delays.slice(0, 6)).toEqual([450, 900, 1_800, 3_600, 7_200, 14_400]);
    expect(halves.client.state).toBe('connecting');
    scene.net.onConnect = (socket) => socket.accept();
    await scene.clock.advance(30_000);
    expect(await connected).toEqual({ id: expect.stringMatching(/^client-/), recovered: false });
    expect(halves.events.filter((name) => name === 'open')).toEqual(['open']);
    expect(halves.client.state).toBe('open');
    expect(new Set(halves.events)).toEqual(new Set(['reconnecting', 'open']));
  });

  it('znet-knet scenario 52: close and connect in the same tick leave one live socket, whatever the old one says later', async () => {
    const scene = new BrowserScene();
    const { client, events } = await scene.open();
    const [old] = scene.net.sockets;
    if (old === undefined) throw new Error('no socket');
    old.holdsClose = true;
    const closed = client.close();
    const connected = client.connect();
    await scene.clock.advance(10);
    expect(await closed).toMatchObject({ by: 'client' });
    await connected;
    old.answerClose();
    await scene.clock.advance(10_000);
    expect(client.state).toBe('open');
    expect(scene.net.openSockets).toEqual([scene.net.last]);
    expect(scene.net.sockets).toHaveLength(2);
    expect(events).toEqual(['open', 'close', 'open']);
    client.send(1, 'still here');
    await scene.clock.advance(10);
    expect(scene.hub.handled).toEqual(['1:still here']);
  });

  it('znet-knet scenario 53: a server that accepts and closes at once is left alone for longer and longer', async () => {
    const scene = new BrowserScene();
    scene.net.onConnect = (socket) => {
      socket.accept();
      scene.clock.after(100, () => socket.closeByServer(1001, 'no'));
    };
    const { delays } = await scene.open({ random: () => 0.999_999, reconnect: { maxMs: 8_000 } });
    await scene.clock.advance(60_000);
    expect(delays.slice(0, 7)).toEqual([499, 999, 1_999, 3_999, 7_999, 7_999, 7_999]);
    scene.net.onConnect = (socket) => socket.accept();
    await scene.clock.advance(20_000);
    scene.net.last.closeByServer(1001, 'restarting');
    await scene.clock.advance(10);
    expect(delays.at(-1)).toBe(499);
  });

  it('znet-knet scenario 54: asks for auth once more after 4401, then it is over; 1008 as configured', async () => {
    const scene = new BrowserScene();
    let asked = 0;
    scene.hub.verdict = () => ({ status: 4401, reason: 'who are you?' });
    const { client, closes, states } = scene.client({ auth: () => Promise.resolve({ try: ++asked }) });
    const connected = client.connect();
    await scene.clock.advance(5_000);
    await expect(connected).rejects.toMatchObject({ code: 'CLOSED_WITH_ERROR', status: 4401 });
    expect(asked).toBe(2);
    expect(scene.hub.hellos.map(({ auth }) => auth)).toEqual([{ try: 1 }, { try: 2 }]);
    expect(states).toEqual(['connecting', 'closed']);
    expect(closes).toMatchObject([{ status: 4401, reason: 'who are you?', by: 'server' }]);

    scene.hub.verdict = () => undefined;
    const again = await scene.open({});
    scene.net.last.closeByServer(1008, 'Rate limit exceeded');
    await scene.clock.advance(5);
    expect(again.client.state).toBe('reconnecting');
    // It would soon dial, and its socket be taken for the next one.
    await again.client.close();
    const strict = await scene.open({ isFatal: (status) => status === 1008 });
    scene.net.last.closeByServer(1008, 'Rate limit exceeded');
    await scene.clock.advance(5);
    expect(strict.client.state).toBe('closed');
    const own = await scene.open({ shouldReconnect: ({ reason }) => reason !== 'Rate limit exceeded' });
    scene.net.last.closeByServer(1008, 'Rate limit exceeded');
    await scene.clock.advance(5);
    expect(own.client.state).toBe('closed');
  });

  it('znet-knet scenario 55: finds a frozen server by heartbeat, and at once when the page wakes', async () => {
    const scene = new BrowserScene();
    scene.hub.heartbeatMs = 10_000;
    const { client, errors, events } = await scene.open();
    scene.net.last.isFrozen = true;
    await scene.clock.advance(19_900);
    expect(client.state).toBe('open');
    await scene.clock.advance(200);
    expect(errors).toMatchObject([{ code: 'HEARTBEAT_TIMEOUT' }]);
    await scene.clock.advance(5_000);
    expect(events).toEqual(['open', 'reconnecting', 'reconnected']);
    expect(client.state).toBe('open');
  });

  it('znet-knet scenario 56: keeps 20 of 50 sends while offline, reports 30, replays no volatile one, and loses none that is cut in flight', async () => {
    const scene = new BrowserScene();
    const { client, dropped } = await scene.open({ buffer: { messages: 20 } });
    client.send(1, 'in flight');
    scene.hub.cut();
    for (let n = 0; n < 50; n++) client.send(1, String(n));
    expect(client.send(1, 'volatile', { volatile: true })).toBe(false);
    expect(dropped).toEqual([...Array.from({ length: 30 }, (_, n) => `${n} full`), 'volatile offline']);
    expect(statsOf(client)).toMatchObject({ waiting: 20, dropped: 31, unconfirmed: 1 });
    await scene.clock.advance(2_000);
    expect(scene.hub.handled).toEqual(['1:in flight', ...Array.from({ length: 20 }, (_, n) => `1:${n + 30}`)]);
    expect(scene.hub.volatiles).toEqual([]);
  });

  it('znet-knet scenario 57: gets all 100 messages once and in order after 2 s without a connection; a new session after too long', async () => {
    const scene = new BrowserScene();
    const { client, events } = await scene.open();
    const seen: string[] = [];
    client.on(7, (payload) => seen.push(text(payload)));
    const room = roomOf(client, 'lobby');
    void room.join();
    await scene.clock.advance(10);
    const { id } = client;
    for (let n = 0; n < 50; n++) scene.hub.text(7, String(n));
    scene.hub.cut();
    scene.net.onConnect = (socket) => socket.refuse();
    for (let n = 50; n < 100; n++) scene.hub.text(7, String(n));
    await scene.clock.advance(2_000);
    scene.net.onConnect = (socket) => socket.accept();
    await scene.clock.advance(10_000);
    expect(seen).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
    expect(client.recovered).toBe(true);
    expect(client.id).toBe(id);
    expect(room.isJoined).toBe(true);
    expect(scene.hub.peers).toHaveLength(1);

    scene.hub.retentionMs = 1_000;
    scene.net.onConnect = (socket) => socket.refuse();
    scene.hub.cut();
    await scene.clock.advance(5_000);
    scene.net.onConnect = (socket) => socket.accept();
    await scene.clock.advance(30_000);
    expect(client.recovered).toBe(false);
    expect(client.id).not.toBe(id);
    expect(events.filter((name) => name === 'reconnected')).toHaveLength(2);
    expect(scene.hub.peer.rooms).toEqual(['lobby']);
  });

  it('znet-knet scenario 58: sends exactly the bytes that are meant, refuses ids that are none, and keeps handlers apart', async () => {
    const scene = new BrowserScene();
    const { client, errors } = await scene.open();
    const sent: number[][] = [];
    const { onMessage } = scene.net;
    scene.net.onMessage = (socket, bytes) => {
      if (bytes[3] === 9) sent.push([...bytes.subarray(4)]);
      onMessage(socket, bytes);
    };
    const view = Uint8Array.of(9, 1, 2, 3, 9).subarray(1, 4);
    for (const body of ['é', view, view.slice().buffer, new DataView(view.buffer, 2, 2), '', new Uint8Array(0)]) client.send(9, body);
    client.send(9);
    await scene.clock.advance(5);
    expect(sent).toEqual([[0xc3, 0xa9], [1, 2, 3], [1, 2, 3], [2, 3], [], [], []]);
    for (const id of [-1, 2 ** 32, 1.5, Number.NaN, COMMAND_ID.RPC, COMMAND_ID.HELLO, 0xffff_ffe0]) {
      expect(() => client.send(id)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
      expect(() => client.on(id, () => {})).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    }
    expect(() => client.send(1, 5 as never)).toThrow(expect.objectContaining({ code: 'UNENCODABLE_BODY' }));

    const seen: string[] = [];
    const first = (payload: Uint8Array): void => void seen.push(`first ${text(payload)}`);
    client.on(3, first);
    client.on(3, () => {
      throw new Error('no');
    });
    client.on(3, () => Promise.reject(new Error('later no')));
    client.on(3, (payload) => seen.push(`last ${text(payload)}`));
    client.once(3, () => seen.push('once'));
    client.onAny((command, body) => seen.push(`any ${command} ${text(body as Uint8Array)}`));
    scene.hub.text(3, 'a');
    await scene.clock.advance(5);
    client.off(3, first);
    scene.hub.text(3, 'b');
    await scene.clock.advance(5);
    expect(seen).toEqual(['first a', 'last a', 'once', 'any 3 a', 'last b', 'any 3 b']);
    expect(errors).toHaveLength(4);
    expect(errors).toMatchObject(Array.from({ length: 4 }, () => ({ code: 'LISTENER_FAILED', message: 'a handler of 3 failed' })));
    expect(client.state).toBe('open');
  });

  it('znet-knet scenario 46: a call is given up in time, its late answer means nothing, and the next one works', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open();
    scene.hub.onCall = (call) => scene.clock.after(call.id === 1 ? 1_000 : 1, () => scene.hub.reply(call, 0, call.payload));
    const slow = client.call(1, 'slow', { timeoutMs: 100 }).catch((error: unknown) => error);
    await scene.clock.advance(99);
    expect(statsOf(client).openCalls).toBe(1);
    await scene.clock.advance(1);
    expect(await slow).toMatchObject({ code: 'CALL_TIMEOUT' });
    await scene.clock.advance(2_000);
    expect(scene.hub.cancelled).toEqual([1]);
    const quick = client.call(2, 'quick', { timeoutMs: 100 });
    await scene.clock.advance(10);
    expect(text(await quick)).toBe('quick');
    expect(statsOf(client).openCalls).toBe(0);
  });

  it('znet-knet scenario 48: five open calls fail when the connection is cut and cannot be resumed', async () => {
    const scene = new BrowserScene();
    scene.hub.retentionMs = 0;
    const { client } = await scene.open();
    const calls = Array.from({ length: 5 }, (_, n) => client.call(n + 1, 'x').catch((error: unknown) => error));
    await scene.clock.advance(5);
    expect(scene.hub.calls).toHaveLength(5);
    scene.hub.cut();
    await scene.clock.advance(50);
    expect(await Promise.all(calls)).toMatchObject(Array.from({ length: 5 }, () => ({ code: 'SESSION_CLOSED' })));
  });

  it('znet-knet scenario 48: calls that need not survive fail at the cut, of a session that is resumed too; the others are answered once', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open();
    const failedAt: number[] = [];
    const fail = (error: unknown): unknown => {
      failedAt.push(scene.clock.now());
      return error;
    };
    const calls = Array.from({ length: 5 }, (_, n) => client.call(n + 1, 'x', { survives: false }).catch(fail));
    const patient = client.call(6, 'patient');
    await scene.clock.advance(5);
    scene.hub.cut();
    const cutAt = scene.clock.now();
    expect(await Promise.all(calls)).toMatchObject(Array.from({ length: 5 }, () => ({ code: 'SESSION_CLOSED' })));
    expect(failedAt).toEqual(Array.from({ length: 5 }, () => cutAt));
    await scene.clock.advance(2_000);
    expect(client.recovered).toBe(true);
    expect(scene.hub.cancelled).toEqual([1, 2, 3, 4, 5]);
    for (const call of scene.hub.calls) scene.hub.reply(call, 0, call.payload);
    await scene.clock.advance(5);
    expect(text(await patient)).toBe('patient');
    expect(scene.hub.calls).toHaveLength(6);
  });
});
