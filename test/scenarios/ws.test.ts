import { describe, expect, it } from 'vitest';
import type { ByteReader } from '../../src/base/byte-reader.ts';
import type { ByteWriter } from '../../src/base/byte-writer.ts';
import { type PkgContext, PkgHandler } from '../../src/codec/pkg-handler.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withClock, withHandshakeTimeoutMs, withLocalAddress, withMaxSessions } from '../../src/endpoint/options.ts';
import { WsServer } from '../../src/endpoint/ws.ts';
import { withOrigins, withPath, withPermessageDeflate, withPing, withTextPolicy, withVerify } from '../../src/endpoint/ws-options.ts';
import { EventListener } from '../../src/session/event-listener.ts';
import { withEventListener, withMaxPackageBytes, withPkgHandler } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { pattern, turns, until } from '../helpers/raw-peer.ts';
import { ACCEPT, closeFrame, OPCODE, type RequestOptions, upgradeRequest, wsFrame } from '../helpers/ws-peer.ts';
import { useWsScene } from '../helpers/ws-scene.ts';

interface Message {
  readonly bytes: Buffer;
  readonly isText: boolean;
}

/** Messages with their kind. */
class KindHandler extends PkgHandler<Message> {
  read(bytes: ByteReader): Message {
    return { isText: bytes.isText, bytes: bytes.readBytes(bytes.length) };
  }

  write(message: Message, _session: PkgContext, out: ByteWriter): void {
    out.isText = message.isText;
    out.writeBytes(message.bytes);
  }
}

class KindEcho extends EventListener<Message> {
  onMessage(session: Session<Message>, message: Message): void {
    session.send(message);
  }
}

const ws = useWsScene();
const { TEXT, BINARY, CONTINUATION, PING, PONG } = OPCODE;
const bytesOf = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text));

