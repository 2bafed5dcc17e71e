import { describe, expect } from 'vitest';
import { withTls } from '../../src/endpoint/options.ts';
import { withPermessageDeflate, withPing, withSubprotocols } from '../../src/endpoint/ws-options.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { goPeer } from '../helpers/go-peer.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith, type Tool } from '../helpers/tools.ts';
import { answerTo, closedBy, echoesThrough } from '../helpers/ws-checks.ts';
import { wsClient, wsEcho, wssEcho } from '../helpers/ws-echo.ts';

const scene = useScene();
const it = itWith('go');
const seed = Number(process.env['PORTICO_SEED'] ?? 1);
const build = goPeer('ws');

async function runClient(url: string, what: readonly string[], ...flags: readonly string[]): Promise<Tool> {
  const client = startTool(scene, await build(), ['client', '-url', url, '-seed', String(seed), ...flags, ...what]);
  await client.exited();
  return client;
}

/** What a Go client saw that has done one thing. */
async function goClient(url: string, what: readonly string[], ...flags: readonly string[]): Promise<string> {
  const client = await runClient(url, what, ...flags);
  expect(client.exitCode, `seed ${seed}: ${client.errors}`).toBe(0);
  return client.output;
}

/** A Go server: where it is, and the program. */
async function goServer(...flags: readonly string[]): Promise<{ url: string; program: Tool }> {
  const program = startTool(scene, await build(), ['server', ...flags]);
  const address = await program.finds(/listening (\S+)/);
  return { url: `${flags.includes('-cert') ? 'wss' : 'ws'}://${address}/echo`, program };
}

describe('a gorilla/websocket client', () => {
  it('gets back text, binary, empty and large messages, whole and in fragments', async () => {
    const { url, watch } = await wsEcho(scene);
    expect(await goClient(url, ['echo'])).toMatch(/^ok 18 \d+\n$/);
    expect(await watch.closed()).toMatchObject({ code: 'PEER_CLOSED', by: 'peer', status: 1000, text: 'done', error: undefined });
  });

  it('also compressed', async () => {
    for (const contextTakeover of [false, true]) {
      const { url } = await wsEcho(scene, withPermessageDeflate({ thresholdBytes: 0, contextTakeover }));
      expect(await goClient(url, ['echo'], '-compress')).toMatch(/^ok 18 \d+\n$/);
    }
  });

  it('also over TLS, with certificates on both sides, and is refused without', async () => {
    const { ca, server, client } = await makeCertificates();
    const plain = await wssEcho(scene, withTls(server));
    expect(await goClient(plain.url, ['echo'], '-ca', ca.certFile)).toMatch(/^ok 18 \d+\n$/);
    const mutual = await wssEcho(scene, withTls({ ...server, ca: ca.cert, requireClientCert: true }));
    const pair = ['-cert', client.certFile, '-key', client.keyFile];
    expect(await goClient(mutual.url, ['echo'], '-ca', ca.certFile, ...pair)).toMatch(/^ok 18 \d+\n$/);
    expect((await runClient(mutual.url, ['echo'], '-ca', ca.certFile)).exitCode).toBe(1);
    expect(mutual.server.stats().totalSessions).toBe(1);
  });

  it('closes with a code and a reason, which we are told and give back', async () => {
    const { url, watch } = await wsEcho(scene);
    expect(await goClient(url, ['close', '4002', 'bye from go'])).toBe('ok closed 4002 bye from go\n');
    expect(await goClient(url, ['close', '1001', 'leaving'])).toBe('ok closed 1001 leaving\n');
    expect(await goClient(url, ['close'])).toMatch(/^ok closed 100[05] \n$/);
    expect(watch.reasons).toMatchObject([
      { code: 'PEER_CLOSED', by: 'peer', status: 4002, text: expect.stringContaining('bye from go') },
      { code: 'PEER_CLOSED', by: 'peer', status: 1001, text: 'leaving', error: undefined },
      { code: 'PEER_CLOSED', by: 'peer', status: 1005, error: undefined },
    ]);
  });

  it('is closed with a code and a reason', async () => {
    const { url, watch } = await wsEcho(scene);
    expect(await goClient(url, ['command', '/close', '4003', 'you may go'])).toBe('ok closed 4003 you may go\n');
    expect(await goClient(url, ['command', '/close', '1001', ''])).toBe('ok closed 1001 \n');
    expect(watch.reasons).toMatchObject([
      { by: 'local', status: 4003, text: 'you may go' },
      { by: 'local', status: 1001 },
    ]);
  });

  it('pings us, and is pinged by us', async () => {
    const { url, watch } = await wsEcho(scene, withPing({ periodMs: 20, misses: 100 }));
    expect(await goClient(url, ['ping', 'are you there'])).toBe('ok are you there\n');
    expect(await goClient(url, ['await-ping'])).toBe('ok 3\nok closed 1000 \n');
    expect(watch.opened[1]?.stats().roundTripMs).toBeGreaterThanOrEqual(0);
  });

  it('agrees with us on a subprotocol', async () => {
    const { url } = await wsEcho(scene, withSubprotocols(['chat.v2', 'chat.v1']));
    expect(await goClient(url, ['command', '/subprotocol'], '-subprotocols', 'chat.v1,chat.v0')).toBe('ok chat.v1\n');
    expect(await goClient(url, ['command', '/subprotocol'], '-subprotocols', 'other')).toBe('ok \n');
  });

  it('is told 404 at another path', async () => {
    const { url } = await wsEcho(scene);
    const client = await runClient(`${url}/there`, ['echo']);
    expect(client.errors).toContain('status 404');
  });
});

