/** The chat of znet, as its clients see it: examples/znet-chat.ts in a process of its own. */
import { expect, it } from 'vitest';
import { withServerAddress } from '../../src/endpoint/options.ts';
import { TcpClient } from '../../src/endpoint/tcp.ts';
import { WsClient } from '../../src/endpoint/ws.ts';
import { type ActionPacket, ActionPacketHandler } from '../../src/router/action-packet.ts';
import type { RouterCalls } from '../../src/router/router-calls.ts';
import { RouterClient } from '../../src/router/router-client.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { startTsx } from '../helpers/docs.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { rejectionOf } from '../helpers/thrown.ts';

const scene = useScene();

/** Starts the chat on free ports; resolves with where it is. */
async function startChat(): Promise<{ tcp: string; ws: string }> {
  const child = startTsx('examples/znet-chat.ts', ['0', '0']);
  let output = '';
  child.stdout?.on('data', (bytes: Buffer) => {
    output += bytes.toString();
  });
  const ended = new Promise((resolve) => child.once('close', resolve));
  scene.atEnd(() => {
    child.kill('SIGKILL');
    return ended;
  });
  await until(() => output.split('\n').length > 2 || child.exitCode !== null, 'the chat to start');
  const [tcp = '', ws = ''] = [...output.matchAll(/ at (\S+)/g)].map(([, address]) => address);
  return { tcp, ws };
}

interface User {
  readonly calls: RouterCalls;
  readonly id: string;
  /** Action, seq and body of what was pushed. */
  readonly pushed: [number, number, unknown][];
}

async function connect(address: string): Promise<Omit<User, 'id'>> {
  const pushed: [number, number, unknown][] = [];
  const listener = new RouterClient();
  for (const action of [101, 102]) listener.onPush(action, (body, _session, { seq }) => void pushed.push([action, seq, body]));
  const options = [withServerAddress(address), withPkgHandler(new ActionPacketHandler()), withEventListener(listener)] as const;
  const client = address.startsWith('ws:') ? new WsClient<ActionPacket>(...options) : new TcpClient<ActionPacket>(...options);
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  return { calls: listener.of(await client.connect()), pushed };
}

async function login(address: string, name: string): Promise<User> {
  const { calls, pushed } = await connect(address);
  const { id } = await calls.call<{ id: string }>(1, { name });
  return { calls, id, pushed };
}

it('the chat of znet carries messages between users and in channels, over TCP and WebSocket, without the bugs of the original', async () => {
  const { tcp, ws } = await startChat();
  const [ada, bob, eve] = [await login(tcp, 'ada'), await login(`ws://${ws}/`, 'bob'), await login(tcp, 'eve')];

  const direct = await ada.calls.call<{ id: string }>(2, { receiverId: bob.id, content: 'hello' });
  await until(() => bob.pushed.length === 1, 'the message');
  const sender = { id: ada.id, name: 'ada' };
  expect(bob.pushed).toEqual([[101, 1, { id: direct.id, content: 'hello', sender, createdAt: expect.any(Number) }]]);

  // Who makes the channel is a member of it, too.
  expect(await Promise.all([bob, ada].map(({ calls }) => calls.call(3, { name: 'go' })))).toEqual([null, null]);
  const sent = await ada.calls.call<{ id: string }>(4, { channel: 'go', content: 'to all' });
  await until(() => bob.pushed.length === 2 && ada.pushed.length === 1, 'the message in the channel');
  const message = { id: sent.id, content: 'to all', sender, createdAt: expect.any(Number), channel: 'go' };
  expect([ada.pushed, bob.pushed[1]]).toEqual([[[102, 1, message]], [102, 1, message]]);
  expect(await ada.calls.call(5, {})).toBeNull();

  const refused = async (calls: RouterCalls, action: number, body: unknown): Promise<unknown> => rejectionOf(calls.call(action, body));
  expect(await refused(eve.calls, 4, { channel: 'go', content: 'x' })).toMatchObject({ reason: 'FORBIDDEN', message: 'subscribe first' });
  expect(await refused(eve.calls, 2, { receiverId: 'nobody', content: 'x' })).toMatchObject({ reason: 'NOT_FOUND' });
  expect(await refused(eve.calls, 2, null)).toMatchObject({ reason: 'INVALID' });

  const { calls: stranger } = await connect(tcp);
  for (const [action, body] of [
    [2, { receiverId: ada.id, content: 'x' }],
    [3, { name: 'go' }],
    [4, { channel: 'go', content: 'x' }],
  ] as const) {
    expect(await refused(stranger, action, body)).toMatchObject({ reason: 'FORBIDDEN', message: 'log in first' });
  }

  // Users are gone when they leave.
  await bob.calls.session.close();
  await until(() => bob.calls.session.state === 'closed', 'bob to leave');
  for (;;) {
    const outcome = await refused(ada.calls, 2, { receiverId: bob.id, content: 'still there?' });
    if (typeof outcome === 'object' && outcome !== null && 'reason' in outcome) {
      expect(outcome).toMatchObject({ reason: 'NOT_FOUND' });
      break;
    }
  }
  expect(eve.pushed).toEqual([]);
});
