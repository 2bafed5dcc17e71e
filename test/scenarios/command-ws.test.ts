import { expect, it } from 'vitest';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import type { CommandHubOptions, Disconnect } from '../../src/command/hub-options.ts';
import { COMMAND_ID, decodeWelcome } from '../../src/command/wire.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import type { Address } from '../../src/transport/connection.ts';
import { until } from '../helpers/raw-peer.ts';
import { eventually } from '../helpers/session-recorder.ts';
import { closeFrame, OPCODE, wsFrame } from '../helpers/ws-peer.ts';
import { useWsScene } from '../helpers/ws-scene.ts';

const scene = useWsScene();
const HELLO = Buffer.concat([Buffer.from('fffffff0', 'hex'), Buffer.from('{"v":1}')]);
const NATIVE = { headers: { 'Sec-WebSocket-Protocol': 'portico.command.1' } };

async function listen(options: CommandHubOptions = {}): Promise<{ readonly hub: CommandHub; readonly address: Address }> {
  const hub = new CommandHub(options);
  const server = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
  scene.scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  return { hub, address: server.localAddress };
}

it('znet-knet scenario 24: over WebSocket the echo is the same bytes, in a binary frame', async () => {
  const { hub, address } = await listen();
  hub.on(1, (client, payload) => void client.send(1, payload));
  const peer = await scene.peer({ address });
  const message = Buffer.from('0000000168656c6c6f', 'hex');
  peer.pour(wsFrame(OPCODE.BINARY, message));
  const [frame] = await peer.framesIn(1);
  expect(frame).toMatchObject({ opcode: OPCODE.BINARY, payload: message });
});

it('znet-knet scenario 13: text closes with 1003, and with the switch counts as binary', async () => {
  const strict = await listen();
  const peer = await scene.peer(strict);
  peer.pour(wsFrame(OPCODE.TEXT, '\0\0\0\u0001hello'));
  expect(await peer.closed()).toBe(1003);
  const lax = await listen({ textPolicy: 'binary' });
  lax.hub.on(1, (client, payload) => void client.send(2, payload));
  const other = await scene.peer(lax);
  other.pour(wsFrame(OPCODE.TEXT, '\0\0\0\u0001hello'));
  expect(await other.messagesIn(1)).toEqual(['\0\0\0\u0002hello']);
});

it.each([0, 1, 3])('znet-knet scenario 25: a message of %i bytes closes with 1002 "Invalid message format"', async (length) => {
  const target = await listen();
  const peer = await scene.peer(target);
  peer.pour(wsFrame(OPCODE.BINARY, Buffer.alloc(length)));
  await peer.closed();
  expect(peer.close).toEqual({ status: 1002, text: 'Invalid message format' });
});

it('znet-knet scenario 27: 10 MiB are taken, a header that announces more is refused before the body, and sending more throws', async () => {
  const { hub, address } = await listen();
  const sizes: number[] = [];
  hub.on(1, (client, payload) => {
    sizes.push(payload.length);
    client.send(1, payload);
  });
  const peer = await scene.peer({ address });
  const message = Buffer.alloc(10_485_764);
  message[3] = 1;
  peer.pour(wsFrame(OPCODE.BINARY, message));
  await until(() => sizes.length === 1, 'the message');
  await until(() => peer.raw.received.length > 10_485_764, 'the echo');
  expect(sizes).toEqual([10_485_760]);
  const [client] = hub.clients.values();
  expect(() => client?.send(1, Buffer.alloc(10_485_761))).toThrow(/^failed to encode message: /);
  expect(() => hub.broadcast(1, Buffer.alloc(10_485_761))).toThrow(expect.objectContaining({ code: 'ENCODED_TOO_LARGE' }));
  const greedy = await Promise.all(Array.from({ length: 10 }, () => scene.peer({ address })));
  const before = process.memoryUsage();
  for (const one of greedy) one.pour(wsFrame(OPCODE.BINARY, '', { claims: 10_485_765n }));
  expect(await Promise.all(greedy.map((one) => one.closed()))).toEqual(Array(10).fill(1009));
  const after = process.memoryUsage();
  // Of all ten together, so that no body was made room for. The resident memory of a process that does other things too says less.
  expect(after.arrayBuffers + after.external - before.arrayBuffers - before.external).toBeLessThan(1_048_576);
});

