import { describe, expect, it, vi } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { after, Wheel, WheelTimer } from '../../src/base/wheel.ts';

const HOUR = 3_600_000;

/** A clock whose time a test sets, and that counts what is asked of it. */
class ManualClock implements Clock {
  time = 0;
  alarms: { delay: number; callback: () => void }[] = [];
  yielded: (() => void)[] = [];
  wakes = 0;

  now(): number {
    return this.time;
  }

  after(delay: number, callback: () => void): () => void {
    const alarm = { delay, callback };
    this.alarms.push(alarm);
    return () => {
      this.alarms = this.alarms.filter((other) => other !== alarm);
    };
  }

  yield(callback: () => void): void {
    this.yielded.push(callback);
  }

  wake(): void {
    const [alarm] = this.alarms.splice(0, 1);
    this.wakes++;
    alarm?.callback();
  }
}

describe('Wheel, when it wakes', () => {
  it('sleeps through: a timer an hour away wakes it a few times, not 360 000', () => {
    const clock = new ManualClock();
    const wheel = new Wheel(clock);
    let firedAt = -1;
    after(wheel, HOUR, () => {
      firedAt = clock.time;
    });
    while (clock.alarms.length > 0) {
      clock.time += clock.alarms[0]?.delay ?? 0;
      clock.wake();
    }
    expect(firedAt).toBe(HOUR);
    expect(clock.wakes).toBeLessThanOrEqual(5);
  });

  it('sleeps on when the clock woke it too early', () => {
    const clock = new ManualClock();
    const wheel = new Wheel(clock);
    const fired = vi.fn();
    after(wheel, 100, fired);
    clock.time = 99.4;
    clock.wake();
    expect(fired).not.toHaveBeenCalled();
    expect(clock.alarms.map(({ delay }) => delay)).toEqual([1]);
    clock.time = 100;
    clock.wake();
    expect(fired).toHaveBeenCalledOnce();
  });

  it('runs 100 000 timers that are due at once in slices of 5 ms, and lets the event loop turn in between', () => {
    const clock = new ManualClock();
    const wheel = new Wheel(clock);
    let fired = 0;
    // Each costs 1 µs of the clock's time.
    const owner = {
      onTimer() {
        fired++;
        clock.time += 0.001;
      },
    };
    for (let i = 0; i < 100_000; i++) wheel.arm(new WheelTimer(owner), 100);
    clock.time = 100;
    clock.wake();
    let slices = 1;
    let before = 0;
    for (;;) {
      expect(fired - before).toBeLessThanOrEqual(5001);
      before = fired;
      const [next] = clock.yielded.splice(0, 1);
      if (next === undefined) break;
      expect(clock.alarms).toEqual([]);
      next();
      slices++;
    }
    expect(fired).toBe(100_000);
    expect(slices).toBeGreaterThanOrEqual(19);
    expect(slices).toBeLessThanOrEqual(21);
    expect(clock.alarms).toEqual([]);
  });

  it('between two slices, takes cancels and new timers', () => {
    const clock = new ManualClock();
    const wheel = new Wheel(clock);
    const fired: number[] = [];
    const timers = [0, 1, 2].map(
      (index) =>
        new WheelTimer({
          onTimer() {
            fired.push(index);
            clock.time += 6;
          },
        }),
    );
    for (const timer of timers) wheel.arm(timer, 10);
    clock.time = 10;
    clock.wake();
    expect(fired).toEqual([0]);
    timers[1]?.cancel();
    after(wheel, 0, () => fired.push(9));
    clock.yielded.shift()?.();
    expect(fired).toEqual([0, 2]);
    clock.time = 30;
    (clock.yielded.shift() ?? (() => clock.wake()))();
    expect(fired).toEqual([0, 2, 9]);
  });

  it('judges nothing before waiting I/O was handled when the event loop was blocked for more than 100 ms', () => {
    const clock = new ManualClock();
    const wheel = new Wheel(clock);
    const fired: string[] = [];
    const heartbeat = new WheelTimer({ onTimer: () => fired.push('heartbeat') });
    wheel.arm(heartbeat, 600);
    after(wheel, 600, () => fired.push('other'));
    clock.time = 701;
    clock.wake();
    expect(fired).toEqual([]);
    // The I/O that waited: the peer was alive.
    wheel.arm(heartbeat, 1000);
    expect(clock.alarms).toEqual([]);
    clock.yielded.shift()?.();
    expect(fired).toEqual(['other']);
    expect(clock.alarms).toHaveLength(1);
  });

  it('runs at once when it is only a little late', () => {
    const clock = new ManualClock();
    const wheel = new Wheel(clock);
    const fired = vi.fn();
    after(wheel, 600, fired);
    clock.time = 700;
    clock.wake();
    expect(fired).toHaveBeenCalledOnce();
    expect(clock.yielded).toEqual([]);
  });
});
