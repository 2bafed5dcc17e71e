import { ConnectionRecorder } from '../../src/testing/connection-recorder.ts';
import { MemoryNetwork, type MemoryNetworkOptions } from '../../src/testing/index.ts';
import { type Compression, compressionUpgrade } from '../../src/transport/compression.ts';
import type { Connection, PeerEnding } from '../../src/transport/connection.ts';

class EndRecorder extends ConnectionRecorder {
  /** How the peer has finished, if it was told. */
  ending: PeerEnding | undefined;

  override onEnd(ending?: PeerEnding): void {
    this.ending = ending;
    super.onEnd();
  }
}

/** One end that is compressed, opened, and what is at the other end of its link: raw bytes, opened too. */
export interface HalfCompressed {
  readonly ours: EndRecorder;
  readonly raw: ConnectionRecorder;
  /** Of `raw`, the connection that `ours` stands on. */
  readonly below: Connection;
}

const { signal } = new AbortController();

/** A link with two plain ends. */
async function link(options: MemoryNetworkOptions): Promise<[Connection, Connection]> {
  const network = new MemoryNetwork(options);
  const accepted: Connection[] = [];
  await network.transport().listen('server:1', {
    admit: () => undefined,
    onConnection: (connection) => void accepted.push(connection),
    onConnectionLost: () => {},
    onAcceptError: () => {},
  });
  const dialled = await network.transport().dial('server:1', { signal });
  while (accepted[0] === undefined) await new Promise((resolve) => setImmediate(resolve));
  return [dialled, accepted[0]];
}

async function upgraded(connection: Connection, compression: Compression): Promise<Connection> {
  return compressionUpgrade(compression)(connection, { signal });
}

export async function halfCompressed(compression: Compression, options: MemoryNetworkOptions = {}): Promise<HalfCompressed> {
  const [below, other] = await link(options);
  const ours = new EndRecorder(await upgraded(below, compression));
  const raw = new ConnectionRecorder(other);
  raw.open();
  ours.open();
  return { ours, raw, below };
}

/** Two compressed ends, opened. */
export async function compressedPair(
  compressions: readonly [Compression, Compression],
  options: MemoryNetworkOptions = {},
): Promise<[ConnectionRecorder, ConnectionRecorder]> {
  const [below, other] = await link(options);
  const first = new ConnectionRecorder(await upgraded(below, compressions[0]));
  const second = new ConnectionRecorder(await upgraded(other, compressions[1]));
  return [first.open(), second.open()];
}
