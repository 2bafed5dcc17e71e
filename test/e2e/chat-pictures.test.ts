import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { browser } from '../helpers/browser-page.ts';
import { ChatPage, openTerminal, startChatServer } from '../helpers/chat-page.ts';
import { useScene } from '../helpers/scene.ts';
import { hasCommand, itIf } from '../helpers/tools.ts';

const scene = useScene();
const it = itIf(browser !== undefined && hasCommand('nc'), 'Chromium and nc', 'apt-get install chromium netcat-openbsd');
/** Where the pictures go, such as docs/images; without it they are only compared with each other. */
const folder = process.env['PORTICO_SCREENSHOTS'];

describe('pictures of the chat', () => {
  it('are taken in light, in dark and of a phone, and differ', async () => {
    const server = await startChatServer(scene, undefined);
    const ada = await openTerminal(scene, server, 'ada');
    const linus = await openTerminal(scene, server, 'linus');
    await linus.write('/join tea\n').prints('in the room tea');
    const grace = await ChatPage.open(scene, server.webPort, 'grace');
    const alan = await ChatPage.open(scene, server.webPort, 'alan');
    const lines = (count: number): Promise<void> => grace.waitFor(`document.querySelectorAll('.said').length === ${count}`);
    ada.write('Good morning! I am here with nc, in a terminal.\n');
    await lines(1);
    await grace.say('And I am in a browser. Same room!');
    await lines(2);
    await alan.say('My train was in a tunnel just now.', 'The page came back by itself, and nothing was missed.');
    await lines(4);
    await grace.say('“connected again, nothing was missed” – I like that line.');
    await lines(5);
    ada.write('What happens to <script>alert(1)</script> here?\n');
    await lines(6);
    await alan.say('It is text, like everything else.');
    await lines(7);
    await grace.say('Try 201 messages in a row, then!');
    await lines(8);
    await alan.type('Better n');
    await grace.shows('#typing', 'alan is typing …');

    const pictures = new Map<string, Buffer>();
    const take = async (name: string): Promise<void> => {
      await grace.page.evaluate('Promise.all(document.getAnimations().map((animation) => animation.finished)).then(() => true)');
      pictures.set(name, await grace.page.screenshot());
    };
    await grace.page.evaluate('document.activeElement.blur(); true');
    await grace.resize(960, 720);
    await take('chat-light');
    await grace.prefers({ 'color-scheme': 'dark' });
    await alan.type('ot');
    await take('chat-dark');
    await grace.resize(360, 640, 2);
    await grace.page.evaluate(`document.querySelector('#side').open = false; true`);
    await grace.page.evaluate(`document.querySelector('#lines').scrollTop = 1e6; true`);
    await grace.prefers({ 'color-scheme': 'light' });
    await take('chat-phone');

    expect(new Set([...pictures.values()].map((bytes) => bytes.toString('base64'))).size).toBe(3);
    for (const [name, bytes] of pictures) {
      expect(bytes.length, name).toBeLessThan(150_000);
      if (folder === undefined) continue;
      mkdirSync(folder, { recursive: true });
      writeFileSync(path.join(folder, `${name}.png`), bytes);
    }
  });
});
