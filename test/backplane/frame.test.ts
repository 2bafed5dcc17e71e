import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BEAT, FRAME, FrameReader, FrameWriter, isOfUser, QUERY, REPLY } from '../../src/backplane/frame.ts';

const write = new FrameWriter('node-1');
const at = { stream: 7, seq: 0xffff_fffe };

describe('frames of a bus', () => {
  it('carry what was written', () => {
    const message = new FrameReader(write.message(at, Buffer.from('hello')));
    expect([message.kind, message.nodeId, message.position(), Buffer.from(message.rest()).toString()]).toEqual([
      FRAME.MESSAGE,
      'node-1',
      at,
      'hello',
    ]);
    const direct = new FrameReader(write.direct(at, 'ä', Buffer.from('x')));
    expect([direct.kind, direct.position(), direct.name(), direct.rest().length]).toEqual([FRAME.DIRECT, at, 'ä', 1]);
    const member = new FrameReader(write.member(at, 'ann', 1.7e12, Buffer.from('s')));
    expect([member.kind, member.position(), member.name(), member.version(), member.uint8(), member.rest().length]).toEqual([
      FRAME.MEMBER,
      at,
      'ann',
      1.7e12,
      1,
      1,
    ]);
    const gone = new FrameReader(write.member(at, 'ann', 2, undefined));
    expect([gone.position(), gone.name(), gone.version(), gone.uint8(), gone.isAtEnd]).toEqual([at, 'ann', 2, 0, true]);
    const beat = new FrameReader(
      write.beat(BEAT.NEW | BEAT.ASKS, [
        ['c.a', at],
        ['c.😀', at],
      ]),
    );
    expect([beat.kind, beat.uint8(), beat.name(), beat.position(), beat.name(), beat.position(), beat.isAtEnd]).toEqual([
      FRAME.BEAT,
      9,
      'c.a',
      at,
      'c.😀',
      at,
      true,
    ]);
    const query = new FrameReader(write.query(3, QUERY.ROOM, 'lobby'));
    expect([query.kind, query.uint32(), query.uint8(), query.name()]).toEqual([FRAME.QUERY, 3, QUERY.ROOM, 'lobby']);
    const entry = { room: 'r', memberId: 'm', version: 5, state: Buffer.from('state') };
    const reply = new FrameReader(write.reply(3, REPLY.LAST, [entry, entry]));
    expect([reply.kind, reply.uint32(), reply.uint8(), reply.entry(), reply.entry(), reply.isAtEnd]).toEqual([
      FRAME.REPLY,
      3,
      REPLY.LAST,
      entry,
      entry,
      true,
    ]);
  });

  it('tell messages of the user from the others', () => {
    expect([write.message(at, Buffer.alloc(0)), write.direct(at, 'a', Buffer.alloc(0)), write.beat(0, [])].map(isOfUser)).toEqual([
      true,
      true,
      false,
    ]);
  });

  it('are refused with a RangeError when they are cut or junk, whatever the bytes', () => {
    const entry = { room: 'room', memberId: 'member', version: 5, state: Buffer.from('state') };
    const whole = write.reply(3, REPLY.LAST, [entry]);
    for (let size = 0; size < whole.length; size++) {
      const read = (): unknown => {
        const frame = new FrameReader(whole.subarray(0, size));
        return [frame.uint32(), frame.uint8(), frame.entry()];
      };
      expect(read, `${size} bytes`).toThrow(RangeError);
    }
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (junk) => {
        for (const bytes of [junk, Buffer.concat([Buffer.from([0xb7, 6, 1, 65]), junk])]) {
          try {
            const frame = new FrameReader(bytes);
            frame.uint32();
            frame.uint8();
            while (!frame.isAtEnd) frame.entry();
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(RangeError);
          }
        }
      }),
      { seed: 11 },
    );
  });
});
