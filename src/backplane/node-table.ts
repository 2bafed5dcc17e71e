import type { Position } from './frame.ts';
import { ReceivedSequences } from './sequences.ts';

interface OtherNode {
  readonly sequences: ReceivedSequences;
  /** Monotonic; the last moment at which it was heard of. */
  heardAtMs: number;
}

/** The other nodes that are alive, and how far their messages have come. Bounded. */
export class NodeTable {
  readonly #nodes = new Map<string, OtherNode>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#nodes.size;
  }

  get ids(): IterableIterator<string> {
    return this.#nodes.keys();
  }

  has(nodeId: string): boolean {
    return this.#nodes.has(nodeId);
  }

  /** It lives. `full`: it would be one too many. */
  hear(nodeId: string, nowMs: number): 'known' | 'new' | 'full' {
    const node = this.#nodes.get(nodeId);
    if (node !== undefined) {
      node.heardAtMs = nowMs;
      return 'known';
    }
    if (this.#nodes.size >= this.#max) return 'full';
    this.#nodes.set(nodeId, { sequences: new ReceivedSequences(), heardAtMs: nowMs });
    return 'new';
  }

  /** As `ReceivedSequences.accept`. */
  accept(nodeId: string, topic: string, position: Position): number {
    return this.#nodes.get(nodeId)?.sequences.accept(topic, position) ?? 0;
  }

  /** As `ReceivedSequences.reach`. */
  reach(nodeId: string, topic: string, position: Position): number {
    return this.#nodes.get(nodeId)?.sequences.reach(topic, position) ?? 0;
  }

  forgetTopic(topic: string): void {
    for (const { sequences } of this.#nodes.values()) sequences.forget(topic);
  }

  remove(nodeId: string): boolean {
    return this.#nodes.delete(nodeId);
  }

  /** Takes out, and returns, those not heard of since then. */
  expire(sinceMs: number): string[] {
    const silent = [...this.#nodes].filter(([, { heardAtMs }]) => heardAtMs < sinceMs).map(([nodeId]) => nodeId);
    for (const nodeId of silent) this.#nodes.delete(nodeId);
    return silent;
  }

  /** This process stood still for so long, and heard nobody meanwhile. */
  forgive(ms: number): void {
    for (const node of this.#nodes.values()) node.heardAtMs += ms;
  }

  clear(): void {
    this.#nodes.clear();
  }
}
