import { connect, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { PorticoError, StateError, TransportError } from '../base/errors.ts';
import { parseAddress, tcpAddress, unixAddress } from './address.ts';
import type { Address } from './connection.ts';
import { HIGH_WATER_MARK, type SocketSettings } from './socket-settings.ts';
import { contextOptions, loadTls, type TlsOptions } from './tls-options.ts';

/**
 * Connects a socket, sends its preface, and does the TLS handshake, if there are any. `make` runs as soon as the socket is ready: an
 * error may be next, and what is made of it has to hear of that. `onread` has no effect on TLS behind a preface.
 */
export async function dialSocket<T>(
  address: string,
  settings: SocketSettings,
  signal: AbortSignal,
  onread: OnReadOpts | undefined,
  make: (socket: Socket) => T,
): Promise<T> {
  const target = parseAddress(address);
  const { tls: source, noDelay, keepAliveMs, sourceAddress, dialPreface } = settings;
  const tls = source === undefined ? undefined : await loadTls(source, false);
  if (signal.aborted) throw abortError(signal);
  const common = {
    ...('path' in target ? { path: target.path } : { port: target.port, host: target.host ?? 'localhost' }),
    ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }),
    noDelay,
    keepAlive: keepAliveMs > 0,
    keepAliveInitialDelay: keepAliveMs,
    allowHalfOpen: true,
    highWaterMark: HIGH_WATER_MARK,
  };
  const reading = onread === undefined ? {} : { onread };
  const checked = (socket: Socket): Socket => {
    if (isSelfConnected(socket)) throw new TransportError('SELF_CONNECT', `dial ${address}: the client was connected to itself`);
    return socket;
  };
  /** Over a socket that is connected, or a new one. */
  const secure = (options: TlsOptions, over: { readonly socket?: Socket }): Promise<T> => {
    const secured = connectTls({
      ...common,
      ...reading,
      ...over,
      ...contextOptions(options),
      rejectUnauthorized: options.rejectUnauthorized ?? true,
      ...(options.alpnProtocols === undefined ? {} : { ALPNProtocols: [...options.alpnProtocols] }),
      ...serverName(options.serverName, target),
    });
    return connected(secured, 'secureConnect', signal, () => make(checked(secured)));
  };
  if (tls !== undefined && dialPreface === undefined) return secure(tls, {});
  const plain = connect(tls === undefined ? { ...common, ...reading } : common);
  const begin = (): void => {
    checked(plain);
    if (dialPreface !== undefined) plain.write(dialPreface(...endsOf(plain, target)));
  };
  if (tls === undefined) {
    return connected(plain, 'connect', signal, () => {
      begin();
      return make(plain);
    });
  }
  await connected(plain, 'connect', signal, () => {
    begin();
    // The encrypted socket tells of its errors from now on.
    plain.on('error', () => {});
  });
  return secure(tls, { socket: plain });
}

function endsOf(socket: Socket, target: ReturnType<typeof parseAddress>): [local: Address, remote: Address] {
  if ('path' in target) return [unixAddress(''), unixAddress(target.path)];
  return [tcpAddress(socket.localAddress, socket.localPort), tcpAddress(socket.remoteAddress, socket.remotePort)];
}

function serverName(given: string | undefined, target: ReturnType<typeof parseAddress>): { servername?: string } {
  if (given !== undefined) return { servername: given };
  if (!('path' in target) && target.host === undefined) return { servername: 'localhost' };
  return {};
}

function connected<T>(socket: Socket, event: 'connect' | 'secureConnect', signal: AbortSignal, make: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = (): void => {
      signal.removeEventListener('abort', onAbort);
      socket.off(event, onReady);
      socket.off('error', onError);
      socket.off('close', onClose);
    };
    const fail = (error: unknown): void => {
      leave();
      // A late 'error' of a socket that is being given up concerns nobody.
      socket.on('error', () => {});
      socket.destroy();
      reject(error);
    };
    const onReady = (): void => {
      leave();
      try {
        resolve(make());
      } catch (thrown) {
        fail(thrown);
      }
    };
    const onError = (error: Error): void => fail(new TransportError('CONNECT_FAILED', error.message, { cause: error }));
    const onClose = (): void => fail(new TransportError('CONNECT_FAILED', 'the connection was closed before it was ready'));
    const onAbort = (): void => fail(abortError(signal));
    socket.on(event, onReady);
    socket.on('error', onError);
    socket.on('close', onClose);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}

/** The reason of an aborted dial. */
export function abortError(signal: AbortSignal): PorticoError {
  return signal.reason instanceof PorticoError
    ? signal.reason
    : new StateError('ABORTED', 'dial: the signal was aborted', { cause: signal.reason });
}

/** On loopback a client can be given the very port that it dials, and TCP then connects it to itself. */
function isSelfConnected(socket: Socket): boolean {
  return socket.localPort !== undefined && socket.localPort === socket.remotePort && socket.localAddress === socket.remoteAddress;
}
