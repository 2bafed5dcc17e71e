import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ByteReader } from '../src/base/byte-reader.ts';
import { DecimalPrefixHandler } from '../src/codec/decimal-prefix.ts';
import { DelimiterHandler } from '../src/codec/delimiter.ts';
import { LengthFieldHandler } from '../src/codec/length-field.ts';
import { LineHandler } from '../src/codec/line.ts';
import { withMaxPackageBytes, withPkgHandler, withReader, withReadTimeoutMs } from '../src/session/options.ts';
import { VirtualClock } from '../src/testing/virtual-clock.ts';
import { type Attack, type AttackSettings, memoryInUse, type Row, testRows } from './helpers/attack.ts';
import { clientHello, inRecords } from './helpers/client-hello.ts';
import { frame, framesIn, pattern, turns, until } from './helpers/raw-peer.ts';
import { type BytesSession, useScene, Watch } from './helpers/scene.ts';

const scene = useScene();
const lengthOf = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
/** An offender that sends these bytes and waits. */
const sends =
  (bytes: Uint8Array | string) =>
  async (attack: Attack): Promise<void> => {
    (await attack.offender()).pour(Buffer.from(bytes));
  };
const frames16K = (): AttackSettings => ({ options: [withPkgHandler(new LengthFieldHandler({ maxFrameBytes: 16_388 }))] });
const decimals = (): AttackSettings => ({
  options: [withPkgHandler(new DecimalPrefixHandler())],
  speak: (text) => Buffer.from(`${text.length} ${text}`),
});

/** Notes how often it is asked, and how much of what it is shown is new to it. */
class CountingHandler extends LengthFieldHandler {
  reads = 0;
  override read(bytes: ByteReader): Buffer | undefined {
    this.reads++;
    return super.read(bytes);
  }
}

class CountingLines extends LineHandler {
  looks = 0;
  override read(bytes: ByteReader): string | undefined {
    this.looks += bytes.length - bytes.examined;
    return super.read(bytes);
  }
}

/** Takes a millisecond for each package of an offender. */
class BusyWatch extends Watch {
  readonly #clock: VirtualClock;
  constructor(clock: VirtualClock) {
    super(true);
    this.#clock = clock;
  }
  override onMessage(session: BytesSession, pkg: Buffer): void {
    if (!String(pkg).startsWith('honest')) this.#clock.block(1);
    super.onMessage(session, pkg);
  }
}

class CountingClock extends VirtualClock {
  yields = 0;
  override yield(callback: () => void): void {
    this.yields++;
    super.yield(callback);
  }
}

const tooLarge = { closes: ['TOO_LARGE'], errors: ['PACKAGE_TOO_LARGE'] } as const;
const malformed = { closes: ['PROTOCOL'], errors: ['MALFORMED_PACKAGE'] } as const;

