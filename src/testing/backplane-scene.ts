import assert from 'node:assert/strict';
import type { Backplane, BackplaneLimits } from '../backplane/backplane.ts';
import { asTexts, BackplaneRecorder } from './backplane-recorder.ts';
import { turn } from './contract-scene.ts';

/** One service: nodes that hear each other, and nobody else. */
export interface BackplaneService {
  /** Another node, not opened yet. */
  make(limits: Partial<BackplaneLimits>): Backplane;
  /** Makes a node of this service vanish without a word, as when its process is killed; where that can be done. */
  kill?(backplane: Backplane): void | Promise<void>;
  /** Takes the server away, runs `meanwhile` and gives it back; where there is one. */
  interrupt?(meanwhile: () => Promise<void>): Promise<void>;
  /** Lets time go on a little; for virtual clocks. @default a turn of the event loop */
  turn?(): Promise<void>;
  close?(): Promise<void>;
}

/** The backplane under test. */
export interface BackplaneHarness {
  readonly name: string;
  /** Called for each case. */
  service(): BackplaneService | Promise<BackplaneService>;
  /** Messages are lost now and then. @default false */
  readonly isLossy?: boolean;
  /** How many messages to send where many are sent. @default 2000 */
  readonly messages?: number;
  /** How long to wait for anything before the case fails. @default 8000 */
  readonly timeoutMs?: number;
}

/** What one case of the contract works with; cleans up after it. */
export class BackplaneScene {
  readonly harness: BackplaneHarness;
  readonly service: BackplaneService;
  readonly nodes: BackplaneRecorder[] = [];

  constructor(harness: BackplaneHarness, service: BackplaneService) {
    this.harness = harness;
    this.service = service;
  }

  /** Nodes that know each other. */
  async open(count: number, limits: Partial<BackplaneLimits> = {}): Promise<BackplaneRecorder[]> {
    const added: BackplaneRecorder[] = [];
    for (let index = 0; index < count; index++) {
      const node = new BackplaneRecorder(this.service.make(limits));
      let isOpen = false;
      let failure: unknown;
      node.backplane.open(node).then(
        () => {
          isOpen = true;
        },
        (thrown: unknown) => {
          failure = thrown ?? new Error('rejected without a reason');
        },
      );
      await this.until(() => isOpen || failure !== undefined, 'the node to open');
      if (failure !== undefined) throw failure;
      added.push(node);
      this.nodes.push(node);
    }
    const total = this.nodes.length;
    await this.until(() => added.every(({ backplane }) => backplane.nodes().length >= total - 1), 'the nodes to know each other');
    return added;
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const timeoutMs = this.harness.timeoutMs ?? 8000;
    const deadline = performance.now() + timeoutMs;
    while (!condition()) {
      if (performance.now() > deadline) assert.fail(`waited ${timeoutMs} ms for ${what}`);
      await (this.service.turn?.() ?? turn());
    }
  }

  /** Waits for a promise, while time goes on. */
  async settled<T>(promise: Promise<T>): Promise<T> {
    const outcome: { value?: T; failure?: unknown; isDone: boolean } = { isDone: false };
    promise.then(
      (value) => Object.assign(outcome, { value, isDone: true }),
      (failure: unknown) => Object.assign(outcome, { failure, isDone: true }),
    );
    await this.until(() => outcome.isDone, 'a promise to settle');
    return promise;
  }

  /** Waits until what was subscribed to has begun: a message of `from` arrives on this channel. */
  async hears(node: BackplaneRecorder, from: BackplaneRecorder, channel: string): Promise<void> {
    const heard = (): boolean => node.messages.some((message) => message.channel === channel && message.text === 'are you there?');
    const timeoutMs = this.harness.timeoutMs ?? 8000;
    for (const deadline = performance.now() + timeoutMs; !heard(); ) {
      if (performance.now() > deadline) assert.fail(`waited ${timeoutMs} ms for a message on ${channel}`);
      from.backplane.publish(channel, bytesOf('are you there?'));
      for (let index = 0; index < 20 && !heard(); index++) await (this.service.turn?.() ?? turn());
    }
    // All that were sent have come when a last one has.
    from.backplane.publish(channel, bytesOf('the last one'));
    if (this.harness.isLossy !== true)
      await this.until(() => node.messages.some(({ text }) => text === 'the last one'), 'the last message');
    node.messages.length = 0;
    node.gaps.length = 0;
  }

  /** Waits until a node was told so of a room. */
  async tells(node: BackplaneRecorder, room: string, members: Record<string, string>): Promise<void> {
    const isSo = (): boolean => JSON.stringify(node.membersOf(room)) === JSON.stringify(members);
    await this.until(isSo, `${JSON.stringify(members)} in ${room}`).catch((thrown: unknown) => {
      throw new Error(`there are ${JSON.stringify(node.membersOf(room))}`, { cause: thrown });
    });
  }

  async membersOf(node: BackplaneRecorder, room: string): Promise<Record<string, string>> {
    return asTexts(await this.settled(node.backplane.members(room)));
  }

  /** Waits until a node finds a client there: others learn of it a little later, and an answer may be lost. */
  async locates(node: BackplaneRecorder, clientId: string, at: BackplaneRecorder | undefined): Promise<void> {
    await this.#becomes(() => node.backplane.locate(clientId), at?.backplane.nodeId);
  }

  /** Waits until a node lists these members. */
  async lists(node: BackplaneRecorder, room: string, members: Record<string, string>): Promise<void> {
    await this.#becomes(async () => asTexts(await node.backplane.members(room)), members);
  }

  async #becomes<T>(ask: () => Promise<T>, expected: T): Promise<void> {
    const deadline = performance.now() + (this.harness.timeoutMs ?? 8000);
    for (;;) {
      const answer = await this.settled(ask());
      if (JSON.stringify(answer) === JSON.stringify(expected)) return;
      if (performance.now() > deadline) assert.deepEqual(answer, expected);
      await (this.service.turn?.() ?? turn());
    }
  }

  async cleanUp(): Promise<void> {
    for (const { backplane } of this.nodes) await this.settled(backplane.close());
    await this.service.close?.();
    for (const node of this.nodes) node.assertNoBreach();
  }
}

export type BackplaneCase = (name: string, body: (scene: BackplaneScene) => Promise<void>) => void;

/** Runs one case and cleans up, also when it fails. */
export async function runBackplaneCase(harness: BackplaneHarness, body: (scene: BackplaneScene) => Promise<void>): Promise<void> {
  const scene = new BackplaneScene(harness, await harness.service());
  let isDone = false;
  try {
    await body(scene);
    isDone = true;
  } finally {
    if (isDone) await scene.cleanUp();
    else await scene.cleanUp().catch(() => {});
  }
}

export function bytesOf(text: string): Uint8Array {
  return Buffer.from(text, 'latin1');
}
