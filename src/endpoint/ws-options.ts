import { Agent, type OutgoingHttpHeaders } from 'node:http';
import {
  checkBoolean,
  checkFunction,
  checkInteger,
  checkMethods,
  checkMs,
  checkOneOf,
  checkString,
  invalid,
  type Option,
} from '../base/option.ts';
import type { Defaults } from '../session/options.ts';
import {
  DEFLATE_DEFAULTS,
  PING_DEFAULTS,
  WS_CLIENT_DEFAULTS,
  WS_SERVER_DEFAULTS,
  type WsClientSettings,
  type WsDeflate,
  type WsHeaders,
  type WsOriginCheck,
  type WsPing,
  type WsServerSettings,
  type WsSettings,
  type WsSubprotocolChoice,
  type WsTextPolicy,
  type WsVerify,
} from '../transport/ws-settings.ts';
import { CLIENT_DEFAULTS, type ClientOptions, SERVER_DEFAULTS, type ServerOptions } from './options.ts';

/** What is not set by an option of its own, or makes no sense. */
type Unset = 'wheel' | 'maxPackageBytes' | 'clock';

export type WsServerOptions<In, Out> = ServerOptions<In, Out> &
  Omit<WsServerSettings, Unset | 'sourceAddress' | 'dialPreface' | 'tls' | 'tlsReloadMs'>;
export type WssServerOptions<In, Out> = ServerOptions<In, Out> & Omit<WsServerSettings, Unset | 'sourceAddress' | 'dialPreface'>;
export type WsClientOptions<In, Out> = ClientOptions<In, Out> &
  Omit<WsClientSettings, Unset | 'backlog' | 'ipv6Only' | 'handshakeTimeoutMs' | 'tlsReloadMs' | 'preface' | 'tls'>;
export type WssClientOptions<In, Out> = ClientOptions<In, Out> &
  Omit<WsClientSettings, Unset | 'backlog' | 'ipv6Only' | 'handshakeTimeoutMs' | 'tlsReloadMs' | 'preface'>;

export const WS_SERVER_OPTIONS: Defaults<WssServerOptions<never, never>> = {
  ...WS_SERVER_DEFAULTS,
  ...SERVER_DEFAULTS,
  sessionName: 'ws-session',
};
export const WS_CLIENT_OPTIONS: Defaults<WssClientOptions<never, never>> = {
  ...WS_CLIENT_DEFAULTS,
  ...CLIENT_DEFAULTS,
  sessionName: 'ws-session',
};

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };
type WsOption<Field extends keyof WsSettings> = Option<Pick<Writable<WsSettings>, Field>>;
type WsServerOption<Field extends keyof WsServerSettings> = Option<Pick<Writable<WsServerSettings>, Field>>;
type WsClientOption<Field extends keyof WsClientSettings> = Option<Pick<Writable<WsClientSettings>, Field>>;

const MAX_TEXT_BYTES = 8192;

// --- servers ---

/**
 * The paths to serve, each compared with that of the request as it stands there, without its query. Any other is answered with 404.
 * Default: every path.
 */
