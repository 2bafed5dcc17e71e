import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RpcMethods } from '../../src/rpc/rpc-methods.ts';
import { utf8Bytes } from '../../src/rpc/rpc-wire.ts';
import { seededRandom } from '../../src/testing/index.ts';
import { BarePeer } from '../helpers/rpc-world.ts';

const isLong = process.env['PORTICO_LONG'] === '1';
const seed = Number(process.env['PORTICO_SEED'] ?? 1);
const methods = new RpcMethods().method('echo', (params) => params);

/** The source of an id: a number in any of its spellings, or a string, perhaps escaped. */
const idText = fc.oneof(
  fc.maxSafeInteger().map(String),
  fc.bigInt().map(String),
  fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e200, max: 1e200 }).map((value) => JSON.stringify(value)),
  fc.constantFrom('-0', '1.0', '1e5', '1E+05', '0.10', '-12.50e-3', '9007199254740993', '1.000000000000000000001'),
  fc.string({ unit: 'grapheme' }).map((text) => JSON.stringify(text)),
  fc.constant('null'),
);
const space = fc.constantFrom('', ' ', '\n', '\t\r\n ');

describe('random requests', () => {
  it('are answered with the text of their id, wherever it stands and whatever else has that name', () => {
    const request = fc.record({
      id: idText,
      params: fc.oneof(fc.jsonValue(), fc.constant({ id: 5, nested: [{ id: '"id":6,', '"id":7': ['\\"id":8'] }] })),
      gap: space,
      order: fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 }),
    });
    const textOf = ({ id, params, gap, order }: { id: string; params: unknown; gap: string; order: number[] }): string => {
      const members = [
        `"jsonrpc"${gap}:"2.0"`,
        `"method":${gap}"echo"`,
        `"params":${JSON.stringify([params])}`,
        `${gap}"id"${gap}:${gap}${id}${gap}`,
      ];
      return `${gap}{${order.map((at) => members[at]).join(`${gap},`)}}${gap}`;
    };
    const peer = new BarePeer({}, { methods });
    fc.assert(
      fc.property(fc.array(request, { minLength: 1, maxLength: 5 }), (requests) => {
        // A JSON value that fast-check makes may have the one name that is refused.
        fc.pre(!requests.some(({ params }) => JSON.stringify(params).includes('__proto__')));
        for (const each of requests) peer.send(textOf(each));
        peer.send(`[${requests.map(textOf).join(',')}]`);
        const answers = peer.received.splice(0);
        const expected = requests.map(({ params, id }) => `{"jsonrpc":"2.0","result":[${JSON.stringify(params)}],"id":${id}}`);
        // A string comes back as JSON writes it.
        expect(answers).toEqual([...expected, `[${expected.join(',')}]`]);
      }),
      { seed, numRuns: isLong ? 20_000 : 300 },
    );
  });

  it('are as long in bytes as counted', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => utf8Bytes(text) === Buffer.byteLength(text)),
      { seed },
    );
  });
});

describe('znet-knet scenario 62: random input to JSON-RPC', () => {
  const count = isLong ? 1_000_000 : 5_000;
  const words = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '"jsonrpc":"2.0"',
    '"method":',
    '"echo"',
    '"params":',
    '"id":',
    '1',
    '-',
    'e',
    'null',
    '"x"',
    ' ',
  ];
  const own = [
    '"rpc.cancel"',
    '"rpc.stream.item"',
    '"rpc.stream.credit"',
    '"stream":',
    '"result":',
    '"error":',
    '{"code":1}',
    '__proto__',
    '\u00e9',
  ];

  it(`${count} random messages crash nothing and leave nothing behind`, { timeout: 600_000 }, async () => {
    const random = seededRandom(seed);
    const pieces = [...words, ...own];
    const peer = new BarePeer({ maxMessageBytes: 65_536 }, { methods });
    const baseline = heapBytes();
    for (let round = 0; round < count; round++) {
      const length = Math.floor(random() * 24);
      if (round % 3 === 0) {
        peer.send(Uint8Array.from({ length }, () => Math.floor(random() * 256)));
      } else {
        const text = Array.from({ length }, () => pieces[Math.floor(random() * pieces.length)]).join('');
        peer.send(round % 3 === 1 ? text : `{"jsonrpc":"2.0","method":"echo",${text}}`);
      }
      if (round % 1000 === 0) {
        for (const text of peer.received.splice(0)) JSON.parse(text);
        await peer.settle();
      }
    }
    peer.received.length = 0;
    expect(peer.errors, `seed ${seed}`).toEqual([]);
    expect([peer.rpc.runningCalls, peer.rpc.pendingCalls]).toEqual([0, 0]);
    expect(peer.rpc.counters.invalid).toBeGreaterThan(count / 2);
    expect(heapBytes()).toBeLessThan(baseline + 16_000_000);
    peer.ask({ jsonrpc: '2.0', method: 'echo', params: ['alive'], id: 1 });
    expect(peer.take()).toMatchObject([{ result: ['alive'] }]);
  });
});

/** After a full collection. */
function heapBytes(): number {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc()');
  return process.memoryUsage().heapUsed;
}
