/**
 * Compression of the streams of TCP, TLS and Unix sockets. It is not negotiated: both sides MUST be set up for the same.
 *
 * @module
 *
 * @example
 * ```ts
 * import { LineHandler, type Session, TcpClient, TcpServer, withCompression, withEventListener, withLocalAddress, withPkgHandler, withServerAddress } from 'portico';
 *
 * const server = new TcpServer(
 *   withLocalAddress('127.0.0.1:0'),
 *   withPkgHandler(new LineHandler()),
 *   withCompression('zip'),
 *   withEventListener({ onMessage: (session: Session<string>, line: string) => void session.send(line) }),
 * );
 * await server.listen();
 *
 * const client = new TcpClient(
 *   withServerAddress(server.localAddress.text),
 *   withPkgHandler(new LineHandler()),
 *   withCompression('best-speed'),
 *   withEventListener({
 *     async onMessage(_session: Session<string>, line: string) {
 *       console.log(line);
 *       await Promise.all([client.close(), server.close()]);
 *     },
 *   }),
 * );
 * await client.connect();
 * client.send('hello');
 * ```
 */
import type { Option } from '../base/option.ts';
import { type Compression, compressionUpgrade } from '../transport/compression.ts';
import type { TcpSettings } from '../transport/tcp.ts';
import type { Upgrade } from '../transport/transport.ts';

/** Only TCP options have a `staticRead`: where packages are messages, this does not compile. */
type StreamOption = Option<{ upgrades: readonly Upgrade[] } & Pick<TcpSettings, 'staticRead'>>;

/** What `withCompression` has added, so that the later one wins, and `withUpgrade` leaves it alone. */
const added = new WeakSet<Upgrade>();

export function isOfWithCompression(upgrade: Upgrade): boolean {
  return added.has(upgrade);
}

/**
 * Compresses the stream in both directions; the other side MUST be set up for the same. All forms of zip and huffman understand each
 * other; 'none' and 'snappy' understand only themselves. Each batch of packages is flushed, so that nothing waits for more. A corrupt
 * stream is PROTOCOL_VIOLATION. The layer stands behind those of `withUpgrade`, whichever option comes first. Throws INVALID_OPTION.
 * Default 'none'.
 */
export function withCompression(compression: Compression): StreamOption {
  const upgrade = compressionUpgrade(compression);
  added.add(upgrade);
  return (options) => {
    const others = options.upgrades.filter((other) => !isOfWithCompression(other));
    options.upgrades = compression === 'none' ? others : [...others, upgrade];
  };
}
