import { isIPv4 } from 'node:net';
import { crc32c } from '../base/crc32c.ts';
import { checkInteger, checkOneOf, invalid } from '../base/option.ts';
import { bytesOfIp, canonicalIp } from './proxy-protocol-address.ts';
import {
  PROXY_PROTOCOLS,
  PROXY_TLV,
  PROXY_UNIQUE_ID_MAX_BYTES,
  PROXY_V2_ADDRESS_BYTES,
  PROXY_V2_SIGNATURE,
  type ProxyEnd,
  type ProxyTlv,
} from './proxy-protocol-header.ts';

/** A header to be written. */
export interface ProxyHeaderFields {
  readonly version: 1 | 2;
  /** 'LOCAL', in version 2 only: without addresses, for what the proxy does on its own behalf. Default 'PROXY'. */
  readonly command?: 'PROXY' | 'LOCAL';
  /** Who has connected. Give both ends or neither; with neither the header says UNKNOWN. */
  readonly source?: ProxyEnd;
  readonly destination?: ProxyEnd;
  /** Whether the ends are those of datagrams (version 2 only). Default false. */
  readonly isDatagram?: boolean;
  /** Version 2 only. */
  readonly tlvs?: readonly ProxyTlv[];
  /** Adds a checksum (version 2 only). Default false. */
  readonly crc32c?: boolean;
}

const UNIX_BYTES = PROXY_V2_ADDRESS_BYTES[3] / 2;
const MAX_LENGTH = 65_535;

/**
 * The bytes of a PROXY header. An IPv4 address and an IPv6 one are both written as IPv6. Throws ConfigError INVALID_OPTION for what a
 * header of this version cannot say.
 *
 * @example
 * ```ts
 * import { writeProxyHeader } from 'portico';
 *
 * const bytes = writeProxyHeader({ version: 1, source: { host: '192.0.2.1', port: 56324 }, destination: { host: '198.51.100.2', port: 443 } });
 * console.log(bytes.toString()); // PROXY TCP4 192.0.2.1 198.51.100.2 56324 443
 * ```
 */
export function writeProxyHeader(fields: ProxyHeaderFields): Buffer {
  const { version, command = 'PROXY', source, destination, isDatagram = false, tlvs = [], crc32c: hasSum = false } = fields;
  if (version !== 1 && version !== 2) throw invalid('PROXY header version', '1 or 2', version);
  checkOneOf('PROXY header command', command, version === 1 ? ['PROXY'] : ['PROXY', 'LOCAL']);
  const ends = source === undefined && destination === undefined ? undefined : checkEnds(source, destination);
  if (version === 1) {
    if (tlvs.length > 0 || hasSum || isDatagram) throw invalid('PROXY header version', '2 for TLVs, checksums and datagrams', version);
    return writeV1(ends);
  }
  if (command === 'LOCAL' && ends !== undefined) throw invalid('PROXY header command', "'PROXY' with addresses", command);
  return writeV2(command, ends, isDatagram, tlvs, hasSum);
}

type Ends = readonly [source: ProxyEnd, destination: ProxyEnd];

/** Both of one family, in canonical form. */
function checkEnds(source: ProxyEnd | undefined, destination: ProxyEnd | undefined): Ends {
  if (source === undefined || destination === undefined) throw invalid('PROXY header', 'both source and destination, or neither', 'one');
  if (source.path !== undefined || destination.path !== undefined)
    return [checkPath('source', source), checkPath('destination', destination)];
  const ends = [checkIp('source', source), checkIp('destination', destination)] as const;
  const areIpv4 = ends.map(({ host }) => isIPv4(host));
  if (areIpv4[0] === areIpv4[1]) return ends;
  const [first, second] = ends.map((end) => (isIPv4(end.host) ? { ...end, host: `::ffff:${end.host}` } : end));
  return first === undefined || second === undefined ? ends : [first, second];
}

function checkPath(name: string, { path }: ProxyEnd): ProxyEnd {
  if (typeof path !== 'string' || Buffer.byteLength(path) > UNIX_BYTES)
    throw invalid(`PROXY header ${name} path`, `a path of at most ${UNIX_BYTES} bytes, as the other end has one`, path);
  return { host: '', port: 0, path };
}

