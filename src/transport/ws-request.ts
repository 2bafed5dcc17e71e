import { type IncomingMessage, STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Address, TlsInfo } from './connection.ts';
import type { WsRefusal, WsServerSettings, WsUpgradeRequest } from './ws-settings.ts';

/** As many headers as any client needs, several times over. */
const MAX_HEADERS = 256;
/** What a base64 text of 16 bytes looks like (RFC 6455 section 4.1). */
const KEY = /^[+/0-9A-Za-z]{22}==$/;
const TOKEN = /^[!#$%&'*+\-.0-9A-Z^_`|a-z~]+$/;

/** The path of a request, without its query. */
export function pathOf(url: string): string {
  const end = url.indexOf('?');
  return end === -1 ? url : url.slice(0, end);
}

/** What the hooks and the session see of a request; undefined when its offer of subprotocols is not one. */
export function describeRequest(request: IncomingMessage, remoteAddress: Address, tls: TlsInfo | undefined): WsUpgradeRequest | undefined {
  const url = request.url ?? '/';
  const path = pathOf(url);
  const subprotocols = listOf(request.headers['sec-websocket-protocol']);
  if (subprotocols === undefined) return undefined;
  return { url, path, query: new URLSearchParams(url.slice(path.length)), headers: request.headers, remoteAddress, tls, subprotocols };
}

/** The tokens of a header; undefined when it has others, or one twice. */
function listOf(header: string | undefined): readonly string[] | undefined {
  if (header === undefined) return [];
  const tokens = header.split(',').map((token) => token.trim());
  return tokens.every((token) => TOKEN.test(token)) && new Set(tokens).size === tokens.length ? tokens : undefined;
}

/** Why a request for any path is no request for a WebSocket; undefined when it is one. */
export function checkRequest(request: IncomingMessage): WsRefusal | undefined {
  const { headers, httpVersionMajor, httpVersionMinor, method, rawHeaders } = request;
  if (rawHeaders.length > 2 * MAX_HEADERS) return { status: 431 };
  if (httpVersionMajor !== 1 || httpVersionMinor < 1) return { status: 400, body: 'expected HTTP/1.1' };
  if (method !== 'GET') return { status: 405, headers: { Allow: 'GET' } };
  if (headers.upgrade?.toLowerCase() !== 'websocket') return NO_UPGRADE;
  if (headers['sec-websocket-version'] !== '13') return { status: 426, headers: { 'Sec-WebSocket-Version': '13', Upgrade: 'websocket' } };
  if (!KEY.test(headers['sec-websocket-key'] ?? '')) return { status: 400, body: 'expected a Sec-WebSocket-Key' };
  if ((headers['content-length'] ?? '0') !== '0' || headers['transfer-encoding'] !== undefined) {
    return { status: 400, body: 'expected a request without a body' };
  }
  return undefined;
}

/** What a request without `Upgrade: websocket` is told. */
const NO_UPGRADE: WsRefusal = { status: 426, headers: { Upgrade: 'websocket' } };

/** Why a request is not let in, before anybody is asked; undefined when it may be. */
export function checkAdmission(request: WsUpgradeRequest | undefined, settings: WsServerSettings): WsRefusal | undefined {
  if (request === undefined) return { status: 400, body: 'expected Sec-WebSocket-Protocol to be a list of different names' };
  return settings.checkOrigin(request.headers.origin, request) ? undefined : { status: 403 };
}

/** The subprotocol to speak; undefined = none. */
export function chooseSubprotocol(request: WsUpgradeRequest, { subprotocols }: WsServerSettings): string | undefined {
  if (request.subprotocols.length === 0) return undefined;
  if (typeof subprotocols !== 'function') return subprotocols.find((name) => request.subprotocols.includes(name));
  const chosen = subprotocols(request.subprotocols, request);
  return chosen !== undefined && request.subprotocols.includes(chosen) ? chosen : undefined;
}

/** Answers a request with a status instead of a WebSocket, and finishes sending. */
export function answer(socket: Duplex, { status, body = STATUS_CODES[status] ?? '', headers = {} }: WsRefusal): void {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Refused'}`, 'Connection: close'];
  const all = { 'Content-Type': 'text/plain; charset=utf-8', 'Content-Length': String(Buffer.byteLength(body)), ...headers };
  // A line break in a header would begin another one.
  for (const [name, value] of Object.entries(all)) lines.push(`${name}: ${value}`.replace(/[^\t\x20-\xff]/g, ' '));
  if (socket.writable) socket.end(Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), Buffer.from(body)]));
}
