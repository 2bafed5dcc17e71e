/**
 * The bytes of the command protocol, for both sides: docs/reference/command-protocol.md. Runs in browsers too, so: no `node:`, no Buffer,
 * and as little code as it takes. Encoders return a whole message (id and what follows); decoders take what follows the id and return
 * undefined when it is malformed.
 */

/** What a client asks for to speak the native profile over WebSocket. */
export const COMMAND_SUBPROTOCOL = 'portico.command.1';

/** The ids that the protocol keeps for itself. */
export const COMMAND_ID = {
  RPC: 0xffffffff,
  RPC_ERROR: 0xfffffffe,
  CREDIT: 0xfffffffb,
  CANCEL: 0xfffffffa,
  REPLY: 0xfffffff9,
  CALL: 0xfffffff8,
  VOLATILE: 0xfffffff7,
  GOODBYE: 0xfffffff6,
  SEQ: 0xfffffff5,
  ACK: 0xfffffff4,
  PONG: 0xfffffff3,
  PING: 0xfffffff2,
  WELCOME: 0xfffffff1,
  HELLO: 0xfffffff0,
  PRESENCE: 0xffffffe5,
  ROOM: 0xffffffe4,
  STATE: 0xffffffe3,
  LEAVE: 0xffffffe2,
  JOIN: 0xffffffe1,
} as const;

/** In the native profile applications use the ids below this one. */
export const FIRST_RESERVED_ID = 0xffffffe0;

/** Statuses that a refused or ended connection is closed with. */
export const COMMAND_STATUS = {
  MALFORMED: 4400,
  UNAUTHENTICATED: 4401,
  FORBIDDEN: 4403,
  REPLACED: 4409,
  LIMITED: 4429,
} as const;

/** The second number of a REPLY. */
export const REPLY_KIND = { RESULT: 0, ERROR: 1, ITEM: 2, END: 3 } as const;
export type ReplyKind = 0 | 1 | 2 | 3;

export const DEFAULT_MAX_PAYLOAD_BYTES = 10_485_760;
export const MAX_ROOM_BYTES = 128;

/** A client's first message. */
export interface Hello {
  readonly v: 1;
  readonly token?: string;
  readonly received?: number;
  /** The number of the oldest counted message that the client could repeat. Missing: the one after what the server has. */
  readonly oldest?: number;
  readonly auth?: unknown;
  readonly rooms?: readonly { readonly name: string; readonly state?: unknown }[];
}

/** The answer to a Hello. */
export interface Welcome {
  readonly id: string;
  readonly token?: string;
  readonly recovered: boolean;
  readonly received: number;
  readonly heartbeatMs: number;
  readonly retentionMs: number;
  readonly maxPayloadBytes: number;
  /** Those that the client is in. */
  readonly rooms: readonly string[];
}

/** A server's last message. */
export interface Goodbye {
  readonly status: number;
  readonly reason: string;
  readonly retryAfterMs?: number;
  readonly isFatal?: boolean;
}

/** Who is in a room: changes, or `all`. */
export interface Presence {
  readonly room: string;
  readonly joined?: Readonly<Record<string, unknown>>;
  readonly left?: readonly string[];
  readonly all?: Readonly<Record<string, unknown>>;
}

/** The payload of a REPLY of kind 1. */
export interface CallFailure {
  readonly code: string;
  readonly message: string;
  readonly data?: unknown;
}

const utf8 = new TextEncoder();
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function encodeText(text: string): Uint8Array {
  return utf8.encode(text);
}

/** undefined when it is not UTF-8. */
export function decodeText(bytes: Uint8Array): string | undefined {
  try {
    return strictUtf8.decode(bytes);
  } catch {
    return undefined;
  }
}

export function encodeJson(value: unknown): Uint8Array {
  return utf8.encode(JSON.stringify(value));
}

