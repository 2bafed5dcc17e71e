import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import WebSocket from 'ws';
import type { Scene } from './scene.ts';
import { startTool } from './text-scene.ts';
import { hasCommand } from './tools.ts';

/** The browser, if there is one. */
export const browser: string | undefined = ['chromium', 'google-chrome'].find(hasCommand);

const flagsOfAll: readonly string[] = [
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

/** A page in a real browser, driven over the DevTools protocol. */
export interface BrowserPage {
  /** The value of an expression in the page. */
  evaluate(expression: string): Promise<unknown>;
  /** A PNG of what is to be seen. */
  screenshot(): Promise<Buffer>;
  /** Any command of the DevTools protocol: keys, sizes, colours. */
  command(method: string, params: object): Promise<void>;
}

interface Answer {
  readonly id?: number;
  readonly result?: { readonly data?: string; readonly result?: { readonly value?: unknown }; readonly exceptionDetails?: unknown };
}

/** Opens a page; the browser is gone when the test is over. */
export async function openPage(scene: Scene, url: string, size = '900,640'): Promise<BrowserPage> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-chromium-'));
  scene.atEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 20 }));
  const flags = [...flagsOfAll, `--user-data-dir=${folder}`, `--window-size=${size}`, '--remote-debugging-port=0', url];
  const tool = startTool(scene, browser ?? '', flags);
  const host = await tool.finds(/DevTools listening on ws:\/\/(127\.0\.0\.1:\d+)/);
  const list: unknown = await (await fetch(`http://${host}/json/list`)).json();
  const target = Array.isArray(list) ? list.find((item: { type?: string }) => item.type === 'page') : undefined;
  const socket = new WebSocket(String(Reflect.get(target, 'webSocketDebuggerUrl')), { perMessageDeflate: false });
  scene.atEnd(() => socket.terminate());
  await new Promise((resolve, reject) => socket.once('open', resolve).once('error', reject));

  const waiting = new Map<number, (answer: Answer) => void>();
  socket.on('message', (data) => {
    const answer = JSON.parse(String(data)) as Answer;
    if (answer.id !== undefined) waiting.get(answer.id)?.(answer);
  });
  let lastId = 0;
  const call = (method: string, params: object): Promise<Answer> => {
    const id = ++lastId;
    socket.send(JSON.stringify({ id, method, params }));
    return new Promise((resolve) => waiting.set(id, resolve));
  };
  return {
    async evaluate(expression) {
      const { result } = await call('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
      if (result?.exceptionDetails !== undefined) throw new Error(JSON.stringify(result.exceptionDetails));
      return result?.result?.value;
    },
    async screenshot() {
      const { result } = await call('Page.captureScreenshot', { format: 'png' });
      return Buffer.from(result?.data ?? '', 'base64');
    },
    async command(method, params) {
      await call(method, params);
    },
  };
}
