/**
 * The bytes of the command protocol, for both sides: docs/reference/command-protocol.md. Runs in browsers too, so: no `node:`, no Buffer,
 * and as little code as it takes. Encoders return a whole message (id and what follows); decoders take what follows the id and return
 * undefined when it is malformed.
 */
/** What a client asks for to speak the native profile over WebSocket. */
export const COMMAND_SUBPROTOCOL = 'portico.command.1';

// Constants of their own, which bundlers put in place as long as nothing but constants stands above; the table is for everybody else.
export const RPC_ID = 0xffffffff;
export const RPC_ERROR_ID = 0xfffffffe;
export const CREDIT_ID = 0xfffffffb;
export const CANCEL_ID = 0xfffffffa;
export const REPLY_ID = 0xfffffff9;
export const CALL_ID = 0xfffffff8;
export const VOLATILE_ID = 0xfffffff7;
export const GOODBYE_ID = 0xfffffff6;
export const SEQ_ID = 0xfffffff5;
export const ACK_ID = 0xfffffff4;
export const PONG_ID = 0xfffffff3;
export const PING_ID = 0xfffffff2;
export const WELCOME_ID = 0xfffffff1;
export const HELLO_ID = 0xfffffff0;
export const PRESENCE_ID = 0xffffffe5;
export const ROOM_ID = 0xffffffe4;
export const STATE_ID = 0xffffffe3;
export const LEAVE_ID = 0xffffffe2;
export const JOIN_ID = 0xffffffe1;

/** The ids that the protocol keeps for itself. */
export const COMMAND_ID: {
  readonly RPC: typeof RPC_ID;
  readonly RPC_ERROR: typeof RPC_ERROR_ID;
  readonly CREDIT: typeof CREDIT_ID;
  readonly CANCEL: typeof CANCEL_ID;
  readonly REPLY: typeof REPLY_ID;
  readonly CALL: typeof CALL_ID;
  readonly VOLATILE: typeof VOLATILE_ID;
  readonly GOODBYE: typeof GOODBYE_ID;
  readonly SEQ: typeof SEQ_ID;
  readonly ACK: typeof ACK_ID;
  readonly PONG: typeof PONG_ID;
  readonly PING: typeof PING_ID;
  readonly WELCOME: typeof WELCOME_ID;
  readonly HELLO: typeof HELLO_ID;
  readonly PRESENCE: typeof PRESENCE_ID;
  readonly ROOM: typeof ROOM_ID;
  readonly STATE: typeof STATE_ID;
  readonly LEAVE: typeof LEAVE_ID;
  readonly JOIN: typeof JOIN_ID;
} = {
  RPC: RPC_ID,
  RPC_ERROR: RPC_ERROR_ID,
  CREDIT: CREDIT_ID,
  CANCEL: CANCEL_ID,
  REPLY: REPLY_ID,
  CALL: CALL_ID,
  VOLATILE: VOLATILE_ID,
  GOODBYE: GOODBYE_ID,
  SEQ: SEQ_ID,
  ACK: ACK_ID,
  PONG: PONG_ID,
  PING: PING_ID,
  WELCOME: WELCOME_ID,
  HELLO: HELLO_ID,
  PRESENCE: PRESENCE_ID,
  ROOM: ROOM_ID,
  STATE: STATE_ID,
  LEAVE: LEAVE_ID,
  JOIN: JOIN_ID,
};

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

/** What a message inside of another one leaves less room for, in bytes of payload; the name of the room not counted. */
export const WRAP_BYTES = { VOLATILE: 4, CALL: 8, REPLY: 5, ROOM: 5 } as const;

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
  return encodeText(JSON.stringify(value));
}

/** undefined when it is not JSON in UTF-8. */
export function decodeJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(strictUtf8.decode(bytes));
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
  return id < HELLO_ID || id > VOLATILE_ID;
}

/** A message of numbers, the id first, each of four bytes, and what follows them. */
export function encodeNumbers(numbers: readonly number[], payload?: Uint8Array): Uint8Array {
  const message = new Uint8Array(numbers.length * 4 + (payload?.length ?? 0));
  for (const [index, number] of numbers.entries()) writeUint32(message, index * 4, number);
  if (payload !== undefined) message.set(payload, numbers.length * 4);
  return message;
}

/** Whether an application may use the id in the native profile. Those of INVALID_COMMAND and COMMAND_ERROR in knet's own client are free. */
export function isFreeId(id: number): boolean {
  return id < FIRST_RESERVED_ID || (id > CREDIT_ID && id < RPC_ERROR_ID);
}

export function encodeMessage(id: number, payload?: Uint8Array): Uint8Array {
  return encodeNumbers([id], payload);
}

