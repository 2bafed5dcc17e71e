import { type ErrorCode, PeerError } from '../base/errors.ts';

const TOO_LARGE = new Set(['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', 'WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH']);

/** What the receiver of `ws` found wrong, with the status that its sender is told. */
export function wsPeerError(error: Error, status: number): PeerError {
  const code: unknown = Reflect.get(error, 'code');
  const isTooLarge = typeof code === 'string' && TOO_LARGE.has(code);
  return new PeerError(isTooLarge ? 'PACKAGE_TOO_LARGE' : 'PROTOCOL_VIOLATION', error.message, { cause: error, status });
}

const POLICY_VIOLATION = 1008;
const LIMITS: Partial<Record<ErrorCode, string>> = {
  PACKAGE_TOO_LARGE: 'ws-message-bytes',
  PACKAGE_TIMEOUT: 'ws-message-time',
  RATE_EXCEEDED: 'ws-pings',
};

/** Which limit a peer has reached, for the diagnostics channel; undefined when it did something else wrong. */
export function limitOf({ code, status }: PeerError): string | undefined {
  return LIMITS[code] ?? (code === 'PROTOCOL_VIOLATION' && status === POLICY_VIOLATION ? 'ws-fragments' : undefined);
}

const MAX_REASON_BYTES = 123;

/** The first 123 bytes of UTF-8, cut between characters: what a close frame has room for (RFC 6455 section 5.5). */
export function cutReason(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= MAX_REASON_BYTES) return bytes.toString();
  let end = MAX_REASON_BYTES;
  while (((bytes[end] ?? 0) & 0xc0) === 0x80) end--;
  return bytes.toString('utf8', 0, end);
}

/** Whether the status may stand in a close frame (RFC 6455 section 7.4). */
export function isSendableStatus(status: number): boolean {
  return (status >= 1000 && status <= 1014 && status !== 1004 && status !== 1005 && status !== 1006) || (status >= 3000 && status <= 4999);
}
