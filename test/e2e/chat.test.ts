import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { type BrowserPage, browser, openPage } from '../helpers/browser-page.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { hasCommand, itIf } from '../helpers/tools.ts';

const scene = useScene();
const it = itIf(browser !== undefined && hasCommand('nc'), 'Chromium and nc', 'apt-get install chromium netcat-openbsd');
const server = path.join(import.meta.dirname, '../../examples/chat/server.ts');

/** Waits until the page shows a line. */
async function shows(page: BrowserPage, line: string): Promise<void> {
  const lines = `[...document.querySelectorAll('#lines li')].map((item) => item.textContent)`;
  let seen: unknown;
  for (let turn = 0; turn < 200; turn++) {
    seen = await page.evaluate(`new Promise((resolve) => setTimeout(() => resolve(${lines}), 25))`);
    if (Array.isArray(seen) && seen.includes(line)) return;
  }
  throw new Error(`expected the page to show ${line}, given ${JSON.stringify(seen)}`);
}

function say(page: BrowserPage, text: string): Promise<unknown> {
  return page.evaluate(
    `document.querySelector('#text').value = ${JSON.stringify(text)}; document.querySelector('#form').requestSubmit(); true`,
  );
}

describe('the chat room', () => {
  it('has a nc user and a browser user talk to each other', async () => {
    const room = startTool(scene, 'env', ['PORT=0', 'WEB_PORT=0', process.execPath, '--import', 'tsx', server]);
    await room.prints('Ctrl-C');
    const nc = startTool(scene, 'nc', ['127.0.0.1', await room.finds(/nc 127\.0\.0\.1 (\d+)/)]);
    await nc.prints('welcome');
    await nc.write('/name ada\n').prints('you are ada now');

    const page = await openPage(scene, `${await room.finds(/(http:\/\/127\.0\.0\.1:\d+)/)}/`);
    await nc.prints('guest-2 has joined');
    await say(page, '/name grace');
    await shows(page, '* you are grace now');
    await say(page, 'hello from the browser');
    await nc.prints('grace: hello from the browser');
    nc.write('hello from nc\n');
    await shows(page, 'ada: hello from nc');

    // What others write is text and nothing else.
    nc.write('<img src=x onerror="document.title=1">\n');
    await shows(page, 'ada: <img src=x onerror="document.title=1">');
    expect(await page.evaluate('[document.images.length, document.title]')).toEqual([0, 'portico chat']);

    if (process.env['PORTICO_SCREENSHOT'] !== undefined) writeFileSync(process.env['PORTICO_SCREENSHOT'], await page.screenshot());
    room.child.kill('SIGINT');
    await shows(page, '* the server is going down, goodbye');
    expect(await room.exited()).toBe(0);
  });
});
