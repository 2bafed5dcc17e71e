/** What is to be seen. Every text of others goes through textContent: nothing that they write becomes part of the page. */
import { limits, type Person, type RoomSize, type Said } from '../protocol.ts';

const maxLines = 300;
/** What one person says within this time stands under one name. */
const groupMs = 5 * 60_000;
const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });

function find<T extends Element>(selector: string, type: new () => T): T {
  const found = document.querySelector(selector);
  if (!(found instanceof type)) throw new Error(`the page has no ${selector}`);
  return found;
}

function make(tag: string, text = '', className = ''): HTMLElement {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

export const elements = {
  form: find('#form', HTMLFormElement),
  text: find('#text', HTMLInputElement),
  nameForm: find('#name-form', HTMLFormElement),
  name: find('#name', HTMLInputElement),
  nameError: find('#name-error', HTMLElement),
  roomForm: find('#room-form', HTMLFormElement),
  roomName: find('#room-name', HTMLInputElement),
  roomError: find('#room-error', HTMLElement),
  rooms: find('#rooms', HTMLUListElement),
  rejoin: find('#alert button', HTMLButtonElement),
};
const lines = find('#lines', HTMLOListElement);
const state = find('#state', HTMLElement);
const roomTitle = find('#room', HTMLElement);
const typing = find('#typing', HTMLElement);
const alertBox = find('#alert', HTMLElement);
const alertText = find('#alert p', HTMLElement);
const people = find('#people', HTMLUListElement);
const count = find('#count', HTMLElement);
const side = find('#side', HTMLDetailsElement);

elements.text.maxLength = limits.textLength;
// On a phone the conversation comes first.
const narrow = matchMedia('(max-width: 47.99rem)');
const fold = (): void => {
  side.open = !narrow.matches;
};
narrow.addEventListener('change', fold);
fold();

let lastSaid: Said | undefined;
let isAtEnd = true;
lines.addEventListener('scroll', () => {
  isAtEnd = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 60;
});
// A notice or the keyboard of a phone takes some of its room.
new ResizeObserver(keepEnd).observe(lines);

export function showState(name: string, text: string): void {
  state.dataset['state'] = name;
  state.textContent = text;
}

export function showRoom(name: string): void {
  roomTitle.textContent = `# ${name}`;
  document.title = `${name} · portico chat`;
}

export function clearLines(): void {
  lines.replaceChildren();
  lastSaid = undefined;
}

export function showSaid(said: Said, isOwn: boolean): void {
  const item = make('li', '', isOwn ? 'said own' : 'said');
  if (lastSaid?.from === said.from && lastSaid.name === said.name && said.at - lastSaid.at < groupMs) item.classList.add('more');
  item.style.setProperty('--hue', String(hueOf(said.name)));
  const when = make('time', time.format(said.at));
  when.setAttribute('datetime', new Date(said.at).toISOString());
  const head = make('div', '', 'head');
  head.append(make('span', said.name, 'name'), ' ', when);
  item.append(face(said.name), head, make('p', said.text, 'text'));
  append(item);
  lastSaid = said;
}

export function showNotice(text: string): void {
  append(make('li', text, 'notice'));
  lastSaid = undefined;
}

export function showPeople(list: readonly Person[], you: string): void {
  count.textContent = String(list.length);
  people.replaceChildren(
    ...list.map(({ id, name, isAway }) => {
      const item = make('li', '', isAway ? 'away' : '');
      item.style.setProperty('--hue', String(hueOf(name)));
      item.append(face(name), make('span', name, 'name'));
      if (id === you) item.append(' ', make('span', 'you', 'mark'));
      else if (isAway) item.append(' ', make('span', 'away', 'mark'));
      return item;
    }),
  );
  const own = list.find(({ id }) => id === you);
  if (own !== undefined && document.activeElement !== elements.name) elements.name.value = own.name;
}

export function showRooms(list: readonly RoomSize[], current: string): void {
  // The same buttons as before, so that the one with the focus keeps it.
  const known = new Map([...elements.rooms.querySelectorAll('button')].map((button) => [button.dataset['room'], button]));
  const items = list.map(({ name, people: size }) => {
    const button = known.get(name) ?? document.createElement('button');
    button.type = 'button';
    button.dataset['room'] = name;
    button.replaceChildren(make('span', `# ${name}`, 'name'), ' ', make('span', String(size), 'mark'));
    button.setAttribute('aria-label', `${name}, ${size === 1 ? '1 person' : `${size} people`}`);
    if (name === current) button.setAttribute('aria-current', 'true');
    else button.removeAttribute('aria-current');
    const item = button.parentElement ?? make('li');
    if (button.parentElement === null) item.append(button);
    return item;
  });
  for (const item of [...elements.rooms.children]) if (!items.some((wanted) => wanted === item)) item.remove();
  for (const item of items) if (item.parentElement === null) elements.rooms.append(item);
}

export function showTyping(names: readonly string[]): void {
  const [first, second] = names;
  if (first === undefined) typing.textContent = '';
  else if (second === undefined) typing.textContent = `${first} is typing …`;
  else typing.textContent = names.length === 2 ? `${first} and ${second} are typing …` : 'several people are typing …';
}

/** With nothing to say it goes away. */
export function showAlert(text: string | undefined): void {
  alertBox.hidden = text === undefined;
  alertText.textContent = text ?? '';
}

function append(item: HTMLElement): void {
  lines.append(item);
  while (lines.children.length > maxLines) lines.firstElementChild?.remove();
  keepEnd();
}

/** Who reads what was said before is left there. */
function keepEnd(): void {
  if (isAtEnd) lines.scrollTop = lines.scrollHeight;
}

function face(name: string): HTMLElement {
  const letter = make('span', [...name][0]?.toUpperCase() ?? '', 'face');
  letter.setAttribute('aria-hidden', 'true');
  return letter;
}

/** A colour for each name, the same in every browser. */
function hueOf(name: string): number {
  let sum = 0;
  for (const character of name) sum = (sum * 31 + (character.codePointAt(0) ?? 0)) % 360;
  return sum;
}
