import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { build } from 'esbuild';
import { describe, expect } from 'vitest';
import type { CommandMessage } from '../../src/command/command-handler.ts';
import { commandWsOptions } from '../../src/command/endpoint-options.ts';
import { CommandHub } from '../../src/command/hub.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { withOrigins } from '../../src/endpoint/ws-options.ts';
import { type BrowserPage, browser, openPage } from '../helpers/browser-page.ts';
import { cuttableNetwork } from '../helpers/cuttable-network.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { itIf } from '../helpers/tools.ts';

const scene = useScene();
const it = itIf(browser !== undefined, 'Chromium', 'apt-get install chromium');

/** What stands in the page: the client of this tree, bundled as users would, and what it told. */
const script = `
  import { createClient, handle, roomOf, stream } from './src/browser/index.ts';
  const text = (payload) => new TextDecoder().decode(payload);
  window.start = async (url) => {
    const client = createClient({ url, reconnect: { minMs: 20, maxMs: 200 } });
    const page = { client, seen: [], events: [], room: roomOf(client, 'lobby') };
    window.page = page;
    for (const name of ['open', 'reconnecting', 'reconnected', 'close']) client.events.on(name, () => page.events.push(name));
    client.on(1, (payload) => page.seen.push(text(payload)));
    handle(client, 4, () => document.title);
    const { id } = await client.connect();
    return id;
  };
  window.ask = async (words) => text(await window.page.client.call(2, words));
  window.count = async () => {
    const items = [];
    for await (const item of stream(window.page.client, 3, '', { window: 4 })) {
      items.push(text(item));
      if (items.length === 10) break;
    }
    return items;
  };
`;

async function site(): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents: script, resolveDir: path.join(import.meta.dirname, '../..'), loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    write: false,
  });
  const http: HttpServer = createServer((_request, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(`<!doctype html><title>a page</title><script type="module">${outputFiles[0]?.text ?? ''}</script>`);
  });
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  scene.atEnd(async () => {
    http.closeAllConnections();
    await new Promise((resolve) => http.close(resolve));
  });
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}/`;
}

async function serve(address = '127.0.0.1:0'): Promise<{ hub: CommandHub; server: WsServer<CommandMessage>; stop: () => Promise<void> }> {
  const hub = new CommandHub({ authorizeJoin: () => true, retryAfterMs: 10 });
  hub.on(1, (client, payload) => void client.send(1, payload));
  hub.handle(2, (_client, payload) => Buffer.from(String(Buffer.from(payload)).toUpperCase()));
  hub.handle(3, async function* () {
    for (let n = 0; ; n++) yield Buffer.from(String(n));
  });
  const server = new WsServer<CommandMessage>(
    withLocalAddress(address),
    withOrigins(() => true),
    commandWsOptions(hub),
  );
  await server.listen();
  const stop = async (): Promise<void> => {
    await hub.close({ drainTimeoutMs: 0 });
    await server.close({ drainTimeoutMs: 0 });
  };
  scene.atEnd(stop);
  return { hub, server, stop };
}

/** A network between the page and the server; cut, it takes new connections at once. */
async function network(port: number): Promise<{ url: string; cut: () => void }> {
  const cuttable = await cuttableNetwork(scene, port);
  const cut = (): void => {
    cuttable.cut();
    cuttable.mend();
  };
  return { url: `ws://127.0.0.1:${cuttable.port}/`, cut };
}

/** Waits in the page until an expression of it is true. */
async function holds(page: BrowserPage, expression: string): Promise<void> {
  for (let turn = 0; turn < 400; turn++) {
    if (await page.evaluate(`new Promise((resolve) => setTimeout(() => resolve(Boolean(${expression})), 20))`)) return;
  }
  throw new Error(
    `in vain: ${expression}; ${JSON.stringify(await page.evaluate('window.page && [page.events, page.seen, page.client.state]'))}`,
  );
}

