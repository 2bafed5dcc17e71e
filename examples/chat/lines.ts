/** The chat as lines of text, for terminals: of `nc` and of the command line client. */
import type { Body, FromServer, Person, PersonChange, Said } from './protocol.ts';

export type Verb = 'say' | 'name' | 'join' | 'who' | 'help' | 'quit';

export const help = 'Commands: /name x, /join room, /who, /help, /quit. Everything else is said to all in the room.';
/** A terminal has no use for more of the past. */
const historyLines = 10;

/** What somebody means who types a line. */
export function parseLine(line: string): { readonly verb: Verb; readonly rest: string } {
  const text = line.trim();
  const [, word, rest = ''] = /^\/(\S*)\s*(.*)$/.exec(text) ?? [];
  if (word === undefined) return { verb: 'say', rest: text };
  return word === 'name' || word === 'join' || word === 'who' || word === 'quit' ? { verb: word, rest } : { verb: 'help', rest };
}

type Renderers = { readonly [Name in FromServer]: (body: Body<Name>) => readonly string[] };

const renderers: Renderers = {
  entered: ({ room, you, people, history }) => [
    `* you are ${people.find(({ id }) => id === you)?.name ?? you}, in the room ${room}`,
    peopleLine(people),
    ...history.slice(-historyLines).map(saidLine),
  ],
  said: (said) => [saidLine(said)],
  person: (change) => [`* ${changeText(change)}`],
  typing: () => [],
  rooms: () => [],
  notice: (text) => [`* ${text}`],
};

/** What a terminal shows of a message: any number of lines. */
export function linesOf<Name extends FromServer>(name: Name, body: Body<Name>): readonly string[] {
  return renderers[name](body);
}

export function peopleLine(people: readonly Person[]): string {
  return `* here: ${people.map(({ name, isAway }) => (isAway ? `${name} (away)` : name)).join(', ')}`;
}

function saidLine({ at, name, text }: Said): string {
  return `${timeOf(at)} ${name}: ${text}`;
}

export function changeText({ person: { name }, event, was }: PersonChange): string {
  switch (event) {
    case 'joined':
      return `${name} has joined`;
    case 'renamed':
      return `${was} is ${name} now`;
    case 'left':
      return `${name} has left`;
    case 'away':
      return `${name} is away`;
    case 'back':
      return `${name} is back`;
  }
}

function timeOf(at: number): string {
  return new Date(at).toTimeString().slice(0, 5);
}
