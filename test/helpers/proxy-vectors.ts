/** PROXY headers written by hand from the specification, as hexadecimal text in the order of its fields. */

const signature = '0d0a0d0a000d0a515549540a';

/** The bytes of hexadecimal text with spaces. */
export function hex(...parts: readonly string[]): Buffer {
  return Buffer.from(parts.join('').replaceAll(' ', ''), 'hex');
}

/** A version 2 header around a body, its length right. */
export function v2(versionAndCommand: string, familyAndTransport: string, ...body: readonly string[]): Buffer {
  const bytes = hex(...body);
  return hex(signature, versionAndCommand, familyAndTransport, bytes.length.toString(16).padStart(4, '0'), bytes.toString('hex'));
}

export const IPV4_ENDS = 'c0000201 c6336402 dc04 01bb';
export const IPV6_ENDS = '20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb';

/** 192.0.2.1:56324 to 198.51.100.2:443. */
export const SOURCE4 = { host: '192.0.2.1', port: 56_324 } as const;
export const DESTINATION4 = { host: '198.51.100.2', port: 443 } as const;
export const SOURCE6 = { host: '2001:db8::1', port: 56_324 } as const;
export const DESTINATION6 = { host: '2001:db8::2', port: 443 } as const;

export const V1_LINE = 'PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n';
export const V2_TCP4: Buffer = v2('21', '11', IPV4_ENDS);

/** A path of a Unix socket as it stands in a header. */
export function unixPath(path: string): string {
  return Buffer.concat([Buffer.from(path)], 108).toString('hex');
}

/** A TLV: its type, and its value as text or bytes. */
export function tlv(type: number, value: string | Uint8Array): string {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([type, bytes.length >> 8, bytes.length & 0xff]), bytes]).toString('hex');
}
