import { describe, expect } from 'vitest';
import { json } from '../../src/protocol/json.ts';
import { defineAction } from '../../src/router/action.ts';
import { Router } from '../../src/router/router.ts';
import { goPeer } from '../helpers/go-peer.ts';
import { serveTcp, serveWs } from '../helpers/router-tcp.ts';
import { useScene } from '../helpers/scene.ts';
import { struct } from '../helpers/struct-codec.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('go');
const build = goPeer('router');

interface Sum {
  readonly a: number;
  readonly b: number;
}
interface Text {
  readonly text: string;
}

/** One program for both formats and both transports. */
function makeRouter(): Router {
  const add = defineAction(1, {
    request: { json: json<Sum>(), protobuf: struct<Sum>() },
    reply: { json: json<{ sum: number }>(), protobuf: struct<{ sum: number }>() },
  });
  const say = defineAction(-32_768, {
    request: { json: json<Text>(), protobuf: struct<Text>() },
    reply: { json: json<object>(), protobuf: struct<object>() },
  });
  const said = defineAction(101, { request: { json: json<Text>(), protobuf: struct<Text>() } });
  const router: Router = new Router();
  return router
    .route(add, ({ body }) => ({ sum: body.a + body.b }))
    .route(say, async ({ body, session }) => {
      router.push(session, said, body, { seq: 1 });
      return {};
    });
}

async function goClient(address: string, ...flags: readonly string[]): Promise<string> {
  const client = startTool(scene, await build(), ['-address', address, ...flags]);
  expect(await client.exited(), client.errors).toBe(0);
  return client.output;
}

describe('a Go client that was written from the description of the packets', () => {
  it('is answered by one program in JSON and protobuf, over TCP and WebSocket, all at once', async () => {
    const router = makeRouter();
    const listener = { format: 'protobuf' };
    const [tcpJson, tcpProtobuf] = [await serveTcp(scene, router), await serveTcp(scene, router, { listener })];
    const [wsJson, wsProtobuf] = [await serveWs(scene, router), await serveWs(scene, router, { listener })];
    const outputs = await Promise.all([
      goClient(tcpJson.address.text),
      goClient(tcpProtobuf.address.text, '-format', 'protobuf'),
      goClient(wsJson.address.text, '-websocket'),
      goClient(wsProtobuf.address.text, '-websocket', '-format', 'protobuf'),
    ]);
    // 1000 sums and the answer to the push; one unknown action and one refused body; one push.
    expect(outputs).toEqual(['ok 1001 2 1\n', 'ok 1001 2 1\n', 'ok 1001 2 1\n', 'ok 1001 2 1\n']);
    expect(router.stats()).toMatchObject({ replies: 4004, errorReplies: 8, unknown: 4, failures: 4, flooders: 0 });
  });
});
