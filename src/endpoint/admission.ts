import { type BlockList, isIP, isIPv6 } from 'node:net';
import { ipGroup, plainIp } from '../base/ip-group.ts';
import { BucketTable } from '../base/token-bucket.ts';
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
  readonly #buckets: BucketTable | undefined;

  constructor(limits: AdmissionLimits, room: SessionRoom = PROCESS_ROOM) {
    this.#limits = limits;
    this.#room = room;
    if (limits.acceptRate !== undefined) this.#buckets = new BucketTable(limits.acceptRate, MAX_REMEMBERED);
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
    const { maxSessionsPerIp, blockList } = this.#limits;
    const ip = plainIp(address.host);
    if (ip === '' && (address.family === 'IPv4' || address.family === 'IPv6')) return 'gone';
    if (role === 'untrusted') return 'untrusted';
    if (blockList !== undefined && isInNetworks(blockList, ip)) return 'blocked';
    if (role !== 'proxied' && this.#isFull()) return 'max-sessions';
    if (ip === '' || role === 'proxy') return undefined;
    const key = ipGroup(ip);
    if (maxSessionsPerIp > 0 && (this.#perIp.get(key) ?? 0) >= maxSessionsPerIp) return 'max-sessions-per-ip';
    if (this.#buckets?.get(key, nowMs).take(1, nowMs) === false) return 'accept-rate';
    return undefined;
  }
}

/** Whether a host is an IP address in one of the networks; IPv4 in IPv6 clothes counts as IPv4. */
export function isInNetworks(networks: BlockList, host: string): boolean {
  const ip = plainIp(host);
  return isIP(ip) !== 0 && networks.check(ip, isIPv6(ip) ? 'ipv6' : 'ipv4');
}
