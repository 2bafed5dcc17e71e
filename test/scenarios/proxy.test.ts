import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  withBlockList,
  withClock,
  withLocalAddress,
  withMaxSessions,
  withMaxSessionsPerIp,
  withTls,
  withUpgrade,
} from '../../src/endpoint/options.ts';
import { PROXY_INFO, type ProxyProtocolOptions, withProxyHeader, withProxyProtocol } from '../../src/endpoint/proxy-options.ts';
import { withAcceptRate, writeProxyHeader } from '../../src/index.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { DESTINATION4, IPV4_ENDS, SOURCE4, tlv, unixPath, V1_LINE, V2_TCP4, v2 } from '../helpers/proxy-vectors.ts';
import { frame, type RawPeer, turns, until } from '../helpers/raw-peer.ts';
import { type EchoServer, pathOf, type ServerOptionOf, useScene } from '../helpers/scene.ts';
import { toyUpgrade } from '../helpers/toy-upgrade.ts';

const scene = useScene();
const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-proxy-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const trusting: ProxyProtocolOptions = { mode: 'require', trustedSources: ['127.0.0.0/8', 'unix'] };
const optional: ProxyProtocolOptions = { ...trusting, mode: 'optional' };

function server(...options: readonly ServerOptionOf[]): Promise<EchoServer> {
  return scene.server(withProxyProtocol(trusting), ...options);
}

/** A connection that begins with these bytes. */
async function proxied(echo: EchoServer, header: Uint8Array | string): Promise<RawPeer> {
  const peer = await scene.peer(echo);
  await peer.send(header);
  return peer;
}

function from(host: string, port = 1): Buffer {
  return writeProxyHeader({ version: 2, source: { host, port }, destination: { host: '10.0.0.1', port: 80 } });
}

describe('a server behind a proxy', () => {
  it.each([
    ['version 1', V1_LINE],
    ['version 2', V2_TCP4],
  ])('has the addresses of the client, and the proxy as an attribute: %s', async (_name, header) => {
    const echo = await server();
    const peer = await proxied(echo, Buffer.concat([Buffer.from(header), frame('hello')]));
    expect(await echo.watch.textsIn(1)).toEqual(['hello']);
    const session = await echo.watch.session();
    expect([session.remoteAddress.text, session.localAddress.text]).toEqual(['192.0.2.1:56324', '198.51.100.2:443']);
    expect(session.stats()).toMatchObject({ remoteAddress: '192.0.2.1:56324', localAddress: '198.51.100.2:443' });
    const info = session.attributes.get(PROXY_INFO);
    expect(info).toMatchObject({ protocol: 'TCP4', source: SOURCE4, destination: DESTINATION4, command: 'PROXY' });
    expect(info?.proxyAddress.port).toBe(peer.socket.localPort);
    expect(info?.proxiedTo).toMatchObject({ host: '127.0.0.1', port: echo.address.port });
  });

  it('sees TLVs', async () => {
    const echo = await server();
    await proxied(echo, v2('21', '11', IPV4_ENDS, tlv(0x02, 'example.org'), tlv(0xe1, 'own')));
    const info = (await echo.watch.session()).attributes.get(PROXY_INFO);
    expect(info).toMatchObject({ authority: 'example.org', tlvs: [{ type: 2 }, { type: 0xe1 }] });
  });

  it('reads the header in front of TLS', async () => {
    const { ca, server: pair } = await makeCertificates();
    const echo = await server(withTls(pair));
    const source = { host: '2001:db8::7', port: 7 };
    const { session, watch } = await scene.client(
      echo,
      withTls({ ca: ca.cert, serverName: 'localhost' }),
      withProxyHeader({ version: 2, source, destination: { host: '2001:db8::8', port: 443 }, crc32c: true }),
    );
    session.send(Buffer.from('hello'));
    expect(await watch.textsIn(1)).toEqual(['hello']);
    const seen = await echo.watch.session();
    expect(seen.remoteAddress.text).toBe('[2001:db8::7]:7');
    expect(seen.connection.tls?.protocol).toBe('TLSv1.3');
    expect(session.connection.tls?.authorized).toBe(true);
    expect(session.stats().readPath).toBe(pathOf(true));
    expect((await session.close()).code).toBe('NORMAL');
  });

  it('may have the proxy on a Unix socket, and a client on one', async () => {
    const echo = await server(withLocalAddress(`unix:${path.join(folder, 'a.sock')}`));
    await proxied(echo, V1_LINE);
    expect((await echo.watch.session()).remoteAddress.text).toBe('192.0.2.1:56324');
    await proxied(echo, v2('21', '31', unixPath('/run/client'), unixPath('/run/server')));
    const session = await echo.watch.session(1);
    expect([session.remoteAddress, session.localAddress]).toMatchObject([
      { family: 'unix', text: 'unix:/run/client' },
      { family: 'unix', text: 'unix:/run/server' },
    ]);
  });

  it.each([
    ['LOCAL', v2('20', '00'), 'LOCAL'],
    ['UNSPEC', v2('21', '00'), 'PROXY'],
    ['UNKNOWN', Buffer.from('PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n'), 'PROXY'],
  ])('has the real addresses when the header names none: %s', async (_name, header, command) => {
    const echo = await server();
    const peer = await proxied(echo, Buffer.concat([header, frame('ping')]));
    expect(await echo.watch.textsIn(1)).toEqual(['ping']);
    const session = await echo.watch.session();
    expect(session.remoteAddress).toMatchObject({ host: '127.0.0.1', port: peer.socket.localPort });
    expect(session.localAddress.text).toBe(echo.address.text);
    expect(session.attributes.get(PROXY_INFO)).toMatchObject({ command, protocol: 'UNKNOWN' });
  });

  it('also runs its upgrades behind the header', async () => {
    const echo = await server(withUpgrade(toyUpgrade('hello', 0)));
    await proxied(echo, Buffer.concat([Buffer.from(V1_LINE), Buffer.from('hello'), frame('first')]));
    expect(await echo.watch.textsIn(1)).toEqual(['first']);
    expect((await echo.watch.session()).remoteAddress.text).toBe('192.0.2.1:56324');
  });

  it('gives each connection three seconds for the header, from its accepting on', async () => {
    const clock = new VirtualClock();
    const echo = await server(withClock(clock));
    const peer = await proxied(echo, 'PROXY TCP4 192.0.2.1');
    await turns(5);
    await clock.advance(2900);
    expect(echo.lost).toEqual([]);
    await clock.advance(200);
    await peer.closed();
    expect(echo.lost).toMatchObject([{ name: 'PeerError', code: 'PROXY_HEADER_TIMEOUT' }]);
  });
});