describe('getty scenarios over WebSocket', () => {
  it('51: echoes text and binary, and keeps the kind', async () => {
    const server = new WsServer<Message>(
      withLocalAddress('127.0.0.1:0'),
      withPkgHandler(new KindHandler()),
      withEventListener(new KindEcho()),
    );
    ws.scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
    await server.listen();
    const peer = await ws.peer({ address: server.localAddress });
    peer.pour(wsFrame(TEXT, 'grüße'), wsFrame(BINARY, 'bytes'), wsFrame(TEXT, ''), wsFrame(BINARY, ''));
    const frames = await peer.framesIn(4);
    expect(frames.map(({ opcode, payload, isMasked, fin }) => [opcode, String(payload), isMasked, fin])).toEqual([
      [TEXT, 'grüße', false, true],
      [BINARY, 'bytes', false, true],
      [TEXT, '', false, true],
      [BINARY, '', false, true],
    ]);
  });

  it('52: carries 100 KiB each way as one message', async () => {
    const echo = await ws.server();
    const { session, watch } = await ws.client(echo.url);
    const body = pattern(102_400, 5);
    session.send(body);
    const [back] = await watch.packagesIn(1);
    expect(back?.equals(body)).toBe(true);
    expect(echo.watch.packages.map((pkg) => pkg.length)).toEqual([102_400]);
  });

  it('53: closes with 1009 and a reason when a message is too large', async () => {
    const echo = await ws.server(withMaxPackageBytes(1000));
    const peer = await ws.peer(echo);
    peer.pour(wsFrame(BINARY, 'before'), wsFrame(BINARY, Buffer.alloc(1001)));
    expect(await peer.closed()).toBe(1009);
    expect(peer.close?.text).not.toBe('');
    expect(peer.messages).toEqual(['before']);
    const [reason] = await echo.watch.closes(1);
    expect([reason?.code, reason?.status, reason?.error?.code]).toEqual(['TOO_LARGE', 1009, 'PACKAGE_TOO_LARGE']);
    expect(echo.watch.errors).toHaveLength(1);
  });

  it('53: the limit of a session that newSession sets holds, on a client too', async () => {
    const echo = await ws.serverWith((session) => void session.configure(withMaxPackageBytes(3_000_000)));
    const { session, watch } = await ws.client(echo.url, withMaxPackageBytes(3_000_000));
    session.send(pattern(2_000_000, 1));
    expect((await watch.packagesIn(1))[0]?.length).toBe(2_000_000);
  });

  it('54: writeBytesArray of three is three messages', async () => {
    const echo = await ws.server();
    const { session } = await ws.client(echo.url);
    const result = await session.writeBytesArray(bytesOf('one', 'two', 'three'));
    expect(result).toEqual({ total: 11, sent: 11 });
    expect(await echo.watch.textsIn(3)).toEqual(['one', 'two', 'three']);
  });

  it('55: a client sees 1000 and the reason when the server closes, and no onError', async () => {
    const echo = await ws.server();
    const { session, watch } = await ws.client(echo.url);
    const served = await echo.watch.session();
    await served.close({ reason: 'see you' });
    const reason = await session.closed;
    expect(reason).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', status: 1000, text: 'see you', error: undefined });
    expect([...watch.errors, ...echo.watch.errors]).toEqual([]);
  });

  it('56: answers 404 to a wrong path, 405 to POST, 403 to a bad origin', async () => {
    const echo = await ws.server(withPath('/chat', '/feed'), withOrigins(['https://good.example']));
    const origin = { headers: { Origin: 'https://good.example' } };
    const answer = async (url: string, options: RequestOptions): Promise<number> => (await ws.asked(echo, url, options)).answered();
    expect(await answer('/other', origin)).toBe(404);
    expect(await answer('/chat', { method: 'POST', ...origin })).toBe(405);
    expect(await answer('/chat', { headers: { Origin: 'https://bad.example' } })).toBe(403);
    expect(await answer('/chat?room=1', origin)).toBe(101);
    expect(await answer('/feed', origin)).toBe(101);
    expect(await answer('/feed/', origin)).toBe(404);
    expect(echo.watch.opened).toHaveLength(2);
  });

  it.each([true, false])('57: permessage-deflate on the server: %s; a bomb is closed with 1009', async (isOn) => {
    const echo = await ws.server(withPermessageDeflate(isOn ? { thresholdBytes: 10 } : false), withMaxPackageBytes(65_536));
    const { session, watch } = await ws.client(echo.url, withPermessageDeflate({ thresholdBytes: 10 }), withMaxPackageBytes(0));
    session.send(Buffer.alloc(5000, 'a'));
    expect((await watch.packagesIn(1))[0]?.length).toBe(5000);
    session.send(Buffer.alloc(1_000_000));
    const reason = await session.closed;
    expect([reason.status, echo.watch.errors.map((error) => error.code)]).toEqual([1009, ['PACKAGE_TOO_LARGE']]);
  });

  it('59: a fragmented message with a ping between its fragments is one message, and the pong is sent', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    peer.pour(wsFrame(BINARY, 'ab', { fin: false }), wsFrame(PING, 'now'), wsFrame(CONTINUATION, 'cd', { fin: false }));
    expect((await peer.framesIn(1))[0]).toMatchObject({ opcode: PONG, payload: Buffer.from('now') });
    peer.pour(wsFrame(CONTINUATION, 'ef'));
    expect(await peer.messagesIn(1)).toEqual(['abcdef']);
    expect(echo.watch.texts).toEqual(['abcdef']);
  });
});