/** undefined when it is not JSON in UTF-8. */
export function decodeJson(bytes: Uint8Array): unknown {
  const text = decodeText(bytes);
  try {
    return text === undefined ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** MUST have four bytes at `at`. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0;
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Whether each side numbers messages of this id. */
export function isCounted(id: number): boolean {
  return id < COMMAND_ID.HELLO || (id > COMMAND_ID.VOLATILE && id <= COMMAND_ID.RPC);
}

/** A message of numbers, each of four bytes, and what follows them. */
function encode(numbers: readonly number[], payload?: Uint8Array): Uint8Array {
  const message = new Uint8Array(numbers.length * 4 + (payload?.length ?? 0));
  for (const [index, number] of numbers.entries()) writeUint32(message, index * 4, number);
  if (payload !== undefined) message.set(payload, numbers.length * 4);
  return message;
}

export function encodeMessage(id: number, payload?: Uint8Array): Uint8Array {
  return encode([id], payload);
}

export function encodeControl(
  id: typeof COMMAND_ID.HELLO | typeof COMMAND_ID.WELCOME | typeof COMMAND_ID.GOODBYE | typeof COMMAND_ID.PRESENCE,
  value: Hello | Welcome | Goodbye | Presence,
): Uint8Array {
  return encode([id], encodeJson(value));
}

export function encodeSeq(id: typeof COMMAND_ID.ACK | typeof COMMAND_ID.SEQ, seq: number): Uint8Array {
  return encode([id, seq]);
}

export function encodeVolatile(id: number, payload: Uint8Array): Uint8Array {
  return encode([COMMAND_ID.VOLATILE, id], payload);
}

export function encodeCall(call: number, id: number, payload: Uint8Array): Uint8Array {
  return encode([COMMAND_ID.CALL, call, id], payload);
}

export function encodeReply(call: number, kind: ReplyKind, payload?: Uint8Array): Uint8Array {
  const message = new Uint8Array(9 + (payload?.length ?? 0));
  writeUint32(message, 0, COMMAND_ID.REPLY);
  writeUint32(message, 4, call);
  message[8] = kind;
  if (payload !== undefined) message.set(payload, 9);
  return message;
}

export function encodeCancel(call: number): Uint8Array {
  return encode([COMMAND_ID.CANCEL, call]);
}

export function encodeCredit(call: number, items: number): Uint8Array {
  return encode([COMMAND_ID.CREDIT, call, items]);
}

/** `room` MUST have 1 to 128 bytes: `isRoomName`. */
export function encodeRoom(room: string, id: number, payload: Uint8Array): Uint8Array {
  const name = utf8.encode(room);
  const message = new Uint8Array(9 + name.length + payload.length);
  writeUint32(message, 0, COMMAND_ID.ROOM);
  message[4] = name.length;
  message.set(name, 5);
  writeUint32(message, 5 + name.length, id);
  message.set(payload, 9 + name.length);
  return message;
}

// --- decoding: what follows the id ---

/** Of ACK, SEQ, CANCEL. */
export function decodeNumber(bytes: Uint8Array): number | undefined {
  return bytes.length === 4 ? readUint32(bytes, 0) : undefined;
}

export function decodeCredit(bytes: Uint8Array): { readonly call: number; readonly items: number } | undefined {
  return bytes.length === 8 ? { call: readUint32(bytes, 0), items: readUint32(bytes, 4) } : undefined;
}

export function decodeVolatile(bytes: Uint8Array): { readonly id: number; readonly payload: Uint8Array } | undefined {
  return bytes.length < 4 ? undefined : { id: readUint32(bytes, 0), payload: bytes.subarray(4) };
}

export function decodeCall(bytes: Uint8Array): { readonly call: number; readonly id: number; readonly payload: Uint8Array } | undefined {
  const call = bytes.length < 8 ? 0 : readUint32(bytes, 0);
  return call === 0 ? undefined : { call, id: readUint32(bytes, 4), payload: bytes.subarray(8) };
}

export function decodeReply(
  bytes: Uint8Array,
): { readonly call: number; readonly kind: ReplyKind; readonly payload: Uint8Array } | undefined {
  const kind = bytes[4];
  if (kind !== 0 && kind !== 1 && kind !== 2 && kind !== 3) return undefined;
  return { call: readUint32(bytes, 0), kind, payload: bytes.subarray(5) };
}

export function decodeRoom(bytes: Uint8Array): { readonly room: string; readonly id: number; readonly payload: Uint8Array } | undefined {
  const end = 1 + (bytes[0] ?? 0);
  const room = end > 1 && end <= MAX_ROOM_BYTES + 1 && bytes.length >= end + 4 ? decodeText(bytes.subarray(1, end)) : undefined;
  return room === undefined ? undefined : { room, id: readUint32(bytes, end), payload: bytes.subarray(end + 4) };
}

type Fields = Readonly<Record<string, unknown>>;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isUint32(value: unknown): value is number {
  return typeof value === 'number' && value >>> 0 === value;
}

function isOptional(value: unknown, type: 'string' | 'boolean'): boolean {
  return value === undefined || typeof value === type;
}

function isDelay(value: unknown): boolean {
  return typeof value === 'number' && value >= 0;
}

/** Whether this can name a room: well-formed text of 1 to 128 bytes. */
export function isRoomName(name: unknown): name is string {
  if (typeof name !== 'string' || name.length === 0 || name.length > MAX_ROOM_BYTES) return false;
  const bytes = utf8.encode(name);
  return bytes.length <= MAX_ROOM_BYTES && decodeText(bytes) === name;
}

export function decodeHello(bytes: Uint8Array): Hello | undefined {
  const hello = decodeJson(bytes);
  if (!isFields(hello) || hello['v'] !== 1 || !isOptional(hello['token'], 'string')) return undefined;
  const { received, oldest, rooms } = hello;
  if (![received, oldest].every((number) => number === undefined || isUint32(number))) return undefined;
  if (rooms !== undefined && !(Array.isArray(rooms) && rooms.every((room: unknown) => isFields(room) && isRoomName(room['name']))))
    return undefined;
  // Every field was looked at.
  return hello as unknown as Hello;
}

export function decodeWelcome(bytes: Uint8Array): Welcome | undefined {
  const welcome = decodeJson(bytes);
  if (!isFields(welcome) || typeof welcome['id'] !== 'string' || !isOptional(welcome['token'], 'string')) return undefined;
  const { recovered, received, heartbeatMs, retentionMs, maxPayloadBytes, rooms } = welcome;
  if (typeof recovered !== 'boolean' || !isUint32(received) || ![heartbeatMs, retentionMs, maxPayloadBytes].every(isDelay))
    return undefined;
  if (!Array.isArray(rooms) || !rooms.every(isRoomName)) return undefined;
  return welcome as unknown as Welcome;
}

export function decodeGoodbye(bytes: Uint8Array): Goodbye | undefined {
  const goodbye = decodeJson(bytes);
  if (!isFields(goodbye) || typeof goodbye['status'] !== 'number' || typeof goodbye['reason'] !== 'string') return undefined;
  const { retryAfterMs, isFatal } = goodbye;
  if ((retryAfterMs !== undefined && !isDelay(retryAfterMs)) || !isOptional(isFatal, 'boolean')) return undefined;
  return goodbye as unknown as Goodbye;
}

export function decodePresence(bytes: Uint8Array): Presence | undefined {
  const presence = decodeJson(bytes);
  if (!isFields(presence) || !isRoomName(presence['room'])) return undefined;
  const { joined, left, all } = presence;
  if (![joined, all].every((members) => members === undefined || isFields(members))) return undefined;
  if (left !== undefined && !(Array.isArray(left) && left.every((id) => typeof id === 'string'))) return undefined;
  return presence as unknown as Presence;
}

/** Never undefined: whatever a peer calls a failure is one. */
export function decodeFailure(bytes: Uint8Array): CallFailure {
  const failure = decodeJson(bytes);
  const { code, message, data }: Fields = isFields(failure) ? failure : {};
  return {
    code: typeof code === 'string' ? code : 'INTERNAL',
    message: typeof message === 'string' ? message : '',
    ...(data === undefined ? {} : { data }),
  };
}
