/** Row 108 of the threat model, and what hostile peers do with PROXY headers. */
import { describe, expect, it } from 'vitest';
import { withClock, withTls } from '../src/endpoint/options.ts';
import { PROXY_INFO, withProxyProtocol } from '../src/endpoint/proxy-options.ts';
import { RawHandler, withMaxSessions, withPkgHandler } from '../src/index.ts';
import { VirtualClock } from '../src/testing/virtual-clock.ts';
import { makeCertificates } from './helpers/certificates.ts';
import { IPV4_ENDS, tlv, V1_LINE, V2_TCP4, v2 } from './helpers/proxy-vectors.ts';
import { type RawPeer, turns, until } from './helpers/raw-peer.ts';
import { type EchoServer, useScene } from './helpers/scene.ts';

const scene = useScene();
const raw = withPkgHandler(new RawHandler());
const trusted = { trustedSources: ['127.0.0.1'] };

async function lostAfter(echo: EchoServer, bytes: Uint8Array | string): Promise<void> {
  const before = echo.lost.length;
  const peer = await scene.peer(echo);
  peer.pour(Buffer.from(bytes));
  await peer.closed();
  await until(() => echo.lost.length > before, 'the event');
}

describe('108: a PROXY header from an untrusted source', () => {
  it.each([
    ['version 1', Buffer.from(V1_LINE)],
    ['version 2', V2_TCP4],
  ])('is ordinary bytes where it is optional, and the address stays that of the socket: %s', async (_name, header) => {
    const echo = await scene.server(raw, withProxyProtocol({ mode: 'optional', trustedSources: ['10.0.0.0/8'] }));
    const peer = await scene.peer(echo);
    await peer.send(header);
    expect(await peer.receive(header.length)).toEqual(header);
    const session = await echo.watch.session();
    expect(session.remoteAddress).toMatchObject({ host: '127.0.0.1', port: peer.socket.localPort });
    expect(session.attributes.has(PROXY_INFO)).toBe(false);
  });

  it('is ordinary bytes where nobody asked for headers', async () => {
    const echo = await scene.server(raw);
    const peer = await scene.peer(echo);
    await peer.send(V1_LINE);
    expect(String(await peer.receive(V1_LINE.length))).toBe(V1_LINE);
    expect((await echo.watch.session()).remoteAddress.port).toBe(peer.socket.localPort);
  });

  it('is refused with its connection where it is required', async () => {
    const echo = await scene.server(raw, withProxyProtocol({ mode: 'require', trustedSources: ['10.0.0.0/8'] }));
    const peer = await scene.peer(echo);
    peer.pour(V2_TCP4);
    await peer.closed();
    expect([echo.refused, echo.lost, echo.watch.opened]).toEqual([['untrusted'], [], []]);
  });
});

describe('108: a PROXY header with a bad length', () => {
  it.each([
    ['too short for its addresses', v2('21', '11', 'c0000201')],
    ['of 64 KiB', Buffer.concat([V2_TCP4.subarray(0, 14), Buffer.from('ffff', 'hex')])],
    ['with a TLV beyond the end', v2('21', '11', IPV4_ENDS, '02ffff41')],
    ['with a TLV inside a TLV beyond the end', v2('21', '11', IPV4_ENDS, tlv(0x20, Buffer.from('010000000021ffff', 'hex')))],
    ['with a line of 108 bytes', Buffer.from(`PROXY UNKNOWN ${'x'.repeat(92)}\r\n`)],
    ['with a line that never ends', Buffer.from(`PROXY ${'1'.repeat(1_000_000)}`)],
    ['as zeros', Buffer.alloc(5000)],
  ])('%s: PROXY_HEADER_INVALID, no session, and the next one is served', async (_name, bytes) => {
    const echo = await scene.server(raw, withMaxSessions(1), withProxyProtocol({ mode: 'require', ...trusted }));
    await lostAfter(echo, bytes);
    expect(echo.lost).toMatchObject([{ name: 'PeerError', code: 'PROXY_HEADER_INVALID' }]);
    expect(echo.watch.opened).toEqual([]);
    const peer = await scene.peer(echo);
    await peer.send(`${V1_LINE}hello`);
    expect(String(await peer.receive(5))).toBe('hello');
  });
});