describe('the client of pages in Chromium', () => {
  it('sends, calls, streams and answers; a cut is resumed without loss, a restart of the server ends in a new session', async () => {
    const { hub, server, stop } = await serve();
    const page = await openPage(scene, await site());
    await holds(page, `typeof window.start === 'function'`);
    const { url, cut } = await network(server.localAddress.port);
    const id = String(await page.evaluate(`start('${url}')`));
    const client = hub.clients.get(id);
    if (client === undefined) throw new Error('the hub does not know the page');

    await page.evaluate(`page.client.send(1, 'grüße'); page.client.send(1, new DataView(new Uint8Array([97, 98, 99]).buffer, 1))`);
    await holds(page, 'page.seen.length === 2');
    expect(await page.evaluate('page.seen')).toEqual(['grüße', 'bc']);
    expect(await page.evaluate(`ask('hello')`)).toBe('HELLO');
    expect(await page.evaluate('count()')).toEqual(Array.from({ length: 10 }, (_, n) => String(n)));
    expect(Buffer.from(await client.call(4, '')).toString()).toBe('a page');
    expect(await page.evaluate('page.client.rttMs')).toBeGreaterThan(0);
    await page.evaluate('page.room.join({ name: "page" }).then(() => true)');
    await holds(page, `page.room.members.has('${id}')`);

    for (let n = 0; n < 100; n++) {
      client.send(1, String(n));
      if (n === 50) cut();
    }
    await holds(page, 'page.seen.length >= 102');
    expect(await page.evaluate('page.seen.slice(2)')).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
    expect(await page.evaluate('[page.client.recovered, page.client.id, page.events]')).toEqual([
      true,
      id,
      ['open', 'reconnecting', 'reconnected'],
    ]);

    const address = server.localAddress.text;
    await stop();
    // What is sent before the page has seen the end belongs to the session that is lost.
    await holds(page, `page.client.state === 'reconnecting'`);
    await page.evaluate(`page.client.send(1, 'while it was down')`);
    const restarted = await serve(address);
    await holds(page, `page.seen.includes('while it was down')`);
    expect(await page.evaluate('[page.client.recovered, page.client.id !== "" && page.room.isJoined]')).toEqual([false, true]);
    expect(restarted.hub.clients.size).toBe(1);

    await page.evaluate('page.client.close().then(() => true)');
    await until(() => restarted.hub.clients.size === 0, 'the client has left');
    expect(await page.evaluate('page.client.state')).toBe('closed');
  });

  it('is resumed after 2 s without a network, and when the page comes back out of the back/forward cache', async () => {
    const { hub, server } = await serve();
    const address = await site();
    const page = await openPage(scene, address);
    await holds(page, `typeof window.start === 'function'`);
    const { url, cut } = await network(server.localAddress.port);
    const id = String(await page.evaluate(`start('${url}')`));
    const client = hub.clients.get(id);
    if (client === undefined) throw new Error('the hub does not know the page');
    await page.command('Network.enable', {});
    const emulate = (offline: boolean): Promise<unknown> =>
      page.command('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
    await emulate(true);
    expect(await page.evaluate('navigator.onLine')).toBe(false);
    // Chromium leaves open WebSockets alone; the network under them goes too.
    cut();
    await holds(page, `page.client.state === 'reconnecting'`);
    for (let n = 0; n < 100; n++) client.send(1, String(n));
    await page.evaluate('new Promise((resolve) => setTimeout(() => resolve(1), 2000))');
    expect(await page.evaluate('page.client.state')).toBe('reconnecting');
    await emulate(false);
    await holds(page, 'page.seen.length >= 100');
    expect(await page.evaluate('page.seen')).toEqual(Array.from({ length: 100 }, (_, n) => String(n)));
    expect(await page.evaluate('[page.client.recovered, page.client.id]')).toEqual([true, id]);

    await page.command('Page.enable', {});
    await page.command('Page.navigate', { url: `${address}other` });
    await holds(page, `location.pathname === '/other' && typeof window.start === 'function'`);
    client.send(1, 'while it was away');
    await page.evaluate('history.back(), 1');
    await holds(page, `location.pathname === '/' && window.page?.seen.includes('while it was away')`);
    expect(await page.evaluate('[page.client.recovered, page.client.id, page.client.state]')).toEqual([true, id, 'open']);
    expect(hub.clients.size).toBe(1);
  });
});
