import type { BlockList } from 'node:net';
import { type AttributeKey, Attributes, attributeKey } from '../base/attributes.ts';
import { checkInteger, checkMs, checkOneOf, invalid, type Option } from '../base/option.ts';
import { isProxyHeader, readProxyHeader } from '../codec/proxy-protocol.ts';
import { PROXY_HEADER_LIMITS, PROXY_V1_MAX_BYTES, type ProxyEnd, type ProxyHeader } from '../codec/proxy-protocol-header.ts';
import { type ProxyHeaderFields, writeProxyHeader } from '../codec/proxy-protocol-writer.ts';
import { tcpAddress, unixAddress } from '../transport/address.ts';
import type { Address } from '../transport/connection.ts';
import type { Preface, PrefaceResult } from '../transport/preface.ts';
import { isInNetworks } from './admission.ts';
import { parseNetworks } from './networks.ts';

/** How a server takes PROXY headers. */
export interface ProxyProtocolOptions {
  /**
   * 'require': only `trustedSources` may connect, and each connection begins with a header; all else is refused or dropped.
   * 'optional': a connection from `trustedSources` may begin with one; those from elsewhere are taken as they are, and their bytes are
   * not looked at.
   */
  readonly mode: 'require' | 'optional';
  /**
   * The proxies: IP addresses, networks in CIDR form, and 'unix' for whoever can connect to a Unix socket. Who is in here can pose as
   * any address.
   */
  readonly trustedSources: readonly string[];
  /** From the accepted connection to the last byte of the header. Default 3000. */
  readonly timeoutMs?: number;
  /** Default: both. */
  readonly versions?: readonly (1 | 2)[];
  /** Longest version 2 header. Default 4096; a version 1 line has at most 107 bytes. */
  readonly maxHeaderBytes?: number;
}

/** What a proxy told of a connection, and the proxy itself. */
export interface ProxyInfo extends ProxyHeader {
  /** The proxy's end of the connection. */
  readonly proxyAddress: Address;
  /** Where the proxy has connected to. */
  readonly proxiedTo: Address;
}

/** Where `session.attributes` has what the PROXY header said; nothing when there was none. */
export const PROXY_INFO: AttributeKey<ProxyInfo> = attributeKey<ProxyInfo>('portico.proxy');

const MAX_HEADER_BYTES = 65_551;

type PrefaceOption = Option<{ preface: Preface | undefined }>;

/**
 * Take the addresses of a session from the PROXY header (version 1 or 2) that a proxy in front sends before all else, TLS included.
 * The limits per address and the block list then count for the client; a proxy's own address counts only for the block list. What the
 * header says is in `session.attributes` under {@link PROXY_INFO}. Default: no headers, a header is ordinary bytes.
 *
 * @example
 * ```ts
 * import { LineHandler, PROXY_INFO, TcpServer, withEventListener, withPkgHandler, withProxyProtocol } from 'portico';
 *
 * const server = new TcpServer(
 *   withProxyProtocol({ mode: 'require', trustedSources: ['10.0.0.0/8'] }),
 *   withPkgHandler(new LineHandler()),
 *   withEventListener<string, string>({
 *     onOpen: (session) => console.log(session.remoteAddress.text, session.attributes.get(PROXY_INFO)?.authority),
 *     onMessage() {},
 *   }),
 * );
 * await server.close();
 * ```
 */
