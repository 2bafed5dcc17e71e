import { expect, it } from 'vitest';
import { PackageReader } from '../../src/codec/package-reader.ts';
import { CommandHandler, type CommandMessage } from '../../src/command/command-handler.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { codeOf, Recorder } from '../helpers/session-recorder.ts';

interface Read {
  readonly messages: string[];
  readonly errors: string[];
}

/** What a stream of these bytes is decoded to, when it comes in chunks of this size. */
function read(bytes: Buffer, chunkBytes: number, maxPayloadBytes = 10): Read {
  const seen: Read = { messages: [], errors: [] };
  const sink = {
    onPackage: ({ id, payload }: CommandMessage) => {
      seen.messages.push(`${id}:${payload}`);
      return true;
    },
    onPackageError: (error: Error & { readonly code: string }) => void seen.errors.push(`${error.code} ${error.message}`),
  };
  const reader = new PackageReader(new CommandHandler({ maxPayloadBytes }), sink, 0);
  for (let at = 0; at < bytes.length; at += chunkBytes) reader.feed(bytes.subarray(at, at + chunkBytes));
  return seen;
}

const HELLO = '000000090000000168656c6c6f';

it('reads the same messages however the stream is cut', () => {
  const bytes = Buffer.from(`${HELLO}00000004ffffffff0000000e0000000230313233343536373839`, 'hex');
  for (let chunkBytes = 1; chunkBytes <= bytes.length; chunkBytes++) {
    expect(read(bytes, chunkBytes)).toEqual({ messages: ['1:hello', '4294967295:', '2:0123456789'], errors: [] });
  }
});

it('refuses a size without room for an id, and a payload above the limit before it comes', () => {
  expect(read(Buffer.from(`${HELLO}00000003`, 'hex'), 5)).toEqual({
    messages: ['1:hello'],
    errors: ['MALFORMED_PACKAGE Invalid message format'],
  });
  expect(read(Buffer.from('0000000f', 'hex'), 4).errors).toEqual(['PACKAGE_TOO_LARGE expected a payload of at most 10 bytes, given 11']);
  expect(read(Buffer.from('ffffffff', 'hex'), 1).errors).toHaveLength(1);
});

it('writes what it reads, on streams and as messages', async () => {
  for (const kind of ['stream', 'message'] as const) {
    const world = new MemoryWorld({ kind, split: kind === 'stream' ? 'bytes' : 'none' });
    const seen = new Recorder<CommandMessage>();
    await world.server(new CommandHandler(), seen);
    const session = await world.connect<CommandMessage, CommandMessage>(new CommandHandler(), new Recorder<CommandMessage>());
    session.send({ id: 1, payload: Buffer.from('hello') });
    session.send({ id: 0xffffffff, payload: new Uint8Array(0) });
    await seen.until('message', 2);
    expect(seen.packages.map(({ id, payload }) => `${id}:${payload}`)).toEqual(['1:hello', '4294967295:']);
    expect(session.stats().bytesWritten).toBe(kind === 'stream' ? 21 : 13);
  }
});

it('refuses to write what is no command', async () => {
  const world = new MemoryWorld();
  await world.server(new CommandHandler(), new Recorder<CommandMessage>());
  const session = await world.connect<CommandMessage, CommandMessage>(
    new CommandHandler({ maxPayloadBytes: 2 }),
    new Recorder<CommandMessage>(),
  );
  expect(await codeOf(() => session.send({ id: 1, payload: Buffer.alloc(3) }))).toBe('ENCODED_TOO_LARGE');
  for (const id of [-1, 2 ** 32, 1.5, Number.NaN])
    expect(await codeOf(() => session.send({ id, payload: Buffer.alloc(0) }))).toBe('NO_PACKAGE');
  expect(await codeOf(() => session.send({ id: 1, payload: 'text' as never }))).toBe('NO_PACKAGE');
  expect(() => new CommandHandler({ maxPayloadBytes: -1 })).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});
