import { describe, expect } from 'vitest';
import { browser } from '../helpers/browser-page.ts';
import { ChatPage, openTerminal, startChatServer } from '../helpers/chat-page.ts';
import { useScene } from '../helpers/scene.ts';
import { hasCommand, itIf } from '../helpers/tools.ts';

const scene = useScene();
const it = itIf(browser !== undefined && hasCommand('nc'), 'Chromium and nc', 'apt-get install chromium netcat-openbsd');

/** Texts of the page whose contrast with what is behind them is below WCAG AA. */
const faint = `(() => {
  const context = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d', { willReadFrequently: true });
  const channels = (colour) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([red, green, blue]) => {
    const [r, g, b] = [red, green, blue].map((value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const contrast = (one, other) => {
    const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const found = [];
  let looked = 0;
  for (const element of document.body.querySelectorAll('*')) {
    const isField = element instanceof HTMLInputElement;
    const hasText = isField || [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '');
    if (!hasText || element.getClientRects().length === 0) continue;
    looked++;
    const colours = [getComputedStyle(element).color];
    if (isField) colours.push(getComputedStyle(element, '::placeholder').color);
    for (const colour of colours) {
      const ratio = contrast(channels(colour), behind(element));
      if (ratio < 4.5) found.push(element.className + ' ' + element.tagName + ' ' + ratio.toFixed(2));
    }
  }
  return { looked, found };
})()`;

describe('the page of the chat', () => {
  it('can be used with a keyboard alone', async () => {
    const server = await startChatServer(scene, undefined);
    const ada = await openTerminal(scene, server, 'ada');
    const grace = await ChatPage.open(scene, server.webPort);
    const { page } = grace;
    expect(await page.evaluate('document.activeElement.id')).toBe('text');
    await grace.type('hello');
    await grace.press('Enter');
    await ada.prints('guest-2: hello');

    const focus = (): Promise<unknown> =>
      page.evaluate(`((element) => element.id || element.dataset.room || element.textContent)(document.activeElement)`);
    const order: unknown[] = [];
    for (let n = 0; n < 6; n++) {
      await grace.press('Tab');
      order.push(await focus());
      // Wherever the focus is, it can be seen.
      expect(await page.evaluate(`getComputedStyle(document.activeElement).outlineStyle`)).toBe('solid');
    }
    expect(order).toEqual(['Send', 'name', 'Rename', 'lobby', 'room-name', 'Enter']);

    await page.evaluate(`document.querySelector('#form button').focus(); true`);
    await grace.press('Tab');
    await grace.type('grace');
    await grace.press('Enter');
    await ada.prints('* guest-2 is grace now');
    await grace.waitFor(`document.activeElement.id === 'text'`);
  });

  it('says by roles and labels what everything is', async () => {
    const server = await startChatServer(scene, undefined);
    const { page } = await ChatPage.open(scene, server.webPort);
    expect(
      await page.evaluate(
        `[...document.querySelectorAll('input')].map((input) => [...input.labels].map((label) => label.textContent).join())`,
      ),
    ).toEqual(['Message', 'Your name', 'Another room']);
    expect(
      await page.evaluate(
        `((log) => [log.getAttribute('role'), log.ariaLive, log.ariaLabelledByElements?.[0]?.textContent ?? ''])(document.querySelector('#lines'))`,
      ),
    ).toEqual(['log', 'polite', '# lobby']);
    expect(await page.evaluate(`[...document.querySelectorAll('[role]')].map((element) => element.getAttribute('role'))`)).toEqual([
      'status',
      'log',
      'alert',
      'alert',
      'alert',
    ]);
    expect(await page.evaluate(`document.querySelector('#rooms button').getAttribute('aria-label')`)).toBe('lobby, 1 person');
    expect(await page.evaluate('document.documentElement.lang')).toBe('en');
  });

  it('fits into 320 pixels, whatever people are called and write', async () => {
    const server = await startChatServer(scene, undefined);
    const grace = await ChatPage.open(scene, server.webPort, 'W'.repeat(20));
    await grace.resize(320, 480);
    await grace.say('unbreakable'.repeat(40));
    await grace.waitFor(`document.querySelector('.said') !== null`);
    // The end of the conversation stays in sight when the keyboard of a phone comes up.
    await grace.resize(320, 360);
    await grace.waitFor('innerHeight === 360');
    await grace.page.evaluate('new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(true))))');
    expect(
      await grace.page.evaluate(
        `((log) => Math.round(log.scrollHeight - log.scrollTop - log.clientHeight))(document.querySelector('#lines'))`,
      ),
    ).toBe(0);
    await grace.resize(320, 480);
    for (const isOpen of [false, true]) {
      await grace.page.evaluate(`document.querySelector('#side').open = ${isOpen}; true`);
      expect(await grace.page.evaluate('document.documentElement.scrollWidth')).toBe(320);
      expect(
        await grace.page.evaluate(`['#lines', '#side', '#people'].filter((part) => {
          const { scrollWidth, clientWidth } = document.querySelector(part);
          return scrollWidth > clientWidth;
        })`),
      ).toEqual([]);
      // The field to write in stays in sight.
      expect(await grace.page.evaluate(`document.querySelector('#text').getBoundingClientRect().bottom <= innerHeight`)).toBe(true);
    }
  });

  it('has the contrast of WCAG AA in light and in dark, and holds still for who asks for it', async () => {
    const server = await startChatServer(scene, undefined);
    const terminals = await Promise.all(['ada', 'bob', 'cleo', 'dan', 'eve'].map((name) => openTerminal(scene, server, name)));
    const grace = await ChatPage.open(scene, server.webPort, 'grace');
    for (const terminal of terminals) terminal.write('hello\n');
    await grace.say('hello');
    await grace.waitFor(`document.querySelectorAll('.said').length === 6`);
    await grace.submit('#name-form', '#name', 'ada');
    await grace.shows('#name-error', 'ada is taken');
    await grace.page.evaluate(
      `document.querySelector('#alert').hidden = false; document.querySelector('#alert p').textContent = 'alert'; true`,
    );
    for (const scheme of ['light', 'dark'] as const) {
      await grace.prefers({ 'color-scheme': scheme, 'reduced-motion': 'reduce' });
      const { looked, found } = (await grace.page.evaluate(faint)) as { looked: number; found: string[] };
      expect(found, scheme).toEqual([]);
      expect(looked).toBeGreaterThan(30);
    }
    await grace.say('one more');
    await grace.shows('.said .text', 'one more');
    expect(await grace.page.evaluate('document.getAnimations().length')).toBe(0);
  });
});