export function withProxyProtocol(options: ProxyProtocolOptions): PrefaceOption {
  if (typeof options !== 'object' || options === null)
    throw invalid('withProxyProtocol', 'an object with mode and trustedSources', options);
  const { mode, trustedSources, timeoutMs = 3000, versions = PROXY_HEADER_LIMITS.versions } = options;
  const { maxHeaderBytes = PROXY_HEADER_LIMITS.maxHeaderBytes } = options;
  checkOneOf('withProxyProtocol mode', mode, ['require', 'optional']);
  if (!Array.isArray(trustedSources) || trustedSources.length === 0)
    throw invalid('withProxyProtocol trustedSources', "a list of IP addresses, networks or 'unix'", trustedSources);
  checkMs('withProxyProtocol timeoutMs', timeoutMs);
  if (!Array.isArray(versions) || versions.length === 0 || versions.some((version) => version !== 1 && version !== 2))
    throw invalid('withProxyProtocol versions', 'a list of 1 and 2', versions);
  checkInteger('withProxyProtocol maxHeaderBytes', maxHeaderBytes, PROXY_V1_MAX_BYTES, MAX_HEADER_BYTES);
  const networks = parseNetworks(
    'withProxyProtocol trustedSources',
    trustedSources.filter((source) => source !== 'unix'),
  );
  const preface = new ProxyPreface(mode === 'optional', networks, trustedSources.includes('unix'), timeoutMs, {
    versions: [...versions],
    maxHeaderBytes,
  });
  return (target) => {
    target.preface = preface;
  };
}

/** A header before the connection's bytes, or none where that is allowed. */
class ProxyPreface implements Preface {
  readonly timeoutMs: number;
  readonly isOptional: boolean;
  readonly #networks: BlockList;
  readonly #trustsUnix: boolean;
  readonly #limits: typeof PROXY_HEADER_LIMITS;

  constructor(isOptional: boolean, networks: BlockList, trustsUnix: boolean, timeoutMs: number, limits: typeof PROXY_HEADER_LIMITS) {
    this.isOptional = isOptional;
    this.#networks = networks;
    this.#trustsUnix = trustsUnix;
    this.timeoutMs = timeoutMs;
    this.#limits = limits;
  }

  expect(remote: Address): 'read' | 'none' | 'refuse' {
    if (remote.family === 'unix' ? this.#trustsUnix : isInNetworks(this.#networks, remote.host)) return 'read';
    return this.isOptional ? 'none' : 'refuse';
  }

  read(bytes: Buffer, proxyAddress: Address, proxiedTo: Address): PrefaceResult | undefined {
    if (this.isOptional && isProxyHeader(bytes, this.#limits.versions) === false) return { byteCount: 0 };
    const header = readProxyHeader(bytes, this.#limits);
    if (typeof header === 'number') return undefined;
    const attributes = new Attributes();
    attributes.set(PROXY_INFO, { ...header, proxyAddress, proxiedTo });
    const { byteCount, source, destination } = header;
    if (source === undefined || destination === undefined) return { byteCount, attributes };
    return { byteCount, attributes, remote: addressOf(source), local: addressOf(destination) };
  }
}

function addressOf({ host, port, path }: ProxyEnd): Address {
  return path === undefined ? tcpAddress(host, port) : unixAddress(path);
}

/** A header for a client to send. What is left out: the ends of the connection itself. */
export type ProxyHeaderOptions = Omit<ProxyHeaderFields, 'isDatagram'>;

/**
 * Send a PROXY header first on each connection that is dialled, before TLS. Without `source` and `destination` it has the ends of the
 * connection itself, as for a client of its own. Default: none.
 *
 * @example
 * ```ts
 * import { LineHandler, TcpClient, withEventListener, withPkgHandler, withProxyHeader, withServerAddress } from 'portico';
 *
 * const client = new TcpClient(
 *   withServerAddress('127.0.0.1:9000'),
 *   withProxyHeader({ version: 2, source: { host: '192.0.2.1', port: 56324 }, destination: { host: '198.51.100.2', port: 443 } }),
 *   withPkgHandler(new LineHandler()),
 *   withEventListener<string, string>({ onMessage() {} }),
 * );
 * await client.close();
 * ```
 */
export function withProxyHeader(header: ProxyHeaderOptions): Option<{
  dialPreface: ((local: Address, remote: Address) => Uint8Array) | undefined;
}> {
  if (typeof header !== 'object' || header === null) throw invalid('withProxyHeader', 'an object with a version', header);
  const own = { ...header };
  const areEndsGiven = own.source !== undefined || own.destination !== undefined || own.command === 'LOCAL';
  // What is wrong with it is told now.
  const fixed = writeProxyHeader(own);
  return (target) => {
    target.dialPreface = areEndsGiven ? () => fixed : (local, remote) => writeProxyHeader({ ...own, source: local, destination: remote });
  };
}