describe('znet and knet scenarios over WebSocket', () => {
  it('znet-knet scenario 9: the answer begins with the bytes that the request began with', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    const request = Buffer.concat([Buffer.of(0, 1, 0, 2), Buffer.from('{"jsonrpc":"2.0"}')]);
    peer.pour(wsFrame(BINARY, request));
    const [frame] = await peer.framesIn(1);
    expect(frame?.payload.subarray(0, 4)).toEqual(Buffer.of(0, 1, 0, 2));
  });

  it('znet-knet scenario 10: a message that is too short for its framing is told to onError, and the next one is read', async () => {
    const echo = await ws.server(withPkgHandler(new FourBytes()));
    const peer = await ws.peer(echo);
    peer.pour(wsFrame(BINARY, 'abc'), wsFrame(BINARY, 'abcd'));
    expect(await peer.messagesIn(1)).toEqual(['abcd']);
    expect(echo.watch.errors.map((error) => error.code)).toEqual(['MALFORMED_PACKAGE']);
  });

  it('znet-knet scenario 12: a fragmented message with a ping between the fragments is one request and one pong', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    peer.pour(wsFrame(TEXT, 'he', { fin: false }), wsFrame(PING), wsFrame(CONTINUATION, 'llo'));
    const frames = await peer.framesIn(2);
    expect(frames.map(({ opcode }) => opcode)).toEqual([PONG, BINARY]);
    expect(echo.watch.texts).toEqual(['hello']);
  });

  it('znet-knet scenario 13: a text message on a server for binary is closed with 1003, and others go on', async () => {
    const echo = await ws.server(withTextPolicy('reject'));
    const [peer, other] = [await ws.peer(echo), await ws.peer(echo)];
    peer.pour(wsFrame(BINARY, 'before'), wsFrame(TEXT, 'text'), wsFrame(BINARY, 'behind'));
    expect(await peer.closed()).toBe(1003);
    expect(peer.messages).toEqual(['before']);
    other.pour(wsFrame(BINARY, 'other'));
    expect(await other.messagesIn(1)).toEqual(['other']);
  });

  it('znet-knet scenario 13: a text message counts as binary when that is the policy', async () => {
    const echo = await ws.server(withTextPolicy('binary'));
    const peer = await ws.peer(echo);
    peer.pour(wsFrame(TEXT, 'text'));
    expect((await peer.framesIn(1))[0]).toMatchObject({ opcode: BINARY, payload: Buffer.from('text') });
  });

  it('znet-knet scenario 23: connections that never ask for an upgrade are closed at the time-out, and new ones get in', async () => {
    const clock = new VirtualClock();
    const echo = await ws.server(withClock(clock), withHandshakeTimeoutMs(5000));
    const silent = await Promise.all(Array.from({ length: 50 }, () => ws.connected(echo)));
    expect(await (await ws.asked(echo)).answered()).toBe(101);
    await clock.advance(5010);
    await until(() => silent.every((peer) => peer.status === 408), 'the silent ones to be answered');
    for (const peer of silent) peer.raw.end();
    await until(() => echo.lost.length === 50, 'them to be gone');
    expect(new Set(echo.lost.map((error) => error.code))).toEqual(new Set(['HANDSHAKE_TIMEOUT']));
    expect(await (await ws.asked(echo)).answered()).toBe(101);
  });

  it('znet-knet scenario 30: answers 404, 426 and 405 with one body each', async () => {
    const echo = await ws.server(withPath('/ws'));
    const plain = { headers: { Upgrade: undefined, Connection: undefined } };
    for (const [status, peer] of [
      [404, await ws.asked(echo, '/other', plain)],
      [426, await ws.asked(echo, '/ws', plain)],
      [405, await ws.asked(echo, '/ws', { method: 'POST', ...plain })],
      [426, await ws.asked(echo, '/ws', { headers: { 'Sec-WebSocket-Version': '12' } })],
    ] as const) {
      expect(await peer.answered()).toBe(status);
      await peer.raw.closed();
      expect(Number(/content-length: (\d+)/i.exec(peer.head)?.[1])).toBe(peer.body.length);
    }
    expect(echo.watch.opened).toEqual([]);
  });

  it('znet-knet scenario 31: lets in listed origins only; by default those of the host, and clients without one', async () => {
    const listed = await ws.server(withOrigins(['https://App.example:443']));
    const open = await ws.server();
    const ask = async (echo: typeof open, origin: string | undefined): Promise<number> =>
      (await ws.asked(echo, '/', { headers: { Host: 'chat.example', Origin: origin } })).answered();
    expect(await ask(listed, 'https://app.example')).toBe(101);
    expect(await ask(listed, 'https://app.example.evil')).toBe(403);
    expect(await ask(listed, undefined)).toBe(403);
    expect(await ask(open, undefined)).toBe(101);
    expect(await ask(open, 'https://chat.example')).toBe(101);
    expect(await ask(open, 'https://evil.example')).toBe(403);
    expect([listed.watch.opened.length, open.watch.opened.length]).toEqual([1, 2]);
  });

  it('znet-knet scenario 33: onClose knows the code, the reason and who began; the signal is aborted by then', async () => {
    const echo = await ws.server();
    const told = await ws.peer(echo);
    const gone = await ws.peer(echo);
    const server = await ws.peer(echo);
    const [toldSession, goneSession, serverSession] = await echo.watch.sessions(3);
    told.pour(closeFrame(1000, 'done'));
    expect(await toldSession?.closed).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', status: 1000, text: 'done', error: undefined });
    expect(await told.closed()).toBe(1000);
    gone.raw.reset();
    expect(await goneSession?.closed).toMatchObject({ code: 'RESET', by: 'network', status: 1006 });
    void serverSession?.close({ status: 4001, reason: 'x' });
    expect(await server.closed()).toBe(4001);
    server.pour(closeFrame(4001, 'x'));
    expect(await serverSession?.closed).toMatchObject({ code: 'NORMAL', by: 'local', status: 4001, text: 'x' });
    expect(echo.watch.opened.map((session) => [session.signal.aborted, session.isClosed])).toEqual(Array(3).fill([true, true]));
    expect(echo.watch.reasons).toHaveLength(3);
  });

  it('znet-knet scenario 34: ten queued messages come before the close frame', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    const session = await echo.watch.session();
    for (let index = 0; index < 10; index++) session.send(Buffer.from(`message ${index}`));
    void session.close({ status: 4001, reason: 'bye' });
    expect(await peer.closed()).toBe(4001);
    expect(peer.frames.map(({ opcode }) => opcode)).toEqual([...Array<number>(10).fill(BINARY), OPCODE.CLOSE]);
    expect([peer.messages[9], peer.close?.text]).toEqual(['message 9', 'bye']);
  });

  it('znet-knet scenario 35: who answers no ping is closed after two misses; who only answers pings stays', async () => {
    const clock = new VirtualClock();
    const echo = await ws.server(withClock(clock), withPing({ periodMs: 1000, misses: 2 }));
    const [mute, alive] = [await ws.peer(echo), await ws.peer(echo)];
    const [muteSession, aliveSession] = await echo.watch.sessions(2);
    let answered = 0;
    for (let second = 1; second <= 300; second++) {
      await clock.advance(1000);
      await alive.framesIn(second);
      for (const frame of alive.frames.slice(answered)) alive.pour(wsFrame(PONG, frame.payload));
      answered = alive.frames.length;
      await until(() => aliveSession?.stats().roundTripMs !== undefined, 'the pong');
      await turns(2);
      if (second === 5) expect(await mute.closed()).toBe(4408);
    }
    expect(await muteSession?.closed).toMatchObject({ code: 'HEARTBEAT', error: { code: 'HEARTBEAT_TIMEOUT' } });
    expect(aliveSession?.state).toBe('open');
    expect(mute.frames.filter(({ opcode }) => opcode === PING)).toHaveLength(2);
  });

  it.each([
    ['reserved bits', [wsFrame(BINARY, 'x', { rsv: 1 })], 1002],
    ['bad UTF-8 in text', [wsFrame(TEXT, Buffer.of(0xce, 0xba, 0xff))], 1007],
    ['bad UTF-8 in a close frame', [closeFrame(1000, Buffer.of(0xce, 0xba, 0xff))], 1007],
    ['a control frame that is too large', [wsFrame(PING, Buffer.alloc(126))], 1002],
    ['a control frame in fragments', [wsFrame(PING, 'x', { fin: false })], 1002],
    ['a close code that is not sent', [closeFrame(1005)], 1002],
    ['a frame without mask', [wsFrame(BINARY, 'x', { isMasked: false })], 1002],
    ['an opcode without meaning', [wsFrame(5, 'x')], 1002],
    ['a continuation of nothing', [wsFrame(CONTINUATION, 'x')], 1002],
  ])('63: %s is closed with its code', async (_what, frames, status) => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    peer.pour(wsFrame(BINARY, 'before'), ...frames);
    expect(await peer.closed()).toBe(status);
    expect(peer.messages).toEqual(['before']);
    const [reason] = await echo.watch.closes(1);
    expect([reason?.code, reason?.status, reason?.error?.code]).toEqual(['PROTOCOL', status, 'PROTOCOL_VIOLATION']);
  });
});

