import { describe, expect } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import type { CommandHubOptions, Disconnect } from '../../src/command/hub-options.ts';
import { withLocalAddress, withLogger } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { type WsServerOptions, withOrigins, withPath, withPing } from '../../src/endpoint/ws-options.ts';
import { KNET_RATE_LIMIT } from '../../src/rate-limit/options.ts';
import { rateLimit } from '../../src/rate-limit/rate-limit.ts';
import { type RpcOverCommandsOptions, rpcOverCommands } from '../../src/rpc/rpc-over-commands.ts';
import { RpcError } from '../../src/rpc/rpc-wire.ts';
import { goPeer } from '../helpers/go-peer.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith, type Tool } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('go');
const seed = Number(process.env['PORTICO_SEED'] ?? 1);
const build = goPeer('knet');

interface Settings {
  readonly hub?: CommandHubOptions;
  readonly options?: readonly Option<WsServerOptions<CommandMessage, CommandMessage>>[];
  readonly isLimited?: boolean;
  readonly rpc?: RpcOverCommandsOptions;
}

interface Served {
  readonly hub: CommandHub;
  readonly url: string;
  readonly ends: Disconnect[];
  readonly logged: string[];
  readonly tell: (what: string, ...words: readonly (string | number)[]) => Promise<string>;
}

