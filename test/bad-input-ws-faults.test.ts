import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { withHandshakeTimeoutMs } from '../src/endpoint/options.ts';
import { withMaxFragments, withMessageTimeoutMs, withPermessageDeflate, withPing } from '../src/endpoint/ws-options.ts';
import { withMaxPackageBytes } from '../src/session/options.ts';
import { memoryInUse } from './helpers/attack.ts';
import { turns } from './helpers/raw-peer.ts';
import { MEMORY_SLACK_BYTES, testWsRows, type WsRow } from './helpers/ws-attack.ts';
import { OPCODE, type RequestOptions, upgradeRequest, wsFrame } from './helpers/ws-peer.ts';
import { useWsScene } from './helpers/ws-scene.ts';

const ws = useWsScene();
const { BINARY, CONTINUATION, PING } = OPCODE;
const deflated = (text: string | Buffer): Buffer => deflateRawSync(text, { finishFlush: 2 }).subarray(0, -4);
const extension = (params = ''): RequestOptions => ({ headers: { 'Sec-WebSocket-Extensions': `permessage-deflate${params}` } });
const manyHeaders = Object.fromEntries(Array.from({ length: 2001 }, (_, index) => [`x${index}`, '']));

const rows: readonly WsRow[] = [
  {
    id: 'C1',
    what: 'tiny fragments that eat memory',
    options: [withMaxFragments(64)],
    attack: async (target) => {
      const before = memoryInUse();
      const tiny = Buffer.concat([wsFrame(BINARY, 'x', { fin: false }), ...Array(64).fill(wsFrame(CONTINUATION, 'x', { fin: false }))]);
      for (let connection = 0; connection < 40; connection++) expect(await target.statusOf(tiny)).toBe(1008);
      expect(memoryInUse() - before).toBeLessThan(MEMORY_SLACK_BYTES);
    },
  },
  {
    id: 'C2',
    what: 'a message whose last fragment never comes, and a frame whose last byte does not',
    options: [withMessageTimeoutMs(10_000), withPing(false)],
    attack: async (target) => {
      const [fragments, trickle] = [await target.peer(), await target.peer()];
      fragments.pour(wsFrame(BINARY, 'a', { fin: false }));
      trickle.pour(wsFrame(BINARY, 'complete'), wsFrame(BINARY, Buffer.alloc(1000)).subarray(0, 500));
      expect(await trickle.messagesIn(1)).toEqual(['complete']);
      for (let second = 0; second < 9; second++) {
        await target.clock.advance(1000);
        fragments.pour(wsFrame(CONTINUATION, '', { fin: false }));
        trickle.pour(Buffer.of(1));
        await turns(3);
      }
      expect([fragments.close, trickle.close]).toEqual([undefined, undefined]);
      await target.clock.advance(1010);
      expect([await fragments.closed(), await trickle.closed()]).toEqual([1008, 1008]);
      expect(target.echo.watch.errors.map((error) => error.code)).toEqual(['PACKAGE_TIMEOUT', 'PACKAGE_TIMEOUT']);
      for (const peer of [fragments, trickle]) peer.raw.destroy();
    },
  },
  {
    id: 'C3',
    what: '2,001 headers',
    attack: async (target) => expect(await target.answerTo('/', { headers: manyHeaders })).toBe(431),
  },
  {
    id: 'C4',
    what: 'spaces without end in Sec-WebSocket-Protocol',
    attack: async (target) => {
      const spaces = `a${' '.repeat(15_000)}b`;
      expect(await target.answerTo('/', { headers: { 'Sec-WebSocket-Protocol': spaces } })).toBe(400);
    },
  },
  {
    id: 'C5',
    what: 'extensions and headers with the names of what every object has',
    options: [withPermessageDeflate({})],
    attack: async (target) => {
      for (const name of ['__proto__', 'constructor', 'hasOwnProperty', 'toString; valueOf=1']) {
        expect(await target.answerTo('/', { headers: { 'Sec-WebSocket-Extensions': name } }), name).toBe(101);
      }
      expect(await target.answerTo('/', { headers: { __proto__x: '1', constructor: '2' } })).toBe(101);
    },
  },
  {
    id: 'C6',
    what: 'a pong carries what the ping did, and nothing of this process',
    attack: async (target) => {
      const peer = await target.peer();
      peer.pour(wsFrame(PING), wsFrame(PING, '16'));
      expect((await peer.framesIn(2)).map(({ payload }) => String(payload))).toEqual(['', '16']);
      peer.raw.destroy();
    },
  },
  {
    id: 'C12',
    what: 'a bad frame in the same segment as the request',
    attack: async (target) => {
      const peer = await ws.connected(target.echo);
      peer.pour(upgradeRequest(), wsFrame(BINARY, 'x', { rsv: 3 }));
      expect(await peer.closed()).toBe(1002);
      peer.raw.destroy();
    },
  },
  {
    id: 'C13',
    what: 'a reset after every byte of the request and of a frame',
    attack: async (target) => {
      const bytes = Buffer.concat([Buffer.from(upgradeRequest()), wsFrame(BINARY, 'x')]);
      for (let cut = 0; cut <= bytes.length; cut++) {
        const peer = await ws.connected(target.echo);
        await peer.raw.send(bytes.subarray(0, cut));
        peer.raw.reset();
      }
    },
  },
  {
    id: 'C14',
    what: 'lengths of 2^63, 2^53 + 1 and 2^64 - 1',
    attack: async (target) => {
      for (const claims of [2n ** 63n, 2n ** 53n + 1n, 2n ** 64n - 1n]) {
        expect(await target.statusOf(wsFrame(BINARY, '', { claims })), String(claims)).toBe(1009);
      }
    },
  },
  {
    id: 'C15',
    what: 'a megabyte of zeros in a kilobyte, in fragments, while it is inflated',
    options: [withPermessageDeflate({}), withMaxPackageBytes(100_000)],
    attack: async (target) => {
      const before = memoryInUse();
      const peer = await ws.peer(target.echo, '/', extension());
      const bomb = deflated(Buffer.alloc(1_048_576));
      peer.pour(wsFrame(BINARY, bomb.subarray(0, 500), { rsv: 4, fin: false }), wsFrame(CONTINUATION, bomb.subarray(500)));
      expect(await peer.closed()).toBe(1009);
      expect(memoryInUse() - before).toBeLessThan(MEMORY_SLACK_BYTES);
      peer.raw.destroy();
    },
  },
  {
    id: 'C16',
    what: 'every first byte, with lengths of every kind, masked and not',
    attack: async (target) => {
      // What may begin a frame has to be masked; all else is refused by its first byte.
      const isBeginning = (first: number): boolean => [0x81, 0x82, 0x88, 0x89, 0x8a, 0x01, 0x02].includes(first);
      for (let first = 0; first < 256; first++) {
        for (const second of isBeginning(first) ? [0, 125, 126, 127] : [first % 2 === 0 ? 0x7d : 0xff]) {
          expect(await target.statusOf(Buffer.of(first, second)), `${first} ${second}`).toBe(1002);
        }
      }
    },
  },
  {
    id: 'C17',
    what: 'windows that zlib does not have',
    options: [withPermessageDeflate({})],
    attack: async (target) => {
      for (const bits of ['0', '7', '16', '99', '', 'x', '-1']) {
        expect(await target.answerTo('/', extension(`; server_max_window_bits=${bits}`)), bits).toBe(400);
      }
      expect(await target.answerTo('/', extension('; unknown=1'))).toBe(400);
    },
  },
  {
    id: 'C18',
    what: 'a malformed Host and Origin',
    attack: async (target) => {
      for (const [Host, Origin] of [
        ['a b', 'http://['],
        ['[', 'https://x:99999'],
        ['', 'javascript:1'],
      ]) {
        expect(await target.answerTo('/', { headers: { Host, Origin } }), `${Host} ${Origin}`).toBe(403);
      }
      expect(await target.answerTo('//[?%', {})).toBe(101);
    },
  },
  {
    id: 'C25',
    what: 'a request that comes a byte at a time',
    options: [withHandshakeTimeoutMs(10_000)],
    attack: async (target) => {
      const slow = await ws.connected(target.echo);
      for (const byte of upgradeRequest().slice(0, 20)) {
        slow.pour(byte);
        await target.clock.advance(500);
        await turns(2);
      }
      await target.clock.advance(20);
      expect(await slow.answered()).toBe(408);
      slow.raw.destroy();
    },
  },
];

describe('bad input over WebSocket: faults that others had', () => {
  testWsRows(ws, rows);

  it('covers every row of the catalogue that is about WebSocket', () => {
    const expected = [1, 2, 3, 4, 5, 6, 12, 13, 14, 15, 16, 17, 18, 25].map((id) => `C${id}`);
    expect(rows.map(({ id }) => id)).toEqual(expected);
  });
});
