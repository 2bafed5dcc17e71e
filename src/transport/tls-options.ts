import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext, type SecureVersion } from 'node:tls';
import { ConfigError, describeThrown } from '../base/errors.ts';

/** PEM text or bytes. */
export type Pem = string | Buffer;

/** Certificate settings of a TLS server or client. Verification is on unless it is switched off here. */
export interface TlsOptions {
  /** The own certificate with its chain. Required for a server; for a client only where the server asks for one (mTLS). */
  readonly cert?: Pem;
  /** The private key of `cert`, encrypted or not. */
  readonly key?: Pem;
  /** Opens an encrypted `key`. */
  readonly passphrase?: string;
  /** Who is trusted to vouch for the other side. Default: the authorities that Node trusts. */
  readonly ca?: Pem | readonly Pem[];
  /** Server: ask clients for a certificate, and refuse those that `ca` does not vouch for (mTLS); needs `ca`. Default false. */
  readonly requireClientCert?: boolean;
  /** Client: refuse a server that `ca` does not vouch for. Default true; false makes TLS useless against an active attacker. */
  readonly rejectUnauthorized?: boolean;
  /** Client: the name to ask for and to verify. Default: the host of the address. */
  readonly serverName?: string;
  /** Server: other certificates by the name that the client asks for (SNI); `*.example.org` covers one label. */
  readonly sni?: Readonly<Record<string, TlsOptions>>;
  /** Protocols in order of preference (ALPN). A server refuses clients that offer none of them. */
  readonly alpnProtocols?: readonly string[];
  /** Default 'TLSv1.2'. */
  readonly minVersion?: SecureVersion;
}

/** Options as they are, or a function that gets them afresh: when the endpoint starts and at every `reloadTls`. */
export type TlsSource = TlsOptions | (() => TlsOptions | Promise<TlsOptions>);

/** Gets the options and checks that certificate and key can be used; rejects with ConfigError INVALID_TLS. */
export async function loadTls(source: TlsSource, isServer: boolean): Promise<TlsOptions> {
  try {
    const options = typeof source === 'function' ? await source() : source;
    check(options, isServer);
    for (const own of Object.values(options.sni ?? {})) check(own, true);
    return options;
  } catch (thrown) {
    throw new ConfigError(
      'INVALID_TLS',
      `TLS: expected a usable certificate, key and CA, given ones that fail: ${describeThrown(thrown)}`,
      { cause: thrown },
    );
  }
}

/** Throws for what Node would accept, only to fail in every handshake, and for what it would throw in the middle of one. */
function check(options: TlsOptions, isServer: boolean): void {
  const { cert = '', key = '', ca = [], requireClientCert = false, alpnProtocols = [] } = options;
  if (isServer && (cert.length === 0 || key.length === 0)) throw new Error('a server needs cert and key');
  if ((cert.length === 0) !== (key.length === 0)) throw new Error('cert and key are needed together');
  const authorities = [ca].flat();
  if (requireClientCert && authorities.length === 0) throw new Error('requireClientCert needs ca: who vouches for the clients');
  for (const pem of authorities) {
    if (!pem.includes('-----BEGIN ')) throw new Error('ca is not in PEM form');
    new X509Certificate(pem);
  }
  for (const protocol of alpnProtocols) {
    const size = Buffer.byteLength(protocol);
    if (size < 1 || size > 255) throw new Error(`alpnProtocols needs names of 1 to 255 bytes, not ${size}`);
  }
  createSecureContext(contextOptions(options));
}

/** What `node:tls` takes to make a secure context. */
export function contextOptions(options: TlsOptions): {
  cert?: Pem;
  key?: Pem;
  passphrase?: string;
  ca?: Pem[];
  minVersion: SecureVersion;
} {
  const { cert, key, passphrase, ca, minVersion = 'TLSv1.2' } = options;
  return {
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(passphrase === undefined ? {} : { passphrase }),
    ...(ca === undefined ? {} : { ca: [ca].flat() as Pem[] }),
    minVersion,
  };
}

/** Where certificates lie on disk. */
export interface TlsFiles extends Omit<TlsOptions, 'cert' | 'key' | 'ca' | 'sni'> {
  readonly certFile?: string;
  readonly keyFile?: string;
  readonly caFile?: string;
}

/**
 * A TLS source that reads files: `withTls(tlsFiles({ certFile, keyFile }))`. They are read again at every reload, so a renewed
 * certificate needs no restart.
 */
export function tlsFiles(files: TlsFiles): () => Promise<TlsOptions> {
  const { certFile, keyFile, caFile, ...rest } = files;
  return async () => ({
    ...rest,
    ...(certFile === undefined ? {} : { cert: await readFile(certFile) }),
    ...(keyFile === undefined ? {} : { key: await readFile(keyFile) }),
    ...(caFile === undefined ? {} : { ca: await readFile(caFile) }),
  });
}
