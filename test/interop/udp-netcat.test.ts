import { describe, expect } from 'vitest';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { useScene } from '../helpers/scene.ts';
import { startTool } from '../helpers/text-scene.ts';
import { itWith } from '../helpers/tools.ts';
import { udpClient, udpEcho } from '../helpers/udp-echo.ts';

const scene = useScene();
const it = itWith('nc');
const itWithSocat = itWith('socat');

describe('nc -u', () => {
  it('gets its datagrams back', async () => {
    const { endpoint, watch } = await udpEcho(scene);
    const { host, port } = endpoint.localAddress;
    const nc = startTool(scene, 'nc', ['-u', host, String(port)]);
    nc.write('one\n');
    await nc.prints('one\n');
    nc.write('two\n');
    await nc.prints('one\ntwo\n');
    expect(watch.texts).toEqual(['one\n', 'two\n']);
    expect(watch.opened).toHaveLength(1);
  });

  it('as a server takes datagrams from our client, and answers', async () => {
    const nc = startTool(scene, 'nc', ['-ulv', '127.0.0.1', '0']);
    const port = await nc.finds(/Bound on \S+ (\d+)/);
    const { session, watch } = await udpClient(scene, `127.0.0.1:${port}`);
    session.send(Buffer.from('to the server\n'));
    await nc.prints('to the server\n');
    nc.write('to the client\n');
    expect(await watch.textsIn(1)).toEqual(['to the client\n']);
  });
});

describe('socat over UDP', () => {
  itWithSocat('gets its datagrams back, over IPv4 and IPv6', async () => {
    const { endpoint } = await udpEcho(scene, withLocalAddress('[::]:0'));
    const { port } = endpoint.localAddress;
    for (const target of [`UDP4:127.0.0.1:${port}`, `UDP6:[::1]:${port}`]) {
      const socat = startTool(scene, 'socat', ['-', target]);
      socat.write(`by ${target}\n`);
      await socat.prints(`by ${target}\n`);
    }
    expect(endpoint.stats().totalSessions).toBe(2);
  });

  itWithSocat('as a server echoes to our client', async () => {
    const socat = startTool(scene, 'socat', ['-d', '-d', 'UDP4-LISTEN:0,bind=127.0.0.1', 'EXEC:cat']);
    const port = await socat.finds(/listening on UDP AF=2 127\.0\.0\.1:(\d+)/);
    const { session, watch } = await udpClient(scene, `127.0.0.1:${port}`);
    session.send(Buffer.from('there and back'));
    expect(await watch.textsIn(1)).toEqual(['there and back']);
  });
});
