import { oneLine } from '../base/log.ts';

/** A snapshot of a session's counters. Bytes are those of packages: inside TLS, not with it. */
export class SessionStats {
  readonly id: number;
  readonly name: string;
  readonly type: string;
  readonly state: string;
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly bytesRead: number;
  readonly bytesWritten: number;
  readonly packagesRead: number;
  /** Packages sent or waiting to be; not those that were dropped or taken back. */
  readonly packagesWritten: number;
  /** Packages lost to an overflow policy, in either direction. */
  readonly packagesDropped: number;
  /** Calls that handed bytes to the operating system. */
  readonly writes: number;
  /** Bytes waiting to be sent. */
  readonly pendingBytes: number;
  /** Bytes received and not yet decoded. */
  readonly bufferedBytes: number;
  /** Handlers whose promise is pending. */
  readonly runningHandlers: number;
  /** 'static': one read buffer shared by all sockets; 'chunk': the runtime makes one per read. */
  readonly readPath: 'static' | 'chunk';
  /** How long the peer took to answer the last ping of the transport (WebSocket); undefined without one. */
  readonly roundTripMs: number | undefined;

  constructor(values: Omit<SessionStats, 'toString'>) {
    this.id = values.id;
    this.name = values.name;
    this.type = values.type;
    this.state = values.state;
    this.localAddress = values.localAddress;
    this.remoteAddress = values.remoteAddress;
    this.bytesRead = values.bytesRead;
    this.bytesWritten = values.bytesWritten;
    this.packagesRead = values.packagesRead;
    this.packagesWritten = values.packagesWritten;
    this.packagesDropped = values.packagesDropped;
    this.writes = values.writes;
    this.pendingBytes = values.pendingBytes;
    this.bufferedBytes = values.bufferedBytes;
    this.runningHandlers = values.runningHandlers;
    this.readPath = values.readPath;
    this.roundTripMs = values.roundTripMs;
  }

  /** The one line of getty's `Stat()`. */
  toString(): string {
    const { name, type, id, localAddress, remoteAddress } = this;
    return (
      `session {${oneLine(name)}:${type}:${id}:${localAddress}<->${remoteAddress}}, Read Bytes: ${this.bytesRead}, ` +
      `Write Bytes: ${this.bytesWritten}, Read Pkgs: ${this.packagesRead}, Write Pkgs: ${this.packagesWritten}`
    );
  }
}
