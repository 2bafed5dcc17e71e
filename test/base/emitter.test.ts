import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Emitter } from '../../src/base/emitter.ts';

type Events = { listening: [port: number]; refused: [reason: string, count: number]; error: [error: unknown] };

const error = vi.fn();
let emitter: Emitter<Events>;

beforeEach(() => {
  error.mockReset();
  emitter = new Emitter<Events>({ warn: () => {}, error });
});

describe('Emitter', () => {
  it('calls all listeners of an event in order, with its arguments', () => {
    const calls: unknown[] = [];
    emitter.on('refused', (reason, count) => calls.push(['first', reason, count]));
    emitter.on('refused', (reason) => calls.push(['second', reason]));
    emitter.on('listening', () => calls.push('not this one'));
    emitter.emit('refused', 'full', 3);
    expect(calls).toEqual([
      ['first', 'full', 3],
      ['second', 'full'],
    ]);
  });

  it('calls a listener of once() once', () => {
    const listener = vi.fn();
    emitter.once('listening', listener);
    emitter.emit('listening', 1);
    emitter.emit('listening', 2);
    expect(listener.mock.calls).toEqual([[1]]);
  });

  it('calls no listener that was taken off, whichever way it was put on', () => {
    const listener = vi.fn();
    emitter.on('listening', listener);
    emitter.once('listening', listener);
    emitter.off('listening', listener);
    emitter.off('listening', listener);
    emitter.emit('listening', 1);
    expect(listener).not.toHaveBeenCalled();
  });

  it('takes the same listener for two events, and off() one of them leaves the other', () => {
    const listener = vi.fn();
    emitter.on('listening', listener);
    emitter.on('error', listener);
    emitter.off('listening', listener);
    emitter.emit('listening', 1);
    emitter.emit('error', 'x');
    expect(listener.mock.calls).toEqual([['x']]);
  });

  it('lets a listener take itself and others off while the event is being emitted', () => {
    const calls: string[] = [];
    const last = (): number => calls.push('last');
    const self = (): void => {
      calls.push('self');
      emitter.off('listening', self);
    };
    emitter.once('listening', () => {
      calls.push('once');
      emitter.off('listening', last);
    });
    emitter.on('listening', self);
    emitter.on('listening', last);
    emitter.emit('listening', 1);
    emitter.emit('listening', 2);
    expect(calls.filter((name) => name !== 'last')).toEqual(['once', 'self']);
    expect(calls.lastIndexOf('last')).toBeLessThan(3);
  });

  it('reports a listener that throws, and neither the others nor the caller notice', () => {
    const other = vi.fn();
    emitter.on('listening', () => {
      throw new Error('broken');
    });
    emitter.on('listening', other);
    emitter.emit('listening', 1);
    expect(other).toHaveBeenCalledOnce();
    expect(error.mock.calls).toEqual([["a listener of 'listening' failed: broken"]]);
  });

  it('reports a listener that rejects, or throws what is not an Error', async () => {
    // biome-ignore lint/nursery/noMisusedPromises: the mistake that is under test
    emitter.on('listening', async () => {
      await null;
      throw new Error('broken later');
    });
    emitter.on('listening', () => {
      throw null;
    });
    emitter.emit('listening', 1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(error.mock.calls.flat()).toEqual(["a listener of 'listening' failed: null", "a listener of 'listening' failed: broken later"]);
  });

  it("hands an 'error' that nobody listens to to the logger, also after the last listener has left", () => {
    emitter.emit('error', new Error('unheard'));
    expect(error.mock.calls).toEqual([["unhandled 'error' event: unheard"]]);
    const listener = vi.fn();
    emitter.once('error', listener);
    emitter.emit('error', 1);
    expect([listener.mock.calls.length, error.mock.calls.length]).toEqual([1, 1]);
    emitter.emit('error', 2);
    expect(error.mock.calls[1]).toEqual(["unhandled 'error' event: 2"]);
  });

  it('says nothing when nobody listens to another event', () => {
    emitter.emit('listening', 1);
    expect(error).not.toHaveBeenCalled();
  });

  it("reports an 'error' listener that throws, instead of calling it again", () => {
    const listener = vi.fn(() => {
      throw new Error('broken');
    });
    emitter.on('error', listener);
    emitter.emit('error', 1);
    expect(listener).toHaveBeenCalledOnce();
    expect(error.mock.calls).toEqual([["a listener of 'error' failed: broken"]]);
  });
});
