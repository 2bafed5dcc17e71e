/** Who is in the room, as a client knows it: the list at first, then the changes. */
import type { Person, PersonChange, RoomView } from './protocol.ts';

export class Roster {
  you = '';
  readonly #people = new Map<string, Person>();

  entered({ you, people }: Pick<RoomView, 'you' | 'people'>): void {
    this.you = you;
    this.#people.clear();
    for (const person of people) this.#people.set(person.id, person);
  }

  changed({ person, event }: PersonChange): void {
    if (event === 'left') this.#people.delete(person.id);
    else this.#people.set(person.id, person);
  }

  nameOf(id: string): string | undefined {
    return this.#people.get(id)?.name;
  }

  /** The reader first, then by name. */
  sorted(): readonly Person[] {
    return [...this.#people.values()].sort((a, b) => Number(b.id === this.you) - Number(a.id === this.you) || a.name.localeCompare(b.name));
  }
}
