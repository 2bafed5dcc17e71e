import { existsSync } from 'node:fs';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { withTls } from '../../src/endpoint/options.ts';
import { withPermessageDeflate, withPing, withSubprotocols } from '../../src/endpoint/ws-options.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itIf, type Tool } from '../helpers/tools.ts';
import { answerTo, closedBy, echoesThrough } from '../helpers/ws-checks.ts';
import { wsClient, wsEcho, wssEcho } from '../helpers/ws-echo.ts';

/** The websockets package, as the program interop/python/ws.py. */
const scene = useScene();
const root = path.join(import.meta.dirname, '../..');
const python = path.join(root, '.cache/interop/python/bin/python');
const program = path.join(root, 'interop/python/ws.py');
const it = itIf(existsSync(python), "Python's websockets", 'scripts/interop-peers.sh python');
const seed = Number(process.env['PORTICO_SEED'] ?? 1);

async function pythonClient(url: string, ...args: readonly string[]): Promise<string> {
  const client = startTool(scene, python, [program, 'client', '--url', url, '--seed', String(seed), ...args]);
  await client.exited();
  expect(client.exitCode, `seed ${seed}: ${client.errors}`).toBe(0);
  return client.output;
}

async function pythonServer(...flags: readonly string[]): Promise<{ url: string; tool: Tool }> {
  const tool = startTool(scene, python, [program, 'server', ...flags]);
  return { url: `${flags.includes('--cert') ? 'wss' : 'ws'}://${await tool.finds(/listening (\S+)/)}/echo`, tool };
}

describe("a client on Python's websockets", () => {
  it('gets back text, binary, empty and large messages, whole and in fragments, also compressed', async () => {
    const plain = await wsEcho(scene);
    expect(await pythonClient(plain.url, 'echo')).toMatch(/^ok \d+\n$/);
    expect(await plain.watch.closed()).toMatchObject({ code: 'PEER_CLOSED', status: 1000, text: 'done', error: undefined });
    const compressed = await wsEcho(scene, withPermessageDeflate({ thresholdBytes: 0, contextTakeover: true }));
    expect(await pythonClient(compressed.url, '--compress', 'echo')).toMatch(/^ok \d+\n$/);
  });

  it('also over TLS', async () => {
    const { ca, server } = await makeCertificates();
    const { url } = await wssEcho(scene, withTls(server));
    expect(await pythonClient(url, '--ca', ca.certFile, 'echo')).toMatch(/^ok \d+\n$/);
  });

  it('closes and is closed with codes and reasons, pings, and agrees on a subprotocol', async () => {
    const { url, watch } = await wsEcho(scene, withSubprotocols(['b', 'a']));
    expect(await pythonClient(url, 'close', '4002', 'bye from python')).toBe('ok closed 4002 bye from python\n');
    expect(await pythonClient(url, 'command', '/close', '4003', 'you may go')).toBe('ok closed 4003 you may go\n');
    expect(await pythonClient(url, 'ping', 'there?')).toBe('ok there?\n');
    expect(await pythonClient(url, '--subprotocols', 'c,a', 'command', '/subprotocol')).toBe('ok a\n');
    expect(watch.reasons.map(({ by, status }) => `${by} ${status}`)).toEqual(['peer 4002', 'local 4003', 'peer 1000', 'peer 1000']);
  });
});

describe("a server on Python's websockets", () => {
  it('echoes to our client, also compressed and over TLS', async () => {
    await echoesThrough(scene, (await pythonServer()).url, seed);
    await echoesThrough(scene, (await pythonServer('--compress')).url, seed, withPermessageDeflate({ thresholdBytes: 0 }));
    const { ca, server } = await makeCertificates();
    const secure = await pythonServer('--cert', server.certFile, '--key', server.keyFile);
    await echoesThrough(scene, secure.url, seed, withTls({ ca: ca.cert }));
  });

  it('closes and is closed with codes and reasons, pings, is pinged, and agrees on a subprotocol', async () => {
    const { url, tool } = await pythonServer();
    expect(await closedBy(scene, url, '/close 1001 going away')).toMatchObject({ status: 1001, text: 'going away', error: undefined });
    expect(await closedBy(scene, url, '/close 4004 no more')).toMatchObject({ status: 4004, error: { code: 'CLOSED_WITH_ERROR' } });
    expect(await answerTo(scene, url, '/ping once')).toBe('once');
    const choosy = await pythonServer('--subprotocols', 'b,a');
    expect(await answerTo(scene, choosy.url, '/subprotocol', withSubprotocols(['c', 'a']))).toBe('a');
    const { session } = await wsClient(scene, url, withPing({ periodMs: 20, misses: 100 }));
    await until(() => session.stats().roundTripMs !== undefined, 'a pong');
    await session.close({ status: 4005, reason: 'grüße' });
    await tool.finds(/closed 4005 (grüße)/);
  });
});
