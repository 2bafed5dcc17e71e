import type { PorticoError } from '../../src/base/errors.ts';
import { type Compression, compressionUpgrade } from '../../src/transport/compression.ts';
import type { Acceptor, AcceptorSink, Transport } from '../../src/transport/transport.ts';

/** A transport whose connections are all compressed. */
export function compressedTransport(lower: Transport, compression: Compression): Transport {
  const upgrade = compressionUpgrade(compression);
  const { signal } = new AbortController();
  return {
    name: `${lower.name}, ${JSON.stringify(compression)}`,
    listen: (address: string, sink: AcceptorSink): Promise<Acceptor> =>
      lower.listen(address, {
        admit: (remote) => sink.admit(remote),
        onConnection: (connection) => void upgrade(connection, { signal }).then((above) => sink.onConnection(above)),
        onConnectionLost: (remote, error: PorticoError) => sink.onConnectionLost(remote, error),
        onAcceptError: (error) => sink.onAcceptError(error),
      }),
    dial: async (address, options) => upgrade(await lower.dial(address, options), options),
  };
}
