import { beforeAll, describe, expect, it } from 'vitest';
import { withHandshakeTimeoutMs, withTls } from '../../src/endpoint/options.ts';
import { memoryInUse } from '../helpers/attack.ts';
import { makeCertificates, type TestCertificates } from '../helpers/certificates.ts';
import { amount, inParallel } from '../helpers/load.ts';
import { openFiles, RawPeer, until } from '../helpers/raw-peer.ts';
import { Scene, useScene } from '../helpers/scene.ts';

const scene = useScene();
let certificates: TestCertificates;
beforeAll(async () => {
  certificates = await makeCertificates();
}, 30_000);

describe('TLS over a long time', () => {
  it('thousands of sessions, one after another, leave memory and descriptors as they were', { timeout: 120_000 }, async () => {
    const echo = await scene.server(withTls(certificates.server));
    const round = async (): Promise<void> => {
      const inner = new Scene();
      const { session, watch } = await inner.client(echo, withTls({ ca: certificates.ca.cert }));
      session.send(Buffer.from('hello'));
      await watch.packagesIn(1);
      await inner.close();
    };
    const forget = (): void => {
      echo.watch.opened.length = 0;
      echo.watch.packages.length = 0;
      echo.watch.reasons.length = 0;
      echo.watch.reasonOf.clear();
    };
    await inParallel(amount(300, 50), 10, round);
    await until(() => echo.server.sessions.size === 0, 'the warm-up to be over');
    forget();
    const [memory, files] = [memoryInUse(), openFiles()];
    await inParallel(amount(3000, 100), 10, round);
    await until(() => echo.server.sessions.size === 0 && openFiles() <= files, 'the descriptors to be freed', 20_000);
    forget();
    expect(memoryInUse() - memory).toBeLessThan(15_000_000);
  });

  it('certificates renewed a thousand times pile up nothing', { timeout: 120_000 }, async () => {
    const { server, serverA, serverB } = certificates;
    let round = 0;
    const echo = await scene.server(withTls(() => ({ ...server, sni: { 'x.test': round++ % 2 === 0 ? serverA : serverB } })));
    const reload = async (times: number): Promise<void> => {
      for (let count = 0; count < times; count++) await echo.server.reloadTls();
    };
    await reload(100);
    const before = memoryInUse();
    await reload(amount(1000, 100));
    expect(memoryInUse() - before).toBeLessThan(5_000_000);
  });

  it('thousands of clients that never finish the handshake leave no descriptor', { timeout: 120_000 }, async () => {
    const count = amount(3000, 200);
    const echo = await scene.server(withTls(certificates.server), withHandshakeTimeoutMs(300));
    const files = openFiles();
    await inParallel(count, 300, async (index) => {
      const peer = await RawPeer.connect(echo.address);
      if (index % 3 === 0) peer.pour(Buffer.of(0x16, 3, 1));
      if (index % 3 === 1) peer.pour(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
      if (index % 7 !== 0) await peer.closed(20_000);
      peer.destroy();
    });
    await until(() => echo.lost.length === count && openFiles() <= files, 'the descriptors to be freed', 20_000);
    expect(echo.watch.opened).toEqual([]);
  });
});
