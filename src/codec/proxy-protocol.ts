import { oneLine } from '../base/log.ts';
import { canonicalIp } from './proxy-protocol-address.ts';
import {
  badProxyHeader,
  PROXY_HEADER_LIMITS,
  PROXY_V1_MAX_BYTES,
  PROXY_V1_START,
  PROXY_V2_SIGNATURE,
  type ProxyEnd,
  type ProxyHeader,
  type ProxyHeaderLimits,
} from './proxy-protocol-header.ts';
import { readProxyV2 } from './proxy-protocol-v2.ts';

/*
 * The PROXY protocol, versions 1 and 2, as in haproxy's doc/proxy-protocol.txt: one header in front of everything else, by which
 * a proxy tells for whom it has connected.
 *
 * INPUT                                                        DECODED
 * "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n" "GET"      { version: 1, source: 192.0.2.1:56324, … byteCount: 46 }
 * 0d0a0d0a000d0a515549540a 21 11 000c c0000201 c6336402 …      { version: 2, source: 192.0.2.1:56324, … byteCount: 28 }
 *   signature   version|command | family|transport | length | addresses, ports, TLVs
 */

/** Whether bytes begin with a PROXY header; undefined when there are too few to tell. */
export function isProxyHeader(bytes: Uint8Array, versions: readonly (1 | 2)[] = PROXY_HEADER_LIMITS.versions): boolean | undefined {
  const starts = versions.map((version) => (version === 1 ? PROXY_V1_START : PROXY_V2_SIGNATURE));
  const fitting = starts.filter((start) => {
    const length = Math.min(start.length, bytes.length);
    return start.compare(bytes, 0, length, 0, length) === 0;
  });
  if (fitting.length === 0) return false;
  return fitting.some((start) => start.length <= bytes.length) ? true : undefined;
}

/**
 * Reads a PROXY header from the first bytes of a connection. Returns how many bytes are needed in all, at least, when there are not
 * enough; give it the same bytes and more then. What is returned does not refer to `bytes`. Throws PeerError PROXY_HEADER_INVALID
 * when there is no header or a wrong one, as soon as that can be seen.
 *
 * A version 1 line must be exact: one space between fields, no leading zeros, CR and LF at its end, at most 107 bytes. The checksum of
 * version 2 is verified if there is one. Of a LOCAL header only the length is looked at.
 *
 * @example
 * ```ts
 * import { readProxyHeader } from 'portico';
 *
 * const header = readProxyHeader(Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\nhello'));
 * if (typeof header === 'object') console.log(header.source?.host, header.byteCount); // 192.0.2.1 45
 * ```
 */
export function readProxyHeader(bytes: Buffer, limits: Partial<ProxyHeaderLimits> = {}): ProxyHeader | number {
  const { versions, maxHeaderBytes } = { ...PROXY_HEADER_LIMITS, ...limits };
  const isHeader = isProxyHeader(bytes, versions);
  if (isHeader === undefined) return bytes.length + 1;
  if (!isHeader) throw badProxyHeader(`a header of version ${versions.join(' or ')}`, describe(bytes));
  return bytes[0] === PROXY_V1_START[0] ? readProxyV1(bytes) : readProxyV2(bytes, maxHeaderBytes);
}

/** A version 1 line, of bytes that begin as one. */
function readProxyV1(bytes: Buffer): ProxyHeader | number {
  const lineEnd = bytes.subarray(0, PROXY_V1_MAX_BYTES).indexOf(0x0a);
  if (lineEnd === -1) {
    if (bytes.length < PROXY_V1_MAX_BYTES) return bytes.length + 1;
    throw badProxyHeader(`CR and LF within ${PROXY_V1_MAX_BYTES} bytes`, 'none');
  }
  const line = bytes.toString('latin1', 0, lineEnd);
  // Printable characters alone, so that a CR stands nowhere but at the end.
  if (!/^[\x20-\x7e]*\r$/.test(line)) throw badProxyHeader('a line of US-ASCII that ends with CR and LF', describe(bytes));
  const base = { version: 1, command: 'PROXY', tlvs: [], byteCount: lineEnd + 1 } as const;
  const [, protocol, ...fields] = line.slice(0, -1).split(' ');
  if (protocol === 'UNKNOWN') return { ...base, protocol, source: undefined, destination: undefined };
  if ((protocol !== 'TCP4' && protocol !== 'TCP6') || fields.length !== 4)
    throw badProxyHeader('TCP4 or TCP6, two addresses and two ports, or UNKNOWN', describe(bytes));
  const [sourceIp, destinationIp, sourcePort, destinationPort] = fields;
  return { ...base, protocol, source: endOf(sourceIp, sourcePort, protocol), destination: endOf(destinationIp, destinationPort, protocol) };
}

function endOf(ipText = '', portText = '', protocol: 'TCP4' | 'TCP6'): ProxyEnd {
  const host = ipText.includes(':') === (protocol === 'TCP6') ? canonicalIp(ipText) : undefined;
  if (host === undefined) throw badProxyHeader(`an address of ${protocol}`, JSON.stringify(ipText));
  const port = /^(?:0|[1-9]\d{0,4})$/.test(portText) ? Number(portText) : Number.NaN;
  if (!(port <= 65_535)) throw badProxyHeader('a port from 0 to 65535', JSON.stringify(portText));
  return { host, port };
}

/** The first bytes, in a form that may be shown. */
function describe(bytes: Uint8Array): string {
  return `"${oneLine(Buffer.from(bytes.subarray(0, 24)).toString('latin1'))}"`;
}
