import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { it as anyIt, describe, expect } from 'vitest';
import { withMaxFragments, withPermessageDeflate } from '../../src/endpoint/ws-options.ts';
import { hasAutobahn, SUITE, testClient, testServer } from '../helpers/autobahn.ts';
import { conformancePage, failuresOf, keepRun, keptRun, PAGE, type RunName, verdicts } from '../helpers/autobahn-report.ts';
import { useScene } from '../helpers/scene.ts';
import { itIf } from '../helpers/tools.ts';
import { MessageEcho, newWsClient, type WsClientOption, wsEcho } from '../helpers/ws-echo.ts';

/** The cases of the Autobahn test suite against our server and our client. */
const scene = useScene();
const it = itIf(hasAutobahn, 'the Autobahn test suite', 'scripts/interop-peers.sh autobahn');
const isAll = process.env['PORTICO_AUTOBAHN'] === 'all';
const limitMs = 150_000;
const deflateLimitMs = isAll ? 2_400_000 : limitMs;

const protocol = ['1.*', '2.*', '3.*', '4.*', '5.*', '6.*', '7.*', '9.*', '10.*'];
const protocolCount = 301;
/** Sections 12 and 13 have 18 cases for each of their settings: messages of 16 bytes to 128 KiB, whole and in fragments. */
const settings = ['12.1', '12.2', '12.3', '12.4', '12.5', '13.1', '13.2', '13.3', '13.4', '13.5', '13.6', '13.7'];
const compression = isAll ? ['12.*', '13.*'] : settings.flatMap((setting) => [1, 4, 7, 12].map((number) => `${setting}.${number}`));
const compressionCount = isAll ? 216 : 48;
const fragments = withMaxFragments(100_000);
const deflate = withPermessageDeflate({ thresholdBytes: 0 });

/** Echoes until the suite closes, and resolves with the short texts that came. */
async function visit(url: string, ...options: readonly WsClientOption[]): Promise<string[]> {
  const texts: string[] = [];
  const watch = new (class extends MessageEcho {
    override onMessage(...[session, message]: Parameters<MessageEcho['onMessage']>): void {
      if (message.isText && message.bytes.length < 10) texts.push(Buffer.from(message.bytes).toString());
      super.onMessage(session, message);
    }
  })();
  const client = newWsClient(scene, url, watch, fragments, ...options);
  const closed = new Promise<void>((resolve) => void client.on('sessionClosed', () => resolve()));
  // A session that is over at once is none that `connect` could give.
  await client.connect().catch((error: unknown) => {
    if (watch.opened.length === 0) throw error;
  });
  await closed;
  await client.close();
  return texts;
}

function check(name: RunName, results: Parameters<typeof verdicts>[0], count: number): void {
  keepRun(name, SUITE, results);
  const cases = verdicts(results);
  expect(failuresOf(cases)).toEqual([]);
  expect(Object.keys(cases)).toHaveLength(count);
  // What passes less than well is what the page names.
  const kept = keptRun(name)?.cases ?? {};
  const worse = Object.entries(cases).filter(([number, verdict]) => verdict !== 'OK' && kept[number] === 'OK');
  expect(worse).toEqual([]);
}

describe('znet-knet scenario 63: the Autobahn test suite', () => {
  it(
    'finds our server conforming',
    async () => {
      const { url } = await wsEcho(scene, fragments);
      check('server', await testServer(scene, url, protocol, limitMs), protocolCount);
    },
    limitMs,
  );

  it(
    'finds our client conforming',
    async () => {
      // The suite keeps most connections for another second.
      check('client', await testClient(scene, protocol, 16, visit), protocolCount);
    },
    limitMs,
  );

  it(
    'finds our server conforming with permessage-deflate',
    async () => {
      const { url } = await wsEcho(scene, fragments, deflate);
      check('server-deflate', await testServer(scene, url, compression, deflateLimitMs), compressionCount);
    },
    deflateLimitMs,
  );

  it(
    'finds our client conforming with permessage-deflate',
    async () => {
      // Few at a time: the suite gives each case a minute.
      const results = await testClient(scene, compression, 4, (url) => visit(url, deflate));
      check('client-deflate', results, compressionCount);
    },
    deflateLimitMs,
  );

  anyIt('is what the page of conformance tells of', () => {
    if (process.env['PORTICO_REPORT'] === '1') writeFileSync(PAGE, conformancePage());
    expect(existsSync(PAGE) ? readFileSync(PAGE, 'utf8') : '').toBe(conformancePage());
  });
});
