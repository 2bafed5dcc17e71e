import path from 'node:path';
import { type BrowserPage, openPage } from './browser-page.ts';
import type { Scene } from './scene.ts';
import { startTool } from './text-scene.ts';
import type { Tool } from './tools.ts';

const program = path.join(import.meta.dirname, '../../examples/chat/server.ts');

export interface ChatServer {
  readonly tool: Tool;
  /** For terminals. */
  readonly port: string;
  readonly webPort: string;
}

/** The chat in a process of its own, as `npm start` starts it; on free ports unless it is told which. */
export async function startChatServer(
  scene: Scene,
  ports: { readonly port: string; readonly webPort: string } | undefined,
): Promise<ChatServer> {
  const { port, webPort } = ports ?? { port: '0', webPort: '0' };
  const tool = startTool(scene, 'env', [`PORT=${port}`, `WEB_PORT=${webPort}`, process.execPath, '--import', 'tsx', program]);
  await tool.prints('Ctrl-C');
  return { tool, port: await tool.finds(/nc 127\.0\.0\.1 (\d+)/), webPort: await tool.finds(/http:\/\/127\.0\.0\.1:(\d+)/) };
}

/** A nc user. */
export async function openTerminal(scene: Scene, { port }: ChatServer, name: string): Promise<Tool> {
  const nc = startTool(scene, 'nc', ['127.0.0.1', port]);
  await nc.prints('welcome');
  await nc.write(`/name ${name}\n`).prints(`is ${name} now`);
  return nc;
}

/** A user of the chat's page. */
export class ChatPage {
  readonly page: BrowserPage;

  private constructor(page: BrowserPage) {
    this.page = page;
  }

  /** Resolves when the page is connected, and has the name if there is one. */
  static async open(scene: Scene, webPort: string, name?: string, size?: string): Promise<ChatPage> {
    const chat = new ChatPage(await openPage(scene, `http://127.0.0.1:${webPort}/`, size));
    await chat.waitFor(`document.querySelector('#state')?.dataset.state === 'open'`);
    if (name !== undefined) await chat.rename(name);
    return chat;
  }

  /** Waits until an expression is true in the page. */
  async waitFor(expression: string): Promise<void> {
    for (let turn = 0; turn < 500; turn++) {
      if (await this.page.evaluate(`new Promise((resolve) => setTimeout(() => resolve(Boolean(${expression})), 20))`)) return;
    }
    throw new Error(`in vain: ${expression}; the page shows ${JSON.stringify(await this.page.evaluate('document.body.innerText'))}`);
  }

  /** What a selector finds, as text. */
  async texts(selector: string): Promise<unknown> {
    return this.page.evaluate(`[...document.querySelectorAll(${JSON.stringify(selector)})].map((item) => item.textContent)`);
  }

  /** Waits until an element that the selector finds has exactly this text. */
  shows(selector: string, text: string): Promise<void> {
    const wanted = JSON.stringify(text);
    return this.waitFor(`[...document.querySelectorAll(${JSON.stringify(selector)})].some((item) => item.textContent === ${wanted})`);
  }

  /** Who has said what, from the first to the last. */
  said(): Promise<unknown> {
    return this.page.evaluate(
      `[...document.querySelectorAll('.said')].map((item) => item.querySelector('.name').textContent + ': ' + item.querySelector('.text').textContent)`,
    );
  }

  async say(...texts: readonly string[]): Promise<void> {
    for (const text of texts) await this.submit('#form', '#text', text);
  }

  async rename(name: string): Promise<void> {
    await this.submit('#name-form', '#name', name);
    await this.shows('#people li:first-child .name', name);
  }

  async submit(form: string, input: string, value: string): Promise<void> {
    const field = `document.querySelector(${JSON.stringify(input)})`;
    await this.page.evaluate(
      `${field}.value = ${JSON.stringify(value)}; document.querySelector(${JSON.stringify(form)}).requestSubmit(); true`,
    );
  }

  /** As a keyboard does it. */
  async press(key: 'Enter' | 'Tab'): Promise<void> {
    const { code, text } = key === 'Enter' ? { code: 13, text: '\r' } : { code: 9, text: '\t' };
    const common = { key, code: key, windowsVirtualKeyCode: code };
    await this.page.command('Input.dispatchKeyEvent', { type: 'keyDown', ...common, text });
    await this.page.command('Input.dispatchKeyEvent', { type: 'keyUp', ...common });
  }

  async type(text: string): Promise<void> {
    await this.page.command('Input.insertText', { text });
  }

  /** The size of the page in CSS pixels. */
  async resize(width: number, height: number, deviceScaleFactor = 1): Promise<void> {
    await this.page.command('Emulation.setDeviceMetricsOverride', { width, height, deviceScaleFactor, mobile: width < 500 });
  }

  /** What the reader's system asks for. */
  async prefers(wishes: { readonly 'color-scheme'?: 'light' | 'dark'; readonly 'reduced-motion'?: 'reduce' }): Promise<void> {
    const features = Object.entries(wishes).map(([name, value]) => ({ name: `prefers-${name}`, value }));
    await this.page.command('Emulation.setEmulatedMedia', { features });
  }
}
