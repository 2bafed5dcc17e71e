import { type BlockList, isIP, isIPv6 } from 'node:net';
import type { Address } from '../transport/connection.ts';
import type { AdmissionRole } from '../transport/transport.ts';
import { PROCESS_ROOM, type SessionRoom } from './open-files.ts';
import type { AcceptRate } from './options.ts';

/** Addresses that the rate limit remembers at most; the one seen longest ago is forgotten first. */
const MAX_REMEMBERED = 100_000;

export interface AdmissionLimits {
  /** Undefined: the room that all such servers share. */
  readonly maxSessions: number | undefined;
  readonly maxSessionsPerIp: number;
  readonly blockList: BlockList | undefined;
  readonly acceptRate: AcceptRate | undefined;
}

/**
 * 'gone': the peer had left before it was looked at, so that its address is not known and no limit could count it. 'untrusted': only
 * trusted proxies may connect, and it is none.
 */
export type Refusal = 'gone' | 'blocked' | 'untrusted' | 'max-sessions' | 'max-sessions-per-ip' | 'accept-rate';

/** Decides who may connect, before anything is spent on a connection, and counts who has. */
export class Admission {
  refused = 0;
  #count = 0;
  readonly #limits: AdmissionLimits;
  readonly #room: SessionRoom;
  readonly #perIp = new Map<string, number>();
  readonly #buckets = new Map<string, { tokens: number; filledMs: number }>();

  constructor(limits: AdmissionLimits, room: SessionRoom = PROCESS_ROOM) {
    this.#limits = limits;
    this.#room = room;
  }

  /** Connections admitted and not yet released. */
  get count(): number {
    return this.#count;
  }

  /** Admits (and counts) a connection, or says why not. A 'proxied' one that is refused has lost the place of its proxy. */
  admit(address: Address, nowMs: number, role: AdmissionRole = 'client'): Refusal | undefined {
    const refusal = this.#check(address, nowMs, role);
    if (refusal !== undefined) {
      this.refused++;
      if (role === 'proxied') this.#add(-1);
      return refusal;
    }
    if (role !== 'proxied') this.#add(1);
    if (role === 'proxy') return undefined;
    const key = ipGroup(address.host);
    if (this.#limits.maxSessionsPerIp > 0 && key !== '') this.#perIp.set(key, (this.#perIp.get(key) ?? 0) + 1);
    return undefined;
  }

  /** A connection that was admitted is gone: in the role of 'proxy', if it was not admitted as 'proxied' since. */
  release(address: Address, role: AdmissionRole = 'client'): void {
    this.#add(-1);
    if (role === 'proxy') return;
    const key = ipGroup(address.host);
    const left = (this.#perIp.get(key) ?? 0) - 1;
    if (left > 0) this.#perIp.set(key, left);
    else this.#perIp.delete(key);
  }

  #add(change: 1 | -1): void {
    this.#count += change;
    if (this.#limits.maxSessions === undefined) this.#room.used += change;
  }

  #isFull(): boolean {
    const { maxSessions } = this.#limits;
    return maxSessions === undefined ? this.#room.isFull : this.#count >= maxSessions;
  }

  #check(address: Address, nowMs: number, role: AdmissionRole): Refusal | undefined {
    const { maxSessionsPerIp, blockList, acceptRate } = this.#limits;
    const ip = plainIp(address.host);
    if (ip === '' && (address.family === 'IPv4' || address.family === 'IPv6')) return 'gone';
    if (role === 'untrusted') return 'untrusted';
    if (blockList !== undefined && isInNetworks(blockList, ip)) return 'blocked';
    if (role !== 'proxied' && this.#isFull()) return 'max-sessions';
    if (ip === '' || role === 'proxy') return undefined;
    const key = ipGroup(ip);
    if (maxSessionsPerIp > 0 && (this.#perIp.get(key) ?? 0) >= maxSessionsPerIp) return 'max-sessions-per-ip';
    if (acceptRate !== undefined && !this.#takeToken(key, acceptRate, nowMs)) return 'accept-rate';
    return undefined;
  }

  #takeToken(key: string, rate: AcceptRate, nowMs: number): boolean {
    const known = this.#buckets.get(key);
    const elapsedMs = known === undefined ? 0 : nowMs - known.filledMs;
    const tokens = known === undefined ? rate.burst : Math.min(rate.burst, known.tokens + (elapsedMs * rate.perSecond) / 1000);
    const isAllowed = tokens >= 1;
    // Deleting first moves the key to the young end of the map.
    this.#buckets.delete(key);
    this.#buckets.set(key, { tokens: isAllowed ? tokens - 1 : tokens, filledMs: nowMs });
    if (this.#buckets.size > MAX_REMEMBERED) {
      const oldest = this.#buckets.keys().next();
      if (!oldest.done) this.#buckets.delete(oldest.value);
    }
    return isAllowed;
  }
}

/** Whether a host is an IP address in one of the networks; IPv4 in IPv6 clothes counts as IPv4. */
export function isInNetworks(networks: BlockList, host: string): boolean {
  const ip = plainIp(host);
  return isIP(ip) !== 0 && networks.check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4');
}

/** Without a zone, and as IPv4 when it is IPv4 in IPv6 clothes. */
export function plainIp(host: string): string {
  const ip = host.replace(/%.*$/, '');
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip);
  return mapped?.[1] ?? ip;
}

/** Addresses that belong to one customer: an IPv4 address, or a /64 of IPv6, since whoever has one address there has all. */
export function ipGroup(host: string): string {
  const ip = plainIp(host);
  if (!isIPv6(ip)) return ip;
  const [head = '', tail] = ip.split('::');
  const headGroups = head === '' ? [] : head.split(':');
  const tailGroups = tail === undefined || tail === '' ? [] : tail.split(':');
  const missing = tail === undefined ? 0 : 8 - headGroups.length - tailGroups.length;
  const groups = [...headGroups, ...Array<string>(Math.max(0, missing)).fill('0'), ...tailGroups];
  const network = groups.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16));
  return `${network.join(':')}::/64`;
}
