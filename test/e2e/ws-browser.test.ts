import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { text as textOf } from 'node:stream/consumers';
import { describe, expect } from 'vitest';
import { withHttpServer, withPermessageDeflate, withSubprotocols } from '../../src/endpoint/ws-options.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { hasCommand, itIf } from '../helpers/tools.ts';
import { wsEcho } from '../helpers/ws-echo.ts';

const scene = useScene();
const browser = ['chromium', 'google-chrome'].find(hasCommand);
const it = itIf(browser !== undefined, 'Chromium', 'apt-get install chromium');
const page = readFileSync(path.join(import.meta.dirname, 'page.html'));
const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-dev-shm-usage',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

interface Site {
  readonly server: HttpServer;
  readonly host: string;
  /** What the page posts. */
  readonly result: Promise<unknown>;
}

/** A web site with the page. */
async function site(): Promise<Site> {
  let settle: (result: unknown) => void = () => {};
  const result = new Promise<unknown>((resolve) => {
    settle = resolve;
  });
  const server = createServer((request, response) => {
    if (request.method === 'POST') void textOf(request).then((body) => settle(JSON.parse(body)));
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(request.method === 'GET' && request.url?.startsWith('/page') ? page : '');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  scene.atEnd(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return { server, host: `127.0.0.1:${(server.address() as AddressInfo).port}`, result };
}

/** Opens the page of a site in Chromium, which is gone when the test is over, and resolves with what the page posts. */
async function open({ host, result }: Site, url: string): Promise<unknown> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-chromium-'));
  scene.atEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20 }));
  const address = `http://${host}/page?url=${encodeURIComponent(url)}`;
  const tool = startTool(scene, browser ?? '', [...flags, `--user-data-dir=${folder}`, address]);
  const ended = once(tool.child, 'close').then(() => {
    throw new Error(`the browser has ended: ${tool.errors}`);
  });
  return Promise.race([result, ended]);
}

const all = {
  echoed: {
    opened: true,
    extensions: '',
    wrong: [],
    blob: 'from a blob',
    closed: { code: 1000, reason: 'done', wasClean: true },
  },
  closes: [
    { code: 4002, reason: 'bye from the page', wasClean: true },
    { code: 1000, reason: '', wasClean: true },
    { code: 1005, reason: '', wasClean: true },
  ],
  closedBy: [
    { code: 4003, reason: 'you may go', wasClean: true },
    { code: 1001, reason: 'grüße', wasClean: true },
    { code: 1000, reason: '', wasClean: true },
  ],
  subprotocols: ['a', ''],
};

describe('a page in Chromium', () => {
  it('echoes text, binary and a megabyte, closes and is closed with codes and reasons, agrees on a subprotocol', async () => {
    const own = await site();
    const { watch } = await wsEcho(scene, withHttpServer(own.server), withSubprotocols(['b', 'a']));
    expect(await open(own, `ws://${own.host}/echo`)).toEqual(all);
    await until(() => watch.reasons.length === 9, 'nine closes');
    expect(watch.reasons.map(({ by, status, text }) => `${by} ${status} ${text}`)).toEqual([
      'peer 1000 done',
      'peer 4002 bye from the page',
      'peer 1000 the peer closed',
      'peer 1005 the peer closed',
      'local 4003 you may go',
      'local 1001 grüße',
      'local 1000 ',
      'peer 1005 the peer closed',
      'peer 1005 the peer closed',
    ]);
  });

  it('does the same compressed', async () => {
    const own = await site();
    await wsEcho(scene, withHttpServer(own.server), withSubprotocols(['b', 'a']), withPermessageDeflate({ thresholdBytes: 0 }));
    const extensions = expect.stringContaining('permessage-deflate');
    expect(await open(own, `ws://${own.host}/echo`)).toEqual({ ...all, echoed: { ...all.echoed, extensions } });
  });

  it('is refused when it comes from another origin', async () => {
    const { url, server } = await wsEcho(scene);
    expect(await open(await site(), url)).toEqual({ echoed: { opened: false, closed: { code: 1006, reason: '', wasClean: false } } });
    expect(server.stats().totalSessions).toBe(0);
  });
});