describe('whom a server trusts', () => {
  it("'require' refuses all but the trusted, before it looks at a byte", async () => {
    const echo = await scene.server(withProxyProtocol({ ...trusting, trustedSources: ['192.0.2.0/24', '2001:db8::/32'] }));
    const peer = await proxied(echo, V1_LINE);
    await peer.closed();
    expect(echo.refused).toEqual(['untrusted']);
    expect(echo.server.stats()).toMatchObject({ totalSessions: 0, refusedConnections: 1 });
  });

  it("'require' does not trust a Unix socket unless it is told", async () => {
    const address = withLocalAddress(`unix:${path.join(folder, 'b.sock')}`);
    const echo = await scene.server(withProxyProtocol({ ...trusting, trustedSources: ['0.0.0.0/0', '::/0'] }), address);
    const peer = await proxied(echo, V1_LINE);
    await peer.closed();
    expect(echo.refused).toEqual(['untrusted']);
  });

  it("'optional' takes a trusted one with or without a header", async () => {
    const echo = await scene.server(withProxyProtocol(optional));
    await proxied(echo, Buffer.concat([V2_TCP4, frame('proxied')]));
    expect(await echo.watch.textsIn(1)).toEqual(['proxied']);
    const peer = await proxied(echo, frame('plain'));
    expect(await echo.watch.textsIn(2)).toEqual(['proxied', 'plain']);
    const [first, second] = await echo.watch.sessions(2);
    expect(first?.remoteAddress.text).toBe('192.0.2.1:56324');
    expect(second?.remoteAddress.port).toBe(peer.socket.localPort);
    expect(second?.attributes.has(PROXY_INFO)).toBe(false);
  });

  it("'optional' still drops a trusted one with a wrong header", async () => {
    const echo = await scene.server(withProxyProtocol(optional));
    const peer = await proxied(echo, 'PROXY TCP4 nonsense\r\n');
    await peer.closed();
    await until(() => echo.lost.length > 0, 'the event');
    expect(echo.lost).toMatchObject([{ code: 'PROXY_HEADER_INVALID' }]);
  });

  it("'optional' knows IPv4 in IPv6 clothes", async () => {
    const echo = await scene.server(withLocalAddress(':0'), withProxyProtocol(optional));
    const peer = await scene.peer({ host: '127.0.0.1', port: echo.address.port });
    await peer.send(V1_LINE);
    expect((await echo.watch.session()).remoteAddress.text).toBe('192.0.2.1:56324');
  });
});

