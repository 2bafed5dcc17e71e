import { describe, expect, it } from 'vitest';
import type { PageEvent } from '../../src/browser/environment.ts';
import { statsOf } from '../../src/browser/stats.ts';
import { COMMAND_ID, encodeControl, encodeMessage, encodeSeq } from '../../src/command/wire.ts';
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

class Target {
  visibilityState = 'visible';
  readonly #listeners = new Map<string, Set<(event: PageEvent) => void>>();

  addEventListener(type: string, listener: (event: PageEvent) => void): void {
    this.#listeners.set(type, (this.#listeners.get(type) ?? new Set()).add(listener));
  }

  removeEventListener(type: string, listener: (event: PageEvent) => void): void {
    this.#listeners.get(type)?.delete(listener);
  }

  dispatch(type: string, persisted = false): void {
    for (const listener of this.#listeners.get(type) ?? []) listener({ type, persisted });
  }

  get size(): number {
    return [...this.#listeners.values()].reduce((sum, { size }) => sum + size, 0);
  }
}

describe('connecting', () => {
  it('asks url and auth before each attempt, and takes their failure for a failed attempt', async () => {
    const scene = new BrowserScene();
    let asked = 0;
    const { client, errors } = scene.client({
      url: () => (++asked === 1 ? Promise.reject(new Error('no token')) : `ws://server/${asked}`),
      auth: () => ({ asked }),
    });
    void client.connect();
    await scene.clock.advance(2_000);
    expect(scene.net.sockets.map(({ url }) => url)).toEqual(['ws://server/2']);
    expect(scene.hub.hellos).toEqual([{ v: 1, auth: { asked: 2 } }]);
    expect(errors).toMatchObject([{ code: 'CONNECT_FAILED', cause: { message: 'no token' } }]);
    scene.hub.cut();
    await scene.clock.advance(2_000);
    expect(scene.net.last.url).toBe('ws://server/3');
  });

  it('gives an attempt up after connectTimeoutMs, be it the socket or the welcome that does not come', async () => {
    const scene = new BrowserScene();
    scene.net.onConnect = () => {};
    const { client, errors } = scene.client({ connectTimeoutMs: 1_000, retryFirstConnect: false });
    const connected = outcome(client.connect());
    await scene.clock.advance(1_100);
    expect(await connected).toMatchObject({ code: 'CONNECT_TIMEOUT' });
    expect(client.state).toBe('closed');
    expect(errors).toHaveLength(1);
    scene.net.onConnect = (socket) => socket.accept();
    scene.net.onMessage = () => {};
    const again = outcome(client.connect());
    await scene.clock.advance(1_100);
    expect(await again).toMatchObject({ code: 'CONNECT_TIMEOUT' });
    expect(scene.net.last.closedWith).toEqual({ status: 4408, reason: 'no connection' });
  });

  it('is one promise for all calls, gives up after the attempts it was given, and ready says so', async () => {
    const scene = new BrowserScene();
    scene.net.onConnect = (socket) => socket.refuse();
    const { client, events, closes } = scene.client({ reconnect: { attempts: 2 } });
    const ready = outcome(client.ready);
    const first = client.connect();
    expect(client.connect()).toBe(first);
    await scene.clock.advance(60_000);
    expect(await outcome(first)).toMatchObject({ code: 'RECONNECT_EXHAUSTED' });
    expect(await ready).toMatchObject({ code: 'RECONNECT_EXHAUSTED' });
    expect(await outcome(client.ready)).toMatchObject({ code: 'RECONNECT_EXHAUSTED' });
    expect(events).toEqual(['reconnecting', 'reconnecting', 'close']);
    expect(scene.net.sockets).toHaveLength(3);
    expect(closes).toMatchObject([{ status: 1006, by: 'network' }]);
  });

  it('does as the server says in GOODBYE: when to come again, and that it need not', async () => {
    const scene = new BrowserScene();
    const { client, delays } = await scene.open({ random: () => 0.5 });
    scene.hub.verdict = () => undefined;
    scene.net.last.deliver(encodeControl(COMMAND_ID.GOODBYE, { status: 1001, reason: 'restart', retryAfterMs: 7_000 }));
    scene.net.last.closeByServer(1001, 'restart');
    await scene.clock.advance(5);
    expect(delays).toEqual([7_250]);
    await scene.clock.advance(8_000);
    expect(client.state).toBe('open');
    scene.net.last.deliver(encodeControl(COMMAND_ID.GOODBYE, { status: 1000, reason: 'kicked', isFatal: true }));
    scene.net.last.closeByServer(1000, 'kicked');
    await scene.clock.advance(5);
    expect(client.state).toBe('closed');
  });

  it('drops a server that breaks the protocol, or does not speak it, and survives', async () => {
    const scene = new BrowserScene();
    const { client, errors } = await scene.open();
    for (const message of [Uint8Array.of(1, 2), encodeSeq(COMMAND_ID.ACK, 99), encodeMessage(COMMAND_ID.WELCOME, bytes('{}')), 'text']) {
      scene.net.last.deliver(message);
      await scene.clock.advance(40_000);
      expect(errors.at(-1)).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
      expect(client.state).toBe('open');
    }
    expect(errors).toHaveLength(4);
    scene.net.onConnect = (socket) => socket.accept('');
    scene.net.last.cut();
    await scene.clock.advance(1_000);
    expect(errors.at(-1)).toMatchObject({ code: 'PROTOCOL_VIOLATION' });
  });

  it('stays closed when a listener closes it, whatever it was told at that moment', async () => {
    for (const name of ['error', 'state', 'reconnecting'] as const) {
      const scene = new BrowserScene();
      scene.net.onConnect = (socket) => socket.refuse();
      const { client } = scene.client({ url: () => Promise.reject(new Error('no token')) });
      client.events.on(name, () => void client.close());
      const connected = outcome(client.connect());
      await scene.clock.advance(60_000);
      expect(await connected, name).toMatchObject({ code: 'ENDPOINT_CLOSED' });
      expect([client.state, scene.clock.pendingTimers, scene.net.sockets.length], name).toEqual(['closed', 0, 0]);
    }
  });

  it('takes what auth returns and JSON cannot say for a failed attempt', async () => {
    const scene = new BrowserScene();
    const { client, errors } = scene.client({ auth: () => 1n, retryFirstConnect: false });
    const connected = outcome(client.connect());
    await scene.clock.advance(10);
    expect(await connected).toMatchObject({ code: 'CONNECT_FAILED' });
    expect(errors).toMatchObject([{ cause: expect.any(TypeError) }]);
  });

  it('refuses options that make no sense', () => {
    const scene = new BrowserScene();
    for (const options of [
      { url: 5 },
      { auth: 'x' },
      { profile: 'znet' },
      { connectTimeoutMs: -1 },
      { buffer: { messages: 1.5 } },
      { buffer: { policy: 'none' } },
      { reconnect: { minMs: '1' } },
      { reconnect: { jitter: 'some' } },
      { heartbeat: { intervalMs: Number.NaN } },
      { webSocket: 'ws' },
    ]) {
      expect(() => scene.client(options as never), JSON.stringify(options)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    }
  });
});

describe('messages', () => {
  it('carry typed bodies by name, and an invalid one reaches the error event alone', async () => {
    const scene = new BrowserScene();
    const { client, errors } = await scene.open({ protocol });
    const seen: unknown[] = [];
    client.on('say', (body) => seen.push(body.text));
    client.on(1, (payload) => seen.push(payload.length));
    client.onAny((command, body) => seen.push([command, body]));
    client.send('say', { text: 'hello' });
    scene.hub.text(1, '{"text":"back"}');
    scene.hub.text(1, '{');
    await scene.clock.advance(5);
    expect(scene.hub.handled).toEqual(['1:{"text":"hello"}']);
    expect(seen).toEqual([15, 'back', ['say', { text: 'back' }], 1]);
    expect(errors).toMatchObject([{ code: 'INVALID_BODY' }]);
    expect(() => client.send('shout' as never, {} as never)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
  });

  it('are dropped by the policy of the buffer: oldest, newest, too old, rejected, or none at all', async () => {
    const scene = new BrowserScene();
    const newest = scene.client({ buffer: { messages: 2, policy: 'drop-newest' } });
    for (const body of ['a', 'b', 'c']) newest.client.send(1, body);
    expect(newest.dropped).toEqual(['c full']);
    const bytesLimit = scene.client({ buffer: { bytes: 12 } });
    for (const body of ['aa', 'bb', 'cc', 'much too long']) bytesLimit.client.send(1, body);
    expect(bytesLimit.dropped).toEqual(['aa full', 'much too long full']);
    const rejecting = scene.client({ buffer: { messages: 1, policy: 'reject' } });
    rejecting.client.send(1, 'a');
    expect(() => rejecting.client.send(1, 'b')).toThrow(expect.objectContaining({ code: 'SEND_QUEUE_FULL' }));
    expect(rejecting.dropped).toEqual([]);
    const off = scene.client({ buffer: false });
    expect(off.client.send(1, 'a')).toBe(false);
    expect(off.dropped).toEqual(['a offline']);
    const old = scene.client({ buffer: { ageMs: 1_000 } });
    old.client.send(1, 'old');
    await scene.clock.advance(1_500);
    old.client.send(1, 'new');
    void old.client.connect();
    await scene.clock.advance(10);
    expect(old.dropped).toEqual(['old age']);
    expect(scene.hub.handled).toEqual(['1:new']);
  });

  it('wait in the buffer when the socket takes no more, and drain tells when to go on', async () => {
    const scene = new BrowserScene();
    const { client, events } = await scene.open({ highWaterMarkBytes: 1_000, maxSocketBytes: 2_000 });
    const socket = scene.net.last;
    socket.isStuck = true;
    expect(client.send(1, new Uint8Array(500))).toBe(true);
    expect(client.send(1, new Uint8Array(600))).toBe(false);
    expect(client.send(1, new Uint8Array(10), { volatile: true })).toBe(false);
    client.send(1, new Uint8Array(1_000));
    client.send(1, 'waits');
    expect(statsOf(client)).toMatchObject({ waiting: 1, dropped: 1 });
    expect(client.sendQueueBytes).toBe(504 + 604 + 1_004 + 9);
    await scene.clock.advance(1_000);
    expect(events).toEqual(['open']);
    socket.isStuck = false;
    socket.bufferedAmount = 0;
    await scene.clock.advance(100);
    expect(events).toEqual(['open', 'drain']);
    expect(scene.hub.handled).toEqual(['1:waits']);
    expect(() => client.send(1, new Uint8Array(10_485_761))).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
  });

  it('that come again with a number that is known are handled once', async () => {
    const scene = new BrowserScene();
    const { client, errors } = await scene.open();
    const seen: string[] = [];
    client.on(7, (payload) => seen.push(new TextDecoder().decode(payload)));
    scene.hub.text(7, 'a');
    scene.hub.text(7, 'b');
    await scene.clock.advance(5);
    scene.net.last.deliver(encodeSeq(COMMAND_ID.SEQ, 1));
    for (const body of ['a', 'b', 'c']) scene.net.last.deliver(encodeMessage(7, new TextEncoder().encode(body)));
    await scene.clock.advance(5);
    expect(seen).toEqual(['a', 'b', 'c']);
    expect(statsOf(client).duplicates).toBe(2);
    scene.net.last.deliver(encodeSeq(COMMAND_ID.SEQ, 9));
    await scene.clock.advance(5);
    expect(errors).toMatchObject([{ code: 'PROTOCOL_VIOLATION' }]);
  });

  it('that a lost session leaves open are told as lost, and volatile ones arrive while there is a connection', async () => {
    const scene = new BrowserScene();
    const { client, dropped } = await scene.open();
    client.send(1, 'v', { volatile: true });
    await scene.clock.advance(5);
    expect(scene.hub.volatiles).toEqual(['1:v']);
    client.send(1, 'in flight');
    scene.hub.forgetAll();
    await scene.clock.advance(2_000);
    expect(client.recovered).toBe(false);
    expect(dropped).toEqual(['in flight lost']);
  });
});

describe('the life of a page', () => {
  it('is looked at while the client lives: awake again, it checks or connects at once', async () => {
    const scene = new BrowserScene();
    const page = { window: new Target(), document: new Target() };
    const { client, events, states } = await scene.open({ page, random: () => 0.999 });
    const { pings } = scene.hub;
    page.document.visibilityState = 'hidden';
    page.document.dispatch('visibilitychange');
    await scene.clock.advance(10);
    expect(scene.hub.pings).toBe(pings);
    page.document.visibilityState = 'visible';
    page.document.dispatch('visibilitychange');
    await scene.clock.advance(10);
    expect(scene.hub.pings).toBe(pings + 1);
    scene.net.last.isFrozen = true;
    page.window.dispatch('offline');
    await scene.clock.advance(5_100);
    expect(client.state).toBe('reconnecting');
    scene.net.onConnect = (socket) => socket.refuse();
    await scene.clock.advance(10_000);
    scene.net.onConnect = (socket) => socket.accept();
    const before = scene.net.attempts.length;
    page.window.dispatch('online');
    await scene.clock.advance(10);
    expect(scene.net.attempts.length).toBe(before + 1);
    expect(client.state).toBe('open');

    page.window.dispatch('pagehide', false);
    expect(client.state).toBe('open');
    page.window.dispatch('pagehide', true);
    expect(client.state).toBe('reconnecting');
    expect(scene.net.openSockets).toEqual([]);
    scene.clock.block(3_600_000);
    page.window.dispatch('pageshow', true);
    await scene.clock.advance(10);
    expect(client.state).toBe('open');
    expect(events.filter((name) => name === 'reconnected')).toHaveLength(2);
    expect(states.at(-1)).toBe('open');
    void client.close();
    await scene.clock.advance(10);
    expect([page.window.size, page.document.size]).toEqual([0, 0]);
  });

  it('a timer that fires far too late proves nothing: the server is asked again', async () => {
    const scene = new BrowserScene();
    const { client, errors } = await scene.open({ heartbeat: { intervalMs: 10_000, timeoutMs: 5_000 } });
    await scene.clock.advance(9_995);
    scene.clock.block(3_600_000);
    await scene.clock.advance(20_000);
    expect(errors).toEqual([]);
    expect(client.state).toBe('open');
    expect(client.rttMs).toBe(2);
  });
});

describe('closing', () => {
  it('waits for open calls and what is queued, then for the close handshake; afterwards every method is safe', async () => {
    const scene = new BrowserScene();
    const { client, states, closes, dropped } = await scene.open();
    scene.hub.onCall = (call) => scene.clock.after(500, () => scene.hub.reply(call, 0, bytes('done')));
    const call = client.call(1);
    const closed = client.close({ reason: 'bye' });
    expect(client.state).toBe('closing');
    expect(client.close()).toBe(closed);
    await scene.clock.advance(1_000);
    expect(text(await call)).toBe('done');
    expect(await closed).toMatchObject({ status: 1000, reason: 'bye', wasClean: true, by: 'client' });
    expect(closes).toHaveLength(1);
    expect(states).toEqual(['connecting', 'open', 'closing', 'closed']);
    expect(client.send(1, 'late')).toBe(false);
    expect(dropped).toEqual(['late closed']);
    expect(await client.close()).toMatchObject({ by: 'client' });
    expect(scene.clock.pendingTimers).toBe(0);
  });

  it('takes no longer than timeoutMs, whoever does not answer, and works before it was open', async () => {
    const scene = new BrowserScene();
    const { client } = await scene.open();
    const call = outcome(client.call(1));
    const closed = client.close({ timeoutMs: 1_000 });
    await scene.clock.advance(1_100);
    expect(await closed).toMatchObject({ wasClean: false, by: 'client' });
    expect(await call).toMatchObject({ code: 'SESSION_CLOSED' });
    scene.net.onConnect = () => {};
    const other = scene.client();
    const connected = outcome(other.client.connect());
    await other.client.close();
    expect(await connected).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    expect(await outcome(other.client.ready)).toMatchObject({ code: 'ENDPOINT_CLOSED' });
    await scene.clock.advance(60_000);
    expect(scene.net.openSockets).toEqual([]);
    expect(await scene.client().client.close()).toMatchObject({ by: 'client' });
  });
});
