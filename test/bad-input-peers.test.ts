import { describe, expect } from 'vitest';
import { withHeartbeat, withSendQueue, withWriteTimeoutMs } from '../src/session/options.ts';
import { type Row, testRows } from './helpers/attack.ts';
import { frame, framesIn, pattern, turns, until } from './helpers/raw-peer.ts';
import { type BytesSession, useScene, Watch } from './helpers/scene.ts';

const scene = useScene();

/** Answers an offender only some turns later. */
class SlowWatch extends Watch {
  override async onMessage(session: BytesSession, pkg: Buffer): Promise<void> {
    if (!String(pkg).startsWith('honest')) await turns(5);
    super.onMessage(session, pkg);
  }
}

const rows: readonly Row[] = [
  {
    id: 10,
    what: 'a FIN in the middle of a frame: what was there of it is counted',
    attack: async (attack) => {
      const peer = await attack.offender();
      peer.pour(frame('0123456789').subarray(0, 9));
      peer.end();
      await attack.watch.closes(1);
      expect(attack.watch.reasons[0]).toMatchObject({ truncatedBytes: 9, by: 'peer' });
    },
    closes: ['TRUNCATED'],
    errors: [],
  },
  {
    id: 10,
    what: 'an RST in the middle of a frame: what was there of it is counted',
    attack: async (attack) => {
      const peer = await attack.offender();
      peer.pour(frame('0123456789').subarray(0, 9));
      await attack.read(9);
      peer.reset();
      await attack.watch.closes(1);
      expect(attack.watch.reasons[0]).toMatchObject({ truncatedBytes: 9, by: 'network' });
    },
    closes: ['RESET'],
    errors: ['CONNECTION_RESET'],
  },
  {
    id: 10,
    what: 'a peer that is there no more and says nothing: the heartbeat finds out within 90 s',
    settings: () => ({ options: [withHeartbeat({ intervalMs: 30_000, timeoutMs: 90_000 })] }),
    attack: async (attack) => {
      await attack.offender();
      await attack.session();
      for (let seconds = 0; seconds < 90; seconds += 15) {
        expect(attack.watch.reasons).toEqual([]);
        await attack.pass(15_000);
        await attack.honest();
      }
      await attack.pass(20);
    },
    closes: ['HEARTBEAT'],
    errors: ['HEARTBEAT_TIMEOUT'],
  },
  {
    id: 11,
    what: 'a peer that finishes sending and then reads: all replies, then the end',
    settings: () => ({ watch: new SlowWatch(true) }),
    attack: async (attack) => {
      const peer = await attack.offender();
      peer.pour(Buffer.concat([frame('one'), frame('two'), frame('three')]));
      peer.end();
      await until(() => peer.hasEnded, 'the end');
      expect(framesIn(peer.received).map(String)).toEqual(['one', 'two', 'three']);
    },
    closes: ['PEER_CLOSED'],
    errors: [],
  },
  {
    id: 12,
    what: 'a peer that never reads: closed at the hard cap',
    settings: () => ({ options: [withSendQueue(1_048_576)] }),
    attack: async (attack) => {
      (await attack.offender()).socket.pause();
      const session = await attack.session();
      let most = 0;
      for (let count = 0; count < 1000 && session.state === 'open'; count++) {
        session.send(pattern(65_536));
        most = Math.max(most, session.pendingBytes);
      }
      expect(most).toBeLessThanOrEqual(1_048_576);
      await attack.watch.closes(1);
      expect(attack.watch.reasons[0]).toMatchObject({ by: 'peer', unsentBytes: expect.any(Number) });
      expect(attack.watch.reasons[0]?.unsentBytes).toBeGreaterThan(900_000);
    },
    closes: ['SLOW'],
    errors: ['SLOW_READER'],
  },
  {
    id: 12,
    what: 'a peer that never reads and is sent little: closed when nothing moves for the write time-out',
    settings: () => ({ options: [withWriteTimeoutMs(10_000), withSendQueue(67_108_864)] }),
    attack: async (attack) => {
      (await attack.offender()).socket.pause();
      const session = await attack.session();
      while (session.pendingBytes === 0) session.send(pattern(65_536));
      for (let seconds = 0; seconds < 20; seconds += 4) {
        await attack.pass(4000);
        await attack.honest();
      }
      await attack.watch.closes(1);
    },
    closes: ['SLOW'],
    errors: ['WRITE_TIMEOUT'],
  },
];

describe('bad input: connections', () => testRows(scene, rows));
