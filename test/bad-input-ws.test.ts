import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { withHandshakeTimeoutMs } from '../src/endpoint/options.ts';
import { withMaxFragments, withOrigins, withPath, withPermessageDeflate, withTextPolicy } from '../src/endpoint/ws-options.ts';
import { withMaxPackageBytes } from '../src/session/options.ts';
import { memoryInUse } from './helpers/attack.ts';
import { turns, until } from './helpers/raw-peer.ts';
import { MEMORY_SLACK_BYTES, testWsRows, type WsRow } from './helpers/ws-attack.ts';
import { closeFrame, KEY, OPCODE, type RequestOptions, upgradeRequest, wsFrame } from './helpers/ws-peer.ts';
import { useWsScene } from './helpers/ws-scene.ts';

const ws = useWsScene();
const { BINARY, CONTINUATION, PING, PONG, TEXT } = OPCODE;
const deflated = (text: string | Buffer): Buffer => deflateRawSync(text, { finishFlush: 2 }).subarray(0, -4);
const extension = (params = ''): RequestOptions => ({ headers: { 'Sec-WebSocket-Extensions': `permessage-deflate${params}` } });
const manyHeaders = Object.fromEntries(Array.from({ length: 2001 }, (_, index) => [`x${index}`, '']));
const foreign = (Origin: string | undefined): RequestOptions => ({ headers: { Origin } });

