import { describe, expect, it } from 'vitest';
import type { PorticoError } from '../../src/base/errors.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { json } from '../../src/protocol/json.ts';
import { defineAction } from '../../src/router/action.ts';
import { type ActionPacket, ActionPacketHandler } from '../../src/router/action-packet.ts';
import type { Middleware } from '../../src/router/middleware.ts';
import type { ActionSession } from '../../src/router/route-context.ts';
import { Router } from '../../src/router/router.ts';
import { withEventListener, withPkgHandler, withReadTimeoutMs } from '../../src/session/options.ts';
import { seededRandom } from '../../src/transport/memory-random.ts';
import { actionFrame, actionMessage } from '../helpers/action-packets.ts';
import { propertyRuns } from '../helpers/codec-property.ts';
import { hex } from '../helpers/codec-recorder.ts';
import { until } from '../helpers/raw-peer.ts';
import { packetsFrom, serveTcp } from '../helpers/router-tcp.ts';
import { type ActionPeer, RouterWorld } from '../helpers/router-world.ts';
import { useScene } from '../helpers/scene.ts';
import { struct } from '../helpers/struct-codec.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

const scene = useScene();
const EXAMPLE = hex('00 00 00 15 00 01 00 01 7B 22 66 6F 6F 22 3A 22 62 61 72 22 7D');
const refusal = (action: number, code: string, message: string): string => JSON.stringify({ action, code, message });

describe('znet over TCP', () => {
  it('znet-knet scenario 1: answers the example with 21 bytes, same action and seq', async () => {
    const { address } = await serveTcp(
      scene,
      new Router().route(1, () => ({ foo: 'bar' })),
    );
    const peer = await scene.peer(address);
    await peer.send(EXAMPLE);
    expect(await peer.receive(21)).toEqual(EXAMPLE);
  });

  it('znet-knet scenario 2: a packet of one byte per 20 ms is answered once, and holds up nobody', async () => {
    const world = new RouterWorld();
    await world.serve(new Router().route(1, () => ({ foo: 'bar' })).route(2, () => 'at once'));
    const [slow, fast] = [await world.peer(), await world.peer()];
    for (const [index, byte] of EXAMPLE.entries()) {
      await slow.send(Uint8Array.of(byte));
      await world.clock.advance(10);
      expect(slow.packets).toHaveLength(index === 20 ? 1 : 0);
      expect(await fast.ask(2, index)).toEqual([[2, '"at once"']]);
    }
    await world.clock.advance(1000);
    expect(slow.received).toEqual(EXAMPLE);
  });

  it('znet-knet scenario 3: 100 packets in one write get 100 answers, each seq once, without further input', async () => {
    const { address } = await serveTcp(
      scene,
      new Router().route(1, ({ body }) => body),
    );
    const peer = await scene.peer(address);
    await peer.send(Buffer.concat(Array.from({ length: 100 }, (_, index) => actionFrame(1, index + 1, { index }))));
    const packets = await packetsFrom(peer, 100);
    expect(packets).toEqual(Array.from({ length: 100 }, (_, index) => [1, index + 1, JSON.stringify({ index })]));
  });

  it('znet-knet scenario 4: a packet with FIN behind it is answered, then OnClose comes once', async () => {
    const { address, reasons } = await serveTcp(
      scene,
      new Router().route(1, async () => 'late'),
    );
    const peer = await scene.peer(address);
    peer.pour(actionFrame(1, 1));
    peer.end();
    expect(await packetsFrom(peer, 1)).toEqual([[1, 1, '"late"']]);
    await until(() => reasons.length > 0, 'the close');
    await peer.closed();
    expect(reasons).toMatchObject([{ code: 'PEER_CLOSED' }]);
  });

  it.each([
    [0, 'PROTOCOL', 'MALFORMED_PACKAGE'],
    [4, 'PROTOCOL', 'MALFORMED_PACKAGE'],
    [-1, 'PROTOCOL', 'MALFORMED_PACKAGE'],
    [7, 'PROTOCOL', 'MALFORMED_PACKAGE'],
    [513, 'TOO_LARGE', 'PACKAGE_TOO_LARGE'],
    [0x7fff_ffff, 'TOO_LARGE', 'PACKAGE_TOO_LARGE'],
  ] as const)('znet-knet scenario 5: the length %i closes the connection, with an error and no memory', async (length, code, error) => {
    const { address, reasons, errors } = await serveTcp(
      scene,
      new Router().route(1, () => 1),
      { packets: { maxPacketBytes: 512 } },
    );
    const peer = await scene.peer(address);
    const memory = process.memoryUsage().arrayBuffers;
    peer.pour(actionFrame(1, 1, undefined, length));
    await peer.closed();
    await until(() => reasons.length > 0, 'the close');
    expect([reasons, errors]).toMatchObject([[{ code }], [{ code: error }]]);
    expect(process.memoryUsage().arrayBuffers - memory).toBeLessThan(8_000_000);
    expect(peer.length).toBe(0);
  });

  it('znet-knet scenario 6: the length 8 is an empty body, which the handler gets', async () => {
    const { address } = await serveTcp(
      scene,
      new Router().route(1, ({ bytes }) => bytes.length),
    );
    const peer = await scene.peer(address);
    await peer.send(hex('00000008 0001 0005'));
    expect(await packetsFrom(peer, 1)).toEqual([[1, 5, '0']]);
  });

  it('znet-knet scenario 7: the largest body is taken, one byte more closes', async () => {
    const { address, reasons } = await serveTcp(
      scene,
      new Router().route(1, ({ bytes }) => bytes.length),
      { packets: { maxPacketBytes: 512 } },
    );
    const peer = await scene.peer(address);
    await peer.send(actionFrame(1, 1, Buffer.alloc(504)));
    expect(await packetsFrom(peer, 1)).toEqual([[1, 1, '504']]);
    peer.pour(actionFrame(1, 2, Buffer.alloc(505)));
    await peer.closed();
    await until(() => reasons.length > 0, 'the close');
    expect(reasons).toMatchObject([{ code: 'TOO_LARGE' }]);
  });

  it('znet-knet scenario 8: negative actions are routed, and the signs come back', async () => {
    const router = new Router().route(-1, () => 'one').route(-32_768, () => 'least');
    const { address } = await serveTcp(scene, router);
    const peer = await scene.peer(address);
    await peer.send(hex('00000008 ffff ffff  00000008 8000 8000'));
    expect(await packetsFrom(peer, 2)).toEqual([
      [-1, -1, '"one"'],
      [-32_768, -32_768, '"least"'],
    ]);
    expect(peer.received.subarray(4, 8)).toEqual(hex('ffff ffff'));
  });
});

