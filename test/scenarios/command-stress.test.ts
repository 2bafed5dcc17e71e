import { describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { withLocalAddress, withLogger } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { KNET_RATE_LIMIT } from '../../src/rate-limit/options.ts';
import { rateLimit } from '../../src/rate-limit/rate-limit.ts';
import { command, FUZZ_TARGETS, Fuzz } from '../helpers/command-fuzz.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';

// A little of what test/soak/command-stress.test.ts and command-fuzz.test.ts do at length.
const scene = useScene();

class Stressed {
  readonly texts: string[] = [];
  readonly socket: WebSocket;
  close: { readonly status: number; readonly reason: string } | undefined;

  constructor(url: string) {
    this.socket = new WebSocket(url);
    this.socket.on('message', (bytes: Buffer) => void this.texts.push(bytes.toString('latin1', 4)));
    this.socket.on('close', (status, reason) => {
      this.close = { status, reason: String(reason) };
    });
    this.socket.on('error', () => {});
    scene.atEnd(() => this.socket.terminate());
  }
}

/** Command 1 goes back, 2 to everybody. */
async function crowd(count: number, isLimited = false): Promise<{ readonly hub: CommandHub; readonly clients: readonly Stressed[] }> {
  const hub = new CommandHub();
  hub.on(1, (client, payload) => void client.send(1, payload));
  hub.on(2, (_client, payload) => void hub.broadcast(2, payload));
  const server = new WsServer<CommandMessage>(
    withLocalAddress('127.0.0.1:0'),
    withLogger({ warn: () => {}, error: () => {} }),
    commandWsOptions(hub, isLimited ? rateLimit(hub, KNET_RATE_LIMIT) : hub),
  );
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  const clients = Array.from({ length: count }, () => new Stressed(`ws://${server.localAddress.text}/ws`));
  await until(() => hub.clients.size === count && clients.every(({ socket }) => socket.readyState === WebSocket.OPEN), 'all to be there');
  return { hub, clients };
}

describe('a hub under stress', () => {
  it('znet-knet scenario 61: each of 100 clients gets back its own 5 messages, in order', async () => {
    const { hub, clients } = await crowd(100);
    for (let n = 0; n < 5; n++) {
      for (const [index, { socket }] of clients.entries()) socket.send(command(1, `${index}:${n}`));
    }
    await until(() => clients.every(({ texts }) => texts.length === 5), 'all echoes');
    for (const [index, { texts }] of clients.entries()) expect(texts).toEqual([0, 1, 2, 3, 4].map((n) => `${index}:${n}`));
    expect(hub.stats()).toMatchObject({ clients: 100, handled: 500, unsent: 0 });
  });

  it('znet-knet scenario 61: each of 20 clients gets all 1,000 messages of all, in one and the same order', async () => {
    const { hub, clients } = await crowd(20);
    for (let n = 0; n < 50; n++) {
      for (const [index, { socket }] of clients.entries()) socket.send(command(2, `${index}:${n}`));
    }
    await until(() => clients.every(({ texts }) => texts.length === 1_000), 'all deliveries');
    const order = clients[0]?.texts ?? [];
    for (const { texts } of clients) expect(texts).toEqual(order);
    for (const index of clients.keys()) {
      const own = order.filter((text) => text.startsWith(`${index}:`));
      expect(own).toEqual(Array.from({ length: 50 }, (_, n) => `${index}:${n}`));
    }
    expect(hub.stats()).toMatchObject({ clients: 20, unsent: 0 });
  });

  it("znet-knet scenario 61: with knet's limit all 20 are closed with 1008, and each is told", async () => {
    const { hub, clients } = await crowd(20, true);
    for (const { socket } of clients) for (let n = 0; n < 1_000; n++) socket.send(command(2, String(n)));
    await until(() => clients.every(({ close }) => close !== undefined), 'all closes');
    expect(clients.map(({ close }) => close)).toEqual(Array(20).fill({ status: 1008, reason: 'Rate limit exceeded' }));
    expect(hub.stats()).toMatchObject({ clients: 0 });
    expect(hub.stats().handled).toBeGreaterThanOrEqual(20 * 200);
    expect(hub.stats().handled).toBeLessThan(20 * 1_000);
  });
});

describe('random strings', () => {
  const seed = Number(process.env['PORTICO_SEED'] ?? Date.now() % 2 ** 31);

  it.each(Object.entries(FUZZ_TARGETS))('znet-knet scenario 62: on %s crash nothing', async (_name, target) => {
    const fuzz = await Fuzz.of(target, seed);
    await fuzz.run(300);
    await fuzz.honest();
  });
});
