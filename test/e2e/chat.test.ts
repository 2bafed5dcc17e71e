import path from 'node:path';
import { describe, expect } from 'vitest';
import { browser } from '../helpers/browser-page.ts';
import { ChatPage, openTerminal, startChatServer } from '../helpers/chat-page.ts';
import { cuttableNetwork } from '../helpers/cuttable-network.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { hasCommand, itIf } from '../helpers/tools.ts';

const scene = useScene();
const it = itIf(browser !== undefined && hasCommand('nc'), 'Chromium and nc', 'apt-get install chromium netcat-openbsd');

const commandLine = path.join(import.meta.dirname, '../../examples/chat/cli.ts');
const hostile = '<img src onerror=a>';
const lossMs = 2_000;

function numbered(word: string, count: number): string[] {
  return Array.from({ length: count }, (_, n) => `${word} ${n + 1}`);
}

describe('the chat', () => {
  it('has users of nc, of the command line and of a page in one room', async () => {
    const server = await startChatServer(scene, undefined);
    const ada = await openTerminal(scene, server, 'ada');
    const grace = await ChatPage.open(scene, server.webPort, 'grace');
    const linus = startTool(scene, process.execPath, ['--import', 'tsx', commandLine, `ws://127.0.0.1:${server.webPort}/chat`, 'linus']);
    await linus.prints('* you are linus, in the room lobby\n* here: ada, grace, linus\n');
    await ada.prints('* linus has joined');
    await grace.shows('.notice', 'linus has joined');

    linus.write('hello from the command line\n');
    await ada.prints('linus: hello from the command line');
    await grace.shows('.said .text', 'hello from the command line');
    ada.write('hello from nc\n');
    await linus.prints('ada: hello from nc');
    await grace.say('hello from a page');
    await linus.prints('grace: hello from a page');
    expect(linus.output).not.toContain('linus: hello');

    await linus.write('/name ada\n').prints('* ada is taken');
    await linus.write('/name torvalds\n').prints('* linus is torvalds now');
    await linus.write('/join tea\n').prints('* you are torvalds, in the room tea');
    await grace.shows('.notice', 'torvalds has left');
    await linus.write('/who\n').prints('* here: torvalds\n');
    linus.write('/quit\n');
    expect(await linus.exited()).toBe(0);
  });

  it('znet-knet scenario 60: two pages and a nc user see the same messages, names, comings and goings', async () => {
    const server = await startChatServer(scene, undefined);
    const ada = await openTerminal(scene, server, 'ada');
    const grace = await ChatPage.open(scene, server.webPort);
    await grace.shows('#people li:first-child .name', 'guest-2');
    await ada.prints('* guest-2 has joined');
    await grace.rename('grace');
    await ada.prints('* guest-2 is grace now');
    const alan = await ChatPage.open(scene, server.webPort, 'alan');
    await grace.shows('.notice', 'guest-3 is alan now');

    // The reader first, then by name; with the number of all.
    await grace.shows('#count', '3');
    expect(await grace.texts('#people .name')).toEqual(['grace', 'ada', 'alan']);
    expect(await alan.texts('#people .name')).toEqual(['alan', 'ada', 'grace']);
    ada.write('/who\n');
    await ada.prints('* here: ada, grace, alan');

    const before = Date.now();
    await grace.say('hello from a page');
    ada.write('hello from a terminal\n');
    await ada.prints('grace: hello from a page');
    for (const page of [grace, alan]) await page.shows('.said .text', 'hello from a terminal');
    for (const page of [grace, alan]) {
      const times = await page.page.evaluate(`[...document.querySelectorAll('.said time')].map((time) => Date.parse(time.dateTime))`);
      expect(times).toHaveLength(2);
      for (const time of times as number[]) expect(time >= before && time <= Date.now()).toBe(true);
    }
    expect(await grace.said()).toEqual(expect.arrayContaining(['grace: hello from a page', 'ada: hello from a terminal']));
    expect(await alan.said()).toEqual(await grace.said());

    // Taken, in whatever capitals, and by whoever.
    await alan.submit('#name-form', '#name', 'Ada');
    await alan.shows('#name-error', 'Ada is taken');
    ada.write('/name alan\n');
    await ada.prints('* alan is taken');

    // Whatever others write is text: as a name, and as a message.
    await alan.rename(hostile);
    await alan.say('<img src=x onerror="document.title=1"><script>document.title=2</script>');
    for (const page of [grace, alan]) await page.shows('.said:last-child .name', hostile);
    expect(await grace.texts('#people .name')).toEqual(['grace', hostile, 'ada']);
    for (const page of [grace, alan]) {
      await page.page.evaluate('new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)))');
      expect(await page.page.evaluate(`[document.images.length, document.scripts.length, document.title]`)).toEqual([
        0,
        1,
        'lobby · portico chat',
      ]);
    }

    ada.write('/quit\n');
    for (const page of [grace, alan]) await page.shows('.notice', 'ada has left');
    // Loaded again, a page still knows its name; closed, it has left at once.
    await alan.page.command('Page.reload', {});
    await grace.shows('.notice', `${hostile} has left`);
    await grace.shows('.notice', `${hostile} has joined`);
    await alan.shows('.said .name', hostile);
    await grace.shows('#count', '2');
    await alan.page.command('Page.close', {});
    await grace.shows('#count', '1');
    server.tool.child.kill('SIGINT');
    const askedAt = performance.now();
    expect(await server.tool.exited()).toBe(0);
    expect(performance.now() - askedAt).toBeLessThan(2_000);
  });

  it('znet-knet scenario 60: after a restart of the server a page is who and where it was, without being loaded again', async () => {
    const first = await startChatServer(scene, undefined);
    const grace = await ChatPage.open(scene, first.webPort, 'grace');
    await grace.submit('#room-form', '#room-name', 'tea');
    await grace.shows('#room', '# tea');
    await grace.say('before');
    await grace.shows('.said .text', 'before');
    await grace.page.evaluate('window.isSame = true');

    first.tool.child.kill('SIGINT');
    await grace.shows('.notice', 'the server is going down, goodbye');
    expect(await first.tool.exited()).toBe(0);
    await grace.waitFor(`document.querySelector('#state').dataset.state === 'reconnecting'`);
    await grace.say('while nobody was there');

    const second = await startChatServer(scene, first);
    await grace.waitFor(`document.querySelector('#state').dataset.state === 'open'`);
    await grace.shows('.said .text', 'while nobody was there');
    expect(await grace.said()).toEqual(['grace: before', 'grace: while nobody was there']);
    expect(await grace.texts('#room')).toEqual(['# tea']);
    expect(await grace.texts('#people .name')).toEqual(['grace']);
    expect(await grace.page.evaluate('window.isSame')).toBe(true);
    await second.tool.prints('#tea grace: while nobody was there');
  });

  it('znet-knet scenario 57: two seconds without a network lose nothing and double nothing', async () => {
    const server = await startChatServer(scene, undefined);
    const network = await cuttableNetwork(scene, Number(server.webPort));
    const ada = await openTerminal(scene, server, 'ada');
    const alan = await ChatPage.open(scene, server.webPort, 'alan');
    const grace = await ChatPage.open(scene, String(network.port), 'grace');

    network.cut();
    const lostAt = performance.now();
    await alan.waitFor(`[...document.querySelectorAll('#people .away .name')].some((item) => item.textContent === 'grace')`);
    await grace.waitFor(`document.querySelector('#state').dataset.state === 'reconnecting'`);
    const missed = numbered('missed', 20);
    for (const text of missed) ada.write(`${text}\n`);
    await grace.say('said in a tunnel', 'and another');
    await alan.shows('.said .text', 'missed 20');
    await grace.page.evaluate(`new Promise((resolve) => setTimeout(resolve, ${lossMs - (performance.now() - lostAt)}))`);
    expect(await grace.said()).toEqual([]);
    expect(await alan.said()).toEqual(missed.map((text) => `ada: ${text}`));

    network.mend();
    await grace.shows('#state', 'connected again, nothing was missed');
    const all = [...missed.map((text) => `ada: ${text}`), 'grace: said in a tunnel', 'grace: and another'];
    for (const page of [grace, alan]) {
      await page.shows('.said .text', 'and another');
      expect(await page.said()).toEqual(all);
    }
    await alan.waitFor(`document.querySelector('#people .away') === null`);
    expect(await grace.texts('.notice')).toEqual(['guest-3 is grace now']);
  });

  it('znet-knet scenario 60: who sends too fast is closed with 1008, is told so, and may come back by hand', async () => {
    const server = await startChatServer(scene, undefined);
    const alan = await ChatPage.open(scene, server.webPort, 'alan');
    const grace = await ChatPage.open(scene, server.webPort, 'grace');
    await grace.page.evaluate(`(() => {
      const [form, text] = [document.querySelector('#form'), document.querySelector('#text')];
      for (let n = 0; n < 400; n++) {
        text.value = 'flood ' + n;
        form.requestSubmit();
      }
      return true;
    })()`);
    await grace.shows('#alert p', 'You were disconnected: Rate limit exceeded. Slow down a little.');
    expect(await grace.texts('#state')).toEqual(['disconnected']);
    expect(await grace.page.evaluate(`document.querySelector('#alert').getClientRects().length`)).toBe(1);
    await alan.shows('.notice', 'grace has left');
    // The end of the conversation stays in sight, and the page as long as the window.
    await grace.waitFor(`/messages may not have arrived/.test(document.querySelector('#lines > :last-child').textContent)`);
    await grace.waitFor(
      `document.querySelector('#lines > :last-child').getBoundingClientRect().bottom <= document.querySelector('#alert').getBoundingClientRect().top`,
    );
    expect(await grace.page.evaluate('document.documentElement.scrollHeight <= innerHeight')).toBe(true);
    const flood = await alan.page.evaluate(`document.querySelectorAll('.said').length`);
    expect(Number(flood)).toBeGreaterThanOrEqual(190);
    expect(Number(flood)).toBeLessThan(300);
    expect(await alan.texts('#state')).toEqual(['connected']);

    // The button has the focus.
    await grace.press('Enter');
    await grace.shows('#state', 'connected');
    await grace.waitFor(`document.querySelector('#alert').hidden`);
    await grace.shows('#people li:first-child .name', 'grace');
    await grace.say('sorry');
    await alan.shows('.said .text', 'sorry');
    // The server's history has what the page shows already.
    await grace.shows('.said .text', 'sorry');
    const shown = (await grace.said()) as string[];
    expect(shown.length).toBeGreaterThan(50);
    expect(new Set(shown).size).toBe(shown.length);
  });

  it('shows who is typing, until something is said', async () => {
    const server = await startChatServer(scene, undefined);
    const alan = await ChatPage.open(scene, server.webPort, 'alan');
    const grace = await ChatPage.open(scene, server.webPort, 'grace');
    await grace.type('hel');
    await alan.shows('#typing', 'grace is typing …');
    expect(await grace.texts('#typing')).toEqual(['']);
    await grace.type('lo');
    await grace.press('Enter');
    await alan.shows('.said .text', 'hello');
    expect(await alan.texts('#typing')).toEqual(['']);
    // And when nothing comes of it.
    await grace.type('hm');
    await alan.shows('#typing', 'grace is typing …');
    await alan.shows('#typing', '');
  });
});
