import { ConfigError } from '../base/errors.ts';
import { show } from '../base/option.ts';
import { parseAddress } from './address.ts';

/** Where a WebSocket client connects. */
export interface WsTarget {
  /** What the request names: `ws://host:port/path?query`. */
  readonly url: URL;
  /** Where the socket connects, as `parseAddress` reads it. */
  readonly socketAddress: string;
  readonly isSecure: boolean;
}

/**
 * Reads `ws://host:port/path?query`, `wss://…`, `ws+unix:/run/app.sock:/path` or `wss+unix:…`. Throws ConfigError INVALID_ADDRESS for all
 * else; `name` is what its message calls the address.
 */
export function parseWsAddress(text: string, name = 'address'): WsTarget {
  const unix = typeof text === 'string' ? /^(wss?)\+unix:(?:\/\/)?([^:]+)(?::(\/.*))?$/.exec(text) : null;
  if (unix !== null) {
    const [, scheme = '', path = '', urlPath = '/'] = unix;
    const socketAddress = `unix:${path}`;
    parseAddress(socketAddress, name);
    return { url: new URL(`${scheme}://localhost${urlPath}`), socketAddress, isSecure: scheme === 'wss' };
  }
  const url = toUrl(text, name);
  const isSecure = url.protocol === 'wss:';
  if ((!isSecure && url.protocol !== 'ws:') || url.hash !== '') throw badUrl(text, name);
  const socketAddress = `${url.hostname}:${url.port === '' ? (isSecure ? 443 : 80) : url.port}`;
  parseAddress(socketAddress, name);
  return { url, socketAddress, isSecure };
}

function toUrl(text: string, name: string): URL {
  try {
    return new URL(text);
  } catch {
    throw badUrl(text, name);
  }
}

function badUrl(text: unknown, name: string): ConfigError {
  const forms = "'ws://host:port/path', 'wss://host/path' or 'ws+unix:/file:/path'";
  return new ConfigError('INVALID_ADDRESS', `${name}: expected ${forms}, given ${show(text)}`);
}
