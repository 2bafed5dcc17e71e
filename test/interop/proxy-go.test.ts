import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect } from 'vitest';
import { type ProxyHeaderFields, readProxyHeader, writeProxyHeader } from '../../src/index.ts';
import { DESTINATION4, DESTINATION6, SOURCE4, SOURCE6 } from '../helpers/proxy-vectors.ts';
import { itWith, Tool } from '../helpers/tools.ts';

const it = itWith('go');
const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-proxy-go-'));
const program = path.join(folder, 'peer');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Builds the peer, which stands on github.com/pires/go-proxyproto, and runs it to its end. */
async function run(mode: 'read' | 'write', input = ''): Promise<string[]> {
  const go = new Tool('go', ['build', '-o', program, '.'], path.join(import.meta.dirname, '../../interop/go/proxy'));
  expect(await go.exited(50_000), go.errors).toBe(0);
  const peer = new Tool(program, [mode]).end(input);
  expect(await peer.exited(), peer.errors).toBe(0);
  return peer.output.trimEnd().split('\n');
}

const unix = (name: string): object => ({ host: '', port: 0, path: name });

describe("Go's go-proxyproto", () => {
  it('writes headers that we read', async () => {
    const headers = (await run('write')).map((line) => readProxyHeader(Buffer.from(line, 'hex')));
    const ipv4 = { command: 'PROXY', protocol: 'TCP4', source: SOURCE4, destination: DESTINATION4 };
    const ipv6 = { command: 'PROXY', protocol: 'TCP6', source: SOURCE6, destination: DESTINATION6 };
    const sockets = { protocol: 'UNIX_STREAM', source: unix('/run/client'), destination: unix('/run/server') };
    const tlvs = {
      authority: 'example.org',
      uniqueId: Buffer.from('id 7'),
      tlvs: [{ type: 2 }, { type: 5 }, { value: Buffer.alloc(300, 7) }],
    };
    expect(headers).toMatchObject([
      { version: 1, ...ipv4 },
      { version: 1, ...ipv6 },
      { version: 2, ...ipv4, tlvs: [] },
      { version: 2, ...ipv4, ...tlvs },
      { version: 2, ...ipv6, tlvs: [] },
      { version: 2, ...ipv6, ...tlvs },
      { version: 2, ...sockets, tlvs: [] },
      { version: 2, command: 'LOCAL', source: undefined },
    ]);
  }, 60_000);

  it('reads the headers that we write', async () => {
    const ipv4 = { source: SOURCE4, destination: DESTINATION4 };
    const ipv6 = { source: SOURCE6, destination: DESTINATION6 };
    const tlvs = [{ type: 2, value: Buffer.from('example.org') }];
    const fields: ProxyHeaderFields[] = [
      { version: 1, ...ipv4 },
      { version: 1, ...ipv6 },
      { version: 2, ...ipv4, tlvs },
      { version: 2, ...ipv6, tlvs },
      { version: 2, command: 'LOCAL' },
    ];
    const lines = fields.map((each) => `${writeProxyHeader(each).toString('hex')}c0de`);
    const seen: unknown[] = (await run('read', lines.join('\n'))).map((line) => JSON.parse(line));
    const texts4 = { source: '192.0.2.1:56324', destination: '198.51.100.2:443', isLocal: false, rest: 'c0de' };
    const texts6 = { source: '[2001:db8::1]:56324', destination: '[2001:db8::2]:443', isLocal: false, rest: 'c0de' };
    const authority = { type: 2, value: Buffer.from('example.org').toString('hex') };
    expect(seen).toEqual([
      { version: 1, ...texts4, tlvs: [] },
      { version: 1, ...texts6, tlvs: [] },
      { version: 2, ...texts4, tlvs: [authority] },
      { version: 2, ...texts6, tlvs: [authority] },
      { version: 2, source: '', destination: '', isLocal: true, rest: 'c0de', tlvs: [] },
    ]);
  }, 60_000);
});
