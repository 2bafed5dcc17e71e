import assert from 'node:assert/strict';
import type { Backplane, BackplaneGap, BackplaneMember, BackplaneSink } from '../backplane/backplane.ts';
import type { PorticoError } from '../base/errors.ts';

export interface RecordedMessage {
  readonly channel: string;
  readonly text: string;
  readonly fromNode: string;
}

/** A sink that keeps what it is told, and notes what a backplane must not do. */
export class BackplaneRecorder implements BackplaneSink {
  readonly backplane: Backplane;
  readonly messages: RecordedMessage[] = [];
  /** As `onMember` told them. */
  readonly rooms: Map<string, Map<string, BackplaneMember>> = new Map();
  /** `+member`, `=member` for a new state, `-member`. */
  readonly changes: string[] = [];
  readonly nodesDown: string[] = [];
  readonly gaps: BackplaneGap[] = [];
  readonly errors: PorticoError[] = [];
  readonly breaches: string[] = [];
  /** What every method throws, to see that nothing comes of it. */
  failure: Error | undefined;

  constructor(backplane: Backplane) {
    this.backplane = backplane;
  }

  onMessage(channel: string, bytes: Uint8Array, fromNode: string): void {
    if (fromNode === this.backplane.nodeId) this.breaches.push(`an own message on ${channel}`);
    this.messages.push({ channel, text: Buffer.from(bytes).toString('latin1'), fromNode });
    this.#fail();
  }

  onMember(room: string, memberId: string, state: Uint8Array | undefined, fromNode: string): void {
    const members = this.rooms.get(room) ?? new Map<string, BackplaneMember>();
    this.rooms.set(room, members);
    const before = members.get(memberId);
    if (fromNode === this.backplane.nodeId) this.breaches.push(`an own member of ${room}`);
    if (state === undefined) {
      if (!members.delete(memberId)) this.breaches.push(`${memberId} left ${room} without having been there`);
      this.changes.push(`-${memberId}`);
    } else {
      if (before?.nodeId === fromNode && Buffer.compare(before.state, state) === 0) this.breaches.push(`${memberId} told twice`);
      members.set(memberId, { nodeId: fromNode, state });
      this.changes.push(`${before === undefined ? '+' : '='}${memberId}`);
    }
    this.#fail();
  }

  onNodeDown(nodeId: string): void {
    this.nodesDown.push(nodeId);
    for (const [room, members] of this.rooms) {
      if ([...members.values()].some((member) => member.nodeId === nodeId))
        this.breaches.push(`${nodeId} went and left members in ${room}`);
    }
    this.#fail();
  }

  onGap(gap: BackplaneGap): void {
    this.gaps.push(gap);
    this.#fail();
  }

  onError(error: PorticoError): void {
    this.errors.push(error);
    this.#fail();
  }

  /** The texts of the messages on a channel. */
  on(channel: string): string[] {
    return this.messages.filter((message) => message.channel === channel).map(({ text }) => text);
  }

  /** Member → state, as `onMember` told them. */
  membersOf(room: string): Record<string, string> {
    return asTexts(this.rooms.get(room) ?? new Map<string, BackplaneMember>());
  }

  /** How many messages are told to be missing. */
  get missed(): number {
    return this.gaps.reduce((sum, { count = 0 }) => sum + count, 0);
  }

  assertNoBreach(): void {
    assert.deepEqual(this.breaches, []);
  }

  #fail(): void {
    if (this.failure !== undefined) throw this.failure;
  }
}

export function asTexts(members: ReadonlyMap<string, BackplaneMember>): Record<string, string> {
  const entries = [...members].map(([memberId, { state }]): [string, string] => [memberId, Buffer.from(state).toString('latin1')]);
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}