export function encodeControl(
  id: typeof COMMAND_ID.HELLO | typeof COMMAND_ID.WELCOME | typeof COMMAND_ID.GOODBYE | typeof COMMAND_ID.PRESENCE,
  value: Hello | Welcome | Goodbye | Presence,
): Uint8Array {
  return encodeNumbers([id], encodeJson(value));
}

export function encodeSeq(id: typeof COMMAND_ID.ACK | typeof COMMAND_ID.SEQ, seq: number): Uint8Array {
  return encodeNumbers([id, seq]);
}

export function encodeVolatile(id: number, payload: Uint8Array): Uint8Array {
  return encodeNumbers([VOLATILE_ID, id], payload);
}

export function encodeCall(call: number, id: number, payload: Uint8Array): Uint8Array {
  return encodeNumbers([CALL_ID, call, id], payload);
}

export function encodeReply(call: number, kind: ReplyKind, payload?: Uint8Array): Uint8Array {
  const message = new Uint8Array(9 + (payload?.length ?? 0));
  writeUint32(message, 0, REPLY_ID);
  writeUint32(message, 4, call);
  message[8] = kind;
  if (payload !== undefined) message.set(payload, 9);
  return message;
}

export function encodeCancel(call: number): Uint8Array {
  return encodeNumbers([CANCEL_ID, call]);
}

export function encodeCredit(call: number, items: number): Uint8Array {
  return encodeNumbers([CREDIT_ID, call, items]);
}

/** `room` MUST have 1 to 128 bytes: `isRoomName`. */
export function encodeRoom(room: string, id: number, payload: Uint8Array): Uint8Array {
  const name = encodeText(room);
  const message = new Uint8Array(9 + name.length + payload.length);
  writeUint32(message, 0, ROOM_ID);
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
type Check = (value: unknown) => boolean;

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isUint32(value: unknown): value is number {
  return typeof value === 'number' && value >>> 0 === value;
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isFlag(value: unknown): value is boolean {
  return typeof value === 'boolean';
}

function isDelay(value: unknown): boolean {
  return typeof value === 'number' && value >= 0;
}

function optional(check: Check): Check {
  return (value) => value === undefined || check(value);
}

function listOf(check: Check): Check {
  return (value) => Array.isArray(value) && value.every(check);
}

/** Whether this can name a room: well-formed text of 1 to 128 bytes. */
export function isRoomName(name: unknown): name is string {
  if (!isText(name) || name.length === 0 || name.length > MAX_ROOM_BYTES) return false;
  const bytes = encodeText(name);
  return bytes.length <= MAX_ROOM_BYTES && decodeText(bytes) === name;
}

/** A JSON object whose fields pass; those that are not named may be anything. */
function decodeFields<T>(bytes: Uint8Array, checks: { readonly [Name in keyof T]-?: Check }): T | undefined {
  const value = decodeJson(bytes);
  const isGood = isFields(value) && Object.entries<Check>(checks).every(([name, check]) => check(value[name]));
  // Every field was looked at.
  return isGood ? (value as unknown as T) : undefined;
}

export function decodeHello(bytes: Uint8Array): Hello | undefined {
  return decodeFields<Hello>(bytes, {
    v: (version) => version === 1,
    token: optional(isText),
    received: optional(isUint32),
    oldest: optional(isUint32),
    auth: () => true,
    rooms: optional(listOf((room) => isFields(room) && isRoomName(room['name']))),
  });
}

export function decodeWelcome(bytes: Uint8Array): Welcome | undefined {
  return decodeFields<Welcome>(bytes, {
    id: isText,
    token: optional(isText),
    recovered: isFlag,
    received: isUint32,
    heartbeatMs: isDelay,
    retentionMs: isDelay,
    maxPayloadBytes: isDelay,
    rooms: listOf(isRoomName),
  });
}

export function decodeGoodbye(bytes: Uint8Array): Goodbye | undefined {
  return decodeFields<Goodbye>(bytes, {
    status: (status) => typeof status === 'number',
    reason: isText,
    retryAfterMs: optional(isDelay),
    isFatal: optional(isFlag),
  });
}

export function decodePresence(bytes: Uint8Array): Presence | undefined {
  return decodeFields<Presence>(bytes, {
    room: isRoomName,
    joined: optional(isFields),
    left: optional(listOf(isText)),
    all: optional(isFields),
  });
}

/** Never undefined: whatever a peer calls a failure is one. */
export function decodeFailure(bytes: Uint8Array): CallFailure {
  const failure = decodeJson(bytes);
  const { code, message, data }: Fields = isFields(failure) ? failure : {};
  return {
    code: isText(code) ? code : 'INTERNAL',
    message: isText(message) ? message : '',
    ...(data === undefined ? {} : { data }),
  };
}
