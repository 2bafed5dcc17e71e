import type { Socket } from 'node:dgram';
import { describeThrown, PorticoError, TransportError } from '../base/errors.ts';
import { log } from '../base/log.ts';
import { tcpAddress } from './address.ts';
import type { Connection } from './connection.ts';
import { abortError } from './socket-dial.ts';
import type { AcceptorSink, Transport } from './transport.ts';
import { UdpAcceptor } from './udp-acceptor.ts';
import { UdpClientConnection } from './udp-client-connection.ts';
import { directSocket } from './udp-direct.ts';
import { UDP_DEFAULTS, type UdpSettings } from './udp-settings.ts';
import { applySettings, bindSocket, connectSocket, makeSocket, resolveTarget, type UdpTarget } from './udp-setup.ts';
import { UdpSocket } from './udp-socket.ts';

/**
 * UDP over IPv4 and IPv6. A listening socket makes a connection for each address that it hears from, without a handshake; a
 * dialled one is connected, so that the system tells when nobody listens at the other end.
 */
export class UdpTransport implements Transport {
  readonly name = 'udp';
  readonly #settings: UdpSettings;

  constructor(settings: Partial<UdpSettings> = {}) {
    this.#settings = { ...UDP_DEFAULTS, ...settings };
  }

  async listen(address: string, sink: AcceptorSink): Promise<UdpAcceptor> {
    const target = await failingAs('LISTEN_FAILED', 'listen', () => resolveTarget(address));
    const raw = await failingAs('LISTEN_FAILED', 'listen', () => this.#bind(target));
    try {
      applySettings(raw, this.#settings, true);
      const direct = await directSocket(raw, false);
      const acceptor = new UdpAcceptor(new UdpSocket(raw, localAddress(raw), false, direct), this.#settings, sink);
      acceptor.open();
      log.transport('listening on %s over UDP', acceptor.address.text);
      return acceptor;
    } catch (thrown) {
      raw.close();
      throw thrown;
    }
  }

  /** All interfaces are those of IPv6, which takes IPv4 as well, where the system has IPv6. */
  async #bind(target: UdpTarget): Promise<Socket> {
    const raw = makeSocket(target.isIpv6, this.#settings);
    try {
      await bindSocket(raw, target.port, target.host);
      return raw;
    } catch (thrown) {
      const code: unknown = thrown instanceof Error ? Reflect.get(thrown, 'code') : undefined;
      if (target.host !== undefined || (code !== 'EAFNOSUPPORT' && code !== 'EADDRNOTAVAIL')) throw thrown;
      const plain = makeSocket(false, this.#settings);
      await bindSocket(plain, target.port, '0.0.0.0');
      return plain;
    }
  }

  async dial(address: string, options: { readonly signal: AbortSignal }): Promise<Connection> {
    const { signal } = options;
    const aborted = (): PorticoError => abortError(signal);
    if (signal.aborted) throw aborted();
    let onAbort = (): void => {};
    const abort = new Promise<never>((_resolve, reject) => {
      onAbort = () => reject(aborted());
      signal.addEventListener('abort', onAbort, { once: true });
    });
    const dialling = failingAs('CONNECT_FAILED', 'dial', () => this.#dial(address));
    try {
      return await Promise.race([dialling, abort]);
    } catch (thrown) {
      // One that comes too late is nobody's.
      dialling.then((connection) => connection.abort()).catch(() => {});
      throw thrown;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  async #dial(address: string): Promise<Connection> {
    const target = await resolveTarget(address);
    const host = target.host ?? '127.0.0.1';
    const raw = makeSocket(target.host !== undefined && target.isIpv6, this.#settings);
    await bindSocket(raw, 0, this.#settings.sourceAddress);
    try {
      // Before connecting: a broadcast address has to be allowed first.
      applySettings(raw, this.#settings, false);
    } catch (thrown) {
      raw.close();
      throw thrown;
    }
    await connectSocket(raw, target.port, host);
    try {
      const local = localAddress(raw);
      const remote = tcpAddress(host, target.port);
      if (local.text === remote.text) throw new TransportError('SELF_CONNECT', `dial ${address}: the client was connected to itself`);
      return new UdpClientConnection(
        new UdpSocket(raw, local, true, await directSocket(raw, true)),
        this.#settings.maxReceiveQueueBytes,
        remote,
      );
    } catch (thrown) {
      raw.close();
      throw thrown;
    }
  }
}

function localAddress(raw: Socket): ReturnType<typeof tcpAddress> {
  const { address, port } = raw.address();
  return tcpAddress(address, port);
}

async function failingAs<T>(code: 'LISTEN_FAILED' | 'CONNECT_FAILED', what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (thrown) {
    if (thrown instanceof PorticoError) throw thrown;
    throw new TransportError(code, `${what}: ${describeThrown(thrown)}`, { cause: thrown });
  }
}
