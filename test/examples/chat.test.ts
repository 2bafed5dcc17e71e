import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { type Audience, Chat } from '../../examples/chat/chat.ts';
import { linesOf, parseLine } from '../../examples/chat/lines.ts';
import { type ChatProtocol, protocol, type RoomView, type Said } from '../../examples/chat/protocol.ts';
import { Roster } from '../../examples/chat/roster.ts';
import { startChat } from '../../examples/chat/start.ts';
import { type BrowserClient, createClient } from '../../src/browser/client.ts';
import type { WebSocketConstructor } from '../../src/browser/environment.ts';
import { roomOf } from '../../src/browser/rooms.ts';
import { type RawPeer, until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { rejectionOf, thrownBy } from '../helpers/thrown.ts';

const scene = useScene();

interface Running {
  readonly port: number;
  readonly webPort: number;
}

async function start(): Promise<Running> {
  const chat = await startChat('127.0.0.1:0', 0, () => {});
  scene.atEnd(() => chat.close());
  return chat;
}

/** Somebody with a terminal. */
class Terminal {
  readonly #peer: RawPeer;

  constructor(peer: RawPeer) {
    this.#peer = peer;
  }

  get text(): string {
    return String(this.#peer.received);
  }

  async prints(text: string): Promise<void> {
    await until(() => this.text.includes(text), `${JSON.stringify(text)}, not ${this.text}`);
  }

  async type(line: string): Promise<this> {
    await this.#peer.send(`${line}\n`);
    return this;
  }

  async closed(): Promise<void> {
    await this.#peer.closed();
  }
}

async function terminal({ port }: Running, name?: string): Promise<Terminal> {
  const user = new Terminal(await scene.peer({ host: '127.0.0.1', port }));
  await user.prints('* here:');
  if (name !== undefined) await (await user.type(`/name ${name}`)).prints(`is ${name} now`);
  return user;
}

/** Somebody with a client of the command protocol, and all that it was told. */
interface User {
  readonly client: BrowserClient<ChatProtocol>;
  readonly roster: Roster;
  readonly views: RoomView[];
  readonly said: Said[];
  readonly typing: string[];
  readonly notices: string[];
}

async function user({ webPort }: Running, auth: unknown = {}): Promise<User> {
  const client = createClient({
    url: `ws://127.0.0.1:${webPort}/chat`,
    protocol,
    auth: () => auth,
    page: false,
    webSocket: WebSocket as unknown as WebSocketConstructor,
  });
  const known: User = { client, roster: new Roster(), views: [], said: [], typing: [], notices: [] };
  const rooms = new Set<string>();
  client.on('entered', (view) => {
    known.views.push(view);
    known.roster.entered(view);
    if (rooms.has(view.room)) return;
    rooms.add(view.room);
    const room = roomOf(client, view.room);
    room.on('said', (said) => known.said.push(said));
    room.on('person', (change) => known.roster.changed(change));
    room.on('typing', (id) => known.typing.push(id));
  });
  client.on('notice', (text) => known.notices.push(text));
  scene.atEnd(() => client.close());
  await client.connect();
  await until(() => known.views.length === 1, 'the first room');
  return known;
}

function names({ roster }: User): string[] {
  return roster.sorted().map(({ name }) => name);
}

describe('the chat server', () => {
  it('has a terminal and a command client in the same room, with the time of the server', async () => {
    const chat = await start();
    const ada = await terminal(chat, 'ada');
    const grace = await user(chat, { name: 'grace' });
    await ada.prints('* grace has joined\n');
    expect(names(grace)).toEqual(['grace', 'ada']);

    const before = Date.now();
    grace.client.send('type', undefined, { volatile: true });
    grace.client.send('say', 'hello, terminal');
    await ada.prints(' grace: hello, terminal\n');
    await ada.type('hello, page');
    await until(() => grace.said.length === 2, 'both messages');
    expect(grace.said.map(({ name, text }) => `${name}: ${text}`)).toEqual(['grace: hello, terminal', 'ada: hello, page']);
    for (const { at } of grace.said) expect(at >= before && at <= Date.now()).toBe(true);
    expect(grace.typing).toEqual([]);
    expect(ada.text).not.toContain('ada: hello, page');

    await grace.client.close();
    await ada.prints('* grace has left\n');
    await (await ada.type('/quit')).prints('* goodbye\n');
    await ada.closed();
  });

  it('lets nobody speak under the name of somebody else', async () => {
    const chat = await start();
    const ada = await terminal(chat, 'ada');
    const mallory = await user(chat, { name: 'mallory', id: 'terminal-1', from: 'ada' });
    const forged = { id: 'x', from: 'terminal-1', name: 'ada', text: 'give me your money', at: 0 };
    mallory.client.send('said', forged);
    roomOf(mallory.client, 'lobby').send('said', forged);
    mallory.client.send('say', JSON.stringify(forged));
    await ada.prints(`mallory: ${JSON.stringify(forged)}`);
    expect(ada.text).not.toContain(' ada:');
    expect(mallory.said.map(({ name }) => name)).toEqual(['mallory']);
  });

  it('gives each name once, and refuses what is no name', async () => {
    const chat = await start();
    const ada = await terminal(chat, 'ada');
    const grace = await user(chat, { name: 'ADA' });
    expect(names(grace)).toEqual(['ADA-2', 'ada']);
    await until(() => grace.notices.length === 1, 'the notice');
    expect(grace.notices).toEqual(['you are ADA-2 now']);
    for (const [wanted, why] of [
      ['Ada', 'Ada is taken'],
      ['guest-9', 'guest-9 is taken'],
      ['x'.repeat(21), 'a name has 1 to 20 characters'],
      ['  ', 'a name has 1 to 20 characters'],
      ['a\u0007b', 'a name has no control characters'],
      ['a\u202eb', 'a name has no control characters'],
    ] as const) {
      expect(await rejectionOf(grace.client.call('rename', wanted))).toMatchObject({ code: 'CALL_FAILED', message: why });
    }
    expect(await grace.client.call('rename', 'Grace')).toBe('Grace');
    expect(await grace.client.call('rename', 'GRACE')).toBe('GRACE');
    await ada.prints('* ADA-2 is Grace now\n* Grace is GRACE now\n');
    // The name before is free again.
    await (await ada.type('/name ada-2')).prints('* ada is ada-2 now\n');
    // What is no name at all is a wish that is not granted.
    expect(names(await user(chat, { name: '\u0000' }))).toContain('guest-2');
    expect(names(await user(chat, 'nonsense'))).toContain('guest-3');
  });

  it('passes on texts without control characters, and none that is too long', async () => {
    const chat = await start();
    const ada = await terminal(chat, 'ada');
    const grace = await user(chat, { name: 'grace' });
    grace.client.send('say', 'red \u001b[31m and \u202eback');
    await ada.prints('grace: red [31m and back\n');
    grace.client.send('say', ' \u0007 ');
    grace.client.send('say', 'x'.repeat(501));
    await until(() => grace.notices.length === 1, 'the notice');
    expect(grace.notices).toEqual(['a message has at most 500 characters; yours was not passed on']);
    await (await ada.type('y'.repeat(2_001))).prints('* a line has at most 2000 bytes; yours was not passed on\n');
    await ada.type('é'.repeat(500));
    await until(() => grace.said.length === 2, 'the long one');
    expect(grace.said[1]?.text).toHaveLength(500);
  });

  it('keeps rooms apart, and shows newcomers the last 50 messages', async () => {
    const chat = await start();
    const grace = await user(chat, { name: 'grace', room: 'tea' });
    const alan = await user(chat, { name: 'alan' });
    expect([grace.views[0]?.room, alan.views[0]?.room]).toEqual(['tea', 'lobby']);
    for (let n = 1; n <= 60; n++) grace.client.send('say', `message ${n}`);
    await until(() => grace.said.length === 60, 'all messages');
    expect(alan.said).toEqual([]);
    await alan.client.call('enter', 'tea');
    const view = alan.views[1];
    expect(view?.history.map(({ text }) => text)).toEqual(Array.from({ length: 50 }, (_, n) => `message ${n + 11}`));
    expect(view?.rooms).toEqual([
      { name: 'lobby', people: 0 },
      { name: 'tea', people: 2 },
    ]);
    await until(() => names(grace).length === 2, 'the newcomer');
    expect(names(grace)).toEqual(['grace', 'alan']);
    await alan.client.call('enter', 'lobby');
    await grace.client.call('enter', 'lobby');
    // Nobody is in it any more, so it is gone with its history.
    await alan.client.call('enter', 'tea');
    expect(alan.views.at(-1)?.history).toEqual([]);
    expect(await rejectionOf(alan.client.call('enter', ''))).toMatchObject({ code: 'CALL_FAILED', reason: 'INVALID' });
  });

  it('serves its page, and no script but its own', async () => {
    const { webPort } = await start();
    const at = (file: string, method = 'GET'): Promise<Response> =>
      fetch(`http://127.0.0.1:${webPort}${file}`, { method, headers: { connection: 'close' } });
    const page = await at('/?x=1');
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    const policy = String(page.headers.get('content-security-policy'));
    expect(policy).toContain("default-src 'self'");
    expect(policy).toContain("require-trusted-types-for 'script'");
    expect(policy).not.toContain('unsafe');
    expect(await page.text()).not.toMatch(/<script(?! type="module" src="page.js")|style=|onclick/);
    for (const file of ['/page.js', '/style.css', '/lines.css', '/side.css']) expect((await at(file)).status, file).toBe(200);
    expect((await at('/../server.ts')).status).toBe(404);
    expect((await at('/', 'POST')).status).toBe(405);
  });
});

describe('the parts of the chat', () => {
  it('open 100 rooms, let 200 people into each, and forget rooms that are empty', () => {
    const told: string[] = [];
    const audience: Audience = { toRoom: () => {}, toAll: () => {}, toMember: (_id, name) => void told.push(name) };
    const chat = new Chat(() => {});
    for (let n = 0; n < 200; n++) chat.join(audience, `a${n}`, { room: 'tea' });
    expect(chat.join(audience, 'late', { room: 'tea', name: 'ada' }).room).toBe('lobby');
    expect(thrownBy(() => chat.enter('late', 'tea'))).toMatchObject({ reason: 'LIMITED', message: 'tea is full' });
    for (let n = 0; n < 98; n++) chat.enter(`a${n}`, `room ${n}`);
    expect(thrownBy(() => chat.enter('late', 'one more'))).toMatchObject({ reason: 'LIMITED', message: 'there are at most 100 rooms' });
    chat.leave('a0');
    chat.enter('late', 'one more');
    expect(chat.people('one more')).toEqual([{ id: 'late', name: 'ada', isAway: false }]);
    expect(told.filter((name) => name !== 'entered')).toEqual([]);
  });

  it('read what people type', () => {
    const verbs = ['hello', '/name ada l.', '/join  tea', '/who', '/help', '/quit', '/nonsense', ''].map(parseLine);
    expect(verbs.map(({ verb, rest }) => [verb, rest])).toEqual([
      ['say', 'hello'],
      ['name', 'ada l.'],
      ['join', 'tea'],
      ['who', ''],
      ['help', ''],
      ['quit', ''],
      ['help', ''],
      ['say', ''],
    ]);
  });

  it('tell terminals only what they can show', () => {
    expect(linesOf('typing', 'x')).toEqual([]);
    expect(linesOf('rooms', [])).toEqual([]);
    const person = { id: 'x', name: 'ada', isAway: true };
    const events = ['joined', 'renamed', 'away', 'back', 'left'] as const;
    expect(events.flatMap((event) => linesOf('person', { person, event, was: 'bob', at: 0 }))).toEqual([
      '* ada has joined',
      '* bob is ada now',
      '* ada is away',
      '* ada is back',
      '* ada has left',
    ]);
  });

  it('type-check in the page, too', () => {
    const root = path.join(import.meta.dirname, '../..');
    const { status, stdout } = spawnSync(process.execPath, ['node_modules/typescript-7/bin/tsc', '-p', 'examples/chat/web'], { cwd: root });
    expect(String(stdout)).toBe('');
    expect(status).toBe(0);
  });
});
