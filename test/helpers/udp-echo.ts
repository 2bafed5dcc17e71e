import type { Option } from '../../src/base/option.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import { withLocalAddress, withReconnect, withServerAddress } from '../../src/endpoint/options.ts';
import { UdpClient, UdpEndpoint } from '../../src/endpoint/udp.ts';
import type { UdpEndpointOptions } from '../../src/endpoint/udp-options.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import { type BytesSession, type Scene, Watch } from './scene.ts';

/** A UDP endpoint on a free port of 127.0.0.1 that sends every datagram back; a package is a datagram. */
export async function udpEcho(
  scene: Scene,
  ...options: readonly Option<UdpEndpointOptions<Buffer, Uint8Array>>[]
): Promise<{ readonly endpoint: UdpEndpoint<Buffer, Uint8Array>; readonly watch: Watch }> {
  const watch = new Watch(true);
  const endpoint = new UdpEndpoint<Buffer, Uint8Array>(
    withLocalAddress('127.0.0.1:0'),
    withPkgHandler(new RawHandler()),
    withEventListener<Buffer, Uint8Array>(watch),
    ...options,
  );
  scene.atEnd(() => endpoint.close({ drainTimeoutMs: 0 }));
  await endpoint.listen();
  return { endpoint, watch };
}

/** A UDP client, connected. */
export async function udpClient(scene: Scene, address: string): Promise<{ readonly session: BytesSession; readonly watch: Watch }> {
  const watch = new Watch(false);
  const client = new UdpClient<Buffer, Uint8Array>(
    withServerAddress(address),
    withReconnect(false),
    withPkgHandler(new RawHandler()),
    withEventListener<Buffer, Uint8Array>(watch),
  );
  scene.atEnd(() => client.close({ drainTimeoutMs: 0 }));
  return { session: await client.connect(), watch };
}