it('the profile follows the subprotocol: native with it, knet without', async () => {
  const { hub, address } = await listen();
  const native = await scene.peer({ address }, '/', NATIVE);
  expect(native.head).toContain('portico.command.1');
  native.pour(wsFrame(OPCODE.BINARY, HELLO));
  const [frame] = await native.framesIn(1);
  expect(frame?.payload.readUInt32BE(0)).toBe(COMMAND_ID.WELCOME);
  expect(decodeWelcome(frame?.payload.subarray(4) ?? Buffer.alloc(0))).toMatchObject({ recovered: false, maxPayloadBytes: 10_485_760 });
  await scene.peer({ address });
  await eventually(() => hub.clients.size === 2, 'both');
  expect([...hub.clients.values()].map(({ profile }) => profile)).toEqual(['native', 'knet']);
  const onlyKnet = await listen({ native: false });
  const refused = await scene.peer(onlyKnet, '/', NATIVE);
  expect(refused.head).not.toContain('portico.command.1');
});

it('znet-knet scenario 33: a client that closes with 1000 is client-initiated and clean, also a native one, which is not kept', async () => {
  const ends: Disconnect[] = [];
  const { hub, address } = await listen({ onDisconnect: (_client, end) => void ends.push(end) });
  const knet = await scene.peer({ address });
  const native = await scene.peer({ address }, '/', NATIVE);
  native.pour(wsFrame(OPCODE.BINARY, HELLO));
  await eventually(() => hub.clients.size === 2, 'both');
  knet.pour(closeFrame(1000, 'done'));
  native.pour(closeFrame(1000, 'done'));
  await eventually(() => ends.length === 2, 'both ends');
  expect(ends).toEqual(Array(2).fill({ status: 1000, reason: 'done', by: 'client', wasClean: true, error: undefined }));
  expect(hub.stats()).toMatchObject({ clients: 0, away: 0 });
});

it('a native client that closes with another status, or not at all, is kept for its return', async () => {
  const { hub, address } = await listen();
  const peers = [await scene.peer({ address }, '/', NATIVE), await scene.peer({ address }, '/', NATIVE)];
  for (const peer of peers) peer.pour(wsFrame(OPCODE.BINARY, HELLO));
  await eventually(() => hub.clients.size === 2, 'both');
  peers[0]?.pour(closeFrame(1001));
  peers[1]?.raw.destroy();
  await eventually(() => hub.stats().away === 2, 'both are away');
  await hub.close();
});

it('znet-knet scenario 33: TCP reset is 1006 and not clean, over WebSocket', async () => {
  const ends: Disconnect[] = [];
  const { hub, address } = await listen({ onDisconnect: (_client, end) => void ends.push(end) });
  const peer = await scene.peer({ address });
  await eventually(() => hub.clients.size === 1, 'the client');
  peer.raw.socket.resetAndDestroy();
  await eventually(() => ends.length === 1, 'the end');
  expect(ends[0]).toMatchObject({ status: 1006, by: 'network', wasClean: false });
});

it('znet-knet scenario 34: 10 queued messages arrive before the close with 4001 "bye"', async () => {
  const { hub, address } = await listen();
  const peer = await scene.peer({ address });
  await eventually(() => hub.clients.size === 1, 'the client');
  const [client] = hub.clients.values();
  for (let n = 0; n < 10; n++) client?.send(1, String(n));
  client?.close({ status: 4001, reason: 'bye' });
  await peer.closed();
  expect(peer.messages).toEqual(Array.from({ length: 10 }, (_, n) => `\0\0\0\u0001${n}`));
  expect(peer.close).toEqual({ status: 4001, text: 'bye' });
});

it('znet-knet scenario 62: random messages in both profiles end no more than their own connection', async () => {
  const { hub, address } = await listen({ authorizeJoin: () => true });
  const seed = Date.now() % 2 ** 31;
  let state = seed;
  const next = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return (state >>> 8) % below;
  };
  for (let round = 0; round < 40; round++) {
    const isNative = round % 2 === 0;
    const peer = await scene.peer({ address }, '/', isNative ? NATIVE : {});
    if (isNative) peer.pour(wsFrame(OPCODE.BINARY, HELLO));
    for (let n = 0; n < 50; n++) {
      const body = Buffer.from(Array.from({ length: 4 + next(20) }, () => next(256)));
      // Half of them are control messages.
      if (next(2) === 0) body.writeUInt32BE(0xffffffe0 + next(32), 0);
      peer.pour(wsFrame(OPCODE.BINARY, body));
    }
  }
  const peer = await scene.peer({ address });
  hub.on(1, (client) => void client.send(2, 'alive'));
  peer.pour(wsFrame(OPCODE.BINARY, Buffer.from('00000001', 'hex')));
  expect(await peer.messagesIn(1), `seed ${seed}`).toEqual(['\0\0\0\u0002alive']);
  await hub.close({ drainTimeoutMs: 100 });
  expect(hub.stats().clients).toBe(0);
});
