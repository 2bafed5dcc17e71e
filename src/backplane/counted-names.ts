/** Names that several parts of a program want, each as often as it asked: the first one begins it and the last one ends it. */
export class CountedNames {
  readonly #counts = new Map<string, number>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#counts.size;
  }

  has(name: string): boolean {
    return this.#counts.has(name);
  }

  [Symbol.iterator](): IterableIterator<string> {
    return this.#counts.keys();
  }

  /** `first`: it begins now. `refused`: it would be one too many. */
  add(name: string): 'first' | 'again' | 'refused' {
    const count = this.#counts.get(name) ?? 0;
    if (count === 0 && this.#counts.size >= this.#max) return 'refused';
    this.#counts.set(name, count + 1);
    return count === 0 ? 'first' : 'again';
  }

  /** True when it ends now; one call too many is nothing. */
  remove(name: string): boolean {
    const count = this.#counts.get(name);
    if (count === undefined) return false;
    if (count > 1) {
      this.#counts.set(name, count - 1);
      return false;
    }
    this.#counts.delete(name);
    return true;
  }

  clear(): void {
    this.#counts.clear();
  }
}
