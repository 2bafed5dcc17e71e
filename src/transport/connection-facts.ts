import type { Attributes } from '../base/attributes.ts';
import type { Address, TlsInfo } from './connection.ts';

/** What a connection tells about itself. */
export abstract class ConnectionFacts {
  abstract readonly kind: 'stream' | 'message';
  abstract readonly localAddress: Address;
  abstract readonly remoteAddress: Address;
  abstract readonly tls: TlsInfo | undefined;
  abstract readonly raw: unknown;
  abstract readonly readPath: 'static' | 'chunk';

  bytesRead = 0;
  bytesWritten = 0;
  writes = 0;
  droppedPackages = 0;
  lostPackages = 0;
  isDrainExpected = false;

  get isDatagram(): boolean {
    return false;
  }

  get attributes(): Attributes | undefined {
    return undefined;
  }
}
