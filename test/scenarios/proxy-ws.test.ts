import { describe, expect, it } from 'vitest';
import {
  PROXY_INFO,
  RawHandler,
  type Session,
  WsClient,
  WsServer,
  WssClient,
  WssServer,
  withEventListener,
  withLocalAddress,
  withMaxSessionsPerIp,
  withPkgHandler,
  withProxyHeader,
  withProxyProtocol,
  withReconnect,
  withServerAddress,
  withTls,
} from '../../src/index.ts';
import { makeCertificates } from '../helpers/certificates.ts';
import { until } from '../helpers/raw-peer.ts';
import { useScene } from '../helpers/scene.ts';

type BytesSession = Session<Buffer, Uint8Array>;
const scene = useScene();
const ends = { source: { host: '192.0.2.1', port: 5 }, destination: { host: '192.0.2.2', port: 6 } };
const raw = withPkgHandler(new RawHandler());
const proxied = withProxyProtocol({ mode: 'require', trustedSources: ['127.0.0.1'] });
const address = withLocalAddress('127.0.0.1:0');

describe('a WebSocket server behind a proxy', () => {
  it.each(['ws', 'wss'] as const)('has the addresses of the client: %s', async (scheme) => {
    const { ca, server: pair } = await makeCertificates();
    const sessions: BytesSession[] = [];
    const echo = withEventListener<Buffer, Uint8Array>({
      onOpen: (session) => void sessions.push(session),
      onMessage: (session, bytes) => void session.send(bytes),
    });
    const options = [address, proxied, raw, echo, withMaxSessionsPerIp(1)] as const;
    const server =
      scheme === 'ws' ? new WsServer<Buffer, Uint8Array>(...options) : new WssServer<Buffer, Uint8Array>(...options, withTls(pair));
    scene.atEnd(() => server.close({ drainTimeoutMs: 0 }));
    await server.listen();
    const received: string[] = [];
    const listener = withEventListener<Buffer, Uint8Array>({ onMessage: (_session, bytes) => void received.push(String(bytes)) });
    const target = withServerAddress(`${scheme}://${server.localAddress.text}/`);
    const dialling = [target, raw, listener, withReconnect(false), withProxyHeader({ version: 2, ...ends })] as const;
    const client =
      scheme === 'ws'
        ? new WsClient<Buffer, Uint8Array>(...dialling)
        : new WssClient<Buffer, Uint8Array>(...dialling, withTls({ ca: ca.cert, serverName: 'localhost' }));
    scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
    (await client.connect()).send(Buffer.from('hello'));
    await until(() => received.length > 0, 'the echo');
    expect(received).toEqual(['hello']);
    const [session] = sessions;
    expect([session?.remoteAddress.text, session?.localAddress.text]).toEqual(['192.0.2.1:5', '192.0.2.2:6']);
    expect(session?.attributes.get(PROXY_INFO)?.proxyAddress.host).toBe('127.0.0.1');
    // The one place of that address is free again behind it.
    await client.close();
    await until(() => server.sessions.size === 0, 'the end');
    const again = scheme === 'ws' ? new WsClient<Buffer, Uint8Array>(...dialling) : undefined;
    if (again === undefined) return;
    scene.atEnd(() => again.close({ drainTimeoutMs: 0 }));
    await again.connect();
  });
});
