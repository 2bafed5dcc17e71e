import { describe, expect, it, vi } from 'vitest';
import { systemClock } from '../../src/base/clock.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';

describe('systemClock', () => {
  it('never goes backwards', () => {
    let before = systemClock.now();
    for (let count = 0; count < 1000; count++) {
      const now = systemClock.now();
      expect(now).toBeGreaterThanOrEqual(before);
      before = now;
    }
  });

  it('calls back after the delay, and not when it was cancelled', async () => {
    const cancelled = vi.fn();
    systemClock.after(1, cancelled)();
    const start = systemClock.now();
    const held = setTimeout(() => {}, 10_000);
    await new Promise<void>((resolve) => systemClock.after(5, resolve));
    clearTimeout(held);
    expect(systemClock.now() - start).toBeGreaterThan(3);
    expect(cancelled).not.toHaveBeenCalled();
  });

  it('does not keep the process alive', () => {
    const before = process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const cancel = systemClock.after(100_000, () => {});
    expect(process.getActiveResourcesInfo().filter((name) => name === 'Timeout')).toHaveLength(before);
    cancel();
  });

  it('yields to what waits in the event loop', async () => {
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      systemClock.yield(() => {
        order.push('yielded');
        resolve();
      });
      process.nextTick(() => order.push('tick'));
      queueMicrotask(() => order.push('microtask'));
    });
    expect(order.at(-1)).toBe('yielded');
  });
});

describe('VirtualClock', () => {
  it('stands still until it is advanced, then runs what is due in the order of time', async () => {
    const clock = new VirtualClock();
    const order: string[] = [];
    for (const [name, delay] of [
      ['c', 30],
      ['a', 10],
      ['d', 30],
      ['b', 20],
      ['z', 31],
      ['negative', -5],
    ] as const) {
      clock.after(delay, () => order.push(`${name}@${clock.now()}`));
    }
    expect([clock.now(), clock.pendingTimers]).toEqual([0, 6]);
    await clock.advance(30);
    expect(order).toEqual(['negative@0', 'a@10', 'b@20', 'c@30', 'd@30']);
    expect([clock.now(), clock.pendingTimers]).toEqual([30, 1]);
  });

  it('starts where it is told', async () => {
    const clock = new VirtualClock(1000);
    await clock.advance(0.5);
    expect(clock.now()).toBe(1000.5);
  });

  it('runs timers that timers set, when they are due within the same advance', async () => {
    const clock = new VirtualClock();
    const times: number[] = [];
    const again = (): void => {
      times.push(clock.now());
      clock.after(10, again);
    };
    clock.after(10, again);
    await clock.advance(35);
    expect(times).toEqual([10, 20, 30]);
    expect(clock.now()).toBe(35);
  });

  it('forgets a cancelled timer', async () => {
    const clock = new VirtualClock();
    const callback = vi.fn();
    const cancel = clock.after(10, callback);
    cancel();
    cancel();
    expect(clock.pendingTimers).toBe(0);
    await clock.advance(20);
    expect(callback).not.toHaveBeenCalled();
  });

  it('lets promises, ticks and yielded work settle before the next timer runs', async () => {
    const clock = new VirtualClock();
    const order: string[] = [];
    clock.after(10, () => {
      void (async () => {
        await null;
        process.nextTick(() => {
          order.push('tick');
          clock.yield(() => {
            order.push('yielded');
            void Promise.resolve().then(() => clock.yield(() => order.push('yielded again')));
          });
        });
      })();
    });
    clock.after(11, () => order.push('next timer'));
    await clock.advance(11);
    expect(order).toEqual(['tick', 'yielded', 'yielded again', 'next timer']);
  });

  it('settles what was begun before it was advanced', async () => {
    const clock = new VirtualClock();
    const callback = vi.fn();
    clock.yield(() => clock.after(5, callback));
    await clock.advance(5);
    expect(callback).toHaveBeenCalledOnce();
  });

  it('goes on although something yields for ever', async () => {
    const clock = new VirtualClock();
    let isOn = true;
    const forever = (): void => {
      if (isOn) clock.yield(forever);
    };
    forever();
    await clock.advance(1);
    isOn = false;
    expect(clock.now()).toBe(1);
  });

  it('rejects with what a timer threw, and can be advanced again', async () => {
    const clock = new VirtualClock();
    const callback = vi.fn();
    clock.after(5, () => {
      throw new Error('broken');
    });
    clock.after(6, callback);
    await expect(clock.advance(10)).rejects.toThrow('broken');
    expect(clock.now()).toBe(5);
    await clock.advance(5);
    expect(callback).toHaveBeenCalledOnce();
  });

  it('refuses to be advanced twice at once', async () => {
    const clock = new VirtualClock();
    const first = clock.advance(10);
    await expect(clock.advance(10)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    await first;
    expect(clock.now()).toBe(10);
  });

  it('can be blocked, so that timers run late', async () => {
    const clock = new VirtualClock();
    const times: number[] = [];
    clock.after(10, () => times.push(clock.now()));
    clock.block(500);
    expect(times).toEqual([]);
    await clock.advance(0);
    expect(times).toEqual([500]);
  });
});
