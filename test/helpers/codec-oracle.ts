/**
 * Whole-stream decoders, as simple as they can be and without a line in common with `src/codec`: what a framing means when the
 * stream is known from its first to its last byte. Framings must tell the same story however the stream is cut.
 */
import type { Decoded } from './codec-recorder.ts';

export interface OracleLimits {
  readonly max: number;
  readonly skip: boolean;
  readonly late: boolean;
}

const FATAL = { tooLarge: 'fatal PACKAGE_TOO_LARGE', malformed: 'fatal MALFORMED_PACKAGE' };
const SKIPPED = 'error PACKAGE_TOO_LARGE';

function ended(events: readonly string[], left: number): Decoded {
  return { events, left };
}

/** A frame of `total` bytes begins at the end of `events`, is too large, and `there` bytes of it came. Undefined = go on behind it. */
function announcedTooLarge(events: string[], total: bigint, there: number, { skip, late }: OracleLimits): Decoded | undefined {
  if (total > BigInt(Number.MAX_SAFE_INTEGER) || (!skip && !late)) {
    events.push(FATAL.tooLarge);
    return ended(events, 0);
  }
  const isWhole = BigInt(there) >= total;
  if (!late) {
    events.push(SKIPPED);
    return isWhole ? undefined : ended(events, 1);
  }
  if (!isWhole) return ended(events, 1);
  events.push(skip ? SKIPPED : FATAL.tooLarge);
  return skip ? undefined : ended(events, 0);
}

export interface OracleLengthField extends OracleLimits {
  readonly offset: number;
  readonly fieldBytes: number;
  readonly adjustment: number;
  readonly strip: number;
  readonly littleEndian: boolean;
}

export function lengthFieldOracle(stream: Buffer, options: OracleLengthField): Decoded {
  const events: string[] = [];
  const fieldEnd = options.offset + options.fieldBytes;
  let rest = stream;
  while (rest.length >= fieldEnd) {
    const digits = [...rest.subarray(options.offset, fieldEnd)].map((byte) => byte.toString(16).padStart(2, '0'));
    if (options.littleEndian) digits.reverse();
    const total = BigInt(`0x${digits.join('')}`) + BigInt(options.adjustment) + BigInt(fieldEnd);
    if (total > BigInt(options.max)) {
      const end = announcedTooLarge(events, total, rest.length, options);
      if (end !== undefined) return end;
    } else if (total < BigInt(fieldEnd)) {
      events.push(FATAL.malformed);
      return ended(events, 0);
    } else if (total > BigInt(rest.length)) {
      return ended(events, rest.length);
    } else {
      events.push(`pkg ${rest.toString('latin1', options.strip, Number(total))}`);
    }
    rest = rest.subarray(Number(total));
  }
  return ended(events, rest.length);
}

export function varintOracle(stream: Buffer, limits: OracleLimits): Decoded {
  const events: string[] = [];
  let rest = stream;
  for (;;) {
    const last = rest.findIndex((byte) => byte < 128);
    const prefix = last === -1 ? [...rest] : [...rest.subarray(0, last + 1)];
    if (prefix.length >= 5 && (prefix[4] ?? 0) > 7) {
      events.push(FATAL.malformed);
      return ended(events, 0);
    }
    if (last === -1) return ended(events, rest.length);
    const size = Number(prefix.reduceRight((sum, byte) => sum * 128n + BigInt(byte % 128), 0n));
    const total = prefix.length + size;
    if (size > limits.max) {
      const end = announcedTooLarge(events, BigInt(total), rest.length, limits);
      if (end !== undefined) return end;
    } else if (total > rest.length) {
      return ended(events, rest.length);
    } else {
      events.push(`pkg ${rest.toString('latin1', prefix.length, total)}`);
    }
    rest = rest.subarray(total);
  }
}