describe('the limits behind a proxy', () => {
  it('count clients, not the proxy, and give their places back', async () => {
    const echo = await server(withMaxSessionsPerIp(2));
    const held = [await proxied(echo, from('192.0.2.1')), await proxied(echo, from('192.0.2.1')), await proxied(echo, from('192.0.2.2'))];
    await echo.watch.sessions(3);
    const refused = await proxied(echo, from('192.0.2.1'));
    await refused.closed();
    expect(echo.refused).toEqual(['max-sessions-per-ip']);
    held[0]?.destroy();
    await echo.watch.closes(1);
    await until(() => echo.server.sessions.size === 2, 'the session to be forgotten');
    await proxied(echo, from('192.0.2.1'));
    await echo.watch.sessions(4);
  });

  it('count connections that say nothing yet among all, and none twice', async () => {
    const echo = await server(withMaxSessions(2), withMaxSessionsPerIp(1));
    const silent = await scene.peer(echo);
    await turns(5);
    await proxied(echo, from('192.0.2.1'));
    await echo.watch.sessions(1);
    const third = await scene.peer(echo);
    await third.closed();
    expect(echo.refused).toEqual(['max-sessions']);
    await silent.send(from('192.0.2.2'));
    await echo.watch.sessions(2);
  });

  it('are right again after lost, refused and closed connections of all kinds', async () => {
    const echo = await server(withMaxSessions(2), withMaxSessionsPerIp(1), withBlockList(['203.0.113.0/24']));
    for (let times = 0; times < 3; times++) {
      const wrong = await proxied(echo, 'wrong');
      await wrong.closed();
      const blocked = await proxied(echo, from('203.0.113.5'));
      await blocked.closed();
      const gone = await proxied(echo, from('192.0.2.1'));
      await until(() => echo.watch.opened.length === 2 * times + 1, 'the session');
      gone.destroy();
      await until(() => echo.server.sessions.size === 0, 'its end');
      const local = await proxied(echo, v2('20', '00'));
      await until(() => echo.watch.opened.length === 2 * times + 2, 'the session');
      local.destroy();
      await until(() => echo.server.sessions.size === 0, 'its end');
    }
    expect(echo.refused).toEqual(['blocked', 'blocked', 'blocked']);
    expect(echo.lost).toHaveLength(3);
    await proxied(echo, from('192.0.2.1'));
    await proxied(echo, from('192.0.2.2'));
    await echo.watch.sessions(8);
  });

  it('are not loosened by connections that are lost before they have told for whom they speak', async () => {
    const echo = await server(withMaxSessionsPerIp(1));
    await proxied(echo, v2('20', '00'));
    await echo.watch.sessions(1);
    const lost = await proxied(echo, 'wrong');
    await lost.closed();
    await until(() => echo.lost.length > 0, 'the event');
    const second = await proxied(echo, v2('20', '00'));
    await second.closed();
    expect(echo.refused).toEqual(['max-sessions-per-ip']);
  });

  it('count the rate of clients', async () => {
    const clock = new VirtualClock();
    const echo = await server(withClock(clock), withAcceptRate(1));
    await proxied(echo, from('192.0.2.1'));
    await proxied(echo, from('192.0.2.2'));
    await echo.watch.sessions(2);
    const refused = await proxied(echo, from('192.0.2.1', 2));
    await refused.closed();
    expect(echo.refused).toEqual(['accept-rate']);
  });

  it('refuse a proxy on the block list', async () => {
    const echo = await server(withBlockList(['127.0.0.1']));
    const peer = await proxied(echo, from('192.0.2.1'));
    await peer.closed();
    expect(echo.refused).toEqual(['blocked']);
  });

  it('tell the address of the client when its TLS fails', async () => {
    const { server: pair } = await makeCertificates();
    const echo = await server(withTls(pair), withMaxSessionsPerIp(1));
    const addresses: string[] = [];
    echo.server.on('connectionLost', (address) => addresses.push(address.text));
    for (let times = 0; times < 2; times++) {
      const peer = await proxied(echo, Buffer.concat([from('192.0.2.1'), Buffer.from('no TLS at all')]));
      await peer.closed();
      await until(() => echo.lost.length > times, 'the event');
    }
    expect(echo.lost).toMatchObject([{ code: 'HANDSHAKE_FAILED' }, { code: 'HANDSHAKE_FAILED' }]);
    expect(addresses).toEqual(['192.0.2.1:1', '192.0.2.1:1']);
  });
});

