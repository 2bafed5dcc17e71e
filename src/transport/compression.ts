import { constants } from 'node:zlib';
import { ConfigError } from '../base/errors.ts';
import { checkInteger, checkOneOf, invalid } from '../base/option.ts';
import type { CompressionCodec } from './compression-codec.ts';
import { CompressionConnection } from './compression-connection.ts';
import { zlibCodec } from './compression-zlib.ts';
import { SNAPPY } from './snappy-stream.ts';
import type { Upgrade } from './transport.ts';

const TYPES = ['none', 'zip', 'best-speed', 'best-compression', 'huffman', 'snappy'] as const;

/**
 * How a stream is compressed. Both sides of a connection MUST have the same, except that all forms of zip, and huffman, understand
 * each other.
 *
 * | value | on the wire |
 * |---|---|
 * | `'none'` | the bytes as they are |
 * | `'zip'` | raw deflate, RFC 1951, at zlib's usual level, 6 |
 * | `'best-speed'`, `'best-compression'` | the same at level 1 and 9 |
 * | `{ type: 'zip', level }` | the same at a level from 0, which only stores, to 9 |
 * | `'huffman'` | raw deflate that looks for no repetitions: little processor time, no use for text |
 * | `'snappy'` | the framing format of snappy: fast, with checksums |
 */
export type Compression = (typeof TYPES)[number] | { readonly type: 'zip'; readonly level: number };

/**
 * The upgrade that compresses a stream, for `withUpgrade`; with 'none' it gives every connection back as it is. Throws INVALID_OPTION,
 * and rejects connections of whole messages with the same.
 */
export function compressionUpgrade(compression: Compression): Upgrade {
  const codec = codecOf(compression);
  return async (connection) => {
    if (codec === undefined) return connection;
    if (connection.kind !== 'stream')
      throw new ConfigError('INVALID_OPTION', 'withCompression: expected a connection that carries a stream, given one of messages');
    return new CompressionConnection(connection, codec);
  };
}

function codecOf(compression: Compression): CompressionCodec | undefined {
  const name = 'withCompression';
  if (typeof compression === 'object' && compression !== null) {
    if (compression.type !== 'zip') throw invalid(`${name} type`, "'zip'", compression.type);
    return zlibCodec({ level: checkInteger(`${name} level`, compression.level, 0, 9) });
  }
  switch (checkOneOf(name, compression, TYPES)) {
    case 'none':
      return undefined;
    case 'zip':
      return zlibCodec({ level: constants.Z_DEFAULT_COMPRESSION });
    case 'best-speed':
      return zlibCodec({ level: constants.Z_BEST_SPEED });
    case 'best-compression':
      return zlibCodec({ level: constants.Z_BEST_COMPRESSION });
    case 'huffman':
      // It never looks back, so it needs no memory of what went before.
      return zlibCodec({ strategy: constants.Z_HUFFMAN_ONLY, windowBits: constants.Z_MIN_WINDOWBITS + 1 });
    case 'snappy':
      return SNAPPY;
  }
}
