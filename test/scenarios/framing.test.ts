import { describe, expect, it } from 'vitest';
import type { ByteReader } from '../../src/base/byte-reader.ts';
import type { Option } from '../../src/base/option.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import { LineHandler } from '../../src/codec/line.ts';
import type { PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';
import { withStaticRead } from '../../src/endpoint/options.ts';
import { type SessionOptions, withDrainTimeoutMs, withMaxPackageBytes, withReadTimeoutMs } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { MemoryWorld } from '../helpers/session-memory.ts';
import { Deferred, eventually, Recorder, settle } from '../helpers/session-recorder.ts';
import { RawPeer, tcpServer } from '../helpers/session-tcp.ts';

const frames = new LengthFieldHandler();

/** 4 bytes of length, then the text. */
function frame(text: string): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes.length);
  return Buffer.concat([head, bytes]);
}

function texts(listener: Recorder<Buffer, Uint8Array>): string[] {
  return listener.packages.map((pkg) => pkg.toString());
}

/** A server that frames with LP, and a bare socket connected to it. */
async function framed(
  listener: Recorder<Buffer, Uint8Array>,
  ...options: Option<SessionOptions<Buffer, Uint8Array>>[]
): Promise<{ peer: RawPeer; session: Session<Buffer, Uint8Array> }> {
  const server = await tcpServer(frames, listener, options);
  const peer = await RawPeer.connect(server);
  return { peer, session: await listener.session() };
}

/** A session whose PkgHandler reads in this way, and a bare socket connected to it. */
async function readBy(
  read: PkgReader<string>['read'],
  ...options: Option<SessionOptions<string, string>>[]
): Promise<{ peer: RawPeer; session: Session<string>; listener: Recorder<string> }> {
  const handler: PkgReader<string> & PkgWriter<string> = { read, write: (text) => Buffer.from(text) };
  const listener = new Recorder<string>();
  const server = await tcpServer(handler, listener, options);
  const peer = await RawPeer.connect(server);
  return { peer, session: await listener.session(), listener };
}

describe('cutting', () => {
  it('13. a frame that arrives byte by byte is one message', async () => {
    const listener = new Recorder<Buffer, Uint8Array>();
    const { peer, session } = await framed(listener);
    for (const [index, byte] of frame('hello').entries()) {
      peer.write(Buffer.of(byte));
      await eventually(() => session.stats().bytesRead === index + 1, `byte ${index} has arrived`);
      expect(listener.packages).toHaveLength(index < 8 ? 0 : 1);
    }
    expect(texts(listener)).toEqual(['hello']);
    expect(session.stats()).toMatchObject({ packagesRead: 1, bytesRead: 9, bufferedBytes: 0 });
  });

  it('13. the same through a network that delivers single bytes from memory that it overwrites', async () => {
    const world = new MemoryWorld({ split: 'bytes' });
    const listener = new Recorder<Buffer, Uint8Array>();
    await world.server(frames, listener);
    const client = await world.connect(frames, new Recorder<Buffer, Uint8Array>());
    client.send(Buffer.from('hello'));
    client.send(Buffer.alloc(0));
    client.send(Buffer.from('you'));
    await listener.until('message', 3);
    expect(texts(listener)).toEqual(['hello', '', 'you']);
  });

  it('14. a thousand frames in one segment are a thousand messages in order', async () => {
    const listener = new Recorder<Buffer, Uint8Array>();
    const { peer, session } = await framed(listener);
    const expected = Array.from({ length: 1_000 }, (_, index) => `message ${index}`);
    peer.write(Buffer.concat(expected.map(frame)));
    await listener.until('message', 1_000);
    expect(texts(listener)).toEqual(expected);
    expect(session.stats().packagesRead).toBe(1_000);
  });

  it('15. a frame split over three writes, with the head of the next one behind it, comes out right', async () => {
    const listener = new Recorder<Buffer, Uint8Array>();
    const { peer, session } = await framed(listener);
    const bytes = Buffer.concat([frame('a first package'), frame('the second')]);
    const cuts = [0, 3, 11, 22, bytes.length];
    for (let index = 1; index < cuts.length; index++) {
      peer.write(bytes.subarray(cuts[index - 1], cuts[index]));
      await eventually(() => session.stats().bytesRead === cuts[index], `${cuts[index]} bytes have arrived`);
      expect(texts(listener)).toEqual(['a first package', 'the second'].slice(0, [0, 0, 0, 1, 2][index]));
    }
  });
});

