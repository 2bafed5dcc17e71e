import { connect, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { PorticoError, StateError, TransportError } from '../base/errors.ts';
import { parseAddress } from './address.ts';
import { HIGH_WATER_MARK, type SocketSettings } from './socket-settings.ts';
import { contextOptions, loadTls } from './tls-options.ts';

/**
 * Connects a socket, through the TLS handshake if there is one. `make` runs as soon as the socket is ready: an error may be next,
 * and what is made of it has to hear of that.
 */
export async function dialSocket<T>(
  address: string,
  settings: SocketSettings,
  signal: AbortSignal,
  onread: OnReadOpts | undefined,
  make: (socket: Socket) => T,
): Promise<T> {
  const target = parseAddress(address);
  const { tls: source, noDelay, keepAliveMs, sourceAddress } = settings;
  const tls = source === undefined ? undefined : await loadTls(source, false);
  if (signal.aborted) throw abortError(signal);
  const common = {
    ...('path' in target ? { path: target.path } : { port: target.port, host: target.host ?? 'localhost' }),
    ...(sourceAddress === undefined ? {} : { localAddress: sourceAddress }),
    ...(onread === undefined ? {} : { onread }),
    noDelay,
    keepAlive: keepAliveMs > 0,
    keepAliveInitialDelay: keepAliveMs,
    allowHalfOpen: true,
    highWaterMark: HIGH_WATER_MARK,
  };
  const socket =
    tls === undefined
      ? connect(common)
      : connectTls({
          ...common,
          ...contextOptions(tls),
          rejectUnauthorized: tls.rejectUnauthorized ?? true,
          ...(tls.alpnProtocols === undefined ? {} : { ALPNProtocols: [...tls.alpnProtocols] }),
          ...serverName(tls.serverName, target),
        });
  return connected(socket, tls === undefined ? 'connect' : 'secureConnect', signal, () => {
    if (isSelfConnected(socket)) throw new TransportError('SELF_CONNECT', `dial ${address}: the client was connected to itself`);
    return make(socket);
  });
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
