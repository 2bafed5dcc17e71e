import { crc32c } from '../base/crc32c.ts';
import { ipOfBytes } from './proxy-protocol-address.ts';
import {
  badProxyHeader,
  PROXY_PROTOCOLS,
  PROXY_TLV,
  PROXY_UNIQUE_ID_MAX_BYTES,
  PROXY_V2_ADDRESS_BYTES,
  PROXY_V2_MIN_BYTES,
  type ProxyEnd,
  type ProxyHeader,
  type ProxyProtocolName,
  type ProxySsl,
  type ProxyTlv,
} from './proxy-protocol-header.ts';

/**
 * A version 2 header, of bytes that begin with its signature. Returns how many bytes of it are needed in all when they are not all
 * there. What cannot be right is refused as soon as it is seen.
 */
export function readProxyV2(bytes: Buffer, maxHeaderBytes: number): ProxyHeader | number {
  const versionAndCommand = bytes[12];
  if (versionAndCommand === undefined) return PROXY_V2_MIN_BYTES;
  const command = versionAndCommand & 0x0f;
  if (versionAndCommand >> 4 !== 2 || command > 1) throw badProxyHeader('version 2 and command 0 or 1', hex(versionAndCommand));
  const familyAndTransport = bytes[13];
  // A LOCAL header says nothing but its length.
  if (command === 1 && familyAndTransport !== undefined) checkFamily(familyAndTransport);
  if (bytes.length < PROXY_V2_MIN_BYTES || familyAndTransport === undefined) return PROXY_V2_MIN_BYTES;
  const byteCount = PROXY_V2_MIN_BYTES + bytes.readUInt16BE(14);
  if (byteCount > maxHeaderBytes) throw badProxyHeader(`at most ${maxHeaderBytes} bytes`, String(byteCount));
  const family = familyAndTransport >> 4;
  const addressBytes = PROXY_V2_ADDRESS_BYTES[family] ?? 0;
  const protocol = command === 0 ? 'UNKNOWN' : protocolOf(familyAndTransport);
  if (protocol !== 'UNKNOWN' && byteCount < PROXY_V2_MIN_BYTES + addressBytes)
    throw badProxyHeader(`${addressBytes} bytes or more of addresses`, String(byteCount - PROXY_V2_MIN_BYTES));
  if (bytes.length < byteCount) return byteCount;
  const base = { version: 2, protocol, byteCount } as const;
  if (command === 0) return { ...base, command: 'LOCAL', source: undefined, destination: undefined, tlvs: [] };
  // TLVs outlive the buffer that was read.
  const header = Buffer.from(bytes.subarray(0, byteCount));
  const tlvs = tlvsOf(header, PROXY_V2_MIN_BYTES + addressBytes, protocol);
  const block = header.subarray(PROXY_V2_MIN_BYTES, PROXY_V2_MIN_BYTES + addressBytes);
  const [source, destination] = protocol === 'UNKNOWN' ? [undefined, undefined] : endsOf(block);
  return { ...base, command: 'PROXY', source, destination, tlvs: tlvs.filter(({ type }) => type !== PROXY_TLV.NOOP), ...meaningOf(tlvs) };
}

function checkFamily(familyAndTransport: number): void {
  if (familyAndTransport >> 4 > 3 || (familyAndTransport & 0x0f) > 2)
    throw badProxyHeader('a family from 0 to 3 and a transport from 0 to 2', hex(familyAndTransport));
}

function protocolOf(familyAndTransport: number): ProxyProtocolName {
  for (const [name, value] of Object.entries(PROXY_PROTOCOLS)) if (value === familyAndTransport) return name as ProxyProtocolName;
  return 'UNKNOWN';
}

/** Source and destination, told apart by the length of the block. */
function endsOf(block: Buffer): [ProxyEnd, ProxyEnd] {
  if (block.length === PROXY_V2_ADDRESS_BYTES[3]) {
    const half = block.length / 2;
    return [unixEnd(block.subarray(0, half)), unixEnd(block.subarray(half))];
  }
  const ports = block.length - 4;
  const half = ports / 2;
  return [
    { host: ipOfBytes(block.subarray(0, half)), port: block.readUInt16BE(ports) },
    { host: ipOfBytes(block.subarray(half, ports)), port: block.readUInt16BE(ports + 2) },
  ];
}

function unixEnd(bytes: Buffer): ProxyEnd {
  return { host: '', port: 0, path: bytes.toString('utf8').replace(/\0+$/, '') };
}