const rows: readonly Row[] = [
  {
    id: 1,
    what: 'a length of 0 where the length counts its own field',
    settings: () => ({
      options: [withPkgHandler(new LengthFieldHandler({ lengthAdjustment: -4 }))],
      speak: (text) => Buffer.concat([lengthOf(text.length + 4), Buffer.from(text)]),
    }),
    attack: sends(lengthOf(0)),
    ...malformed,
  },
  { id: 1, what: 'a negative length of 32 bits, which is a huge one without sign', attack: sends(lengthOf(0xffff_ffff)), ...tooLarge },
  {
    id: 1,
    what: 'a negative length of 64 bits',
    settings: () => ({
      options: [withPkgHandler(new LengthFieldHandler({ lengthFieldBytes: 8 }))],
      speak: (text) => Buffer.concat([lengthOf(0), frame(text)]),
    }),
    attack: sends(Buffer.alloc(8, 0xff)),
    ...tooLarge,
  },
  {
    id: 1,
    what: 'a length of 0 where packages may be empty: an empty package',
    attack: async (attack) => {
      const peer = await attack.offender();
      peer.pour(Buffer.concat([lengthOf(0), lengthOf(0), frame('x')]));
      expect(await peer.receive(13)).toEqual(Buffer.concat([lengthOf(0), lengthOf(0), frame('x')]));
    },
    closes: [],
    errors: [],
  },
  { id: 2, what: 'a length one above the limit', settings: frames16K, attack: sends(lengthOf(16_385)), ...tooLarge },
  {
    id: 2,
    what: 'a length of 2^31 - 1: nothing is allocated for it',
    settings: frames16K,
    attack: async (attack) => {
      const before = memoryInUse();
      for (let count = 0; count < 20; count++) (await attack.offender()).pour(lengthOf(2 ** 31 - 1));
      await attack.watch.closes(20);
      expect(memoryInUse() - before).toBeLessThan(2_000_000);
    },
    closes: Array<'TOO_LARGE'>(20).fill('TOO_LARGE'),
    errors: Array<'PACKAGE_TOO_LARGE'>(20).fill('PACKAGE_TOO_LARGE'),
  },
  {
    id: 2,
    what: 'a length above the limit of the session, where the framing would take it',
    settings: () => ({ options: [withMaxPackageBytes(1000)] }),
    attack: sends(lengthOf(997)),
    ...tooLarge,
  },
  {
    id: 3,
    what: 'a length without a body: the session waits 10 s, and holds what it was sent, not what was announced',
    attack: async (attack) => {
      const before = memoryInUse();
      for (let count = 0; count < 100; count++) (await attack.offender()).pour(Buffer.concat([lengthOf(1_000_000), Buffer.alloc(100)]));
      for (let index = 0; index < 100; index++) await attack.read(104, index);
      expect((await attack.session()).stats().bufferedBytes).toBe(104);
      expect(memoryInUse() - before).toBeLessThan(5_000_000);
      await attack.pass(9900);
      await attack.honest();
      expect(attack.watch.reasons).toEqual([]);
      await attack.pass(150);
    },
    closes: Array<'TIMEOUT'>(100).fill('TIMEOUT'),
    errors: Array<'PACKAGE_TIMEOUT'>(100).fill('PACKAGE_TIMEOUT'),
  },
  {
    id: 4,
    what: 'a header of one byte every two seconds: the time for a package does not begin anew with each byte',
    settings: () => ({ options: [withReadTimeoutMs(5000)] }),
    attack: async (attack) => {
      const peer = await attack.offender();
      for (let count = 1; count <= 3; count++) {
        await peer.send(Buffer.of(0));
        await attack.read(count);
        await attack.honest();
        expect(attack.watch.reasons).toEqual([]);
        await attack.pass(2000);
      }
    },
    closes: ['TIMEOUT'],
    errors: ['PACKAGE_TIMEOUT'],
  },
  {
    id: 5,
    what: 'a frame of 16 KiB in segments of one byte: accepted, and the framing is asked three times, not 16 384 times',
    settings: () => ({ options: [withPkgHandler(new CountingHandler())] }),
    attack: async (attack) => {
      const handler = (await attack.session(-1)).settings.reader as CountingHandler;
      const peer = await attack.offender();
      const session = await attack.session();
      const bytes = frame(pattern(16_380));
      const before = handler.reads;
      for (let at = 0; at < bytes.length; at++) {
        peer.socket.write(bytes.subarray(at, at + 1));
        while (session.connection.bytesRead <= at) await turns(1);
        if (at === 8000) await attack.honest();
      }
      expect((await peer.receive(bytes.length)).equals(bytes)).toBe(true);
      // One for the length, one for the body; two are of the honest client.
      expect(handler.reads - before).toBeLessThanOrEqual(5);
    },
    closes: [],
    errors: [],
  },
  {
    id: 5,
    what: 'a line in segments of one byte: every byte is looked at once',
    settings: () => ({
      options: [withReader(new CountingLines() as never)],
      speak: (text) => Buffer.from(`${text}\n`),
      watch: new (class extends Watch {
        override onMessage(session: BytesSession, line: Buffer): void {
          session.writeBytes(Buffer.from(`${String(line)}\n`)).catch(() => {});
        }
      })(false),
    }),
    attack: async (attack) => {
      const lines = (await attack.session(-1)).settings.reader as unknown as CountingLines;
      const peer = await attack.offender();
      const session = await attack.session();
      const text = `${'x'.repeat(3000)}\n`;
      const before = lines.looks;
      for (let at = 0; at < text.length; at++) {
        peer.socket.write(text[at] ?? '');
        while (session.connection.bytesRead <= at) await turns(1);
      }
      await peer.receive(text.length);
      expect(lines.looks - before).toBe(text.length);
    },
    closes: [],
    errors: [],
  },
  {
    id: 6,
    what: 'a thousand frames in one segment that take a millisecond each: in order, and others get their turn in between',
    settings: () => {
      const clock = new CountingClock();
      return { clock, watch: new BusyWatch(clock) };
    },
    attack: async (attack) => {
      const clock = attack.clock as CountingClock;
      const peer = await attack.offender();
      const bytes = Buffer.concat(Array.from({ length: 1000 }, (_, index) => frame(`frame ${index}`)));
      const before = clock.yields;
      peer.pour(bytes);
      await attack.read(1);
      await attack.honest();
      const handledThen = attack.watch.packages.length;
      expect((await peer.receive(bytes.length)).equals(bytes)).toBe(true);
      expect(handledThen).toBeLessThan(900);
      // The clock is looked at every 64 packages.
      expect(clock.yields - before).toBeGreaterThanOrEqual(14);
    },
    closes: [],
    errors: [],
  },
  {
    id: 7,
    what: 'two frames cut at every offset: the same two frames',
    attack: async (attack) => {
      const bytes = Buffer.concat([frame('abc'), frame('defgh')]);
      for (let cut = 0; cut <= bytes.length; cut++) {
        const peer = await attack.offender();
        if (cut > 0) peer.pour(bytes.subarray(0, cut));
        await attack.read(cut, cut);
        peer.pour(bytes.subarray(cut));
        expect(framesIn(await peer.receive(bytes.length)).map(String)).toEqual(['abc', 'defgh']);
      }
    },
    closes: [],
    errors: [],
  },
  ...[
    { name: 'a TLS ClientHello', bytes: inRecords(clientHello({ supportedVersions: [0x0304, 0x0303] })) },
    { name: 'an HTTP request', bytes: 'GET / HTTP/1.1\r\nHost: a.test\r\n\r\n' },
    { name: 'an SSH banner', bytes: 'SSH-2.0-OpenSSH_9.6\r\n' },
  ].flatMap(({ name, bytes }): Row[] => {
    const attack = async (attack: Attack): Promise<void> => {
      const peer = await attack.offender();
      peer.pour(Buffer.from(bytes));
      await peer.closed();
      expect(peer.length, 'bytes of a reply').toBe(0);
    };
    return [
      { id: 8, what: `${name} on a port with length fields: at once, no reply`, attack, ...tooLarge },
      { id: 8, what: `${name} on a port with decimal lengths: at once, no reply`, settings: decimals, attack, ...malformed },
    ];
  }),
  {
    id: 16,
    what: 'a megabyte without a delimiter',
    settings: () => ({
      options: [withPkgHandler(new DelimiterHandler({ delimiters: ['||'] }))],
      speak: (text) => Buffer.from(`${text}||`),
    }),
    attack: async (attack) => {
      const peer = await attack.offender();
      peer.pour(Buffer.alloc(1_000_000, 'x'));
      const session = await attack.session();
      await until(() => session.isClosed, 'the session to close');
      expect(session.stats().bufferedBytes).toBe(0);
    },
    ...tooLarge,
  },
];

describe('bad input: packages', () => testRows(scene, rows));

describe('the list', () => {
  it('has a test for every number', () => {
    const files = readdirSync(import.meta.dirname).filter((file) => /^bad-input.*\.test\.ts$/.test(file));
    const text = files.map((file) => readFileSync(path.join(import.meta.dirname, file), 'utf8')).join('\n');
    const numbers = new Set([...text.matchAll(/\bid: (\d+)|describe\('(\d+) /g)].map(([, row, block]) => Number(row ?? block)));
    const expected = [...Array.from({ length: 16 }, (_, index) => index + 1), 104, 105, 106, 107, 109, 110, 111, 112, 113, 114];
    expect([...numbers].sort((a, b) => a - b)).toEqual(expected);
  });
});
