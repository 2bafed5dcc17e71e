/**
 * JSON-RPC 2.0 as text: reading, checking and writing messages. Pure, without I/O, `node:` or Buffer: it runs in browsers too.
 */
import { invalid } from '../base/option.ts';
import { scanRpc } from './rpc-scan.ts';

/** The codes of JSON-RPC 2.0, and those of its range for servers (-32000 to -32099) that portico uses. All others are the application's. */
export const RPC_CODE = {
  PARSE_ERROR: -32700,
  INVALID_REQUEST: -32600,
  METHOD_NOT_FOUND: -32601,
  INVALID_PARAMS: -32602,
  INTERNAL_ERROR: -32603,
  /** The handler did not answer in time. */
  TIMEOUT: -32001,
  /** The caller took the call back; it sees its own error. */
  CANCELLED: -32002,
  /** A limit of the other side was reached; `data.limit` says which. */
  LIMIT_EXCEEDED: -32005,
} as const;

/**
 * An error that travels: thrown by a handler it reaches the caller as it is (any other becomes -32603 without its text), and what a
 * call rejects with when the other side answered with an error. Programs branch on `code`.
 */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly code: number;
  /** Anything that JSON can say; undefined = none. */
  readonly data: unknown;

  /** Throws ConfigError INVALID_OPTION unless `code` is a whole number and `message` a string. */
  constructor(code: number, message: string, data?: unknown, options?: ErrorOptions) {
    if (!Number.isSafeInteger(code)) throw invalid('RpcError code', 'a whole number', code);
    if (typeof message !== 'string') throw invalid('RpcError message', 'a string', message);
    super(message, options);
    this.code = code;
    this.data = data;
  }

  /** -32602, for a handler that does not like its params; `data` tells why. */
  static invalidParams(data?: unknown): RpcError {
    return new RpcError(RPC_CODE.INVALID_PARAMS, 'Invalid params', data);
  }
}

export function parseError(): RpcError {
  return new RpcError(RPC_CODE.PARSE_ERROR, 'Parse error');
}

export function invalidRequest(data?: unknown): RpcError {
  return new RpcError(RPC_CODE.INVALID_REQUEST, 'Invalid Request', data);
}

export function limitExceeded(limit: string, max?: number): RpcError {
  return new RpcError(RPC_CODE.LIMIT_EXCEEDED, 'Limit exceeded', max === undefined ? { limit } : { limit, max });
}

// --- messages ---

/** What an id may be. Numbers keep the digits that they were written with when they are sent back. */
export type RpcId = string | number | null;

/** A list by position or an object by name. */
export type RpcParams = readonly unknown[] | Readonly<Record<string, unknown>>;

/** One element of what was received. */
export interface RpcMessage {
  readonly kind: 'request' | 'notification' | 'response' | 'invalid';
  /** Of a request or notification. */
  readonly method: string;
  readonly params: unknown;
  readonly id: RpcId | undefined;
  /** The id as it goes back; `null` where none could be read. */
  readonly idText: string;
  /** How many items of a stream the caller takes at first; 0 = it wants none. */
  readonly credit: number;
  /** Of a response: exactly one is there, else it is no response. */
  readonly result: unknown;
  readonly error: unknown;
}

export interface WireLimits {
  /** Objects and lists within each other, the message itself included. */
  readonly maxDepth: number;
  readonly maxBatch: number;
  /** Of the whole text, in bytes of UTF-8. */
  readonly maxMessageBytes: number;
}

/** The most items that a caller can allow at once. */
export const MAX_CREDIT = 65_536;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The text of these bytes; undefined when they are not UTF-8. */
export function rpcText(bytes: Uint8Array): string | undefined {
  try {
    return decoder.decode(bytes);
  } catch {
    return undefined;
  }
}

/** One message, the elements of a batch, or the error that is the answer to all of it. Never throws. */
export function parseRpc(text: string, limits: WireLimits): RpcMessage | readonly RpcMessage[] | RpcError {
  if (isLonger(text, limits.maxMessageBytes)) return refusal('message', limits.maxMessageBytes);
  const { refused, ids } = scanRpc(text, limits.maxDepth, limits.maxBatch);
  if (refused === 'batch') return refusal('batch', limits.maxBatch);
  if (refused === 'depth') return refusal('depth', limits.maxDepth);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return parseError();
  }
  if (refused === 'proto') return invalidRequest();
  if (!Array.isArray(value)) return toMessage(value, ids[0]);
  if (value.length === 0) return invalidRequest();
  return value.map((element, index) => toMessage(element, ids[index]));
}

