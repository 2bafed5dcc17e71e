import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { ErrorCode } from '../../src/base/errors.ts';
import { withClock, withLogger } from '../../src/endpoint/options.ts';
import type { CloseCode } from '../../src/session/close-reason.ts';
import { withEventListener } from '../../src/session/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { frame, openHandles, type RawPeer, turns, until } from './raw-peer.ts';
import { type BytesSession, type EchoServer, type Scene, type ServerOptionOf, Watch } from './scene.ts';

/** What one bad input must come to. */
export interface Outcome {
  /** How the sessions of the offenders are closed, in the order in which they opened; the ones left out stay open. */
  readonly closes: readonly CloseCode[];
  /** What onError is given, for all of them together: one for each failure, no more. */
  readonly errors: readonly ErrorCode[];
  /** Offenders that were never let in. */
  readonly refused?: number;
  /** Offenders that were let in and failed before they had a session. */
  readonly lost?: number;
}

export interface AttackSettings {
  readonly options?: readonly ServerOptionOf[];
  readonly watch?: Watch;
  /** How an honest client of this server writes a package, and is answered. */
  readonly speak?: (text: string) => Buffer;
  readonly clock?: VirtualClock;
  /** What honest clients connect with, where it is not plain TCP. */
  readonly connect?: (echo: EchoServer) => Promise<RawPeer>;
}

/** Memory that may be held longer than a second after all is over: caches of the runtime, compiled code. */
const MEMORY_SLACK_BYTES = 12 * 1_048_576;
const DRAIN_MS = 3000;

/** A server under attack, and an honest client on it that must never notice. Time stands still, except when the test passes it. */
export class Attack {
  readonly scene: Scene;
  readonly echo: EchoServer;
  readonly watch: Watch;
  readonly clock: VirtualClock;
  readonly offenders: { destroy(): unknown }[] = [];
  /** What went to the server's logger. */
  readonly logged: string[];
  readonly #speak: (text: string) => Buffer;
  readonly #honest: RawPeer;
  readonly #memoryBefore: number;
  readonly #handlesBefore: number;
  readonly #listenersBefore: string;
  #rounds = 0;
  #honestBytes = 0;

  private constructor(
    scene: Scene,
    echo: EchoServer,
    watch: Watch,
    clock: VirtualClock,
    honest: RawPeer,
    logged: string[],
    speak: (text: string) => Buffer,
  ) {
    this.scene = scene;
    this.echo = echo;
    this.watch = watch;
    this.clock = clock;
    this.logged = logged;
    this.#honest = honest;
    this.#speak = speak;
    this.#handlesBefore = openHandles();
    this.#listenersBefore = processListeners();
    this.#memoryBefore = memoryInUse();
  }

  static async begin(scene: Scene, settings: AttackSettings = {}): Promise<Attack> {
    const { options = [], watch = new Watch(true), speak = frame, clock = new VirtualClock() } = settings;
    const logged: string[] = [];
    const log = (message: string): void => void logged.push(message);
    const echo = await scene.server(
      withClock(clock),
      withLogger({ warn: log, error: log }),
      withEventListener<Buffer, Uint8Array>(watch),
      ...options,
    );
    const honest = await (settings.connect ?? ((server) => scene.peer(server)))(echo);
    await watch.session();
    const attack = new Attack(scene, echo, watch, clock, honest, logged, speak);
    await attack.honest();
    return attack;
  }

  async offender(): Promise<RawPeer> {
    const peer = await this.scene.peer(this.echo);
    this.offenders.push(peer);
    return peer;
  }

  /** The session of an offender; the honest client was there before all. */
  session(index = 0): Promise<BytesSession> {
    return this.watch.session(index + 1);
  }

  /** One round of the honest client, which is answered whatever the others do. */
  async honest(): Promise<void> {
    const bytes = this.#speak(`honest ${++this.#rounds}`);
    this.#honestBytes += bytes.length;
    this.#honest.pour(bytes);
    const received = await this.#honest.receive(this.#honestBytes);
    expect(received.subarray(-bytes.length).equals(bytes), `honest round ${this.#rounds}`).toBe(true);
  }

  /** Waits until the server has read so many bytes of an offender. */
  async read(bytes: number, index = 0): Promise<void> {
    const session = await this.session(index);
    await until(() => session.connection.bytesRead >= bytes || session.isClosed, `the server to read ${bytes} bytes`);
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }

  /** Checks that everything came to what it must, and that all is as it was before. */
  async end({ closes, errors, refused = 0, lost = 0 }: Outcome): Promise<void> {
    const { echo, watch } = this;
    await until(() => watch.reasons.length >= closes.length, `${closes.length} session(s) to be closed`);
    await until(() => echo.lost.length >= lost && echo.refused.length >= refused, 'the rest to be refused');
    await this.honest();
    const offending = watch.opened.slice(1);
    expect(offending.map((session) => watch.reasonOf.get(session.id)?.code)).toEqual(offending.map((_, index) => closes[index]));
    expect(watch.errors.map((error) => error.code).sort()).toEqual([...errors].sort());
    expect([echo.refused.length, echo.lost.length]).toEqual([refused, lost]);

    // Who does not close its side is cut.
    await this.pass(DRAIN_MS + 20);
    await until(() => echo.server.sessions.size === 1 + offending.length - closes.length, 'the sessions to be forgotten');
    expect(echo.server.stats()).toMatchObject({ totalSessions: 1 + offending.length, refusedConnections: refused });
    for (const session of offending) {
      const { pendingBytes, bufferedBytes, runningHandlers } = session.stats();
      if (session.state === 'closed') expect([pendingBytes, bufferedBytes, runningHandlers]).toEqual([0, 0, 0]);
    }
    await this.honest();
    for (const peer of this.offenders) peer.destroy();
    await until(() => openHandles() <= this.#handlesBefore, 'the sockets to be closed');
    await turns(5);
    await this.honest();
    expect(processListeners()).toBe(this.#listenersBefore);
    expect(memoryInUse() - this.#memoryBefore).toBeLessThan(MEMORY_SLACK_BYTES);
  }
}

/** One row of the list of bad inputs; the number is that of the list. */
export interface Row extends Outcome {
  readonly id: number;
  readonly what: string;
  readonly settings?: () => AttackSettings;
  readonly attack: (attack: Attack) => Promise<void>;
}

/** A test for each row. */
export function testRows(scene: Scene, rows: readonly Row[]): void {
  it.each(rows)('$id $what', async ({ settings, attack, ...outcome }) => {
    const under = await Attack.begin(scene, settings?.());
    await attack(under);
    await under.end(outcome);
  });
}

const collectGarbage = gcOfThisProcess();

function gcOfThisProcess(): () => void {
  setFlagsFromString('--expose-gc');
  const gc: unknown = runInNewContext('gc');
  return typeof gc === 'function' ? () => void gc() : () => {};
}

/** Bytes of heap and of buffers, garbage not counted. */
export function memoryInUse(): number {
  collectGarbage();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return heapUsed + arrayBuffers;
}

function processListeners(): string {
  return process
    .eventNames()
    .map((name) => `${String(name)}:${process.listenerCount(name)}`)
    .sort()
    .join();
}