describe('limits', () => {
  it('16. a declared length above the limit closes the session before the body arrives', async () => {
    const listener = new Recorder<Buffer, Uint8Array>();
    const { peer, session } = await framed(listener, withMaxPackageBytes(100));
    peer.write(Buffer.concat([frame('x'.repeat(96)), Buffer.of(0, 0, 0, 97)]));
    await peer.ended();
    peer.socket.end();
    expect(await session.closed).toMatchObject({ code: 'TOO_LARGE', by: 'peer', error: { code: 'PACKAGE_TOO_LARGE' } });
    expect(listener.events).toEqual(['open', 'message', 'error', 'close']);
    expect(session.stats().bytesRead).toBe(104);
  });

  it('17. a codec that always needs more is closed at the cap, and ten megabytes leave the memory bounded', async () => {
    const maxPackageBytes = 65_536;
    let most = 0;
    const { peer, session, listener } = await readBy(
      (bytes) => {
        most = Math.max(most, bytes.length);
        return undefined;
      },
      withMaxPackageBytes(maxPackageBytes),
      withDrainTimeoutMs(50),
    );
    for (let megabytes = 0; megabytes < 10; megabytes++) peer.write(Buffer.alloc(1_048_576));
    expect(await session.closed).toMatchObject({ code: 'TOO_LARGE', error: { code: 'PACKAGE_TOO_LARGE' } });
    expect(listener.events).toEqual(['open', 'error', 'close']);
    expect(most).toBeGreaterThan(maxPackageBytes);
    // The cap, and the one read that went over it.
    expect(most).toBeLessThanOrEqual(maxPackageBytes + 524_288);
    expect(session.stats().bytesRead).toBeLessThanOrEqual(maxPackageBytes + 524_288);
    expect(session.stats().bufferedBytes).toBe(0);
  });

  it('18. a codec that returns a package and consumes nothing is closed with NO_PROGRESS and delivers at most one', async () => {
    const { peer, session, listener } = await readBy(() => 'again');
    peer.write('x');
    peer.socket.end();
    expect(await session.closed).toMatchObject({ code: 'INTERNAL', by: 'local', error: { code: 'NO_PROGRESS', phase: 'read' } });
    expect(listener.packages.length).toBeLessThanOrEqual(1);
    expect(listener.events.filter((event) => event !== 'message')).toEqual(['open', 'error', 'close']);
  });

  it.each<[string, (bytes: ByteReader) => void]>([
    ['one more than there are', (bytes) => bytes.skip(bytes.length + 1)],
    ['a negative number', (bytes) => bytes.skip(-1)],
    ['half a byte', (bytes) => bytes.skip(0.5)],
    ['not a number', (bytes) => bytes.skip(Number.NaN)],
    ['a text that is longer than what is there', (bytes) => void bytes.readString(100)],
    ['a view that is longer than what is there', (bytes) => void bytes.readView(100)],
    ['a copy that is longer than what is there', (bytes) => void bytes.readBytes(100)],
  ])('19. a codec that consumes %s ends its session alone, with READ_OUT_OF_RANGE', async (_what, consume) => {
    const { peer, session, listener } = await readBy((bytes) => {
      consume(bytes);
      return 'never';
    });
    peer.write('x');
    peer.socket.end();
    expect(await session.closed).toMatchObject({ code: 'INTERNAL', error: { code: 'READ_OUT_OF_RANGE', phase: 'read' } });
    expect(listener.events).toEqual(['open', 'error', 'close']);
  });

  it('20. a codec that throws: the packages before it are delivered, then onError, then onClose', async () => {
    const cause = new Error('bad byte');
    const { peer, session, listener } = await readBy((bytes) => {
      if (bytes.uint8At(0) === 0x21) throw cause;
      return bytes.readString(1);
    });
    peer.write('ab!cd');
    peer.socket.end();
    expect(await session.closed).toMatchObject({ code: 'PROTOCOL', by: 'peer', error: { code: 'MALFORMED_PACKAGE', cause } });
    expect(listener.packages).toEqual(['a', 'b']);
    expect(listener.events).toEqual(['open', 'message', 'message', 'error', 'close']);
  });

  it('20. packages in front of a bad one are handled to the end although their handler is slow', async () => {
    const gate = new Deferred();
    const listener = new Recorder<string>({ onMessage: () => gate.promise });
    const server = await tcpServer(new LineHandler({ maxLineBytes: 4 }), listener);
    const peer = await RawPeer.connect(server);
    peer.write('one\ntwo\nfar too long\n');
    peer.socket.end();
    await listener.until('message');
    await settle();
    expect(listener.events).toEqual(['open', 'message']);
    gate.resolve();
    await listener.until('close');
    expect(listener.packages).toEqual(['one', 'two']);
    expect(listener.events).toEqual(['open', 'message', 'message', 'error', 'close']);
  });

  it('22. a limit of 0 means none', async () => {
    const listener = new Recorder<Buffer, Uint8Array>();
    const server = await tcpServer(new LengthFieldHandler({ maxFrameBytes: 8_388_608 }), listener, [withMaxPackageBytes(0)]);
    const peer = await RawPeer.connect(server);
    peer.write(frame('x'.repeat(3_000_000)));
    await listener.until('message');
    expect(listener.packages[0]?.length).toBe(3_000_000);
    expect((await listener.session()).settings.maxPackageBytes).toBe(0);
  });
});

