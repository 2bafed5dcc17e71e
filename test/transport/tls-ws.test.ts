import { once } from 'node:events';
import { createServer } from 'node:https';
import { describe, expect, it } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress, withReconnect, withServerAddress, withTls } from '../../src/endpoint/options.ts';
import { WssClient, WssServer } from '../../src/endpoint/ws.ts';
import type { WssClientOptions, WssServerOptions } from '../../src/endpoint/ws-options.ts';
import { withHttpServer, withVerify } from '../../src/endpoint/ws-options.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { pattern, RawPeer, until } from '../helpers/raw-peer.ts';
import { useScene, Watch } from '../helpers/scene.ts';
import { upgradeRequest } from '../helpers/ws-peer.ts';

const scene = useScene();

async function serve(...options: readonly Option<WssServerOptions<Buffer, Uint8Array>>[]): Promise<{
  server: WssServer<Buffer, Uint8Array>;
  watch: Watch;
  url: string;
  lost: string[];
}> {
  const watch = new Watch(true);
  const lost: string[] = [];
  const server = new WssServer<Buffer, Uint8Array>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new RawHandler()),
    withEventListener<Buffer, Uint8Array>(watch),
    ...options,
  );
  server.on('connectionLost', (_address, error) => void lost.push(error.code));
  scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
  await server.listen();
  return { server, watch, url: `wss://localhost:${server.localAddress.port}/`, lost };
}

function dial(
  url: string,
  ...options: readonly Option<WssClientOptions<Buffer, Uint8Array>>[]
): {
  client: WssClient<Buffer, Uint8Array>;
  watch: Watch;
} {
  const watch = new Watch(false);
  const client = new WssClient<Buffer, Uint8Array>(
    withServerAddress(url),
    withReconnect(false),
    withPkgHandler(new RawHandler()),
    withEventListener<Buffer, Uint8Array>(watch),
    ...options,
  );
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  return { client, watch };
}

describe('WebSocket over TLS (getty scenario 58)', () => {
  it('echoes to a client that trusts the right CA, and closing the server crashes nothing', async () => {
    const { ca, server: pair } = await makeCertificates();
    const { server, watch, url } = await serve(withTls({ cert: pair.cert, key: pair.key }));
    const { client, watch: seen } = dial(url, withTls({ ca: ca.cert }));
    const session = await client.connect();
    for (const size of [10, 20_000, 300_000]) session.send(pattern(size, size));
    const back = await seen.packagesIn(3);
    expect(back.map((pkg) => pkg.equals(pattern(pkg.length, pkg.length)))).toEqual([true, true, true]);
    expect([session.connection.tls?.authorized, (await watch.session()).connection.tls?.protocol]).toEqual([true, 'TLSv1.3']);
    await server.close();
    expect((await session.closed).status).toBe(1001);
  });

  it('is refused by a client that trusts another CA', async () => {
    const { server: pair } = await makeCertificates();
    const { url, watch } = await serve(withTls({ cert: pair.cert, key: pair.key }));
    const { client } = dial(url);
    await expect(client.connect()).rejects.toMatchObject({ code: 'RECONNECT_EXHAUSTED', cause: { code: 'CONNECT_FAILED' } });
    expect(watch.opened).toEqual([]);
  });

  it('asks for a client certificate when it is told to; the verify hook sees who it is', async () => {
    const { ca, server: pair, client: own } = await makeCertificates();
    const subjects: unknown[] = [];
    const { url, watch } = await serve(
      withTls({ cert: pair.cert, key: pair.key, ca: ca.cert, requireClientCert: true }),
      withVerify(({ tls }) => {
        subjects.push(tls?.authorized);
        return undefined;
      }),
    );
    const without = dial(url, withTls({ ca: ca.cert }));
    await expect(without.client.connect()).rejects.toMatchObject({ code: 'RECONNECT_EXHAUSTED' });
    const { client } = dial(url, withTls({ ca: ca.cert, cert: own.cert, key: own.key }));
    await client.connect();
    expect([subjects, watch.opened.length]).toEqual([[true], 1]);
  });

  it('uses new certificates after reloadTls, for handshakes to come', async () => {
    const { ca, server: pair } = await makeCertificates();
    let loads = 0;
    const { server, url } = await serve(
      withTls(() => {
        loads++;
        return { cert: pair.cert, key: pair.key };
      }),
    );
    const session = await dial(url, withTls({ ca: ca.cert })).client.connect();
    await server.reloadTls();
    await dial(url, withTls({ ca: ca.cert })).client.connect();
    expect([loads, session.state]).toEqual([2, 'open']);
  });

  it('closes who speaks plain HTTP to it, without a session', async () => {
    const { server: pair } = await makeCertificates();
    const { server, watch, lost } = await serve(withTls({ cert: pair.cert, key: pair.key }));
    const peer = await RawPeer.connect(server.localAddress);
    scene.atEnd(() => peer.destroy());
    peer.pour(Buffer.from(upgradeRequest()));
    await peer.closed();
    await until(() => lost.length === 1, 'it to be told');
    expect([watch.opened, lost]).toEqual([[], ['HANDSHAKE_FAILED']]);
  });

  it('takes the upgrades of an HTTPS server of the user', async () => {
    const { ca, server: pair } = await makeCertificates();
    const https = createServer({ cert: pair.cert, key: pair.key }, (_request, response) => response.end('a page'));
    https.listen(0, '127.0.0.1');
    await once(https, 'listening');
    scene.atEnd(() => {
      https.closeAllConnections();
      https.close();
    });
    const { server, url } = await serve(withHttpServer(https));
    const { client, watch } = dial(url, withTls({ ca: ca.cert }));
    const session = await client.connect();
    for (let index = 0; index < 20; index++) session.send(pattern(30_000, index));
    expect((await watch.packagesIn(20)).map((pkg, index) => pkg.equals(pattern(30_000, index)))).toEqual(Array(20).fill(true));
    await server.close();
    expect(https.listening).toBe(true);
  });
});
