import { describe, expect, it } from 'vitest';
import { ReceivedSequences, SentSequences, UNKNOWN } from '../../src/backplane/sequences.ts';

describe('numbers of messages', () => {
  it('are followed: in order, missing, repeated', () => {
    const received = new ReceivedSequences();
    const accept = (seq: number, stream = 1): number => received.accept('c.a', { stream, seq });
    expect([accept(5), accept(6), accept(9), accept(9), accept(7), accept(10)]).toEqual([UNKNOWN, 0, 2, -1, -1, 0]);
    expect(accept(3, 2)).toBe(2);
    expect(accept(11, 1)).toBe(-1);
    received.forget('c.a');
    expect(accept(1, 7)).toBe(0);
  });

  it('go on after the last of 32 bits', () => {
    const received = new ReceivedSequences();
    const accept = (seq: number): number => received.accept('c.a', { stream: 1, seq });
    expect([accept(0xffff_fffe), accept(0xffff_ffff), accept(0), accept(3), accept(0xffff_ffff)]).toEqual([UNKNOWN, 0, 0, 2, -1]);
  });

  it('show by the position of the sender what is missing at the end', () => {
    const received = new ReceivedSequences();
    const reach = (seq: number, stream = 1): number => received.reach('c.a', { stream, seq });
    expect(reach(3)).toBe(UNKNOWN);
    expect([reach(3), reach(5), reach(5), reach(4)]).toEqual([0, 2, 0, 0]);
    expect(reach(2, 2)).toBe(2);
    expect(received.accept('c.a', { stream: 2, seq: 3 })).toBe(0);
  });

  it('are kept for a bounded number of topics: the first one is forgotten and begins a new stream', () => {
    const sent = new SentSequences(2);
    const next = (topic: string): unknown => ({ ...sent.next(topic) });
    expect([next('a'), next('a'), next('b')]).toEqual([
      { stream: 1, seq: 1 },
      { stream: 1, seq: 2 },
      { stream: 2, seq: 1 },
    ]);
    next('c');
    expect(sent.size).toBe(2);
    expect(next('a')).toEqual({ stream: 4, seq: 1 });
  });

  it('are told after use, as many at a time as fit a beat, and then in turn, so that a lost beat does no harm', () => {
    const sent = new SentSequences(10_000);
    for (let index = 0; index < 200; index++) sent.next(`${index}`.padStart(256, 'x'));
    const beats = Array.from({ length: 10 }, () => sent.forBeat().map(([topic]) => topic));
    expect(beats[0]?.length).toBeGreaterThan(50);
    expect(beats[0]?.length).toBeLessThan(100);
    expect(new Set(beats.slice(0, 3).flat()).size).toBe(200);
    expect(beats.slice(3).map(({ length }) => length)).toEqual(Array(7).fill(32));
    expect(new Set(beats.slice(3).flat()).size).toBe(200);
    const few = new SentSequences(10);
    few.next('a');
    few.next('b');
    for (let beat = 0; beat < 3; beat++) expect(few.forBeat().map(([topic]) => topic)).toEqual(['a', 'b']);
    expect(new SentSequences(10).forBeat()).toEqual([]);
  });
});
