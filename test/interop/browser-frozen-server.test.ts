import path from 'node:path';
import { describe, expect, it } from 'vitest';
import WebSocket from 'ws';
import { createClient } from '../../src/browser/client.ts';
import type { WebSocketConstructor } from '../../src/browser/environment.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';

const program = path.join(import.meta.dirname, '../helpers/hub-process.ts');

describe('a client whose server process is stopped', () => {
  const scene = useScene();

  it('znet-knet scenario 55: notices within its heartbeat, and resumes without loss when the server goes on', async () => {
    const tool = startTool(scene, process.execPath, ['--import', 'tsx', program]);
    const url = await tool.finds(/(ws:\/\/127\.0\.0\.1:\d+\/)/);
    const events: string[] = [];
    const client = createClient({
      url,
      webSocket: WebSocket as unknown as WebSocketConstructor,
      heartbeat: { intervalMs: 200, timeoutMs: 200 },
      connectTimeoutMs: 300,
      reconnect: { minMs: 20, maxMs: 100 },
      buffer: { messages: 10 },
    });
    scene.atEnd(async () => {
      tool.child.kill('SIGCONT');
      await client.close({ drain: false, timeoutMs: 100 });
    });
    const seen: string[] = [];
    client.on(1, (payload) => seen.push(new TextDecoder().decode(payload)));
    for (const name of ['open', 'reconnecting', 'reconnected'] as const) client.events.on(name, () => events.push(name));
    const errors: string[] = [];
    client.events.on('error', ({ code }) => errors.push(code));
    const { id } = await client.connect();
    client.send(1, 'before');
    await until(() => seen.length === 1, 'the first echo');

    const stoppedAt = performance.now();
    tool.child.kill('SIGSTOP');
    client.send(1, 'into the freeze');
    await until(() => client.state === 'reconnecting', 'the client to notice');
    expect(performance.now() - stoppedAt).toBeLessThan(2_000);
    expect(errors[0]).toBe('HEARTBEAT_TIMEOUT');
    client.send(1, 'while it is frozen');
    await until(() => errors.includes('CONNECT_TIMEOUT'), 'an attempt in vain');

    tool.child.kill('SIGCONT');
    await until(() => seen.length >= 3, 'all echoes');
    expect(seen).toEqual(['before', 'into the freeze', 'while it is frozen']);
    expect(client).toMatchObject({ id, recovered: true, state: 'open' });
    expect(events.filter((name) => name === 'open')).toHaveLength(1);
  });
});