/** knet's server: at /ws, with its limits, echoing all commands but 2, which goes to everybody, 3, which ends its client, and 77. */
async function serve({ hub: hubOptions = {}, options = [], isLimited = false, rpc: rpcOptions }: Settings = {}): Promise<Served> {
  const ends: Disconnect[] = [];
  const logged: string[] = [];
  const hub = new CommandHub({ onDisconnect: (_client, end) => void ends.push(end), ...hubOptions });
  hub.onAny((client, id, payload) => {
    if (id !== 77) client.send(id, payload);
  });
  hub.on(2, (_client, payload) => void hub.broadcast(2, payload));
  hub.on(3, (client) => {
    for (let n = 0; n < 10; n++) client.send(1, `queued ${n}`);
    client.close({ status: 4001, reason: 'bye' });
  });
  const rpc = rpcOverCommands(hub, rpcOptions);
  rpc
    .method('add', async (params) => {
      const { a, b } = params as { readonly a: number; readonly b: number };
      // Answers come in another order than the questions.
      for (let turn = a % 7; turn > 0; turn--) await new Promise(setImmediate);
      return a + b;
    })
    .method('nothing', () => {})
    .method('fail', () => {
      throw new Error('secret');
    })
    .method('refuse', () => {
      throw new RpcError(4001, 'not today', 'why');
    });
  const server = new WsServer<CommandMessage>(
    withLocalAddress('127.0.0.1:0'),
    withPath('/ws'),
    withLogger({ warn: (line) => void logged.push(line), error: (line) => void logged.push(line) }),
    commandWsOptions(hub, isLimited ? rateLimit(hub, KNET_RATE_LIMIT) : hub),
    ...options,
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  const url = `ws://${server.localAddress.text}/ws`;
  const tell = async (what: string, ...words: readonly (string | number)[]): Promise<string> => {
    const client = await run(['-seed', String(seed), what, url, ...words.map(String)]);
    expect(client.exitCode, `seed ${seed}: ${client.errors}`).toBe(0);
    return client.output;
  };
  return { hub, url, ends, logged, tell };
}

async function run(args: readonly string[]): Promise<Tool> {
  const client = startTool(scene, await build(), args);
  await client.exited();
  return client;
}

describe("a Go client that speaks knet's commands", () => {
  it('gets back what it sends, from no byte to 10 MiB, under ids from both ends', async () => {
    const { hub, ends, tell } = await serve({ hub: { native: false } });
    expect(await tell('echo')).toBe('ok 10\n');
    await until(() => ends.length === 1, 'the end');
    expect(ends).toEqual([{ status: 1000, reason: 'Client disconnect', by: 'client', wasClean: true, error: undefined }]);
    expect(hub.stats()).toMatchObject({ clients: 0, away: 0, violations: 0, failures: 0 });
  });

  it('hears nothing of a command that nobody handles', async () => {
    expect(await (await serve()).tell('ignored')).toBe('ok\n');
  });

  it('is closed for text with 1003, and with the switch is answered as for a binary message', async () => {
    expect(await (await serve()).tell('text', 'as', 'text')).toBe('ok closed 1003\n');
    expect(await (await serve({ hub: { textPolicy: 'binary' } })).tell('text', 'as', 'text')).toBe('ok as text\n');
  });

  it('is closed with 1002 for a message without a whole id, and with 1009 for one that is too large, in one frame or many', async () => {
    const { tell, ends } = await serve();
    for (const bytes of [0, 1, 3]) expect(await tell('malformed', bytes)).toBe('ok closed 1002 Invalid message format\n');
    expect(await tell('huge', 10_485_761)).toMatch(/^ok closed 1009 /);
    expect(await tell('huge', 10_485_761, 'fragments')).toMatch(/^ok closed 1009 /);
    await until(() => ends.length === 5, 'all ends');
    expect(ends.map(({ status, by }) => `${status} ${by}`)).toEqual([...Array(3).fill('1002 client'), ...Array(2).fill('1009 client')]);
  });

  it("exceeds knet's limit at message 201, and is told 1008 although it goes on sending", async () => {
    const { tell, logged, ends } = await serve({ isLimited: true });
    const [, count, close] = /^ok (\d+) (.*)\n$/.exec(await tell('flood', 400)) ?? [];
    expect(Number(count)).toBeGreaterThanOrEqual(200);
    // What the bucket gains while 400 are on their way.
    expect(Number(count)).toBeLessThan(220);
    expect(close).toBe('1008 Rate limit exceeded');
    expect(logged[0]).toMatch(/^Rate limit exceeded: session \d+ .* at 127\.0\.0\.1:\d+/);
    await until(() => ends.length === 1, 'the end');
    expect(ends).toMatchObject([{ status: 1008, reason: 'Rate limit exceeded', error: { code: 'RATE_EXCEEDED' } }]);
    expect(await tell('ignored')).toBe('ok\n');
  });

  it('pings and is answered, and is pinged and stays although it says nothing else', async () => {
    const { tell } = await serve({ options: [withPing({ periodMs: 20, misses: 100 })] });
    expect(await tell('ping', 'are you there')).toBe('ok are you there\n');
    expect(await tell('await-pings', 5)).toBe('ok 5\n');
  });

  it('closes with a code and a reason, which we are told and give back', async () => {
    const { tell, ends } = await serve();
    expect(await tell('close', 4002, 'bye from go')).toBe('ok closed 4002 bye from go\n');
    expect(await tell('close', 1001, 'going')).toBe('ok closed 1001 going\n');
    await until(() => ends.length === 2, 'both ends');
    expect(ends).toMatchObject([
      { status: 4002, reason: 'bye from go', by: 'client' },
      { status: 1001, reason: 'going', by: 'client', wasClean: true },
    ]);
  });

  it('gets 10 queued messages and then our close', async () => {
    const { tell, ends } = await serve();
    expect(await tell('closed', 3)).toBe('ok 10 4001 bye\n');
    await until(() => ends.length === 1, 'the end');
    expect(ends).toMatchObject([{ status: 4001, reason: 'bye', by: 'server' }]);
  });

  it('is told 1001 when the hub closes', async () => {
    const { hub, tell } = await serve();
    hub.on(4, () => void hub.close());
    expect(await tell('closed', 4)).toBe('ok 0 1001 the server is closing\n');
  });

  it('sends to 50 clients, itself among them, who get all in order', async () => {
    const { hub, tell } = await serve();
    expect(await tell('broadcast', 50, 200)).toBe('ok 10000\n');
    expect(hub.stats()).toMatchObject({ unsent: 0 });
  });

  it('calls by JSON-RPC, with errors under fffffffe, or ffffffff when it looks nowhere else', async () => {
    expect(await (await serve()).tell('rpc')).toBe('ok fffffffe\n');
    expect(await (await serve({ rpc: { errorsOn: 'rpc' } })).tell('rpc')).toBe('ok ffffffff\n');
  });

  it('is refused with 404 at another path, and with 403 from a foreign page; from our own, or from none, it is welcome', async () => {
    const { url, hub } = await serve();
    const refusedWith = async (...args: readonly string[]): Promise<string> => (await run(args)).errors;
    expect(await refusedWith('echo', url.replace('/ws', '/other'))).toContain('status 404');
    expect(await refusedWith('-origin', 'https://evil.example', 'echo', url)).toContain('status 403');
    expect((await run(['-origin', url.replace('ws:', 'http:').replace('/ws', ''), 'ignored', url])).output).toBe('ok\n');
    const strict = await serve({ options: [withOrigins(['https://good.example'])] });
    expect(await refusedWith('ignored', strict.url)).toContain('status 403');
    expect((await run(['-origin', 'https://good.example', 'ignored', strict.url])).output).toBe('ok\n');
    expect(hub.stats().handled).toBe(2);
  });
});
