import { type BlockList, isIP, isIPv6 } from 'node:net';
import type { Address } from '../transport/connection.ts';
import type { AcceptRate } from './options.ts';

/** Addresses that the rate limit remembers at most; the one seen longest ago is forgotten first. */
const MAX_REMEMBERED = 100_000;

export interface AdmissionLimits {
  readonly maxSessions: number;
  readonly maxSessionsPerIp: number;
  readonly blockList: BlockList | undefined;
  readonly acceptRate: AcceptRate | undefined;
}

/** 'gone': the peer had left before it was looked at, so that its address is not known and no limit could count it. */
export type Refusal = 'gone' | 'blocked' | 'max-sessions' | 'max-sessions-per-ip' | 'accept-rate';

/** Decides who may connect, before anything is spent on a connection, and counts who has. */
export class Admission {
  refused = 0;
  #count = 0;
  readonly #limits: AdmissionLimits;
  readonly #perIp = new Map<string, number>();
  readonly #buckets = new Map<string, { tokens: number; filledMs: number }>();

  constructor(limits: AdmissionLimits) {
    this.#limits = limits;
  }

  /** Connections admitted and not yet released. */
  get count(): number {
    return this.#count;
  }

  /** Admits (and counts) a connection, or says why not. */
  admit(address: Address, nowMs: number): Refusal | undefined {
    const refusal = this.#check(address, nowMs);
    if (refusal !== undefined) {
      this.refused++;
      return refusal;
    }
    this.#count++;
    const key = ipGroup(address.host);
    if (this.#limits.maxSessionsPerIp > 0 && key !== '') this.#perIp.set(key, (this.#perIp.get(key) ?? 0) + 1);
    return undefined;
  }

  /** A connection that was admitted is gone. */
  release(address: Address): void {
    this.#count--;
    const key = ipGroup(address.host);
    const left = (this.#perIp.get(key) ?? 0) - 1;
    if (left > 0) this.#perIp.set(key, left);
    else this.#perIp.delete(key);
  }

  #check(address: Address, nowMs: number): Refusal | undefined {
    const { maxSessions, maxSessionsPerIp, blockList, acceptRate } = this.#limits;
    const ip = plainIp(address.host);
    if (ip === '' && (address.family === 'IPv4' || address.family === 'IPv6')) return 'gone';
    if (isIP(ip) !== 0 && blockList?.check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4')) return 'blocked';
    if (this.#count >= maxSessions) return 'max-sessions';
    if (ip === '') return undefined;
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
