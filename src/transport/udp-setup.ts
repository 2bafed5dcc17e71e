import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { isIP, isIPv6 } from 'node:net';
import { publish } from '../base/diagnostics.ts';
import { ConfigError, describeThrown, TransportError } from '../base/errors.ts';
import { parseAddress } from './address.ts';
import type { MulticastGroup, UdpSettings } from './udp-settings.ts';

/** What listening sockets try to get when nothing else was asked for: 3,600 datagrams of 1,400 bytes. */
const WANTED_RECEIVE_BYTES = 4_194_304;

/** A host, looked up if it is a name. `host` is undefined for all interfaces. */
export interface UdpTarget {
  readonly host: string | undefined;
  readonly port: number;
  readonly isIpv6: boolean;
}

/** Reads an address as `parseAddress` does; Unix sockets carry no datagrams here. */
export function parseUdpAddress(text: string, name = 'address'): { readonly host: string | undefined; readonly port: number } {
  const target = parseAddress(text, name);
  if ('path' in target)
    throw new ConfigError('INVALID_ADDRESS', `${name}: expected 'host:port', '[ipv6]:port' or ':port', given a Unix socket`);
  return target;
}

export async function resolveTarget(text: string): Promise<UdpTarget> {
  const { host, port } = parseUdpAddress(text);
  if (host === undefined) return { host, port, isIpv6: true };
  if (isIP(host) !== 0) return { host, port, isIpv6: isIPv6(host) };
  const { address, family } = await lookup(host);
  return { host: address, port, isIpv6: family === 6 };
}

export function makeSocket(isIpv6: boolean, settings: UdpSettings): Socket {
  return createSocket({
    type: isIpv6 ? 'udp6' : 'udp4',
    reuseAddr: settings.reuseAddress,
    ipv6Only: isIpv6 && settings.ipv6Only,
    // Only addresses are ever asked for. The usual look-up answers a tick later, for each datagram.
    lookup: (host, _options, callback) => callback(null, host, isIPv6(host) ? 6 : 4),
  });
}

/** Binds; rejects with the error of the system, and the socket is closed then. */
export function bindSocket(socket: Socket, port: number, host: string | undefined): Promise<void> {
  return settled(socket, (done) => socket.bind({ port, ...(host === undefined ? {} : { address: host }) }, done));
}

export function connectSocket(socket: Socket, port: number, host: string): Promise<void> {
  return settled(socket, (done) => socket.connect(port, host, done));
}

/** Runs a call that ends with its callback or with an 'error' event. */
function settled(socket: Socket, call: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: Error): void => {
      socket.off('error', onError);
      // A late error of a socket that is given up concerns nobody.
      socket.on('error', () => {});
      socket.close();
      reject(error);
    };
    socket.on('error', onError);
    call(() => {
      socket.off('error', onError);
      resolve();
    });
  });
}

/** Everything about a bound socket that can be set. Throws a PorticoError. */
export function applySettings(socket: Socket, settings: UdpSettings, isServer: boolean): void {
  const { broadcast, ttl, multicastInterface, multicastTtl, multicastLoopback, multicastGroups } = settings;
  if (broadcast) setting('withBroadcast', () => socket.setBroadcast(true));
  if (ttl !== undefined) setting('withTtl', () => socket.setTTL(ttl));
  if (multicastInterface !== undefined) setting('withMulticastInterface', () => socket.setMulticastInterface(multicastInterface));
  if (multicastTtl !== undefined) setting('withMulticastTtl', () => socket.setMulticastTTL(multicastTtl));
  if (multicastLoopback !== undefined) setting('withMulticastLoopback', () => socket.setMulticastLoopback(multicastLoopback));
  for (const group of multicastGroups) joinGroup(socket, group);
  sizeBuffers(socket, settings, isServer);
}

export function joinGroup(socket: Socket, { group, source, interfaceAddress }: MulticastGroup): void {
  setting(`join ${group}`, () => {
    if (source === undefined) socket.addMembership(group, interfaceAddress);
    else socket.addSourceSpecificMembership(source, group, interfaceAddress);
  });
}

export function leaveGroup(socket: Socket, { group, source, interfaceAddress }: MulticastGroup): void {
  setting(`leave ${group}`, () => {
    if (source === undefined) socket.dropMembership(group, interfaceAddress);
    else socket.dropSourceSpecificMembership(source, group, interfaceAddress);
  });
}

/** Runs a call that the system may refuse. */
export function setting(name: string, call: () => void): void {
  try {
    call();
  } catch (thrown) {
    throw new TransportError('TRANSPORT_FAILED', `${name}: ${describeThrown(thrown)}`, { cause: thrown });
  }
}

function sizeBuffers(socket: Socket, { receiveBufferBytes, sendBufferBytes, logger }: UdpSettings, isServer: boolean): void {
  const receiveBytes = receiveBufferBytes ?? (isServer ? WANTED_RECEIVE_BYTES : undefined);
  if (receiveBytes !== undefined) attempt(() => socket.setRecvBufferSize(receiveBytes));
  if (sendBufferBytes !== undefined) attempt(() => socket.setSendBufferSize(sendBufferBytes));
  const given = bufferSizes(socket);
  const check = (which: 'receive' | 'send', wanted: number | undefined, bytes: number): void => {
    const usable = process.platform === 'linux' ? bytes / 2 : bytes;
    if (wanted === undefined || usable >= wanted) return;
    logger.warn(
      `the system gave a ${which} buffer of ${usable} bytes instead of ${wanted} (on Linux, see net.core.${which === 'receive' ? 'r' : 'w'}mem_max)`,
    );
    publish('limit', () => ({ limit: `udp-${which}-buffer`, socket, wantedBytes: wanted, givenBytes: usable }));
  };
  check('receive', receiveBufferBytes, given.receiveBufferBytes);
  check('send', sendBufferBytes, given.sendBufferBytes);
}

/** Some systems refuse what others cut: what was given is looked at afterwards. */
function attempt(call: () => void): void {
  try {
    call();
  } catch {}
}

/** The sizes of the kernel's buffers as it tells them; 0 of a closed socket. */
export function bufferSizes(socket: Socket): { readonly receiveBufferBytes: number; readonly sendBufferBytes: number } {
  try {
    return { receiveBufferBytes: socket.getRecvBufferSize(), sendBufferBytes: socket.getSendBufferSize() };
  } catch {
    return { receiveBufferBytes: 0, sendBufferBytes: 0 };
  }
}
