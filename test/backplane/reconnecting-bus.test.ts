import { describe, expect, it } from 'vitest';
import { type BusLinkEvents, ReconnectingBus } from '../../src/backplane/reconnecting-bus.ts';
import { VirtualClock } from '../../src/testing/index.ts';
import { rejectionOf } from '../helpers/thrown.ts';

/** A server whose connections are made, held up, refused and broken by the test. */
class Scene {
  readonly clock = new VirtualClock();
  readonly log: string[] = [];
  readonly attemptsAtMs: number[] = [];
  mode: 'up' | 'down' | 'hangs' = 'up';
  events: BusLinkEvents | undefined;
  flushes: (() => void)[] = [];
  /** Flushes wait for `flushes`. */
  isSlow = false;
  throwsOnPublish = false;
  readonly bus = new ReconnectingBus({
    name: 'TestBackplane',
    clock: this.clock,
    random: () => 1,
    connect: (events, signal) => {
      this.attemptsAtMs.push(this.clock.now());
      if (this.mode === 'down') return Promise.reject(new Error('refused'));
      if (this.mode === 'hangs') return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
      this.events = events;
      return Promise.resolve({
        publish: (topic) => {
          if (this.throwsOnPublish) throw new Error('too large');
          this.log.push(`publish ${topic}`);
        },
        subscribe: (topics) => this.log.push(`subscribe ${[...topics].sort().join()}`),
        unsubscribe: (topic) => this.log.push(`unsubscribe ${topic}`),
        flush: () => (this.isSlow ? new Promise<void>((resolve) => this.flushes.push(resolve)) : Promise.resolve()),
        destroy: () => this.log.push('destroy'),
        close: async () => void this.log.push('close'),
      });
    },
  });

  async open(): Promise<void> {
    await this.bus.open({
      onBytes: (topic) => this.log.push(`bytes ${topic}`),
      onUp: () => this.log.push('up'),
      onDown: (error) => this.log.push(`down ${error.message}`),
      onDrain: () => this.log.push('drain'),
      onError: (error) => this.log.push(`error ${error.message}`),
    });
  }

  taken(): string[] {
    return this.log.splice(0);
  }
}