describe('znet, by its handlers', () => {
  it('znet-knet scenario 14: an unknown action calls OnNotFound once and is answered, and a typed call rejects', async () => {
    const seen: number[] = [];
    const world = new RouterWorld();
    await world.serve(new Router().onNotFound(({ action }) => void seen.push(action)));
    const peer = await world.peer();
    expect(await peer.ask(77, 3)).toEqual([[-2, refusal(77, 'NOT_FOUND', 'There is no action 77.')]]);
    const { calls } = await world.calls();
    expect(await world.arrived(rejectionOf(calls.call(78)))).toMatchObject({ code: 'CALL_FAILED', reason: 'NOT_FOUND' });
    expect(seen).toEqual([77, 78]);
  });

  it('znet-knet scenario 15: a handler that throws calls OnError once, and the next request is answered', async () => {
    const seen: [number, PorticoError][] = [];
    const router = new Router()
      .route(1, () => {
        throw new Error('boom');
      })
      .route(2, () => Promise.reject(new Error('later')))
      .route(3, () => 'fine')
      .onError(({ seq }, error) => void seen.push([seq, error]));
    const { address, reasons } = await serveTcp(scene, router);
    const peer = await scene.peer(address);
    await peer.send(Buffer.concat([actionFrame(1, 1), actionFrame(2, 2), actionFrame(3, 3)]));
    expect(await packetsFrom(peer, 3)).toEqual([
      [-2, 1, refusal(1, 'INTERNAL', 'The request failed.')],
      [-2, 2, refusal(2, 'INTERNAL', 'The request failed.')],
      [3, 3, '"fine"'],
    ]);
    expect(seen).toMatchObject([
      [1, { cause: { message: 'boom' } }],
      [2, { cause: { message: 'later' } }],
    ]);
    expect(reasons).toEqual([]);
  });

  it('znet-knet scenario 16: middleware runs M1, M2, handler, M2-after, M1-after; who aborts or never goes on ends it without an answer', async () => {
    const trail: string[] = [];
    const noting =
      (name: string): Middleware =>
      async (_context, next) => {
        trail.push(name);
        await next();
        trail.push(`${name}-after`);
      };
    const world = new RouterWorld();
    const router = new Router().use(noting('M1'), noting('M2')).use((context, next) => {
      if (context.action === 2) context.abort();
      return context.action === 3 ? undefined : next();
    });
    for (const action of [1, 2, 3]) router.route(action, () => void trail.push('handler'));
    await world.serve(router);
    const peer = await world.peer();
    const way = async (action: number): Promise<string> => {
      trail.length = 0;
      await peer.ask(action, action);
      return trail.join(' ');
    };
    expect(await way(1)).toBe('M1 M2 handler M2-after M1-after');
    expect(await way(2)).toBe('M1 M2 M2-after M1-after');
    expect(await way(3)).toBe('M1 M2 M2-after M1-after');
    expect(peer.packets.map(([action]) => action)).toEqual([1]);
    expect(await way(1)).toBe('M1 M2 handler M2-after M1-after');
  });

  it('znet-knet scenario 17: a typed route tells malformed JSON and the wrong protobuf to OnError, and takes what is right', async () => {
    const errors: string[] = [];
    const echo = defineAction(1, {
      request: { json: json<{ a: number }>(), protobuf: struct<{ a: number }>() },
      reply: { protobuf: struct<{ a: number }>() },
    });
    const router = new Router()
      .route(echo, ({ body }) => ({ a: body.a + 1 }))
      .onError((_context, error) => void errors.push(`${error.code} ${error.message}`));
    const world = new RouterWorld();
    await world.serve(router);
    const peer = await world.peer();
    expect(JSON.parse((await peer.ask(1, 1, Buffer.from('{"a":')))[0]?.[1] ?? '')).toMatchObject({ code: 'INVALID' });
    expect(await peer.ask(1, 2, { a: 1 })).toEqual([[1, '{"a":2}']]);
    const binary = new RouterWorld();
    await binary.serve(router, { format: 'protobuf' });
    const other = await binary.peer();
    expect(JSON.parse((await other.ask(1, 1, { a: 1 }))[0]?.[1] ?? '')).toMatchObject({ code: 'INVALID' });
    const before = other.received.length;
    await other.send(actionFrame(1, 2, struct().encode({ a: 1 })));
    const answer = other.received.subarray(before);
    expect(answer.subarray(0, 8)).toEqual(actionFrame(1, 2, answer.subarray(8)).subarray(0, 8));
    expect(struct().decode(answer.subarray(8))).toEqual({ a: 2 });
    expect(errors).toEqual([
      'INVALID_BODY invalid json body: it is not JSON',
      expect.stringContaining('INVALID_BODY invalid protobuf body: '),
    ]);
  });

  it('znet-knet scenario 18: JSON and protobuf clients of one server at once get each their own', async () => {
    type Sum = { a: number; b: number };
    const add = defineAction(1, {
      request: { json: json<Sum>(), protobuf: struct<Sum>() },
      reply: { json: json<{ sum: number }>(), protobuf: struct<{ sum: number }>() },
    });
    const router = new Router().route(add, ({ body }) => ({ sum: body.a + body.b }));
    const [text, binary] = [new RouterWorld(), new RouterWorld()];
    await text.serve(router);
    await binary.serve(router, { format: 'protobuf' });
    const [a, b] = [await text.calls(), await binary.calls({ format: 'protobuf' })];
    const both = Promise.all([a.calls.call(add, { a: 1, b: 2 }), b.calls.call(add, { a: 3, b: 4 })]);
    await text.clock.advance(10);
    await binary.clock.advance(10);
    expect(await both).toEqual([{ sum: 3 }, { sum: 7 }]);
    router.pushAll([...text.sessions, ...binary.sessions], defineAction(5, { request: { json: json<Sum>(), protobuf: struct<Sum>() } }), {
      a: 5,
      b: 6,
    });
    const pushed: Sum[] = [];
    a.listener.onPush<Sum>(5, (body) => void pushed.push(body));
    b.listener.onPush(defineAction(5, { request: struct<Sum>() }), (body) => void pushed.push(body));
    await text.clock.advance(10);
    await binary.clock.advance(10);
    expect(pushed).toEqual([
      { a: 5, b: 6 },
      { a: 5, b: 6 },
    ]);
  });
});

