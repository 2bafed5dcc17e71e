import { isIPv4, isIPv6 } from 'node:net';
import { ConfigError } from '../base/errors.ts';
import { show } from '../base/option.ts';
import type { Address } from './connection.ts';

/** What an address text means to `net`: a TCP host and port, or the path of a Unix socket (abstract ones begin with NUL). */
export type SocketTarget = { readonly host: string | undefined; readonly port: number } | { readonly path: string };

/**
 * Reads an address: `127.0.0.1:9000`, `[::1]:9000`, `localhost:9000`, `:9000` (all interfaces, IPv6 and IPv4), a host alone (any
 * free port), `unix:/run/app.sock`, or `unix:@name` (Linux abstract socket; Node 20 fills
 * its name up with zeros and later ones do not, so the two do not find each other). Throws ConfigError INVALID_ADDRESS for all
 * else; `name` is what its message calls the address.
 */
export function parseAddress(text: string, name = 'address'): SocketTarget {
  if (typeof text !== 'string') throw badAddress(text, name);
  if (text.startsWith('unix:')) return parseUnix(text, name);
  const match = /^(?:\[([^\]]*)\]|([^:[\]]*))(?::(\d{1,5}))?$/.exec(text);
  if (match === null || text === '') throw badAddress(text, name);
  const [, bracketed, plain, portText] = match;
  const port = portText === undefined ? 0 : Number(portText);
  if (port > 65_535) throw badAddress(text, name);
  if (bracketed !== undefined) {
    if (!isIPv6(bracketed)) throw badAddress(text, name);
    return { host: bracketed, port };
  }
  const host = plain ?? '';
  if (host === '') return { host: undefined, port };
  if (isIPv4(host) || isHostName(host)) return { host, port };
  throw badAddress(text, name);
}

function parseUnix(text: string, name: string): SocketTarget {
  const path = text.slice('unix:'.length);
  const isAbstract = path.startsWith('@');
  // The kernel takes 108 bytes: a path and the NUL behind it, or the NUL in front of an abstract name; libuv one less of a name.
  if (path === '' || path === '@' || Buffer.byteLength(path) > 107 || path.includes('\0')) throw badAddress(text, name);
  return { path: isAbstract ? `\0${path.slice(1)}` : path };
}

/** RFC 1123 names. A last label that is a number is an IPv4 address in a form that resolvers read as they like, not a name. */
function isHostName(host: string): boolean {
  if (host.length > 253) return false;
  const labels = host.replace(/\.$/, '').split('.');
  const areValid = labels.every((label) => /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$/.test(label));
  return areValid && !/^(?:\d+|0x[\da-f]*)$/i.test(labels.at(-1) ?? '');
}

function badAddress(given: unknown, name: string): ConfigError {
  const forms = "'host:port', '[ipv6]:port', ':port', 'host', 'unix:/path' or 'unix:@name'";
  return new ConfigError('INVALID_ADDRESS', `${name}: expected ${forms}, given ${show(given)}`);
}

/** Every session has two of these: what can be made from the other fields is, when it is asked for. */
class TcpAddress implements Address {
  readonly host: string;
  readonly port: number;

  constructor(host: string, port: number) {
    this.host = host;
    this.port = port;
  }

  get family(): 'IPv4' | 'IPv6' {
    return isIPv6(this.host) ? 'IPv6' : 'IPv4';
  }

  get text(): string {
    return this.family === 'IPv6' ? `[${this.host}]:${this.port}` : `${this.host}:${this.port}`;
  }

  toJSON(): Pick<Address, 'text' | 'host' | 'port' | 'family'> {
    const { text, host, port, family } = this;
    return { text, host, port, family };
  }

  toString(): string {
    return this.text;
  }
}

/** The address of one end of a TCP connection. */
export function tcpAddress(host: string | undefined, port: number | undefined): Address {
  return new TcpAddress(host ?? '', port ?? 0);
}

/** The address of a Unix socket; clients have no name of their own. */
export function unixAddress(path: string): Address {
  return { text: `unix:${path.startsWith('\0') ? `@${path.slice(1)}` : path}`, host: '', port: 0, family: 'unix', path };
}
