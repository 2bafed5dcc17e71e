import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import * as ws from 'ws';
import { WsFrameReader } from '../../src/transport/ws-frame-reader.ts';
import { unmask, wordsOf } from '../../src/transport/ws-unmask.ts';

/** The parts of `ws` that its types leave out. */
interface WsReceiver {
  on(name: 'message', listener: (data: Buffer, isBinary: boolean) => void): this;
  on(name: 'ping' | 'pong', listener: (data: Buffer) => void): this;
  on(name: 'conclude', listener: (code: number, reason: Buffer) => void): this;
  on(name: 'error', listener: (error: Error) => void): this;
  write(bytes: Buffer): boolean;
}
const { Receiver, Sender } = ws as unknown as {
  readonly Receiver: new (options: object) => WsReceiver;
  readonly Sender: { frame(data: Buffer, options: object): Buffer[] };
};

/** `ws` reports what is wrong a little later. */
function reported(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What a reader told, in order; the message bytes are copied, for they are only lent. */
class Told {
  readonly events: string[] = [];
  readonly ws: WsReceiver;
  fastMessages = 0;
  hasFailed = false;

  constructor(isServer: boolean, maxPayload: number) {
    this.ws = new Receiver({ isServer, maxPayload, allowSynchronousEvents: true, binaryType: 'nodebuffer', extensions: {} });
    this.ws.on('message', (data: Buffer, isBinary: boolean) => this.note(isBinary ? 'binary' : 'text', data));
    this.ws.on('ping', (data: Buffer) => this.note('ping', data));
    this.ws.on('pong', (data: Buffer) => this.note('pong', data));
    this.ws.on('conclude', (code: number, reason: Buffer) => this.events.push(`close ${code} ${reason}`));
    this.ws.on('error', (error: Error) => {
      this.hasFailed = true;
      this.events.push(`error ${Reflect.get(error, 'code')}`);
    });
  }

  note(what: string, data: Buffer): void {
    this.events.push(
      `${what} ${data.length} ${data.toString('hex').slice(0, 64)} ${data.reduce((sum, byte) => (sum * 31 + byte) >>> 0, 7)}`,
    );
  }

  onFrameMessage(payload: Buffer, isText: boolean): void {
    this.fastMessages++;
    this.note(isText ? 'text' : 'binary', payload);
  }

  passOn(bytes: Buffer): void {
    this.ws.write(Buffer.from(bytes));
  }
}

interface FrameSpec {
  readonly opcode: number;
  readonly fin: boolean;
  readonly payload: Uint8Array;
  readonly rsv1?: boolean;
}

function frame({ opcode, fin, payload, rsv1 = false }: FrameSpec, isMasked: boolean): Buffer {
  const options = { opcode, fin, rsv1, mask: isMasked, readOnly: true };
  return Buffer.concat(Sender.frame(Buffer.from(payload), options));
}

function cutAt(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, index) => bytes.subarray(from, at[index] ?? bytes.length)).filter((piece) => piece.length > 0);
}

/** The chunk is overwritten after each read, as the shared read buffer is. */
async function readAll(chunks: readonly Buffer[], isServer: boolean, maxPayload: number, offset: number): Promise<Told> {
  const told = new Told(isServer, maxPayload);
  const reader = new WsFrameReader(told, isServer);
  reader.maxPayloadBytes = maxPayload;
  const memory = Buffer.alloc(200_000);
  for (const chunk of chunks) {
    memory.set(chunk, offset);
    reader.read(memory.subarray(offset, offset + chunk.length));
    memory.fill(0xee, 0, offset + chunk.length);
    // As between two reads of a socket; an error makes the connection deaf.
    await reported();
    if (told.hasFailed) break;
  }
  await reported();
  return told;
}

async function oracle(bytes: Buffer, isServer: boolean, maxPayload: number): Promise<Told> {
  const told = new Told(isServer, maxPayload);
  // It unmasks in place.
  told.ws.write(Buffer.from(bytes));
  await reported();
  return told;
}

const text = fc.string({ maxLength: 40 }).map((value) => Buffer.from(value));
const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.uint8Array({ minLength: 120, maxLength: 140 }),
  fc.constant(new Uint8Array(9_000).fill(7)),
);
const message = fc.oneof(
  { weight: 6, arbitrary: bytes.map((payload): FrameSpec[] => [{ opcode: 2, fin: true, payload }]) },
  { weight: 4, arbitrary: text.map((payload): FrameSpec[] => [{ opcode: 1, fin: true, payload }]) },
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 125 }).map((payload): FrameSpec[] => [{ opcode: 9, fin: true, payload }]) },
  {
    weight: 2,
    arbitrary: fc.tuple(bytes, bytes).map(([one, two]): FrameSpec[] => [
      { opcode: 2, fin: false, payload: one },
      { opcode: 10, fin: true, payload: Buffer.from('between') },
      { opcode: 0, fin: true, payload: two },
    ]),
  },
);
const mischief = fc.constantFrom<FrameSpec>(
  { opcode: 1, fin: true, payload: Buffer.from('ff fe', 'hex') },
  { opcode: 0, fin: true, payload: Buffer.from('no beginning') },
  { opcode: 3, fin: true, payload: Buffer.from('no such kind') },
  { opcode: 2, fin: true, rsv1: true, payload: Buffer.from('no extension') },
  { opcode: 9, fin: false, payload: Buffer.from('a cut ping') },
  { opcode: 8, fin: true, payload: Buffer.from([3, 232, 98, 121, 101]) },
  { opcode: 8, fin: true, payload: Buffer.from([3]) },
  { opcode: 2, fin: true, payload: new Uint8Array(20_001) },
  { opcode: 2, fin: false, payload: Buffer.from('begun, and then another begins') },
);