export function decimalPrefixOracle(stream: Buffer, limits: OracleLimits): Decoded {
  const events: string[] = [];
  let rest = stream.toString('latin1');
  for (;;) {
    const prefix = /^[1-9][0-9]{0,9} /.exec(rest)?.[0];
    if (prefix === undefined) {
      if (rest === '' || /^[1-9][0-9]{0,9}$/.test(rest)) return ended(events, rest.length);
      events.push(FATAL.malformed);
      return ended(events, 0);
    }
    const size = Number(prefix);
    const total = prefix.length + size;
    if (size > limits.max) {
      const end = announcedTooLarge(events, BigInt(total), rest.length, limits);
      if (end !== undefined) return end;
    } else if (total > rest.length) {
      return ended(events, rest.length);
    } else {
      events.push(`pkg ${rest.slice(prefix.length, total)}`);
    }
    rest = rest.slice(total);
  }
}

/** `open` bytes at the end of the stream may be, or become, more than they are now; all before them is in a frame that is too long. */
function endlessTooLarge(events: string[], open: number, { skip, late }: OracleLimits): Decoded {
  if (!late) events.push(skip ? SKIPPED : FATAL.tooLarge);
  return ended(events, !late && !skip ? 0 : Math.max(1, open));
}

export interface OracleLine extends OracleLimits {
  readonly encoding: 'utf8' | 'latin1';
  readonly lastLine: boolean;
}

export function lineOracle(stream: Buffer, options: OracleLine): Decoded {
  const events: string[] = [];
  const { max, skip, encoding, lastLine } = options;
  const lines = stream.toString('latin1').split('\n');
  const tail = lines.pop() ?? '';
  for (const terminated of lines) {
    const line = terminated.replace(/\r$/, '');
    if (line.length > max) events.push(skip ? SKIPPED : FATAL.tooLarge);
    else events.push(`pkg ${Buffer.from(line, 'latin1').toString(encoding)}`);
    if (line.length > max && !skip) return ended(events, 0);
  }
  if (tail.replace(/\r$/, '').length > max) return endlessTooLarge(events, 0, options);
  if (!lastLine || tail === '') return ended(events, tail.length);
  if (tail.length > max) events.push(skip ? SKIPPED : FATAL.tooLarge);
  else events.push(`pkg ${Buffer.from(tail, 'latin1').toString(encoding)}`);
  return ended(events, 0);
}

export interface OracleDelimiter extends OracleLimits {
  readonly delimiters: readonly string[];
  readonly strip: boolean;
}

/** The delimiter at `at`: undefined = none, 'open' = the stream ends before one can tell. */
function delimiterAt(text: string, at: number, delimiters: readonly string[]): string | undefined {
  for (const delimiter of delimiters) {
    if (text.startsWith(delimiter, at)) return delimiter;
    if (delimiter.startsWith(text.slice(at))) return 'open';
  }
  return undefined;
}

export function delimiterOracle(stream: Buffer, options: OracleDelimiter): Decoded {
  const events: string[] = [];
  const { max, skip, delimiters, strip } = options;
  let text = stream.toString('latin1');
  for (;;) {
    let at = 0;
    while (at < text.length && delimiterAt(text, at, delimiters) === undefined) at++;
    const delimiter = at < text.length ? delimiterAt(text, at, delimiters) : 'open';
    if (delimiter === undefined || delimiter === 'open') {
      return at > max ? endlessTooLarge(events, text.length - at, options) : ended(events, text.length);
    }
    const next = at + delimiter.length;
    if (at > max) events.push(skip ? SKIPPED : FATAL.tooLarge);
    else events.push(`pkg ${text.slice(0, strip ? at : next)}`);
    if (at > max && !skip) return ended(events, 0);
    text = text.slice(next);
  }
}

export function fixedLengthOracle(stream: Buffer, frameBytes: number): Decoded {
  const text = stream.toString('latin1');
  const frames = text.match(new RegExp(`[^]{${frameBytes}}`, 'g')) ?? [];
  return ended(
    frames.map((frame) => `pkg ${frame}`),
    text.length % frameBytes,
  );
}
