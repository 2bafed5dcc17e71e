/** What strangers write: what is left of it, which names are good, and whose they are. */
import { CallError } from 'portico/command';
import { limits } from './protocol.ts';

/** Without what could move the cursor, change colours or turn the writing direction on other people's terminals. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Zl}\p{Zp}\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu, '').trim();
}

/**
 * A name of a person or a room. Throws what is told to who wanted it: names are refused rather than mended, so that nobody gets one
 * that somebody else sees differently.
 */
export function checkName(wanted: string): string {
  const name = wanted.normalize('NFKC').trim().replace(/ +/g, ' ');
  if (name === '' || [...name].length > limits.nameLength) {
    throw new CallError('INVALID', `a name has 1 to ${limits.nameLength} characters`);
  }
  // Controls, what is invisible, what has no meaning, and separators but the space.
  if (/[\p{C}\p{Zl}\p{Zp}]/u.test(name)) throw new CallError('INVALID', 'a name has no control characters');
  return name;
}

/** The names that are in use; two that differ in capitals only are one. */
export class Names {
  readonly #owners = new Map<string, string>();
  #lastGuest = 0;

  /** Gives the name to its owner. Throws CallError when it is not good, or somebody else's. */
  take(wanted: string, owner: string): string {
    const name = checkName(wanted);
    if (isGuestName(name) || (this.#owners.get(keyOf(name)) ?? owner) !== owner) throw new CallError('TAKEN', `${name} is taken`);
    this.#owners.set(keyOf(name), owner);
    return name;
  }

  /** The name that was wished for, if it can be had, or one like it. */
  takeAny(wanted: string | undefined, owner: string): string {
    const base = wanted === undefined ? undefined : nameOrNothing(wanted);
    if (base === undefined || isGuestName(base)) {
      const guest = `guest-${++this.#lastGuest}`;
      this.#owners.set(keyOf(guest), owner);
      return guest;
    }
    for (let n = 1; ; n++) {
      const tail = n === 1 ? '' : `-${n}`;
      const name = [...base].slice(0, limits.nameLength - tail.length).join('') + tail;
      if (!this.#owners.has(keyOf(name))) return this.take(name, owner);
    }
  }

  /** Nobody has it any more. A name that was taken again in other capitals stays. */
  release(name: string, kept?: string): void {
    if (kept === undefined || keyOf(kept) !== keyOf(name)) this.#owners.delete(keyOf(name));
  }
}

function keyOf(name: string): string {
  return name.toLowerCase();
}

function nameOrNothing(wanted: string): string | undefined {
  try {
    return checkName(wanted);
  } catch {
    return undefined;
  }
}

/** Those that the chat gives by itself. */
export function isGuestName(name: string): boolean {
  return /^guest-\d+$/i.test(name);
}
