import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { debugLogger } from '../../src/base/log.ts';
import { after, Wheel, WheelTimer, wheelOf } from '../../src/base/wheel.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

const HOUR = 3_600_000;
const LONGEST = 2 ** 31 - 1;

function setUp(startMs = 0) {
  const clock = new VirtualClock(startMs);
  const wheel = new Wheel(clock);
  const fired: [name: string, at: number][] = [];
  const timer = (name: string, then?: () => void) =>
    new WheelTimer({
      onTimer() {
        fired.push([name, clock.now()]);
        then?.();
      },
    });
  return { clock, wheel, fired, timer };
}

afterEach(() => {
  vi.restoreAllMocks();
});

describe('Wheel', () => {
  it('fires a timer once, at the first tick that is not before its time', async () => {
    const { clock, wheel, fired, timer } = setUp();
    const one = timer('one');
    wheel.arm(one, 25);
    expect(one.isArmed).toBe(true);
    await clock.advance(29);
    expect(fired).toEqual([]);
    await clock.advance(1);
    expect(fired).toEqual([['one', 30]]);
    expect(one.isArmed).toBe(false);
    await clock.advance(HOUR);
    expect(fired).toHaveLength(1);
  });

  it('counts from a clock that starts anywhere, a fraction included', async () => {
    const { clock, wheel, fired, timer } = setUp(-1234.5);
    await clock.advance(7);
    wheel.arm(timer('one'), 20);
    await clock.advance(19.9);
    expect(fired).toEqual([]);
    await clock.advance(10);
    expect(fired).toHaveLength(1);
  });

  it('fires timers in the order of their ticks, and those of one tick in the order of arming', async () => {
    const { clock, wheel, fired, timer } = setUp();
    for (const [name, delay] of [
      ['c', 900],
      ['a', 700],
      ['d', 900],
      ['b', 701],
      ['e', 50_000],
      ['f', 50_000],
    ] as const) {
      wheel.arm(timer(name), delay);
    }
    await clock.advance(60_000);
    expect(fired.map(([name]) => name).join('')).toBe('abcdef');
  });

  it('takes every delay up to 2^31 - 1 ms and cuts what is outside', async () => {
    const { clock, wheel, fired, timer } = setUp();
    const delays = [
      -1,
      0,
      Number.NaN,
      1,
      639,
      640,
      641,
      40_959,
      40_960,
      2_621_440,
      167_772_160,
      LONGEST,
      LONGEST + 1,
      Number.POSITIVE_INFINITY,
    ];
    for (const delay of delays) wheel.arm(timer(String(delay)), delay);
    await clock.advance(LONGEST + 10);
    expect(fired).toHaveLength(delays.length);
    for (const [name, at] of fired) {
      const delay = Number(name) > 0 ? Math.min(Number(name), LONGEST) : 0;
      expect(at - delay, name).toBeGreaterThanOrEqual(0);
      expect(at - delay, name).toBeLessThanOrEqual(10);
    }
  });

  it('keeps count after more ticks than fit into 32 bits', async () => {
    const { clock, wheel, fired, timer } = setUp();
    wheel.arm(timer('first'), 10);
    await clock.advance(10);
    // 20 ms before the tick counter reaches 2^32.
    clock.block(2 ** 32 * 10 - 30);
    for (const delay of [10, 20, 30, 700, HOUR]) wheel.arm(timer(String(delay)), delay);
    const start = clock.now();
    await clock.advance(HOUR);
    expect(fired.slice(1).map(([name, at]) => at - start - Number(name))).toEqual([0, 0, 0, 0, 0]);
  });

  it('holds no clock timer without timers, and one with many', async () => {
    const { clock, wheel, timer } = setUp();
    expect(clock.pendingTimers).toBe(0);
    const timers = [10, 5000, 20, HOUR].map((delay) => {
      const made = timer('x');
      wheel.arm(made, delay);
      return made;
    });
    expect(clock.pendingTimers).toBe(1);
    await clock.advance(5000);
    expect(clock.pendingTimers).toBe(1);
    for (const made of timers) made.cancel();
    expect(clock.pendingTimers).toBe(0);
    const last = timer('last');
    wheel.arm(last, 10);
    await clock.advance(10);
    expect(clock.pendingTimers).toBe(0);
  });

  it('moves a timer that is armed again, without a second firing', async () => {
    const { clock, wheel, fired, timer } = setUp();
    const one = timer('one');
    wheel.arm(one, 50);
    wheel.arm(one, 5000);
    await clock.advance(4990);
    expect(fired).toEqual([]);
    wheel.arm(one, 10);
    await clock.advance(10_000);
    expect(fired).toEqual([['one', 5000]]);
  });

  it('moves a timer from one wheel to another', async () => {
    const { clock, wheel, fired, timer } = setUp();
    const other = new Wheel(clock);
    const one = timer('one');
    wheel.arm(one, 50);
    other.arm(one, 100);
    await clock.advance(50);
    expect(fired).toEqual([]);
    wheel.disarm(one);
    expect(one.isArmed).toBe(true);
    await clock.advance(50);
    expect(fired).toHaveLength(1);
    expect(clock.pendingTimers).toBe(0);
  });

  it('does not fire what an earlier timer of the same tick cancelled or moved', async () => {
    const { clock, wheel, fired, timer } = setUp();
    const second = timer('second');
    const third = timer('third');
    const first = timer('first', () => {
      second.cancel();
      second.cancel();
      wheel.arm(third, 20);
    });
    for (const made of [first, second, third]) wheel.arm(made, 10);
    await clock.advance(100);
    expect(fired).toEqual([
      ['first', 10],
      ['third', 30],
    ]);
  });

  it('lets a timer arm itself again from inside, also with delay 0, without starving the rest', async () => {
    const { clock, wheel, fired, timer } = setUp();
    const again: WheelTimer = timer('again', () => wheel.arm(again, 0));
    wheel.arm(again, 0);
    wheel.arm(timer('other'), 30);
    await clock.advance(50);
    expect(fired.map(([, at]) => at)).toEqual([10, 20, 30, 30, 40, 50]);
    again.cancel();
    expect(clock.pendingTimers).toBe(0);
  });

  it('arms and cancels other timers from inside onTimer', async () => {
    const { clock, wheel, fired, timer } = setUp();
    const victim = timer('victim');
    wheel.arm(victim, 500);
    wheel.arm(
      timer('one', () => {
        victim.cancel();
        wheel.arm(timer('new'), 15);
      }),
      10,
    );
    await clock.advance(1000);
    expect(fired).toEqual([
      ['one', 10],
      ['new', 30],
    ]);
  });

  it('reports an onTimer that throws and runs the others', async () => {
    const error = vi.spyOn(debugLogger, 'error').mockImplementation(() => {});
    const { clock, wheel, fired, timer } = setUp();
    wheel.arm(
      timer('bad', () => {
        throw new Error('broken');
      }),
      10,
    );
    wheel.arm(timer('good'), 10);
    await clock.advance(20);
    expect(fired.map(([name]) => name)).toEqual(['bad', 'good']);
    expect(error.mock.calls).toEqual([['a timer failed: broken']]);
  });

  it('agrees with a naive model for any sequence of arming, cancelling and waiting', async () => {
    const delay = fc.oneof(
      fc.integer({ min: 0, max: 100 }),
      fc.integer({ min: 0, max: 1500 }),
      fc.integer({ min: 0, max: 100_000 }),
      fc.integer({ min: 0, max: LONGEST }),
    );
    const timer = fc.nat({ max: 7 });
    const step = fc.oneof(
      fc.record({ kind: fc.constant('arm' as const), timer, delay }),
      fc.record({ kind: fc.constant('cancel' as const), timer, delay: fc.constant(0) }),
      fc.record({ kind: fc.constant('advance' as const), timer, delay }),
      fc.record({ kind: fc.constant('block' as const), timer, delay }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const clock = new VirtualClock();
        const wheel = new Wheel(clock);
        const deadlines = new Map<number, number>();
        let blockedUntil = 0;
        const timers = Array.from({ length: 8 }, (_, index) => {
          const made: WheelTimer = new WheelTimer({
            onTimer() {
              const deadline = deadlines.get(index);
              expect(deadline).toBeDefined();
              deadlines.delete(index);
              const latest = Math.max((deadline ?? 0) + 10, blockedUntil);
              expect(clock.now()).toBeGreaterThanOrEqual(deadline ?? 0);
              expect(clock.now()).toBeLessThanOrEqual(latest);
            },
          });
          return made;
        });
        for (const { kind, timer: index, delay: ms } of steps) {
          const chosen = timers[index] as WheelTimer;
          if (kind === 'arm') {
            wheel.arm(chosen, ms);
            deadlines.set(index, clock.now() + ms);
          } else if (kind === 'cancel') {
            chosen.cancel();
            deadlines.delete(index);
          } else if (kind === 'block') {
            clock.block(ms);
            blockedUntil = clock.now();
          } else {
            await clock.advance(ms);
            for (const deadline of deadlines.values()) expect(deadline + 10).toBeGreaterThan(clock.now());
          }
          expect(timers.map((made) => made.isArmed)).toEqual(timers.map((_, at) => deadlines.has(at)));
          expect(clock.pendingTimers).toBe(deadlines.size > 0 ? 1 : 0);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe('after', () => {
  it('calls back once, and never when it was cancelled', async () => {
    const clock = new VirtualClock();
    const wheel = new Wheel(clock);
    const [kept, cancelled] = [vi.fn(), vi.fn()];
    after(wheel, 10, kept);
    const cancel = after(wheel, 10, cancelled);
    cancel();
    cancel();
    await clock.advance(100);
    expect(kept).toHaveBeenCalledOnce();
    expect(cancelled).not.toHaveBeenCalled();
  });
});

describe('wheelOf', () => {
  it('gives one wheel for each clock, and the process its own', () => {
    const clock = new VirtualClock();
    expect(wheelOf(clock)).toBe(wheelOf(clock));
    expect(wheelOf(clock).clock).toBe(clock);
    expect(wheelOf()).toBe(wheelOf(systemClock));
    expect(wheelOf()).not.toBe(wheelOf(clock));
  });
});