/** The TLVs of a header, from `start` to its end; throws for those that do not fill it, and for a wrong checksum. */
function tlvsOf(header: Buffer, start: number, protocol: ProxyProtocolName): ProxyTlv[] {
  let tlvs: ProxyTlv[];
  try {
    tlvs = readTlvs(header, start);
  } catch (thrown) {
    // Where the family is not told, addresses of any length may stand there.
    if (protocol === 'UNKNOWN') return [];
    throw thrown;
  }
  const checksums = tlvs.filter(({ type }) => type === PROXY_TLV.CRC32C);
  const [checksum] = checksums;
  if (checksum !== undefined) checkSum(header, checksum.value, checksums.length);
  return tlvs;
}

function readTlvs(bytes: Buffer, start: number): ProxyTlv[] {
  const tlvs: ProxyTlv[] = [];
  let at = start;
  while (at < bytes.length) {
    const type = bytes[at];
    const end = at + 3 <= bytes.length ? at + 3 + bytes.readUInt16BE(at + 1) : Number.POSITIVE_INFINITY;
    if (type === undefined || end > bytes.length) throw badProxyHeader('TLVs that fill the header', `one at byte ${at} that does not fit`);
    tlvs.push({ type, value: bytes.subarray(at + 3, end) });
    at = end;
  }
  return tlvs;
}

/** The sum is taken over the header with zeros in place of the sum. */
function checkSum(header: Buffer, value: Uint8Array, count: number): void {
  if (count > 1 || value.length !== 4) throw badProxyHeader('one checksum of 4 bytes', `${count}, the first of ${value.length} bytes`);
  const at = value.byteOffset - header.byteOffset;
  const zeroed = Buffer.from(header).fill(0, at, at + 4);
  const sum = crc32c(zeroed);
  const given = header.readUInt32BE(at);
  if (sum !== given) throw badProxyHeader(`the checksum ${hex(sum)}`, hex(given));
}

function meaningOf(tlvs: readonly ProxyTlv[]): Partial<ProxyHeader> {
  const alpn = textOf(tlvs, PROXY_TLV.ALPN);
  const authority = textOf(tlvs, PROXY_TLV.AUTHORITY);
  const uniqueId = firstOf(tlvs, PROXY_TLV.UNIQUE_ID);
  const ssl = firstOf(tlvs, PROXY_TLV.SSL);
  const namespace = textOf(tlvs, PROXY_TLV.NETNS);
  if (uniqueId !== undefined && uniqueId.length > PROXY_UNIQUE_ID_MAX_BYTES)
    throw badProxyHeader(`a unique id of at most ${PROXY_UNIQUE_ID_MAX_BYTES} bytes`, String(uniqueId.length));
  return {
    ...(alpn === undefined ? {} : { alpnProtocol: alpn }),
    ...(authority === undefined ? {} : { authority }),
    ...(uniqueId === undefined ? {} : { uniqueId }),
    ...(ssl === undefined ? {} : { ssl: sslOf(ssl) }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

/** Flags, the result of verifying, and TLVs of their own, which are not looked into any deeper. */
function sslOf(value: Buffer): ProxySsl {
  const flags = value[0];
  if (flags === undefined || value.length < 5) throw badProxyHeader('5 bytes or more about TLS', String(value.length));
  const tlvs = readTlvs(value, 5);
  const hasClientCert = (flags & 0x06) !== 0;
  const version = textOf(tlvs, PROXY_TLV.SSL_VERSION);
  const commonName = textOf(tlvs, PROXY_TLV.SSL_CN);
  const cipher = textOf(tlvs, PROXY_TLV.SSL_CIPHER);
  const signatureAlgorithm = textOf(tlvs, PROXY_TLV.SSL_SIG_ALG);
  const keyAlgorithm = textOf(tlvs, PROXY_TLV.SSL_KEY_ALG);
  return {
    isTls: (flags & 0x01) !== 0,
    hasClientCert,
    isVerified: hasClientCert && value.readUInt32BE(1) === 0,
    ...(version === undefined ? {} : { version }),
    ...(commonName === undefined ? {} : { commonName }),
    ...(cipher === undefined ? {} : { cipher }),
    ...(signatureAlgorithm === undefined ? {} : { signatureAlgorithm }),
    ...(keyAlgorithm === undefined ? {} : { keyAlgorithm }),
  };
}

/** Of several with one type the first counts. */
function firstOf(tlvs: readonly ProxyTlv[], type: number): Buffer | undefined {
  const value = tlvs.find((tlv) => tlv.type === type)?.value;
  return value === undefined ? undefined : Buffer.from(value.buffer, value.byteOffset, value.length);
}

function textOf(tlvs: readonly ProxyTlv[], type: number): string | undefined {
  return firstOf(tlvs, type)?.toString('utf8');
}

function hex(value: number): string {
  return `0x${value.toString(16)}`;
}
