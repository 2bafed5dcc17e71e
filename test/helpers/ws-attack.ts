import { expect, it } from 'vitest';
import { withClock } from '../../src/endpoint/options.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { until } from './raw-peer.ts';
import { OPCODE, type RequestOptions, upgradeRequest, type WsPeer, wsFrame } from './ws-peer.ts';
import type { WsEcho, WsScene, WsServerOption } from './ws-scene.ts';

/** A server under attack, with an honest client on it that must never notice. Time stands still, except when the test passes it. */
export class WsTarget {
  readonly ws: WsScene;
  readonly echo: WsEcho;
  readonly clock: VirtualClock;
  readonly #honest: WsPeer;
  #rounds = 0;

  private constructor(ws: WsScene, echo: WsEcho, clock: VirtualClock, honest: WsPeer) {
    this.ws = ws;
    this.echo = echo;
    this.clock = clock;
    this.#honest = honest;
  }

  static async begin(ws: WsScene, options: readonly WsServerOption[]): Promise<WsTarget> {
    const clock = new VirtualClock();
    const echo = await ws.server(withClock(clock), ...options);
    const target = new WsTarget(ws, echo, clock, await ws.peer(echo));
    await target.honest();
    return target;
  }

  /** Checks that the honest client has noticed nothing, and that nothing is left of the offenders. */
  async end(): Promise<void> {
    await this.honest();
    await this.clock.advance(3020);
    await until(() => this.echo.server.sessions.size === 1 + this.#stillOpen, 'the sessions of the offenders to be forgotten');
    await this.honest();
  }

  /** Sessions whose peers are still there, because the server had nothing against them. */
  get #stillOpen(): number {
    return this.echo.watch.opened.slice(1).filter((session) => session.state === 'open').length;
  }

  async honest(): Promise<void> {
    const text = `honest ${++this.#rounds}`;
    this.#honest.pour(wsFrame(OPCODE.BINARY, text));
    expect((await this.#honest.messagesIn(this.#rounds)).at(-1)).toBe(text);
  }

  /** An offender whose WebSocket is open. */
  peer(): Promise<WsPeer> {
    return this.ws.peer(this.echo);
  }

  /** What these frames are answered with: the status of the close frame. */
  async statusOf(...frames: readonly Uint8Array[]): Promise<number | undefined> {
    const peer = await this.peer();
    peer.pour(...frames);
    const status = await peer.closed();
    peer.raw.destroy();
    return status;
  }

  /** What this request is answered with. */
  async answerTo(url: string, options?: RequestOptions): Promise<number> {
    return this.answerToBytes(upgradeRequest(url, options));
  }

  async answerToBytes(...parts: readonly (Uint8Array | string)[]): Promise<number> {
    const peer = await this.ws.connected(this.echo);
    peer.pour(...parts);
    const status = await peer.answered();
    peer.raw.destroy();
    return status;
  }
}

/** One row of the lists of bad inputs: D is the checklist, C the catalogue of faults that others had. */
export interface WsRow {
  readonly id: string;
  readonly what: string;
  readonly options?: readonly WsServerOption[];
  readonly attack: (target: WsTarget) => Promise<void>;
}

/** A test for each row. */
export function testWsRows(ws: WsScene, rows: readonly WsRow[]): void {
  it.each(rows)('$id $what', async ({ options = [], attack }) => {
    const target = await WsTarget.begin(ws, options);
    await attack(target);
    await target.end();
  });
}

/** Memory that a row may hold when it is over: caches of the runtime, compiled code. */
export const MEMORY_SLACK_BYTES = 8 * 1_048_576;
