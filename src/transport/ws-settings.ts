import type { Agent, Server as HttpServer, IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import { type AttributeKey, attributeKey } from '../base/attributes.ts';
import type { Wheel } from '../base/wheel.ts';
import type { Address, TlsInfo } from './connection.ts';
import { SOCKET_DEFAULTS, type SocketSettings } from './socket-settings.ts';

/** The HTTP request that asks for a WebSocket, before there is a session. */
export interface WsUpgradeRequest {
  /** Path and query, as the client sent them: `/chat?room=1`. */
  readonly url: string;
  readonly path: string;
  readonly query: URLSearchParams;
  /** Names in lower case. */
  readonly headers: IncomingHttpHeaders;
  readonly remoteAddress: Address;
  readonly tls: TlsInfo | undefined;
  /** What the client offers, in its order of preference. */
  readonly subprotocols: readonly string[];
}

/** The request that a WebSocket session was made of. On a client `headers` are those of the server's answer. */
export interface WsRequest extends WsUpgradeRequest {
  /** The one that both sides speak; '' when none was agreed on. */
  readonly subprotocol: string;
}

/** Where a WebSocket session has its request: `session.attributes.get(WS_REQUEST)`. */
export const WS_REQUEST: AttributeKey<WsRequest> = attributeKey('portico.ws-request');

/** An answer instead of a WebSocket. */
export interface WsRefusal {
  /** An HTTP status from 400 to 599. */
  readonly status: number;
  /** Text for the client. Default: the name of the status. */
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a verify hook decides: nothing = welcome. */
export interface WsVerdict {
  /** Put into the session's attributes before it opens. */
  readonly attributes?: Iterable<readonly [key: unknown, value: unknown]>;
  readonly refuse?: WsRefusal;
}

/**
 * Asked before any session is made. `signal` is aborted when the answer is of no more use: the client has gone, or the handshake
 * time-out is over. Throwing or rejecting answers 500 and tells the client nothing.
 */
export type WsVerify = (request: WsUpgradeRequest, signal: AbortSignal) => WsVerdict | undefined | Promise<WsVerdict | undefined>;

/** Whether a request from a page of this origin (undefined: not from a page) is let in. */
export type WsOriginCheck = (origin: string | undefined, request: WsUpgradeRequest) => boolean;

/** Picks one of the subprotocols that the client offers, or none. */
export type WsSubprotocolChoice = (offered: readonly string[], request: WsUpgradeRequest) => string | undefined;

/** What happens to a text message: its sender is closed with 1003, it counts as binary, or the PkgHandler sees `isText`. */
export type WsTextPolicy = 'reject' | 'binary' | 'text';

/** Pings that find out who is gone. */
export interface WsPing {
  /** Time between two of them. Default 25 000. */
  readonly periodMs: number;
  /** So many in a row without a sign of life end the session (HEARTBEAT). Default 2. */
  readonly misses: number;
}

/** Bounds of permessage-deflate (RFC 7692). What comes out of inflating is bounded by `maxPackageBytes`. */
export interface WsDeflate {
  /** Smaller messages are sent as they are. Default 1024. */
  readonly thresholdBytes: number;
  /** Of zlib, 0 to 9. Default 6. */
  readonly level: number;
  /** Of zlib, 1 to 9: memory of one compressor. Default 8. */
  readonly memLevel: number;
  /** zlib calls at a time in this process; the first endpoint to use compression sets it. Default 10. */
  readonly concurrency: number;
  /** Keep a window from message to message: better compression, about 300 KiB for each session. Default false. */
  readonly contextTakeover: boolean;
}

/** Settings of both sides. */
export interface WsSettings extends SocketSettings {
  readonly wheel: Wheel;
  readonly maxPackageBytes: number;
  readonly textPolicy: WsTextPolicy;
  readonly messageType: 'binary' | 'text';
  readonly ping: WsPing | undefined;
  readonly maxFragments: number;
  readonly messageTimeoutMs: number;
  readonly deflate: WsDeflate | undefined;
  readonly subprotocols: readonly string[] | WsSubprotocolChoice;
}

export interface WsServerSettings extends WsSettings {
  /** Empty: every path. */
  readonly paths: readonly string[];
  readonly httpServer: HttpServer | HttpsServer | undefined;
  readonly checkOrigin: WsOriginCheck;
  readonly verify: WsVerify | undefined;
  readonly maxHeaderBytes: number;
}

/** Headers of the request, or a function that is asked before each attempt. */
export type WsHeaders = OutgoingHttpHeaders | (() => OutgoingHttpHeaders | Promise<OutgoingHttpHeaders>);

export interface WsClientSettings extends WsSettings {
  readonly headers: WsHeaders;
  readonly proxyAgent: Agent | undefined;
  readonly maxRedirects: number;
}

export const PING_DEFAULTS: WsPing = { periodMs: 25_000, misses: 2 };
export const DEFLATE_DEFAULTS: WsDeflate = { thresholdBytes: 1024, level: 6, memLevel: 8, concurrency: 10, contextTakeover: false };

export const WS_DEFAULTS: Omit<WsSettings, 'wheel' | 'maxPackageBytes'> = {
  ...SOCKET_DEFAULTS,
  textPolicy: 'text',
  messageType: 'binary',
  ping: PING_DEFAULTS,
  maxFragments: 1024,
  messageTimeoutMs: 30_000,
  deflate: undefined,
  subprotocols: [],
};

export const WS_SERVER_DEFAULTS: Omit<WsServerSettings, 'wheel' | 'maxPackageBytes'> = {
  ...WS_DEFAULTS,
  paths: [],
  httpServer: undefined,
  checkOrigin: isSameHost,
  verify: undefined,
  maxHeaderBytes: 16_384,
};

export const WS_CLIENT_DEFAULTS: Omit<WsClientSettings, 'wheel' | 'maxPackageBytes'> = {
  ...WS_DEFAULTS,
  headers: {},
  proxyAgent: undefined,
  maxRedirects: 0,
};

/** A page may connect to the host that it came from; who is no page may connect. */
function isSameHost(origin: string | undefined, request: WsUpgradeRequest): boolean {
  if (origin === undefined) return true;
  try {
    const { host } = new URL(origin);
    return host !== '' && host === request.headers.host?.toLowerCase();
  } catch {
    return false;
  }
}