/** Without a zone, which means nothing elsewhere, and as IPv4 when it is IPv4 in IPv6 clothes. */
function checkIp(name: string, { host, port }: ProxyEnd): ProxyEnd {
  const ip = typeof host === 'string' ? canonicalIp(host.replace(/%.*$/, '')) : undefined;
  if (ip === undefined) throw invalid(`PROXY header ${name} host`, 'an IP address', host);
  checkInteger(`PROXY header ${name} port`, port, 0, 65_535);
  return { host: /^::ffff:(\d+\.\d+\.\d+\.\d+)$/.exec(ip)?.[1] ?? ip, port };
}

function writeV1(ends: Ends | undefined): Buffer {
  if (ends === undefined) return Buffer.from('PROXY UNKNOWN\r\n');
  const [source, destination] = ends;
  if (source.path !== undefined) throw invalid('PROXY header version', '2 for Unix sockets', 1);
  const protocol = isIPv4(source.host) ? 'TCP4' : 'TCP6';
  return Buffer.from(`PROXY ${protocol} ${source.host} ${destination.host} ${source.port} ${destination.port}\r\n`);
}

function writeV2(
  command: 'PROXY' | 'LOCAL',
  ends: Ends | undefined,
  isDatagram: boolean,
  tlvs: readonly ProxyTlv[],
  hasSum: boolean,
): Buffer {
  const parts: Uint8Array[] = ends === undefined ? [] : addressBytes(ends);
  for (const { type, value } of tlvs) parts.push(...writeTlv(type, value));
  if (hasSum) parts.push(...tlvBytes(PROXY_TLV.CRC32C, Buffer.alloc(4)));
  const body = Buffer.concat(parts);
  if (body.length > MAX_LENGTH) throw invalid('PROXY header', `at most ${MAX_LENGTH} bytes of addresses and TLVs`, body.length);
  const start = Buffer.from([command === 'PROXY' ? 0x21 : 0x20, protocolByte(ends, isDatagram), body.length >> 8, body.length & 0xff]);
  const header = Buffer.concat([PROXY_V2_SIGNATURE, start, body]);
  if (hasSum) header.writeUInt32BE(crc32c(header), header.length - 4);
  return header;
}

function protocolByte(ends: Ends | undefined, isDatagram: boolean): number {
  if (ends === undefined) return 0;
  const [{ host, path }] = ends;
  if (path !== undefined) return isDatagram ? PROXY_PROTOCOLS.UNIX_DGRAM : PROXY_PROTOCOLS.UNIX_STREAM;
  if (isIPv4(host)) return isDatagram ? PROXY_PROTOCOLS.UDP4 : PROXY_PROTOCOLS.TCP4;
  return isDatagram ? PROXY_PROTOCOLS.UDP6 : PROXY_PROTOCOLS.TCP6;
}

function addressBytes(ends: Ends): Uint8Array[] {
  const [source, destination] = ends;
  if (source.path !== undefined) return ends.map(({ path = '' }) => Buffer.concat([Buffer.from(path)], UNIX_BYTES));
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(source.port, 0);
  ports.writeUInt16BE(destination.port, 2);
  return [bytesOfIp(source.host), bytesOfIp(destination.host), ports];
}

function writeTlv(type: number, value: Uint8Array): Uint8Array[] {
  checkInteger('PROXY header TLV type', type, 0, 255);
  if (type === PROXY_TLV.CRC32C) throw invalid('PROXY header TLV type', 'the checksum to be asked for with crc32c', type);
  const max = type === PROXY_TLV.UNIQUE_ID ? PROXY_UNIQUE_ID_MAX_BYTES : MAX_LENGTH;
  if (!(value instanceof Uint8Array) || value.length > max) throw invalid('PROXY header TLV value', `at most ${max} bytes`, value);
  return tlvBytes(type, value);
}

function tlvBytes(type: number, value: Uint8Array): Uint8Array[] {
  return [Buffer.from([type, value.length >> 8, value.length & 0xff]), value];
}