describe('znet, by its life cycle', () => {
  it.each(['later', 'inside onOpen'])('znet-knet scenario 19: close hooks run once and in order, closed twice, %s', async (when) => {
    const trail: string[] = [];
    const opened: ActionSession[] = [];
    const closeTwice = (session: ActionSession): void => {
      void session.close();
      void session.close();
    };
    const world = new RouterWorld();
    await world.serve(new Router(), {
      onOpen: (session) => {
        opened.push(session);
        session.addCloseCallback('test', 'first', () => void trail.push('added in onOpen'));
        if (when !== 'later') closeTwice(session);
      },
      onClose: (session) => void trail.push(`onClose ${session.closeCallbackCount}`),
    });
    await world.peer();
    const [session] = opened;
    if (when === 'later' && session !== undefined) {
      session.addCloseCallback('test', 'second', () => void trail.push('added later'));
      closeTwice(session);
    }
    await world.clock.advance(10_000);
    expect(trail).toEqual(when === 'later' ? ['onClose 2', 'added in onOpen', 'added later'] : ['onClose 1', 'added in onOpen']);
  });

  it('znet-knet scenario 20: the events of a server come in order, and the port is free at the end', async () => {
    const trail: string[] = [];
    const router = new Router().route(1, () => 'fine');
    const make = (address: string): TcpServer<ActionPacket> =>
      new TcpServer(
        withLocalAddress(address),
        withPkgHandler(new ActionPacketHandler()),
        withEventListener(router.listener({ onClose: () => void trail.push('drained') })),
      );
    const server = make('127.0.0.1:0');
    server.on('listening', () => void trail.push('afterServerStart'));
    server.on('close', () => void trail.push('afterServerShutdown'));
    trail.push('beforeServerStart');
    await server.listen();
    const { localAddress } = server;
    const peer = await scene.peer(localAddress);
    await peer.send(actionFrame(1, 1));
    await packetsFrom(peer, 1);
    trail.push('beforeServerShutdown');
    const closing = server.close();
    peer.end();
    await closing;
    expect(trail).toEqual(['beforeServerStart', 'afterServerStart', 'beforeServerShutdown', 'drained', 'afterServerShutdown']);
    const next = make(localAddress.text);
    scene.atEnd(() => next.close({ drainTimeoutMs: 0 }));
    await next.listen();
  });

  it('znet-knet scenario 21: no listener, sizes of nothing and an occupied port are told at once', async () => {
    const { address } = await serveTcp(scene, new Router());
    const lost: unknown[] = [];
    const deaf = new TcpServer<ActionPacket>(withLocalAddress('127.0.0.1:0'), withPkgHandler(new ActionPacketHandler()));
    scene.atEnd(() => deaf.close({ drainTimeoutMs: 0 }));
    deaf.on('sessionClosed', (_session, { error }) => void lost.push(error));
    await deaf.listen();
    // It may be reset before it knows that it is connected.
    scene.peer(deaf.localAddress).catch(() => {});
    await until(() => lost.length > 0, 'the end of a session without a listener');
    expect(lost).toMatchObject([{ code: 'MISSING_OPTION' }]);
    expect(thrownBy(() => new ActionPacketHandler({ maxPacketBytes: 0 }))).toMatchObject({ code: 'INVALID_OPTION' });
    const second = new TcpServer(
      withLocalAddress(address.text),
      withPkgHandler(new ActionPacketHandler()),
      withEventListener(new Router().listener()),
    );
    scene.atEnd(() => second.close({ drainTimeoutMs: 0 }));
    expect(await rejectionOf(second.listen())).toMatchObject({ code: 'LISTEN_FAILED', cause: { code: 'EADDRINUSE' } });
  });

  it('znet-knet scenario 22: 64 clients that stop after 2 bytes hold up nobody, and are closed at the time-out', async () => {
    const world = new RouterWorld();
    await world.serve(
      new Router().route(1, () => 'fine'),
      {},
      withReadTimeoutMs(5000),
    );
    const stalled: ActionPeer[] = [];
    for (let count = 0; count < 64; count++) stalled.push(await world.peer());
    for (const peer of stalled) void peer.session.writeBytes(Buffer.alloc(2)).catch(() => {});
    const normal = await world.peer();
    const before = world.clock.now();
    expect(await normal.ask(1, 1)).toEqual([[1, '"fine"']]);
    expect(world.clock.now() - before).toBeLessThan(100);
    await world.clock.advance(6000);
    expect(world.reasons.map(({ code }) => code)).toEqual(Array.from({ length: 64 }, () => 'TIMEOUT'));
    expect(await normal.ask(1, 2)).toEqual([[1, '"fine"']]);
  });
});