describe('WsFrameReader', () => {
  it.each([true, false])('tells what ws would tell, however the stream is cut (isServer: %s)', async (isServer) => {
    const stream = fc.tuple(fc.array(message, { maxLength: 6 }), fc.option(mischief), fc.array(message, { maxLength: 3 }));
    await fc.assert(
      fc.asyncProperty(stream, fc.array(fc.nat(), { maxLength: 12 }), fc.nat(7), async ([before, bad, after], cuts, offset) => {
        const specs = [...before.flat(), ...(bad === null ? [] : [bad]), ...after.flat()];
        const wire = Buffer.concat(specs.map((spec) => frame(spec, isServer)));
        const expected = await oracle(wire, isServer, 20_000);
        const told = await readAll(cutAt(wire, cuts), isServer, 20_000, offset);
        expect(told.events).toEqual(expected.events);
      }),
      { numRuns: 150 },
    );
  });

  it('tells the same when bytes come one by one', async () => {
    const specs: FrameSpec[] = [
      { opcode: 2, fin: true, payload: Buffer.alloc(0) },
      { opcode: 2, fin: true, payload: randomBytes(200) },
      { opcode: 1, fin: true, payload: Buffer.from('grüße') },
      { opcode: 9, fin: true, payload: Buffer.from('ping') },
      { opcode: 2, fin: true, payload: randomBytes(700) },
      { opcode: 8, fin: true, payload: Buffer.from([3, 232]) },
    ];
    const wire = Buffer.concat(specs.map((spec) => frame(spec, true)));
    const chunks = Array.from(wire, (byte) => Buffer.of(byte));
    const told = await readAll(chunks, true, 0, 1);
    expect(told.events).toEqual((await oracle(wire, true, 0)).events);
  });

  it('reads whole messages itself and leaves the rest to ws', async () => {
    const specs: FrameSpec[] = [
      { opcode: 2, fin: true, payload: randomBytes(64) },
      { opcode: 1, fin: true, payload: Buffer.from('text') },
      { opcode: 9, fin: true, payload: Buffer.alloc(0) },
      { opcode: 2, fin: true, payload: randomBytes(70_000) },
    ];
    const told = await readAll([Buffer.concat(specs.map((spec) => frame(spec, true)))], true, 0, 0);
    expect(told.fastMessages).toBe(3);
    expect(told.events).toHaveLength(4);
  });

  it('takes no memory for an announced length, and knows that a message has begun', () => {
    const told = new Told(true, 0);
    const reader = new WsFrameReader(told, true);
    const before = process.memoryUsage().arrayBuffers;
    reader.read(Buffer.from('82ff 00000000 7f000000 01020304 aa'.replaceAll(' ', ''), 'hex'));
    expect(reader.isMidMessage).toBe(true);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
    expect(told.events).toEqual([]);
  });

  it('refuses an unmasked frame of a client, and a masked one of a server, through ws', async () => {
    const spec: FrameSpec = { opcode: 2, fin: true, payload: Buffer.from('x') };
    expect((await readAll([frame(spec, false)], true, 0, 0)).events).toEqual(['error WS_ERR_EXPECTED_MASK']);
    expect((await readAll([frame(spec, true)], false, 0, 0)).events).toEqual(['error WS_ERR_UNEXPECTED_MASK']);
  });
});

describe('unmask', () => {
  it('XORs with the key at any alignment and length', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(7), fc.uint8Array({ minLength: 4, maxLength: 4 }), (payload, offset, key) => {
        const memory = Buffer.allocUnsafeSlow(128).fill(1);
        const view = memory.subarray(offset, offset + 4 + payload.length);
        view.set(key, 0);
        view.set(payload, 4);
        unmask(view, wordsOf(view.buffer), 4, view.length, 0);
        expect([...view.subarray(4)]).toEqual([...payload].map((byte, index) => byte ^ (key[index & 3] as number)));
        expect([...memory.subarray(0, offset), ...memory.subarray(offset + view.length)].every((byte) => byte === 1)).toBe(true);
      }),
    );
  });
});