export function withPath(...paths: readonly string[]): WsServerOption<'paths'> {
  for (const path of paths) {
    if (typeof path !== 'string' || !/^\/[^?#\s]*$/.test(path)) throw invalid('withPath', 'paths such as /chat, without query', path);
  }
  return (options) => {
    options.paths = paths;
  };
}

/**
 * Take the WebSocket upgrades of this HTTP or HTTPS server instead of listening. It stays yours: `close` does not close it, and requests
 * that ask for no upgrade are its own. Several WebSocket servers with different paths may share it. Default: listen by itself.
 */
export function withHttpServer(httpServer: NonNullable<WsServerSettings['httpServer']>): WsServerOption<'httpServer'> {
  checkMethods('withHttpServer', httpServer, ['on', 'off', 'address', 'listenerCount']);
  return (options) => {
    options.httpServer = httpServer;
  };
}

/**
 * The pages that may connect, by origin, such as `https://example.org`; `'*'`: all. A browser tells the origin of its page, other clients
 * usually none: they are let in with `allowMissing` only. Or a function that decides by itself. Refused with 403. Default: pages of
 * the host that they connect to, and clients that tell no origin.
 */
export function withOrigins(
  origins: readonly string[] | WsOriginCheck,
  { allowMissing = false }: { readonly allowMissing?: boolean } = {},
): WsServerOption<'checkOrigin'> {
  checkBoolean('withOrigins allowMissing', allowMissing);
  if (typeof origins !== 'function' && !Array.isArray(origins)) throw invalid('withOrigins', 'a list of origins or a function', origins);
  const check = typeof origins === 'function' ? origins : amongOrigins(origins, allowMissing);
  return (options) => {
    options.checkOrigin = check;
  };
}

function amongOrigins(origins: readonly string[], allowMissing: boolean): WsOriginCheck {
  const isAny = origins.includes('*');
  const allowed = new Set(origins.map((origin) => (origin === '*' ? origin : normalOrigin(origin))));
  return (origin) => isAny || (origin === undefined ? allowMissing : allowed.has(origin.toLowerCase()));
}

/** As browsers write it: in lower case, without the usual port. */
function normalOrigin(text: string): string {
  if (text === 'null') return text;
  if (!URL.canParse(text)) throw invalid('withOrigins', "origins such as 'https://example.org'", text);
  const { origin, protocol, host } = new URL(text);
  return origin === 'null' ? `${protocol}//${host}` : origin;
}

/**
 * Asked before any session is made, within the handshake time-out. It may give attributes for the session, or refuse with a status and
 * a body. Throwing or rejecting answers 500. Default: everybody is welcome.
 */
export function withVerify(verify: WsVerify): WsServerOption<'verify'> {
  checkFunction('withVerify', verify);
  return (options) => {
    options.verify = verify;
  };
}

/** Largest head of a request: its first line and its headers. More is answered with 431. Default 16 384. */
export function withMaxHeaderBytes(bytes: number): WsServerOption<'maxHeaderBytes'> {
  checkInteger('withMaxHeaderBytes', bytes, 256, 1_048_576);
  return (options) => {
    options.maxHeaderBytes = bytes;
  };
}

// --- both sides ---

/**
 * On a client: what it offers, in order of preference; a server that speaks none of them is left. On a server: what it speaks, its
 * favourite first, or a function that picks one of those offered. Default: none.
 */
export function withSubprotocols(subprotocols: readonly string[] | WsSubprotocolChoice): WsOption<'subprotocols'> {
  if (typeof subprotocols !== 'function') {
    if (!Array.isArray(subprotocols)) throw invalid('withSubprotocols', 'a list of names or a function', subprotocols);
    for (const name of subprotocols) {
      if (typeof name !== 'string' || !/^[!#$%&'*+\-.0-9A-Z^_`|a-z~]+$/.test(name)) {
        throw invalid('withSubprotocols', 'names that an HTTP header takes', name);
      }
    }
    if (new Set(subprotocols).size < subprotocols.length) throw invalid('withSubprotocols', 'each name once', subprotocols);
  }
  return (options) => {
    options.subprotocols = subprotocols;
  };
}

/** What happens to text messages: 'reject' closes with 1003, 'binary' takes them as binary, 'text' sets `isText`. Default 'text'. */
export function withTextPolicy(policy: WsTextPolicy): WsOption<'textPolicy'> {
  checkOneOf('withTextPolicy', policy, ['reject', 'binary', 'text']);
  return (options) => {
    options.textPolicy = policy;
  };
}

/** How packages leave for which the PkgHandler does not set `out.isText`. Text MUST be UTF-8. Default 'binary'. */
export function withMessageType(type: 'binary' | 'text'): WsOption<'messageType'> {
  checkOneOf('withMessageType', type, ['binary', 'text']);
  return (options) => {
    options.messageType = type;
  };
}

/**
 * Ping the peer every `periodMs` (25 000) and close (HEARTBEAT) when nothing at all was heard of it for `misses` pings (2) in a row.
 * `false`: no pings. The answer is timed: `session.stats().roundTripMs`.
 */
export function withPing(ping: Partial<WsPing> | false): WsOption<'ping'> {
  if (ping !== false && (typeof ping !== 'object' || ping === null)) throw invalid('withPing', 'false or an object', ping);
  const built = ping === false ? undefined : { ...PING_DEFAULTS, ...ping };
  if (built !== undefined) {
    checkMs('withPing periodMs', built.periodMs);
    checkInteger('withPing misses', built.misses, 1);
  }
  return (options) => {
    options.ping = built;
  };
}

/** Most fragments of one message, empty ones included; its sender is closed with 1008 for more. Default 1024. */
export function withMaxFragments(count: number): WsOption<'maxFragments'> {
  checkInteger('withMaxFragments', count, 1, 1_048_576);
  return (options) => {
    options.maxFragments = count;
  };
}

/** From its first byte to its last, a message may take this long; then its sender is closed with 1008. Default 30 000; 0 = no limit. */
export function withMessageTimeoutMs(timeoutMs: number): WsOption<'messageTimeoutMs'> {
  checkMs('withMessageTimeoutMs', timeoutMs, 0);
  return (options) => {
    options.messageTimeoutMs = timeoutMs;
  };
}

/**
 * Compress messages (RFC 7692) with peers that agree, within bounds; see `WsDeflate`. It costs far more time than it saves on a fast
 * network, and messages no longer leave together. Default: off.
 */
export function withPermessageDeflate(deflate: Partial<WsDeflate> | false): WsOption<'deflate'> {
  if (deflate !== false && (typeof deflate !== 'object' || deflate === null))
    throw invalid('withPermessageDeflate', 'false or an object', deflate);
  const built = deflate === false ? undefined : { ...DEFLATE_DEFAULTS, ...deflate };
  if (built !== undefined) {
    checkInteger('withPermessageDeflate thresholdBytes', built.thresholdBytes, 0);
    checkInteger('withPermessageDeflate level', built.level, 0, 9);
    checkInteger('withPermessageDeflate memLevel', built.memLevel, 1, 9);
    checkInteger('withPermessageDeflate concurrency', built.concurrency, 1, 1024);
    checkBoolean('withPermessageDeflate contextTakeover', built.contextTakeover);
  }
  return (options) => {
    options.deflate = built;
  };
}

// --- clients ---

/** Headers of the request, or a function that is asked for them before each attempt. Default: none. */
export function withHeaders(headers: WsHeaders): WsClientOption<'headers'> {
  if (typeof headers !== 'function') checkHeaders(headers);
  return (options) => {
    options.headers = headers;
  };
}

function checkHeaders(headers: OutgoingHttpHeaders): void {
  if (typeof headers !== 'object' || headers === null) throw invalid('withHeaders', 'an object or a function', headers);
  for (const [name, value] of Object.entries(headers)) {
    checkString('withHeaders name', name, MAX_TEXT_BYTES);
    if (!/^[!#$%&'*+\-.0-9A-Z^_`|a-z~]+$/.test(name)) throw invalid('withHeaders', 'names that HTTP takes', name);
    for (const text of [value].flat()) {
      if (/[^\t\x20-\x7e\x80-\xff]/.test(String(text))) throw invalid(`withHeaders ${name}`, 'a value that HTTP takes', text);
    }
  }
}

/** Connect through this agent, such as one for an HTTP proxy. Default: straight. */
export function withProxyAgent(agent: Agent): WsClientOption<'proxyAgent'> {
  if (!(agent instanceof Agent)) checkMethods('withProxyAgent', agent, ['addRequest' as never]);
  return (options) => {
    options.proxyAgent = agent;
  };
}

/**
 * How many redirects in a row to follow. Headers with credentials (authorization, cookie) do not go to another origin, and TLS is not
 * left. Default 0: a redirect is a refusal.
 */
export function withMaxRedirects(count: number): WsClientOption<'maxRedirects'> {
  checkInteger('withMaxRedirects', count, 0, 20);
  return (options) => {
    options.maxRedirects = count;
  };
}
