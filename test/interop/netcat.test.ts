import { randomUUID } from 'node:crypto';
import os from 'node:os';
import path from 'node:path';
import { describe, expect } from 'vitest';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress } from '../../src/endpoint/options.ts';
import { withPkgHandler, withSendQueue } from '../../src/session/options.ts';
import { pattern } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';
import { lineClient, lineServer, startTool } from '../helpers/text-scene.ts';
import { itWith } from '../helpers/tools.ts';

const scene = useScene();
const it = itWith('nc');
const itWithCurl = itWith('curl');

describe('nc', () => {
  it('sends lines, finishes, and gets all replies before the end', async () => {
    const { address, lines } = await lineServer(scene);
    const nc = startTool(scene, 'nc', ['-N', address.host, String(address.port)]);
    nc.end('one\ntwo\r\n\nlast\n');
    expect(await nc.exited()).toBe(0);
    expect(nc.output).toBe('one\ntwo\n\nlast\n');
    expect(await lines.closed()).toMatchObject({ code: 'PEER_CLOSED' });
  });

  it('ends when the server closes', async () => {
    const { address, lines } = await lineServer(scene);
    const nc = startTool(scene, 'nc', [address.host, String(address.port)]);
    nc.write('hello\n');
    await nc.prints('hello\n');
    nc.end('quit\n');
    expect(await nc.exited()).toBe(0);
    expect(await lines.closed()).toMatchObject({ code: 'NORMAL' });
  });

  it('gets ten megabytes back unharmed', async () => {
    const { address } = await scene.server(withPkgHandler(new RawHandler()), withSendQueue(67_108_864));
    const sent = pattern(10_000_000);
    const nc = startTool(scene, 'nc', ['-N', address.host, String(address.port)]);
    nc.end(sent);
    expect(await nc.exited()).toBe(0);
    expect(nc.bytes.equals(sent)).toBe(true);
  });

  it('that is killed in the middle of a line shows as a truncated stream', async () => {
    const { address, lines } = await lineServer(scene);
    const nc = startTool(scene, 'nc', [address.host, String(address.port)]);
    nc.write('whole\nhal');
    await nc.prints('whole\n');
    nc.stop();
    expect(await lines.closed()).toMatchObject({ code: 'TRUNCATED', truncatedBytes: 3 });
  });

  it('speaks over a Unix socket', async () => {
    const file = path.join(os.tmpdir(), `portico-${randomUUID()}.sock`);
    await lineServer(scene, withLocalAddress(`unix:${file}`));
    const nc = startTool(scene, 'nc', ['-N', '-U', file]);
    nc.end('over a file\n');
    expect(await nc.exited()).toBe(0);
    expect(nc.output).toBe('over a file\n');
  });

  it('as a server takes lines from our client, and answers', async () => {
    const nc = startTool(scene, 'nc', ['-lv', '127.0.0.1', '0']);
    const port = await nc.finds(/Listening on \S+ (\d+)/);
    const { session, lines } = await lineClient(scene, `127.0.0.1:${port}`);
    session.send('to the server');
    await nc.prints('to the server\n');
    nc.write('to the client\n');
    expect(await lines.linesIn(1)).toEqual(['to the client']);
    nc.stop();
    expect(await lines.closed()).toMatchObject({ code: 'PEER_CLOSED' });
  });
});

describe('curl', () => {
  itWithCurl('speaks to us as telnet', async () => {
    const { address } = await lineServer(scene);
    const curl = startTool(scene, 'curl', ['-sN', '--max-time', '20', `telnet://${address.text}`]);
    curl.write('over curl\n');
    await curl.prints('over curl\n');
    curl.write('quit\n');
    expect(await curl.exited()).toBe(0);
  });

  itWithCurl('that speaks HTTP is taken for lines, and cut when it is done', async () => {
    const { address, lines } = await lineServer(scene);
    const curl = startTool(scene, 'curl', ['-s', '--max-time', '1', '--http0.9', `http://${address.text}/`]);
    await lines.linesIn(4);
    expect(lines.lines[0]).toBe('GET / HTTP/1.1');
    await curl.exited();
    expect(await lines.closed()).toMatchObject({ code: expect.stringMatching(/PEER_CLOSED|RESET/) });
  });
});