describe('a client with a header', () => {
  it.each([1, 2] as const)('gives its own addresses when it has no others: version %d', async (version) => {
    const echo = await server();
    const { session, watch } = await scene.client(echo, withProxyHeader({ version }));
    session.send(Buffer.from('hello'));
    expect(await watch.textsIn(1)).toEqual(['hello']);
    const seen = await echo.watch.session();
    expect([seen.remoteAddress.text, seen.localAddress.text]).toEqual([session.localAddress.text, session.remoteAddress.text]);
    expect(seen.attributes.get(PROXY_INFO)?.version).toBe(version);
  });

  it('passes on whom it stands for, with TLVs, as a proxy made of portico does', async () => {
    const inner = await server();
    const outer = await server();
    await proxied(outer, v2('21', '11', IPV4_ENDS, tlv(0x05, 'id 7')));
    const client = await outer.watch.session();
    const info = client.attributes.get(PROXY_INFO);
    await scene.client(
      inner,
      withProxyHeader({ version: 2, source: client.remoteAddress, destination: client.localAddress, tlvs: info?.tlvs ?? [] }),
    );
    const seen = await inner.watch.session();
    expect([seen.remoteAddress.text, seen.localAddress.text]).toEqual(['192.0.2.1:56324', '198.51.100.2:443']);
    expect(String(seen.attributes.get(PROXY_INFO)?.uniqueId)).toBe('id 7');
  });

  it('sends LOCAL, and goes over Unix sockets', async () => {
    const echo = await server(withLocalAddress(`unix:${path.join(folder, 'c.sock')}`));
    await scene.client(echo, withProxyHeader({ version: 2, command: 'LOCAL' }));
    expect((await echo.watch.session()).attributes.get(PROXY_INFO)?.command).toBe('LOCAL');
    await scene.client(echo, withProxyHeader({ version: 2 }));
    expect((await echo.watch.session(1)).localAddress.text).toBe(echo.address.text);
  });

  it('says so when version 1 cannot name a Unix socket', async () => {
    const echo = await server(withLocalAddress(`unix:${path.join(folder, 'd.sock')}`));
    const { client } = scene.newClient(echo, withProxyHeader({ version: 1 }));
    await expect(client.connect()).rejects.toMatchObject({ cause: { code: 'INVALID_OPTION' } });
    await until(() => echo.lost.length > 0, 'the server to notice');
  });

  it('fails to dial a TLS server that does not trust it', async () => {
    const { ca, server: pair } = await makeCertificates();
    const echo = await scene.server(withTls(pair));
    const { client } = scene.newClient(echo, withTls({ ca: ca.cert }), withProxyHeader({ version: 1 }));
    await expect(client.connect()).rejects.toMatchObject({ cause: { code: 'CONNECT_FAILED' } });
  });

  it('gives a TLS handshake up that does not get on, and leaves no socket behind', async () => {
    const clock = new VirtualClock();
    const received: Buffer[] = [];
    const silent = createServer((socket) => {
      socket.on('data', (bytes) => received.push(bytes));
      socket.on('error', () => {});
      scene.atEnd(() => socket.destroy());
    });
    silent.listen(0, '127.0.0.1');
    await once(silent, 'listening');
    scene.atEnd(() => silent.close());
    const address = silent.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const { client } = scene.newClient(`127.0.0.1:${port}`, withTls({}), withProxyHeader({ version: 1 }), withClock(clock));
    const failed = expect(client.connect()).rejects.toMatchObject({ cause: { code: 'CONNECT_TIMEOUT' } });
    // The header, and behind it a ClientHello.
    const sent = (): string => Buffer.concat(received).toString('latin1');
    await until(() => sent().startsWith('PROXY TCP4 ') && sent().includes('\r\n\x16\x03'), 'the ClientHello');
    await clock.advance(10_100);
    await failed;
  });
});
