import { type Clock, systemClock } from '../base/clock.ts';
import type { Address } from './connection.ts';
import type { Preface } from './preface.ts';
import type { TlsSource } from './tls-options.ts';

/** Settings of TCP, TLS and Unix sockets, and of all that stands on them. */
export interface SocketSettings {
  readonly tls: TlsSource | undefined;
  readonly handshakeTimeoutMs: number;
  readonly noDelay: boolean;
  /** Idle time before the first keep-alive probe; 0 = no probes. */
  readonly keepAliveMs: number;
  readonly backlog: number;
  /** Take IPv6 only on an IPv6 address; otherwise `:port` takes both. */
  readonly ipv6Only: boolean;
  /** Source address of a client. */
  readonly sourceAddress: string | undefined;
  /** How often the TLS source is looked at again; 0 = only when asked. */
  readonly tlsReloadMs: number;
  /** What is read from accepted connections before anything else. */
  readonly preface: Preface | undefined;
  /** What is sent on dialled connections before anything else, TLS included. */
  readonly dialPreface: ((local: Address, remote: Address) => Uint8Array) | undefined;
  /** Measures time-outs of a listening socket and the time between reloads. */
  readonly clock: Clock;
}

export const SOCKET_DEFAULTS: SocketSettings = {
  tls: undefined,
  handshakeTimeoutMs: 10_000,
  noDelay: true,
  keepAliveMs: 30_000,
  backlog: 511,
  ipv6Only: false,
  sourceAddress: undefined,
  tlsReloadMs: 0,
  preface: undefined,
  dialPreface: undefined,
  clock: systemClock,
};

/**
 * A chunk counts as not taken until the kernel has it; at 1, `writableNeedDrain` is true exactly when something waits, so that
 * 'drain' always tells when nothing does, and a write that is taken at once costs no event.
 */
export const HIGH_WATER_MARK = 1;
