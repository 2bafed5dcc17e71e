import { after, type Wheel } from '../base/wheel.ts';
import type { DirectoryEntry } from './bus.ts';
import type { BackplaneCounters } from './counters.ts';
import type { RoomEntry } from './frame.ts';

/** What one node answered: room → members. */
export type Answer = ReadonlyMap<string, readonly DirectoryEntry[]>;

export interface Outcome {
  /** The node that says that it has what was asked for. */
  readonly found?: string;
  /** False when somebody did not answer in time. */
  readonly isComplete: boolean;
}

interface Question {
  readonly waitingFor: Set<string>;
  /** Node → room → members, as far as they have come. */
  readonly parts: Map<string, Map<string, DirectoryEntry[]>>;
  readonly isWanted: (room: string) => boolean;
  readonly onAnswer: (nodeId: string, answer: Answer) => void;
  readonly settle: (outcome: Outcome) => void;
}

export interface QuestionSettings {
  readonly wheel: Wheel;
  readonly timeoutMs: number;
  readonly maxOpen: number;
  /** Of one node; further ones are left out, and counted. */
  readonly maxMembersPerRoom: number;
  readonly counters: BackplaneCounters;
}

/** Questions to other nodes that wait for their answers. Each settles: all have answered, or are gone, or the time is over. */
export class Questions {
  readonly #settings: QuestionSettings;
  readonly #open = new Map<number, Question>();
  #lastId = 0;

  constructor(settings: QuestionSettings) {
    this.#settings = settings;
  }

  get size(): number {
    return this.#open.size;
  }

  /**
   * Asks by way of `send`. `onAnswer` gets each complete answer; the promise never rejects.
   */
  ask(
    nodes: Iterable<string>,
    send: (query: number) => void,
    isWanted: (room: string) => boolean,
    onAnswer: (nodeId: string, answer: Answer) => void,
  ): Promise<Outcome> {
    const waitingFor = new Set(nodes);
    if (waitingFor.size === 0) return Promise.resolve({ isComplete: true });
    if (this.#open.size >= this.#settings.maxOpen) {
      this.#settings.counters.unanswered++;
      return Promise.resolve({ isComplete: false });
    }
    this.#lastId = (this.#lastId + 1) >>> 0;
    const id = this.#lastId;
    return new Promise((resolve) => {
      const cancel = after(this.#settings.wheel, this.#settings.timeoutMs, () => {
        this.#settings.counters.unanswered++;
        settle({ isComplete: false });
      });
      const settle = (outcome: Outcome): void => {
        cancel();
        this.#open.delete(id);
        resolve(outcome);
      };
      this.#open.set(id, { waitingFor, parts: new Map(), isWanted, onAnswer, settle });
      send(id);
    });
  }

  /** A part of an answer. */
  onReply(id: number, nodeId: string, entries: Iterable<RoomEntry>, isLast: boolean, isFound: boolean): void {
    const question = this.#open.get(id);
    if (question === undefined || !question.waitingFor.has(nodeId)) return;
    const part = question.parts.get(nodeId) ?? new Map<string, DirectoryEntry[]>();
    question.parts.set(nodeId, part);
    for (const entry of entries) this.#collect(question, part, entry);
    if (isFound) question.settle({ found: nodeId, isComplete: true });
    if (isFound || !isLast) return;
    question.parts.delete(nodeId);
    question.onAnswer(nodeId, part);
    this.#done(question, nodeId);
  }

  /** Nobody needs to wait for it any more. */
  onNodeDown(nodeId: string): void {
    for (const question of [...this.#open.values()]) this.#done(question, nodeId);
  }

  clear(): void {
    for (const question of [...this.#open.values()]) question.settle({ isComplete: false });
  }

  #collect(question: Question, part: Map<string, DirectoryEntry[]>, entry: RoomEntry): void {
    if (!question.isWanted(entry.room)) return;
    const entries = part.get(entry.room);
    if (entries === undefined) part.set(entry.room, [entry]);
    else if (this.#settings.counters.unless(entries.length >= this.#settings.maxMembersPerRoom)) entries.push(entry);
  }

  #done(question: Question, nodeId: string): void {
    if (question.waitingFor.delete(nodeId) && question.waitingFor.size === 0) question.settle({ isComplete: true });
  }
}
