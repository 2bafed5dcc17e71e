import { describe, expect, it } from 'vitest';
import { UdpRound } from '../../src/transport/udp-round.ts';

interface Sent {
  readonly sender: string;
  readonly text: string;
  readonly chunks: number;
}

function write(round: UdpRound<string>, sender: string, ...parts: readonly (string | Buffer)[]): void {
  round.writer.beginPackage();
  for (const part of parts) round.writer.writeBytes(Buffer.from(part));
  round.add(sender, round.writer.length);
}

function flush(round: UdpRound<string>, isFree = true): { sent: Sent[]; rest: Buffer } {
  const sent: Sent[] = [];
  const rest = round.flush((sender, chunks) => {
    sent.push({ sender, text: Buffer.concat(chunks).toString('latin1'), chunks: chunks.length });
    return isFree;
  });
  return { sent, rest };
}

describe('a round of datagrams', () => {
  it('gives each datagram with its sender, in order, and is empty then', () => {
    const round = new UdpRound<string>();
    write(round, 'a', 'one');
    write(round, 'b', 'two', '!');
    write(round, 'a', 'three');
    const { sent, rest } = flush(round);
    expect(sent).toEqual([
      { sender: 'a', text: 'one', chunks: 1 },
      { sender: 'b', text: 'two!', chunks: 1 },
      { sender: 'a', text: 'three', chunks: 1 },
    ]);
    expect(rest).toHaveLength(0);
    expect(flush(round).sent).toEqual([]);
  });

  it('puts datagrams together again that large byte arrays have cut', () => {
    const round = new UdpRound<string>();
    const large = Buffer.alloc(20_000, 'x');
    write(round, 'a', 'head', large, 'tail');
    write(round, 'b', 'next');
    const { sent } = flush(round);
    expect(sent.map(({ text }) => text)).toEqual([`head${large}tail`, 'next']);
  });

  it('gives back what stands behind the datagrams, in memory of its own', () => {
    const round = new UdpRound<string>();
    write(round, 'a', 'one');
    round.writer.beginPackage();
    round.writer.writeBytes(Buffer.from('odd'));
    const { sent, rest } = flush(round);
    expect(sent.map(({ text }) => text)).toEqual(['one']);
    write(round, 'a', 'over');
    expect(String(rest)).toBe('odd');
  });

  it('leaves memory alone that is still in use', () => {
    const round = new UdpRound<string>();
    write(round, 'a', 'kept');
    const kept: Uint8Array[] = [];
    round.flush((_sender, chunks) => {
      kept.push(...chunks);
      return false;
    });
    write(round, 'a', 'new!');
    expect(String(Buffer.concat(kept))).toBe('kept');
  });

  it('is full at 64 datagrams, and at 64 KiB', () => {
    const many = new UdpRound<string>();
    for (let count = 0; count < 63; count++) write(many, 'a', 'x');
    expect(many.isFull).toBe(false);
    write(many, 'a', 'x');
    expect(many.isFull).toBe(true);
    const large = new UdpRound<string>();
    write(large, 'a', Buffer.alloc(65_536));
    expect(large.isFull).toBe(true);
  });
});
