import { isIP, isIPv6 } from 'node:net';
import { StateError } from './errors.ts';
import { show } from './option.ts';

/** Where a datagram goes to: an IP address, never a name, and a port. */
export interface PeerTarget {
  /** An IPv4 or IPv6 address, the latter without brackets and perhaps with a zone (`fe80::1%eth0`). */
  readonly host: string;
  /** 1 to 65 535. */
  readonly port: number;
}

/** Where a datagram came from. */
export class PeerAddress implements PeerTarget {
  readonly host: string;
  readonly port: number;

  constructor(host: string, port: number) {
    this.host = host;
    this.port = port;
  }

  get family(): 'IPv4' | 'IPv6' {
    return isIPv6(this.host) ? 'IPv6' : 'IPv4';
  }

  /** `host:port`, or `[host]:port` for IPv6. */
  get text(): string {
    return this.family === 'IPv6' ? `[${this.host}]:${this.port}` : `${this.host}:${this.port}`;
  }

  toString(): string {
    return this.text;
  }
}

/**
 * How the peer of a message travels between a connection that serves all peers of a socket and the handler above it. It never
 * leaves the process, and is behind a message that is sent so that the package inside begins where its handler expects it:
 *
 * ```
 * received: | mark, 4 bytes | port, 2 | length of the host, 1 | host, as text | message |
 * sent:     | message | host, as text | length of the host, 1 | port, 2 | mark, 4 bytes |
 * ```
 */
const FIXED_BYTES = 7;
/** An IPv6 address with a zone. */
const MAX_HOST_BYTES = 64;
/** Tells a peer from bytes that were sent past the handler. Not a secret, but different in each process. */
const MARK = Math.floor(Math.random() * 0xffff_ffff);

/** What a peer is read from: a ByteReader has these. */
interface PeerInput {
  readonly length: number;
  uint8At(offset: number): number;
  uint16At(offset: number): number;
  uint32At(offset: number): number;
  skip(count: number): void;
  readString(count: number, encoding?: BufferEncoding): string;
}

/** What a peer is written to: a ByteWriter has these. */
interface PeerOutput {
  writeUint8(value: number): void;
  writeUint16(value: number): void;
  writeUint32(value: number): void;
  writeString(text: string, encoding?: BufferEncoding): number;
}

/** A received message behind its peer, in memory of its own. */
export function joinPeer(host: string, port: number, message: Uint8Array): Buffer {
  const bytes = Buffer.allocUnsafe(FIXED_BYTES + host.length + message.length);
  bytes.writeUInt32BE(MARK, 0);
  bytes.writeUInt16BE(port, 4);
  bytes[6] = host.length;
  bytes.write(host, FIXED_BYTES, 'latin1');
  bytes.set(message, FIXED_BYTES + host.length);
  return bytes;
}

/** How many bytes of a message made by `joinPeer` are not the message. */
export function joinedPeerBytes(message: Uint8Array): number {
  return FIXED_BYTES + (message[6] ?? 0);
}

/** Consumes the peer in front of a received message; undefined when there is none. */
export function readPeer(bytes: PeerInput): PeerAddress | undefined {
  if (bytes.length < FIXED_BYTES || bytes.uint32At(0) !== MARK) return undefined;
  const port = bytes.uint16At(4);
  const hostLength = bytes.uint8At(6);
  bytes.skip(FIXED_BYTES);
  return new PeerAddress(bytes.readString(hostLength, 'latin1'), port);
}

/** Writes the peer behind a package that is to be sent. Throws StateError NO_PEER unless a datagram can be sent there. */
export function writePeer(out: PeerOutput, peer: PeerTarget | null | undefined): void {
  const { host, port } = peer ?? { host: undefined, port: undefined };
  const isUsable = typeof host === 'string' && host.length <= MAX_HOST_BYTES && isIP(host) !== 0;
  if (!isUsable || port === undefined || !Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new StateError('NO_PEER', `expected a peer with an IP address and a port, given host ${show(host)} and port ${show(port)}`);
  }
  out.writeString(host, 'latin1');
  out.writeUint8(host.length);
  out.writeUint16(port);
  out.writeUint32(MARK);
}

/** Takes the peer off the last chunk of a message to be sent; undefined when there is none. */
export function splitPeer(chunk: Uint8Array): { readonly host: string; readonly port: number; readonly rest: Uint8Array } | undefined {
  const fixed = chunk.length - FIXED_BYTES;
  if (fixed < 0) return undefined;
  const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
  const start = fixed - (bytes[fixed] ?? 0);
  if (bytes.readUInt32BE(fixed + 3) !== MARK || start < 0) return undefined;
  return { host: bytes.toString('latin1', start, fixed), port: bytes.readUInt16BE(fixed + 1), rest: chunk.subarray(0, start) };
}