describe('the end of the stream', () => {
  it('21. a complete frame that is buffered when the peer finishes is delivered before onClose', async () => {
    const gate = new Deferred();
    const listener = new Recorder<Buffer, Uint8Array>({ onMessage: () => gate.promise });
    const { peer, session } = await framed(listener);
    peer.socket.end(Buffer.concat([frame('one'), frame('two'), frame('three')]));
    await listener.until('message');
    await eventually(() => session.hasPeerEnded, 'the end has arrived');
    expect(session.state).toBe('open');
    gate.resolve();
    expect(await session.closed).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', error: undefined, truncatedBytes: 0 });
    expect(texts(listener)).toEqual(['one', 'two', 'three']);
    expect(listener.events).toEqual(['open', 'message', 'message', 'message', 'close']);
  });

  it('21. a stream that ends in the middle of a frame closes as TRUNCATED and says how much there was', async () => {
    const listener = new Recorder<Buffer, Uint8Array>();
    const { peer, session } = await framed(listener);
    peer.socket.end(Buffer.concat([frame('whole'), frame('half').subarray(0, 6)]));
    expect(await session.closed).toMatchObject({ code: 'TRUNCATED', by: 'peer', error: undefined, truncatedBytes: 6 });
    expect(texts(listener)).toEqual(['whole']);
    expect(listener.events).toEqual(['open', 'message', 'close']);
  });

  it('21. a peer that begins a frame and stays silent is closed at the read time-out', async () => {
    const world = new MemoryWorld();
    const listener = new Recorder<Buffer, Uint8Array>();
    await world.server(frames, listener, [withReadTimeoutMs(5_000)]);
    const client = await world.connect(frames, new Recorder<Buffer, Uint8Array>());
    const session = await listener.session();
    void client.writeBytes(frame('half').subarray(0, 6));
    await eventually(() => session.stats().bufferedBytes === 6, 'half a frame has arrived');
    await world.clock.advance(4_900);
    expect(session.state).toBe('open');
    await world.clock.advance(200);
    expect(await session.closed).toMatchObject({ code: 'TIMEOUT', error: { code: 'PACKAGE_TIMEOUT' } });
  });
});

describe('memory', () => {
  const isFallback = process.env['PORTICO_STATIC_READ'] === '0' || process.platform === 'win32';

  it.each([
    ['the static read buffer', true],
    ['a chunk per read', false],
  ])('23. a package that is kept stays as it was while a hundred more arrive through %s', async (_path, isStatic) => {
    const listener = new Recorder<Buffer, Uint8Array>();
    const server = await tcpServer(frames, listener, [withStaticRead(isStatic)]);
    const peer = await RawPeer.connect(server);
    const session = await listener.session();
    expect(session.stats().readPath).toBe(isStatic && !isFallback ? 'static' : 'chunk');
    const expected = Array.from({ length: 101 }, (_, index) => `${index} `.repeat(index % 2 === 0 ? 20 : 2_000));
    for (const [index, text] of expected.entries()) {
      peer.write(frame(text));
      await listener.until('message', index + 1);
    }
    expect(texts(listener)).toEqual(expected);
  });
});