function refusal(limit: string, max: number): RpcError {
  return invalidRequest({ limit, max });
}

function toMessage(value: unknown, digits: string | undefined): RpcMessage {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return message('invalid', {}, 'null');
  // Only own members are looked at: a parsed object has each of them.
  const fields = value as Readonly<Record<string, unknown>>;
  const idText = Object.hasOwn(fields, 'id') ? textOfId(fields['id'], digits) : undefined;
  const isVersion2 = Object.hasOwn(fields, 'jsonrpc') && fields['jsonrpc'] === '2.0';
  if (!Object.hasOwn(fields, 'method') && (Object.hasOwn(fields, 'result') || Object.hasOwn(fields, 'error'))) {
    // Never answered, also when it is malformed: two peers would complain about each other's complaints for ever.
    return message(
      'response',
      fields,
      isVersion2 && Object.hasOwn(fields, 'result') !== Object.hasOwn(fields, 'error') ? (idText ?? 'null') : 'null',
    );
  }
  const { params } = fields;
  const isCall = isVersion2 && Object.hasOwn(fields, 'method') && typeof fields['method'] === 'string';
  const isValid =
    isCall &&
    (!Object.hasOwn(fields, 'params') || (typeof params === 'object' && params !== null)) &&
    (!Object.hasOwn(fields, 'id') || idText !== undefined);
  if (!isValid) return message('invalid', fields, idText ?? 'null');
  return message(idText === undefined ? 'notification' : 'request', fields, idText ?? 'null');
}

function message(kind: RpcMessage['kind'], fields: Readonly<Record<string, unknown>>, idText: string): RpcMessage {
  const { method, params, id, stream, result, error } = fields;
  const isCredit = typeof stream === 'number' && Number.isInteger(stream) && stream > 0 && stream <= MAX_CREDIT;
  return {
    kind,
    method: typeof method === 'string' ? method : '',
    params,
    id: idText === 'null' ? null : (id as RpcId | undefined),
    idText,
    credit: isCredit ? stream : 0,
    result,
    error,
  };
}

function textOfId(id: unknown, digits: string | undefined): string | undefined {
  if (typeof id === 'number') return Number.isFinite(id) ? (digits ?? String(id)) : undefined;
  return typeof id === 'string' || id === null ? JSON.stringify(id) : undefined;
}

// --- writing ---

/** JSON of a value that handlers or callers gave; what JSON has no word for is null. Throws for cycles and big integers. */
export function toJson(value: unknown): string {
  // JSON.stringify is typed as if it always returned text.
  return (JSON.stringify(value) as string | undefined) ?? 'null';
}

/** A request, or without an id a notification. `credit` above 0 asks for a stream. */
export function requestText(method: string, params: RpcParams | undefined, idText: string | undefined, credit = 0): string {
  const paramsPart = params === undefined ? '' : `,"params":${toJson(params)}`;
  const idPart = idText === undefined ? '' : `,"id":${idText}`;
  const creditPart = credit === 0 ? '' : `,"stream":${credit}`;
  return `{"jsonrpc":"2.0","method":${JSON.stringify(method)}${paramsPart}${idPart}${creditPart}}`;
}

/** `json` is that of the result. */
export function resultText(json: string, idText: string): string {
  return `{"jsonrpc":"2.0","result":${json},"id":${idText}}`;
}

export function errorText(error: RpcError, idText: string): string {
  const data = error.data === undefined ? '' : `,"data":${toJson(error.data)}`;
  return `{"jsonrpc":"2.0","error":{"code":${error.code},"message":${JSON.stringify(error.message)}${data}},"id":${idText}}`;
}

/** Whether a text takes more than `maxBytes` of UTF-8. Counts only where the length in characters leaves it open. */
export function isLonger(text: string, maxBytes: number): boolean {
  return text.length > maxBytes || (text.length * 3 > maxBytes && utf8Bytes(text) > maxBytes);
}

export function utf8Bytes(text: string): number {
  let bytes = text.length;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code >= 0x80) bytes++;
    // Each half of a pair stands for two of its four bytes.
    if (code >= 0x800 && (code < 0xd800 || code > 0xdfff)) bytes++;
  }
  return bytes;
}