describe('a gorilla/websocket server', () => {
  it('echoes to our client, whole and in fragments', async () => {
    await echoesThrough(scene, (await goServer()).url, seed);
    const { url, program } = await goServer('-fragment-bytes', '3000');
    await echoesThrough(scene, url, seed);
    expect(await program.finds(/closed (.*)\n/)).toBe('1000 done');
  });

  it('also compressed', async () => {
    const { url } = await goServer('-compress');
    for (const contextTakeover of [false, true]) {
      await echoesThrough(scene, url, seed, withPermessageDeflate({ thresholdBytes: 0, contextTakeover }));
    }
  });

  it('also over TLS, with certificates on both sides', async () => {
    const { ca, server, client } = await makeCertificates();
    const pair = ['-cert', server.certFile, '-key', server.keyFile];
    await echoesThrough(scene, (await goServer(...pair)).url, seed, withTls({ ca: ca.cert }));
    const mutual = await goServer(...pair, '-ca', ca.certFile);
    await echoesThrough(scene, mutual.url, seed, withTls({ ca: ca.cert, cert: client.cert, key: client.key }));
    await expect(wsClient(scene, mutual.url, withTls({ ca: ca.cert }))).rejects.toMatchObject({
      cause: { name: expect.stringMatching(/PeerError|TransportError/) },
    });
  });

  it('closes with a code and a reason, which we are told', async () => {
    const { url } = await goServer();
    expect(await closedBy(scene, url, '/close 1000 thank you')).toMatchObject({
      by: 'peer',
      status: 1000,
      text: 'thank you',
      error: undefined,
    });
    expect(await closedBy(scene, url, '/close 4004 no more')).toMatchObject({
      status: 4004,
      error: { code: 'CLOSED_WITH_ERROR', status: 4004 },
    });
  });

  it('is told our code and reason', async () => {
    const { url, program } = await goServer();
    const { session } = await wsClient(scene, url);
    expect(await session.close({ status: 4005, reason: 'grüße' })).toMatchObject({ by: 'local', status: 4005 });
    expect(await program.finds(/closed (.*)\n/)).toBe('4005 grüße');
  });

  it('pings us, is pinged by us, and agrees with us on a subprotocol', async () => {
    const { url } = await goServer('-subprotocols', 'b,a');
    expect(await answerTo(scene, url, '/ping once more')).toBe('once more');
    expect(await answerTo(scene, url, '/subprotocol', withSubprotocols(['c', 'a']))).toBe('a');
    const { session } = await wsClient(scene, url, withPing({ periodMs: 20, misses: 100 }));
    await until(() => session.stats().roundTripMs !== undefined, 'a pong');
  });
});