describe('a bus that connects again', () => {
  it('subscribes to everything again before it says that it is up', async () => {
    const scene = new Scene();
    await scene.open();
    scene.bus.subscribe('a');
    scene.bus.subscribe('b');
    scene.bus.unsubscribe('a');
    scene.taken();
    scene.events?.onLost(new Error('reset'));
    scene.events?.onLost(new Error('again'));
    scene.bus.subscribe('c');
    expect(scene.bus.publish('x', new Uint8Array(1))).toBe(false);
    expect(scene.taken()).toEqual(['destroy', 'down TestBackplane: the server is lost: reset']);
    await scene.clock.advance(100);
    expect(scene.taken()).toEqual(['subscribe b,c', 'up']);
    expect(scene.bus.publish('x', new Uint8Array(1))).toBe(true);
  });

  it('follows what is subscribed to and given up while it connects', async () => {
    const scene = new Scene();
    await scene.open();
    for (const topic of ['a', 'b']) scene.bus.subscribe(topic);
    scene.events?.onLost(new Error('reset'));
    scene.isSlow = true;
    await scene.clock.advance(100);
    scene.taken();
    scene.bus.unsubscribe('a');
    scene.bus.subscribe('c');
    scene.flushes[0]?.();
    await scene.clock.advance(10);
    expect(scene.taken()).toEqual(['subscribe c', 'unsubscribe a', 'up']);
  });

  it('subscribes to a hundred thousand topics again without standing still', async () => {
    const scene = new Scene();
    await scene.open();
    for (let index = 0; index < 100_000; index++) scene.bus.subscribe(`topic ${index}`);
    scene.events?.onLost(new Error('reset'));
    scene.taken();
    // What takes a step for each pair of topics is ended by the time-out of the test.
    await scene.clock.advance(100);
    expect(scene.taken().at(-1)).toBe('up');
  });

  it('gives up a server that does not acknowledge 10,000 changes of subscriptions', async () => {
    const scene = new Scene();
    await scene.open();
    for (let index = 0; index < 20_000; index++) {
      scene.bus.subscribe('a');
      scene.bus.unsubscribe('a');
      if (index % 400 === 0) await Promise.resolve();
    }
    expect(scene.taken().filter((line) => line.startsWith('down'))).toEqual([]);
    scene.isSlow = true;
    for (let index = 0; index < 5_001; index++) {
      scene.bus.subscribe('a');
      scene.bus.unsubscribe('a');
    }
    const down = 'down TestBackplane: the server is lost: it does not keep up with what is subscribed to and given up';
    expect(scene.taken().slice(-2)).toEqual(['destroy', down]);
    scene.isSlow = false;
    await scene.clock.advance(100);
    expect(scene.taken()).toEqual(['up']);
  });

  it('waits longer from attempt to attempt, but never above half a second', async () => {
    const scene = new Scene();
    await scene.open();
    scene.mode = 'down';
    scene.events?.onLost(new Error('reset'));
    await scene.clock.advance(3_000);
    const waits = scene.attemptsAtMs.slice(1).map((at, index) => at - (scene.attemptsAtMs[index] ?? 0));
    expect(waits.slice(0, 5)).toEqual([50, 100, 200, 400, 500]);
    expect(Math.max(...waits)).toBeLessThanOrEqual(510);
  });

  it('gives an attempt up after 5 seconds, and tries again', async () => {
    const scene = new Scene();
    await scene.open();
    scene.mode = 'hangs';
    scene.events?.onLost(new Error('reset'));
    await scene.clock.advance(5_300);
    expect(scene.attemptsAtMs).toHaveLength(3);
    scene.mode = 'up';
    await scene.clock.advance(6_000);
    expect(scene.taken().at(-1)).toBe('up');
  });

  it('refuses above a mebibyte that the server has not acknowledged, and says when it takes more', async () => {
    const scene = new Scene();
    await scene.open();
    scene.isSlow = true;
    let taken = 0;
    while (scene.bus.publish('x', new Uint8Array(99_999))) taken++;
    expect(taken).toBe(11);
    expect(scene.flushes).toHaveLength(1);
    scene.taken();
    scene.isSlow = false;
    scene.flushes[0]?.();
    await scene.clock.advance(10);
    expect(scene.taken()).toEqual(['drain']);
    expect(scene.bus.publish('x', new Uint8Array(1))).toBe(true);
  });

  it('tells of what a server refuses once in ten seconds', async () => {
    const scene = new Scene();
    await scene.open();
    scene.throwsOnPublish = true;
    for (let index = 0; index < 5; index++) expect(scene.bus.publish('x', new Uint8Array(1))).toBe(true);
    expect(scene.taken()).toEqual(['error TestBackplane: the server refused a command: too large']);
    await scene.clock.advance(10_000);
    scene.events?.onRefused(new Error('no permission'));
    expect(scene.taken()).toEqual(['error TestBackplane: the server refused a command: no permission']);
  });

  it('rejects when it cannot connect at first, and stops trying when it is closed', async () => {
    const scene = new Scene();
    scene.mode = 'down';
    expect(await rejectionOf(scene.open())).toMatchObject({
      code: 'BACKPLANE_FAILED',
      message: 'TestBackplane: the server cannot be reached: refused',
      cause: expect.objectContaining({ message: 'refused' }),
    });
    const other = new Scene();
    await other.open();
    other.mode = 'down';
    other.events?.onLost(new Error('reset'));
    await other.bus.close();
    const before = other.attemptsAtMs.length;
    await other.clock.advance(10_000);
    expect(other.attemptsAtMs).toHaveLength(before);
    expect(other.clock.pendingTimers).toBe(0);
  });
});