describe('the handshake', () => {
  it('gives the answer of RFC 6455 section 1.3', async () => {
    const echo = await ws.server();
    const peer = await ws.peer(echo);
    expect(peer.head).toContain(`Sec-WebSocket-Accept: ${ACCEPT}`);
  });

  it('asks the verify hook before there is a session; it may give attributes, or refuse with a status and a body', async () => {
    const USER = Symbol('user');
    const echo = await ws.server(
      withVerify(async ({ query, remoteAddress }) => {
        await turns(2);
        const user = query.get('user');
        if (user === null) return { refuse: { status: 401, body: 'who are you?', headers: { 'WWW-Authenticate': 'Query' } } };
        if (user === 'bug') throw new Error(`no ${remoteAddress.text}`);
        return { attributes: [[USER, user]] };
      }),
    );
    const refused = await ws.asked(echo, '/');
    expect(await refused.answered()).toBe(401);
    await refused.raw.closed();
    expect([refused.body, refused.head.includes('WWW-Authenticate: Query')]).toEqual(['who are you?', true]);
    refused.raw.end();
    await until(() => echo.lost.length === 1, 'it to be told');
    const bug = await ws.asked(echo, '/?user=bug');
    expect(await bug.answered()).toBe(500);
    bug.raw.end();
    await ws.peer(echo, '/?user=anna');
    expect((await echo.watch.session()).attributes.get(USER)).toBe('anna');
    expect(echo.watch.opened).toHaveLength(1);
    await until(() => echo.lost.length === 2, 'both to be told');
    expect(echo.lost.map((error) => error.code)).toEqual(['HANDSHAKE_FAILED', 'LISTENER_FAILED']);
  });

  it('bounds the verify hook by the handshake time-out, and tells it through the signal', async () => {
    const clock = new VirtualClock();
    const signals: AbortSignal[] = [];
    const echo = await ws.server(
      withClock(clock),
      withHandshakeTimeoutMs(2000),
      withVerify((_request, signal) => {
        signals.push(signal);
        return new Promise(() => {});
      }),
    );
    const [slow, gone] = [await ws.asked(echo), await ws.asked(echo)];
    await until(() => signals.length === 2, 'both to be asked about');
    gone.raw.reset();
    await until(() => echo.lost.length === 1, 'the one that went away');
    await clock.advance(2010);
    expect(await slow.answered()).toBe(408);
    slow.raw.end();
    await until(() => echo.lost.length === 2, 'both to be told');
    expect([echo.lost.map((error) => error.code), signals.map((signal) => signal.aborted)]).toEqual([
      ['HANDSHAKE_FAILED', 'HANDSHAKE_TIMEOUT'],
      [true, true],
    ]);
    expect(echo.watch.opened).toEqual([]);
  });

  it('answers 503 at the session limit, and lets in again when there is room', async () => {
    const echo = await ws.server(withMaxSessions(1));
    const first = await ws.peer(echo);
    const second = await ws.asked(echo);
    expect(await second.answered()).toBe(503);
    expect(echo.refused).toEqual(['max-sessions']);
    first.pour(closeFrame(1001));
    await echo.watch.closes(1);
    await until(() => echo.server.sessions.size === 0, 'room');
    first.raw.destroy();
    expect(await (await ws.asked(echo)).answered()).toBe(101);
  });

  it('takes what comes in one piece with the request', async () => {
    const echo = await ws.server();
    const peer = await ws.connected(echo);
    peer.pour(upgradeRequest(), wsFrame(BINARY, 'early'));
    expect(await peer.messagesIn(1)).toEqual(['early']);
  });
});

/** Four bytes are a package. */
class FourBytes extends RawHandler {
  override read(bytes: ByteReader): Buffer | undefined {
    return bytes.length < 4 ? bytes.need(4) : bytes.readBytes(4);
  }
}