const rows: readonly WsRow[] = [
  {
    id: 'D17',
    what: 'a frame of a client without mask',
    attack: async (target) => expect(await target.statusOf(wsFrame(BINARY, 'x', { isMasked: false }))).toBe(1002),
  },
  {
    id: 'D18',
    what: 'reserved bits and reserved opcodes',
    attack: async (target) => {
      for (const rsv of [1, 2, 3, 4, 5, 6, 7]) expect(await target.statusOf(wsFrame(BINARY, 'x', { rsv })), `rsv ${rsv}`).toBe(1002);
      for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
        expect(await target.statusOf(wsFrame(opcode)), `opcode ${opcode}`).toBe(1002);
    },
  },
  {
    id: 'D19',
    what: 'control frames that are too large or in fragments',
    attack: async (target) => {
      for (const opcode of [OPCODE.CLOSE, PING, PONG]) {
        expect(await target.statusOf(wsFrame(opcode, Buffer.alloc(126)))).toBe(1002);
        expect(await target.statusOf(wsFrame(opcode, '', { fin: false }))).toBe(1002);
      }
    },
  },
  {
    id: 'D20',
    what: 'lengths that no message has, before any memory is taken',
    attack: async (target) => {
      const before = memoryInUse();
      for (const claims of [2n ** 63n, 2n ** 53n + 1n, 2n ** 64n - 1n, 2n ** 40n, 1_048_577n]) {
        expect(await target.statusOf(wsFrame(BINARY, '', { claims })), String(claims)).toBe(1009);
      }
      expect(memoryInUse() - before).toBeLessThan(MEMORY_SLACK_BYTES);
    },
  },
  {
    id: 'D21',
    what: 'a continuation of nothing, and a message inside a message',
    attack: async (target) => {
      expect(await target.statusOf(wsFrame(CONTINUATION, 'x'))).toBe(1002);
      expect(await target.statusOf(wsFrame(BINARY, 'a', { fin: false }), wsFrame(BINARY, 'b'))).toBe(1002);
    },
  },
  {
    id: 'D22',
    what: '65 fragments where 64 are allowed, and 100,000 empty ones by default',
    options: [withMaxFragments(64)],
    attack: async (target) => {
      const fragments = (count: number, body: string): Buffer[] => [
        wsFrame(BINARY, body, { fin: false }),
        ...Array.from({ length: count - 1 }, () => wsFrame(CONTINUATION, body, { fin: false })),
      ];
      const allowed = await target.peer();
      allowed.pour(...fragments(63, 'x'), wsFrame(CONTINUATION, 'x'));
      expect(await allowed.messagesIn(1)).toEqual(['x'.repeat(64)]);
      allowed.raw.destroy();
      expect(await target.statusOf(...fragments(65, 'x'))).toBe(1008);
      expect(await target.statusOf(...fragments(2000, ''))).toBe(1008);
    },
  },
  {
    id: 'D23',
    what: 'text on a server for binary',
    options: [withTextPolicy('reject')],
    attack: async (target) => expect(await target.statusOf(wsFrame(TEXT, 'text'))).toBe(1003),
  },
  {
    id: 'D23',
    what: 'UTF-8 that is wrong only when its fragments are put together',
    attack: async (target) => {
      const euro = Buffer.from('€');
      const peer = await target.peer();
      peer.pour(wsFrame(TEXT, euro.subarray(0, 1), { fin: false }), wsFrame(CONTINUATION, euro.subarray(1)));
      expect(await peer.messagesIn(1)).toEqual(['€']);
      peer.pour(wsFrame(TEXT, euro.subarray(0, 2), { fin: false }), wsFrame(CONTINUATION, 'x'));
      expect(await peer.closed()).toBe(1007);
      peer.raw.destroy();
    },
  },
  {
    id: 'D24',
    what: 'close frames that must not be',
    attack: async (target) => {
      for (const status of [0, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65_535]) {
        expect(await target.statusOf(closeFrame(status)), String(status)).toBe(1002);
      }
      expect(await target.statusOf(wsFrame(OPCODE.CLOSE, 'x'))).toBe(1002);
      expect(await target.statusOf(closeFrame(1000, Buffer.of(0xff)))).toBe(1007);
      await until(() => target.echo.watch.reasons.length === 13, 'one close each');
      expect(new Set(target.echo.watch.reasons.map(({ code }) => code))).toEqual(new Set(['PROTOCOL']));
    },
  },
  {
    id: 'D25',
    what: 'a flood of pings',
    attack: async (target) => {
      const limits: unknown[] = [];
      const onLimit = (message: unknown): void => void limits.push(message);
      subscribe('portico:limit', onLimit);
      const peer = await target.peer();
      peer.pour(...Array.from({ length: 10_000 }, (_, index) => wsFrame(PING, String(index))));
      expect(await peer.closed()).toBe(4429);
      expect(peer.frames.filter(({ opcode }) => opcode === PONG).length).toBeLessThanOrEqual(101);
      const { errors } = target.echo.watch;
      expect(errors.map((error) => error.code)).toEqual(['RATE_EXCEEDED']);
      expect(limits).toMatchObject([{ limit: 'ws-pings', error: errors[0] }]);
      unsubscribe('portico:limit', onLimit);
      peer.raw.destroy();
    },
  },
  {
    id: 'D26',
    what: 'bombs and nonsense in compressed messages, and windows that zlib does not have',
    options: [withPermessageDeflate({}), withMaxPackageBytes(65_536)],
    attack: async (target) => {
      const send = async (payload: Buffer): Promise<number | undefined> => {
        const peer = await ws.peer(target.echo, '/', extension());
        peer.pour(wsFrame(BINARY, payload, { rsv: 4 }));
        const status = await peer.closed();
        peer.raw.destroy();
        return status;
      };
      const bomb = deflated(Buffer.alloc(1_048_576));
      expect(bomb.length).toBeLessThan(1100);
      expect(await send(bomb)).toBe(1009);
      expect(await send(Buffer.from('no deflate at all'))).toBe(1007);
      for (const bits of [0, 7, 16, 99]) {
        expect(await target.answerTo('/', extension(`; server_max_window_bits=${bits}`)), String(bits)).toBe(400);
        expect(await target.answerTo('/', extension(`; client_max_window_bits=${bits}`)), String(bits)).toBe(400);
      }
    },
  },
  {
    id: 'D27',
    what: 'requests that are almost right',
    attack: async (target) => {
      const ask = (headers: Record<string, string | undefined>, options: RequestOptions = {}): Promise<number> =>
        target.answerTo('/', { ...options, headers });
      expect(await ask({ 'Sec-WebSocket-Key': undefined })).toBe(400);
      expect(await ask({ 'Sec-WebSocket-Key': 'short' })).toBe(400);
      expect(await ask({ 'sec-websocket-KEY': KEY })).toBe(400);
      expect(await ask({ 'Sec-WebSocket-Version': '12' })).toBe(426);
      expect(await ask({ 'Sec-WebSocket-Version': '8' })).toBe(426);
      expect(await ask({ 'Sec-WebSocket-Version': undefined })).toBe(426);
      expect(await ask({ 'Content-Length': '5' })).toBe(400);
      expect(await ask({ Upgrade: 'h2c' })).toBe(426);
      expect(await ask({}, { version: '1.0' })).toBe(400);
      expect(await ask({}, { method: 'PUT' })).toBe(405);
      expect(await ask({ 'Sec-WebSocket-Protocol': 'a, a' })).toBe(400);
      expect(await ask({ 'Sec-WebSocket-Protocol': 'a b' })).toBe(400);
      expect(target.echo.watch.opened).toHaveLength(1);
    },
  },
  {
    id: 'D28',
    what: 'origins: foreign, missing and malformed',
    options: [withOrigins(['https://good.example'], { allowMissing: true })],
    attack: async (target) => {
      for (const origin of ['https://bad.example', 'null', 'http://[', '*', '', 'https://good.example/']) {
        expect(await target.answerTo('/', foreign(origin)), origin).toBe(403);
      }
      const strict = await ws.server(withOrigins(['https://good.example']));
      const any = await ws.server(withOrigins(['*']));
      for (const [echo, status] of [
        [target.echo, 101],
        [strict, 403],
        [any, 101],
      ] as const) {
        expect(await (await ws.asked(echo, '/', foreign(undefined))).answered()).toBe(status);
      }
      expect(await (await ws.asked(any, '/', foreign('https://bad.example'))).answered()).toBe(101);
    },
  },
  {
    id: 'D29',
    what: 'headers that are too many or too large',
    attack: async (target) => {
      expect(await target.answerTo('/', { headers: manyHeaders })).toBe(431);
      expect(await target.answerTo('/', { headers: { 'X-Large': 'x'.repeat(20_000) } })).toBe(431);
      expect(await target.answerTo('/', { headers: { 'Sec-WebSocket-Protocol': 'p,'.repeat(16_384) } })).toBe(431);
    },
  },
  {
    id: 'D30',
    what: 'frames in one piece with the request: good ones and a bad one',
    attack: async (target) => {
      const peer = await ws.connected(target.echo);
      peer.pour(upgradeRequest(), wsFrame(BINARY, 'early'), wsFrame(BINARY, 'x', { rsv: 7 }));
      expect(await peer.closed()).toBe(1002);
      expect(peer.messages).toEqual(['early']);
      peer.raw.destroy();
    },
  },
  {
    id: 'D31',
    what: 'a request that never ends, an unknown path, another method',
    options: [withPath('/'), withHandshakeTimeoutMs(5000)],
    attack: async (target) => {
      const slow = await ws.connected(target.echo);
      slow.pour('GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ');
      await turns(5);
      expect(await target.answerTo('/nowhere')).toBe(404);
      expect(await target.answerTo('/', { method: 'POST' })).toBe(405);
      await target.clock.advance(5010);
      expect(await slow.answered()).toBe(408);
      slow.raw.destroy();
    },
  },
];

describe('bad input over WebSocket: the checklist', () => {
  testWsRows(ws, rows);

  it('covers rows 17 to 31 of the checklist', () => {
    const expected = Array.from({ length: 15 }, (_, index) => `D${17 + index}`);
    expect([...new Set(rows.map(({ id }) => id))]).toEqual(expected);
  });

  it('garbage on the port of a WebSocket server is answered with 400, or with nothing', async () => {
    const echo = await ws.server();
    for (const bytes of ['SSH-2.0-x\r\n\r\n', Buffer.of(0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc), '\r\n\r\n\0\0\0', 'GET / HTTP/9.9\r\n\r\n']) {
      const peer = await ws.connected(echo);
      peer.pour(bytes);
      expect([400, 0]).toContain(await peer.answered());
      peer.raw.destroy();
    }
    expect(echo.watch.opened).toEqual([]);
  });
});
