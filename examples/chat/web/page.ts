/** The browser's side of the chat: a client that stays connected, and what becomes of what it hears. */
import { createClient, roomOf, statsOf } from 'portico/browser';
import { changeText } from '../lines.ts';
import { type PersonChange, protocol, type RoomSize, type Said, typingMs } from '../protocol.ts';
import { Roster } from '../roster.ts';
import { onSubmit, roomOfAddress, textOf } from './asking.ts';
import * as view from './view.ts';

const { elements } = view;
const nameKey = 'portico-chat-name';
const maxSeen = 1_000;

const roster = new Roster();
/** Who is typing → the timer after which that is over. */
const typists = new Map<string, ReturnType<typeof setTimeout>>();
/** What is on the page already, for the history of a server that has forgotten this client. */
const seen = new Set<string>();
/** Rooms that are listened to. */
const rooms = new Set<string>();
let room = roomOfAddress();
let isFirst = true;
let sizes: readonly RoomSize[] = [];
let signedAt = Number.NEGATIVE_INFINITY;
let unsent: string[] = [];

const client = createClient({
  url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/chat`,
  protocol,
  // Asked before each attempt: a server that was restarted learns again who this is, and where.
  auth: () => ({ name: sessionStorage.getItem(nameKey) ?? undefined, room: room || undefined }),
  reconnect: { maxMs: 5_000 },
  // Who was closed for talking too fast comes back by hand.
  shouldReconnect: ({ status }) => (status === 1008 ? false : undefined),
});

// --- what comes ---

client.on('entered', (entered) => {
  if (entered.room !== room || isFirst) {
    view.clearLines();
    seen.clear();
  }
  isFirst = false;
  room = entered.room;
  sizes = entered.rooms;
  roster.entered(entered);
  for (const id of [...typists.keys()]) stopTyping(id);
  view.showRoom(room);
  for (const said of entered.history) onSaid(said);
  history.replaceState(null, '', `#${encodeURIComponent(room)}`);
  listen(room);
  refresh();
});
client.on('rooms', (list) => {
  sizes = list;
  refresh();
});
client.on('notice', view.showNotice);

function listen(name: string): void {
  if (rooms.has(name)) return;
  rooms.add(name);
  const here = roomOf(client, name);
  here.on('said', onSaid);
  here.on('person', onPerson);
  here.on('typing', (id: string) => {
    clearTimeout(typists.get(id));
    typists.set(
      id,
      setTimeout(() => stopTyping(id), typingMs),
    );
    showTyping();
  });
}

function onSaid(said: Said): void {
  if (seen.has(said.id)) return;
  seen.add(said.id);
  const [oldest] = seen;
  if (seen.size > maxSeen && oldest !== undefined) seen.delete(oldest);
  stopTyping(said.from);
  view.showSaid(said, said.from === roster.you);
}

function onPerson(change: PersonChange): void {
  roster.changed(change);
  if (change.event === 'left') stopTyping(change.person.id);
  // A lost connection is shown in the list, and often over before anybody has read of it.
  if (change.event !== 'away' && change.event !== 'back') view.showNotice(changeText(change));
  refresh();
}

function stopTyping(id: string): void {
  clearTimeout(typists.get(id));
  typists.delete(id);
  showTyping();
}

function showTyping(): void {
  view.showTyping([...typists.keys()].flatMap((id) => roster.nameOf(id) ?? []));
}

function refresh(): void {
  view.showPeople(roster.sorted(), roster.you);
  view.showRooms(sizes, room);
}

// --- how it stands ---

client.events.on('open', () => {
  view.showAlert(undefined);
  view.showState('open', 'connected');
});
client.events.on('reconnecting', ({ delayMs }) => {
  const waiting = statsOf(client).waiting;
  const more = waiting === 0 ? '' : `, ${waiting} to be sent`;
  view.showState('reconnecting', `connection lost, trying again in ${Math.ceil(delayMs / 1000)} s${more}`);
});
client.events.on('reconnected', ({ recovered }) => {
  view.showState('open', recovered ? 'connected again, nothing was missed' : 'connected again');
});
client.events.on('close', ({ status, reason }) => {
  view.showState('closed', 'disconnected');
  view.showAlert(
    status === 1008 ? `You were disconnected: ${reason}. Slow down a little.` : `The connection is closed (${status} ${reason}).`,
  );
  elements.rejoin.focus();
});
client.events.on('error', (error) => console.warn(error.code, error.message));
client.events.on('dropped', ({ id, payload, reason }) => {
  if (id !== protocol.spec.say.id || reason === 'offline') return;
  // Told once for all that are dropped together.
  if (unsent.length === 0) queueMicrotask(tellUnsent);
  unsent.push(new TextDecoder().decode(payload));
});

function tellUnsent(): void {
  const [text] = unsent;
  view.showNotice(unsent.length === 1 ? `this may not have arrived: ${text}` : `${unsent.length} messages may not have arrived`);
  unsent = [];
}

// --- what goes ---

elements.form.addEventListener('submit', (event) => {
  event.preventDefault();
  const text = elements.text.value.trim();
  elements.text.value = '';
  signedAt = Number.NEGATIVE_INFINITY;
  if (text !== '') client.send('say', text);
});

elements.text.addEventListener('input', () => {
  const now = performance.now();
  if (elements.text.value === '' || now - signedAt < typingMs / 2) return;
  signedAt = now;
  client.send('type', undefined, { volatile: true });
});

onSubmit(elements.nameForm, elements.name, elements.nameError, async (wanted) => {
  const name = await client.call('rename', wanted);
  sessionStorage.setItem(nameKey, name);
  elements.name.value = name;
});
onSubmit(elements.roomForm, elements.roomName, elements.roomError, async (wanted) => {
  await client.call('enter', wanted);
  elements.roomName.value = '';
});
elements.rooms.addEventListener('click', ({ target }) => {
  const name = target instanceof Element ? target.closest('button')?.dataset['room'] : undefined;
  if (name !== undefined) void client.call('enter', name).catch((error: unknown) => view.showNotice(textOf(error)));
});
elements.rejoin.addEventListener('click', () => {
  client.connect().catch(() => {});
  elements.text.focus();
});

// Who leaves the page leaves the chat, and not only for a moment, unless the page is kept to come back to.
addEventListener('pagehide', ({ persisted }) => {
  if (!persisted) void client.close({ drain: false });
});

view.showState('connecting', 'connecting');
client.connect().catch(() => {});
elements.text.focus();
