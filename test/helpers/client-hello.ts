import { randomBytes } from 'node:crypto';

export interface ClientHello {
  /** As in the body: 0x0303 is TLS 1.2. */
  readonly version?: number;
  readonly ciphers?: readonly number[];
  /** Any bytes, for a name that no client would send. */
  readonly serverName?: Uint8Array;
  /** For the extension supported_versions; none: the extension is left out, and `version` counts. */
  readonly supportedVersions?: readonly number[];
  /** Bytes of a padding extension (RFC 7685). */
  readonly paddingBytes?: number;
}

/** A handshake message of TLS, made by hand so that it may be wrong. */
export function clientHello(hello: ClientHello = {}): Buffer {
  const {
    version = 0x0303,
    ciphers = [0xc02b, 0xc02f, 0xc02c, 0xc030, 0x009e, 0x009c, 0x002f],
    serverName,
    supportedVersions,
    paddingBytes,
  } = hello;
  const extensions = [
    extension(10, list16(uint16s([29, 23, 24]))),
    extension(11, list8(Buffer.of(0))),
    extension(13, list16(uint16s([0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0201, 0x0203]))),
    ...(serverName === undefined ? [] : [extension(0, list16(Buffer.concat([Buffer.of(0), list16(serverName)])))]),
    ...(supportedVersions === undefined ? [] : [extension(43, list8(uint16s(supportedVersions)))]),
    ...(paddingBytes === undefined ? [] : [extension(21, Buffer.alloc(paddingBytes))]),
  ];
  const body = Buffer.concat([
    uint16s([version]),
    randomBytes(32),
    list8(randomBytes(32)),
    list16(uint16s(ciphers)),
    list8(Buffer.of(0)),
    list16(Buffer.concat(extensions)),
  ]);
  const header = Buffer.from([1, 0, 0, 0]);
  header.writeUIntBE(body.length, 1, 3);
  return Buffer.concat([header, body]);
}

/** A handshake message in as many records as it takes at `recordBytes` each. */
export function inRecords(message: Buffer, recordBytes = 16_384): Buffer {
  const records: Buffer[] = [];
  for (let at = 0; at < message.length; at += recordBytes) {
    const part = message.subarray(at, at + recordBytes);
    records.push(Buffer.of(0x16, 3, 1), uint16s([part.length]), part);
  }
  return Buffer.concat(records);
}

function extension(type: number, body: Buffer): Buffer {
  return Buffer.concat([uint16s([type]), list16(body)]);
}

function list8(body: Uint8Array): Buffer {
  return Buffer.concat([Buffer.of(body.length), body]);
}

function list16(body: Uint8Array): Buffer {
  return Buffer.concat([uint16s([body.length]), body]);
}

function uint16s(values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 2);
  for (const [index, value] of values.entries()) bytes.writeUInt16BE(value, index * 2);
  return bytes;
}