describe('any bytes', () => {
  it.each(['stream', 'message'] as const)('znet-knet scenario 62: random packets over a %s crash nothing', async (kind) => {
    const { numRuns, seed } = propertyRuns(300, 20_000);
    const random = seededRandom(seed);
    const world = new RouterWorld({ kind });
    const router = new Router()
      .route(1, ({ body }) => body)
      .route(defineAction(2, { request: json() }), async ({ body }) => body)
      .onNotFound(({ body }) => void body);
    await world.serve(router);
    for (let run = 0; run < numRuns; run++) {
      const peer = await world.peer();
      const noise = Buffer.from(Array.from({ length: Math.floor(random() * 40) }, () => Math.floor(random() * 256)));
      const packet = kind === 'stream' ? actionFrame(run % 4, 1, noise) : actionMessage(run % 4, 1, noise);
      await peer.send(random() < 0.5 ? packet : noise);
      peer.session.destroy();
    }
    await world.clock.advance(20_000);
    const { calls } = await world.calls();
    expect(await world.arrived(calls.call(1, 'alive'))).toBe('alive');
    expect(router.stats().failures).toBeGreaterThan(0);
    const { reasons } = world;
    expect(reasons).toHaveLength(numRuns);
    expect(new Set(reasons.map(({ code }) => code)).has('INTERNAL')).toBe(false);
  });
});
