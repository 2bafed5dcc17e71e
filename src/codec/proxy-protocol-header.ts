import { PeerError } from '../base/errors.ts';

/** The version 2 signature: 12 bytes that no other common protocol begins with. */
export const PROXY_V2_SIGNATURE: Buffer = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** The first bytes of version 1, the space included. */
export const PROXY_V1_START: Buffer = Buffer.from('PROXY ');

/** A line of version 1 has at most so many bytes, CR and LF included. */
export const PROXY_V1_MAX_BYTES = 107;

/** A version 2 header without addresses and TLVs. */
export const PROXY_V2_MIN_BYTES = 16;

/** Bytes of the two addresses of version 2, with their ports, by the number of their family. */
export const PROXY_V2_ADDRESS_BYTES = [0, 12, 36, 216] as const;

/** The names of both versions for family and transport; those of version 2 as bytes, where 0x00 is UNKNOWN. */
export const PROXY_PROTOCOLS = { TCP4: 0x11, UDP4: 0x12, TCP6: 0x21, UDP6: 0x22, UNIX_STREAM: 0x31, UNIX_DGRAM: 0x32 } as const;

/** What is proxied. UNKNOWN: the proxy could not tell, and gave no addresses. */
export type ProxyProtocolName = keyof typeof PROXY_PROTOCOLS | 'UNKNOWN';

/** Types of TLVs of version 2, and the types of those inside an SSL one. */
export const PROXY_TLV = {
  ALPN: 0x01,
  AUTHORITY: 0x02,
  CRC32C: 0x03,
  NOOP: 0x04,
  UNIQUE_ID: 0x05,
  SSL: 0x20,
  SSL_VERSION: 0x21,
  SSL_CN: 0x22,
  SSL_CIPHER: 0x23,
  SSL_SIG_ALG: 0x24,
  SSL_KEY_ALG: 0x25,
  NETNS: 0x30,
} as const;

/** A unique id has at most so many bytes. */
export const PROXY_UNIQUE_ID_MAX_BYTES = 128;

/** One end of a proxied connection: an IP address and a port, or the path of a Unix socket (abstract ones begin with NUL). */
export interface ProxyEnd {
  /** Empty for Unix sockets. */
  readonly host: string;
  /** 0 for Unix sockets. */
  readonly port: number;
  readonly path?: string;
}

/** An extension of a version 2 header. */
export interface ProxyTlv {
  /** See {@link PROXY_TLV}; 0xe0 to 0xef are for applications. */
  readonly type: number;
  readonly value: Uint8Array;
}

/** What the proxy says about the TLS between the client and itself. */
export interface ProxySsl {
  /** The client spoke TLS to the proxy. */
  readonly isTls: boolean;
  /** The client showed a certificate: over this connection, or earlier in the same TLS session. */
  readonly hasClientCert: boolean;
  /** The certificate was verified by the proxy. False as well when there was none. */
  readonly isVerified: boolean;
  /** Such as 'TLSv1.3'. */
  readonly version?: string;
  /** Common name of the client's certificate. */
  readonly commonName?: string;
  readonly cipher?: string;
  /** How the proxy's certificate is signed. */
  readonly signatureAlgorithm?: string;
  /** The kind of key of the proxy's certificate. */
  readonly keyAlgorithm?: string;
}

/** A PROXY protocol header. */
export interface ProxyHeader {
  readonly version: 1 | 2;
  /** 'LOCAL': the proxy speaks for itself, in a health check for example. Version 1 has only 'PROXY'. */
  readonly command: 'PROXY' | 'LOCAL';
  readonly protocol: ProxyProtocolName;
  /** Who has connected to the proxy; undefined for LOCAL and UNKNOWN. */
  readonly source: ProxyEnd | undefined;
  /** Where it has connected to; undefined for LOCAL and UNKNOWN. */
  readonly destination: ProxyEnd | undefined;
  /** In their order, without those that only fill space. Empty for version 1 and for LOCAL. */
  readonly tlvs: readonly ProxyTlv[];
  /** The protocol above TLS or TCP, if the proxy told. */
  readonly alpnProtocol?: string;
  /** The host name that the client asked for (SNI). */
  readonly authority?: string;
  /** The proxy's id of the connection, up to 128 bytes. */
  readonly uniqueId?: Uint8Array;
  readonly ssl?: ProxySsl;
  /** Network namespace. */
  readonly namespace?: string;
  /** Length of the whole header; what follows belongs to the connection. */
  readonly byteCount: number;
}

/** What a reader of headers takes. */
export interface ProxyHeaderLimits {
  /** Default: both. */
  readonly versions: readonly (1 | 2)[];
  /** Bytes of a whole version 2 header. Default 4096; version 1 has at most 107 whatever this is. */
  readonly maxHeaderBytes: number;
}

export const PROXY_HEADER_LIMITS: ProxyHeaderLimits = { versions: [1, 2], maxHeaderBytes: 4096 };

/** The one form of all complaints about a header. */
export function badProxyHeader(expected: string, given: string): PeerError {
  return new PeerError('PROXY_HEADER_INVALID', `PROXY header: expected ${expected}, given ${given}`);
}