describe('108: a hundred hops', () => {
  it('only the first header counts; the others are bytes of the connection', async () => {
    const echo = await scene.server(raw, withProxyProtocol({ mode: 'require', ...trusted }));
    const peer = await scene.peer(echo);
    const others = Array.from({ length: 99 }, (_, index) => `PROXY TCP4 203.0.113.${index} 203.0.113.200 1 2\r\n`).join('');
    await peer.send(V1_LINE + others);
    expect(String(await peer.receive(others.length))).toBe(others);
    expect((await echo.watch.session()).remoteAddress.text).toBe('192.0.2.1:56324');
  });

  it('a hundred TLVs about TLS inside one another are not followed', async () => {
    let value = Buffer.from('0100000000', 'hex');
    for (let depth = 0; depth < 100; depth++)
      value = Buffer.concat([Buffer.from('0100000000', 'hex'), Buffer.from(tlv(0x20, value), 'hex')]);
    const echo = await scene.server(raw, withProxyProtocol({ mode: 'require', ...trusted }));
    const peer = await scene.peer(echo);
    await peer.send(v2('21', '11', IPV4_ENDS, tlv(0x20, value)));
    expect((await echo.watch.session()).attributes.get(PROXY_INFO)?.ssl).toMatchObject({ isTls: true, hasClientCert: false });
  });
});

describe('other protocols on a port for proxies', () => {
  it.each([
    ['HTTP', 'GET / HTTP/1.1\r\nHost: a\r\n\r\n'],
    ['SSH', 'SSH-2.0-OpenSSH_9.2\r\n'],
    ['TLS', Buffer.from('16030100c8010000c40303', 'hex')],
    ['a header behind an empty line', `\r\n${V1_LINE}`],
    ['a header of version 1 and 2 mixed', Buffer.concat([Buffer.from('PROXY '), V2_TCP4])],
  ])('%s is dropped at once, without an answer', async (_name, bytes) => {
    const echo = await scene.server(raw, withProxyProtocol({ mode: 'require', ...trusted }));
    const peer = await scene.peer(echo);
    peer.socket.end(bytes);
    await peer.closed();
    await until(() => echo.lost.length > 0, 'the event');
    expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_INVALID' }]);
    expect(peer.length).toBe(0);
  });
});

it('a header that comes a byte at a time is late, whatever TLS would have allowed', async () => {
  const { server } = await makeCertificates();
  const clock = new VirtualClock();
  const echo = await scene.server(withTls(server), withClock(clock), withProxyProtocol({ mode: 'require', ...trusted, timeoutMs: 1000 }));
  const peer = await scene.peer(echo);
  for (const letter of V1_LINE.slice(0, 10)) {
    await peer.send(letter);
    await turns(2);
    await clock.advance(100);
  }
  await clock.advance(50);
  await peer.closed();
  expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_TIMEOUT' }]);
});

it('a connection that is cut at every byte of its header leaves nothing behind', async () => {
  const echo = await scene.server(raw, withMaxSessions(1), withProxyProtocol({ mode: 'require', ...trusted }));
  const header = v2('21', '11', IPV4_ENDS, tlv(0x02, 'a'));
  for (let length = 0; length < header.length; length++) {
    const peer: RawPeer = await scene.peer(echo);
    await peer.send(header.subarray(0, length));
    await turns(2);
    peer.reset();
    await until(() => echo.lost.length > length, `the end, cut at ${length}`);
  }
  expect(new Set(echo.lost.map(({ code }) => code))).toEqual(new Set(['PROXY_HEADER_INVALID']));
  expect(echo.refused).toEqual([]);
  expect(echo.server.stats().totalSessions).toBe(0);
});

it('text of a proxy is only text: names like __proto__, and no valid UTF-8', async () => {
  const echo = await scene.server(raw, withProxyProtocol({ mode: 'require', ...trusted }));
  const peer = await scene.peer(echo);
  await peer.send(v2('21', '11', IPV4_ENDS, tlv(0x02, '__proto__'), tlv(0x30, Buffer.from('ff00fe', 'hex'))));
  const info = (await echo.watch.session()).attributes.get(PROXY_INFO);
  expect(info?.authority).toBe('__proto__');
  expect(info?.namespace).toBe('\ufffd\0\ufffd');
});
