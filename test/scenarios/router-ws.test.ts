import { describe, expect, it } from 'vitest';
import { withServerAddress } from '../../src/endpoint/options.ts';
import { WsClient } from '../../src/endpoint/ws.ts';
import { type ActionPacket, ActionPacketHandler } from '../../src/router/action-packet.ts';
import { Router } from '../../src/router/router.ts';
import { RouterClient } from '../../src/router/router-client.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { actionMessage } from '../helpers/action-packets.ts';
import { until } from '../helpers/raw-peer.ts';
import { serveWs } from '../helpers/router-tcp.ts';
import { OPCODE, type WsPeer, wsFrame } from '../helpers/ws-peer.ts';
import { useWsScene } from '../helpers/ws-scene.ts';

const ws = useWsScene();
const { TEXT, BINARY, CONTINUATION, PING, PONG } = OPCODE;
const echo = (): Router => new Router().route(1, ({ body }) => body).route(2, ({ bytes }) => bytes.length);

async function answers(peer: WsPeer, count: number): Promise<Buffer[]> {
  const frames = await peer.framesIn(count);
  return frames.filter(({ opcode }) => opcode === BINARY).map(({ payload }) => payload);
}

describe('znet over WebSocket', () => {
  it('znet-knet scenario 9: a binary message is answered by one that begins with the same four bytes', async () => {
    const peer = await ws.peer(await serveWs(ws.scene, echo()), '/any/path?at=all');
    peer.pour(wsFrame(BINARY, Buffer.concat([Buffer.from('00010002', 'hex'), Buffer.from('{"a":1}')])));
    expect((await answers(peer, 1)).map((bytes) => bytes.toString('latin1'))).toEqual(['\x00\x01\x00\x02{"a":1}']);
  });

  it('znet-knet scenario 10: a message of 3 bytes is a protocol error', async () => {
    const serving = await serveWs(ws.scene, echo());
    const peer = await ws.peer(serving);
    peer.pour(wsFrame(BINARY, Buffer.alloc(3)));
    expect(await peer.closed()).toBe(1002);
    await until(() => serving.reasons.length > 0, 'the close');
    expect([serving.reasons, serving.errors]).toMatchObject([[{ code: 'PROTOCOL' }], [{ code: 'MALFORMED_PACKAGE' }]]);
  });

  it('znet-knet scenario 11: a body of 100 kB is complete', async () => {
    const peer = await ws.peer(await serveWs(ws.scene, echo()));
    peer.pour(wsFrame(BINARY, actionMessage(2, 1, Buffer.alloc(100_000))));
    expect(String((await answers(peer, 1))[0]?.subarray(4))).toBe('100000');
    const text = 'x'.repeat(100_000);
    peer.pour(wsFrame(BINARY, actionMessage(1, 2, text)));
    expect((await answers(peer, 2))[1]?.toString('latin1', 4)).toBe(JSON.stringify(text));
  });

  it('znet-knet scenario 12: a message in fragments with a ping between them is one request and one pong', async () => {
    const peer = await ws.peer(await serveWs(ws.scene, echo()));
    const message = actionMessage(1, 7, { cut: 'in two' });
    peer.pour(wsFrame(BINARY, message.subarray(0, 3), { fin: false }), wsFrame(PING, 'here?'), wsFrame(CONTINUATION, message.subarray(3)));
    const frames = await peer.framesIn(2);
    expect(frames.map(({ opcode }) => opcode)).toEqual([PONG, BINARY]);
    expect(frames.find(({ opcode }) => opcode === BINARY)?.payload).toEqual(message);
    peer.pour(wsFrame(BINARY, actionMessage(1, 8, 'next')));
    expect(await answers(peer, 3)).toHaveLength(2);
  });

  it('znet-knet scenario 13: text closes with 1003, or does what the option says, and holds up nobody', async () => {
    const serving = await serveWs(ws.scene, echo());
    const [texting, other] = [await ws.peer(serving), await ws.peer(serving)];
    texting.pour(wsFrame(TEXT, actionMessage(1, 1, 'text')));
    other.pour(wsFrame(BINARY, actionMessage(1, 2, 'fine')));
    expect(await texting.closed()).toBe(1003);
    expect(await answers(other, 1)).toEqual([actionMessage(1, 2, 'fine')]);
    expect(serving.errors).toMatchObject([{ code: 'PROTOCOL_VIOLATION', status: 1003 }]);
    for (const [text, count] of [
      ['binary', 2],
      ['skip', 1],
    ] as const) {
      const lenient = await ws.peer(await serveWs(ws.scene, echo(), { packets: { text } }));
      lenient.pour(wsFrame(TEXT, actionMessage(1, 1, 'text')), wsFrame(BINARY, actionMessage(1, 2, 'fine')));
      expect(await answers(lenient, count)).toHaveLength(count);
    }
  });

  it('carries calls and pushes of a RouterClient', async () => {
    const router = echo().route<string>(3, (context) => {
      context.push(101, `pushed for ${context.body}`);
      return 'replied';
    });
    const { address } = await serveWs(ws.scene, router);
    const listener = new RouterClient();
    const pushed: unknown[] = [];
    listener.onPush(101, (body) => void pushed.push(body));
    const client = new WsClient<ActionPacket>(
      withServerAddress(`ws://${address.text}/`),
      withPkgHandler(new ActionPacketHandler()),
      withEventListener(listener),
    );
    ws.scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
    const calls = listener.of(await client.connect());
    expect(await calls.call(3, 'ada')).toBe('replied');
    expect(pushed).toEqual(['pushed for ada']);
    const many = Array.from({ length: 200 }, (_, index) => calls.call(1, index));
    expect(await Promise.all(many)).toEqual(Array.from({ length: 200 }, (_, index) => index));
  });
});
