import { describe, expect } from 'vitest';
import { CallError } from '../../src/base/call-error.ts';
import type { Client } from '../../src/command/client.ts';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandOptions, commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import type { CommandHubOptions, Disconnect } from '../../src/command/hub-options.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { TcpServer } from '../../src/endpoint/tcp.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { goPeer } from '../helpers/go-peer.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('go');
const build = goPeer('command');

interface Served {
  readonly hub: CommandHub;
  readonly ends: Disconnect[];
  /** Runs the client over one of the transports; both are served by one hub. */
  readonly tell: (what: string, ...flags: readonly string[]) => Promise<string>;
}

function handle(hub: CommandHub): void {
  hub.on(1, (client, payload) => void client.send(1, payload));
  hub.on(5, (client, payload) => void client.send(5, payload, { volatile: true }));
  hub.on(20, async (client, payload) => void client.send(22, await client.call(21, payload)));
  hub.handle(10, (_client, payload) => payload);
  hub.handle(11, () => {
    throw new CallError('NO_LUCK', 'not today', { why: 1 });
  });
  hub.handle(12, () => {
    throw new Error('secret');
  });
  hub.handle(13, async function* (_client, payload) {
    for (let n = 0; n < Number(Buffer.from(payload)); n++) yield Buffer.from(String(n));
  });
  hub.handle(
    14,
    (_client, _payload, { signal }) => new Promise<undefined>((resolve) => signal.addEventListener('abort', () => resolve(undefined))),
  );
}

/** 100 messages while a client is away, or as soon as it is back, if it was not missed. */
function sendWhileAway(): Pick<CommandHubOptions, 'onAway' | 'onResume'> {
  const sent = new WeakSet<Client>();
  const send = (client: Client): void => {
    for (let n = 0; n < 100; n++) client.send(40, String(n));
  };
  return {
    onAway: (client) => {
      sent.add(client);
      send(client);
    },
    onResume: (client) => {
      if (!sent.delete(client)) send(client);
    },
  };
}

function writeDown(hub: CommandHub): void {
  const heard: string[] = [];
  hub.on(31, (_client, payload) => void heard.push(String(Buffer.from(payload))));
  hub.on(32, (client) => {
    for (let n = 0; n < 100; n++) client.send(41, String(n));
  });
  hub.handle(30, () => Buffer.from(JSON.stringify(heard)));
}

async function serve(options: CommandHubOptions = {}): Promise<Served> {
  const ends: Disconnect[] = [];
  const hub = new CommandHub({ onDisconnect: (_client, end) => void ends.push(end), ...options });
  handle(hub);
  writeDown(hub);
  const ws = new WsServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandWsOptions(hub));
  const tcp = new TcpServer<CommandMessage>(withLocalAddress('127.0.0.1:0'), commandOptions(hub));
  scene.atEnd(() => Promise.all([ws.close({ drainTimeoutMs: 0 }), tcp.close({ drainTimeoutMs: 0 })]));
  await Promise.all([ws.listen(), tcp.listen()]);
  const tell = async (what: string, ...flags: readonly string[]): Promise<string> => {
    const { localAddress } = flags.includes('-tcp') ? tcp : ws;
    const client = startTool(scene, await build(), [...flags, what, localAddress.text]);
    expect(await client.exited(), client.errors).toBe(0);
    return client.output;
  };
  return { hub, ends, tell };
}

describe.each([
  ['WebSocket', []],
  ['TCP', ['-tcp']],
])('a Go client of the native profile, over %s', (_name, flags) => {
  it('sends, calls, is called, takes streams as it can, and cancels', async () => {
    const { hub, ends, tell } = await serve();
    // Everything that was counted: 101 echoes, 3 results, 3 errors, 4 echoes and 11 parts of the stream, an error, a call and its end.
    expect(await tell('talk', ...flags)).toBe('ok 125 true\n');
    await until(() => ends.length === 1, 'the end');
    expect(ends).toEqual([{ status: 1000, reason: 'done', by: 'client', wasClean: true, error: undefined }]);
    expect(hub.stats()).toMatchObject({ clients: 0, away: 0, violations: 0, failures: 1, repeated: 0 });
  });

  it('joins rooms that it may join, and is told who else is there', async () => {
    const { hub, tell } = await serve({
      authorizeJoin: (_client, room) => room === 'lobby',
      authorizeRoomMessage: () => true,
      presenceDelayMs: 1,
    });
    expect(await tell('rooms', ...flags)).toBe('ok\n');
    await until(() => hub.stats().clients === 0, 'both to be gone');
    expect(hub.stats()).toMatchObject({ rooms: 0, joinsRefused: 1, roomMessagesRefused: 0, violations: 0 });
  });

  it('loses its connection three times, and no message in either direction', async () => {
    const { hub, tell } = await serve(sendWhileAway());
    expect(await tell('resume', ...flags)).toBe('ok 90 90 300\n');
    expect(hub.stats()).toMatchObject({ resumed: 3, unresumed: 0, forgotten: 0, violations: 0 });
  });

  it('takes the place of its own old connection, which is closed with 4409', async () => {
    const { hub, ends, tell } = await serve();
    expect(await tell('takeover', ...flags)).toBe('ok 4409 fatal true\n');
    await until(() => ends.length === 1, 'the end');
    expect(hub.stats()).toMatchObject({ resumed: 1, clients: 0 });
  });

  it('is somebody new with a token that nobody gave, and after leaving for good', async () => {
    const { hub, tell } = await serve({ authorizeJoin: () => true });
    expect(await tell('stranger', ...flags)).toBe('ok [lobby]\n');
    expect(await tell('leave', ...flags)).toBe('ok\n');
    expect(hub.stats()).toMatchObject({ resumed: 0, unresumed: 2, violations: 0 });
  });

  it('is closed with 4400 when it does not begin with HELLO, or says it twice', async () => {
    const { hub, tell } = await serve();
    expect(await tell('hasty', ...flags)).toBe('ok 4400 fatal true\n');
    expect(await tell('twice', ...flags)).toBe('ok 4400 fatal true\n');
    expect(hub.stats().violations).toBe(2);
  });

  it('is taken for dead when it says nothing, and is alive as long as it pings', async () => {
    const { hub, tell } = await serve({ heartbeatMs: 300 });
    expect(await Promise.all([tell('silent', ...flags), tell('silent', '-ping', ...flags)])).toEqual(['ok lost\n', 'ok heard\n']);
    expect(hub.stats()).toMatchObject({ dead: 1 });
    await hub.close();
  });
});
