import { randomBytes } from 'node:crypto';
import type { Client } from './client.ts';
import type { Peer } from './peer.ts';
import type { Retention } from './retention.ts';

const TOKEN_BYTES = 18;

/** The clients of a hub: those that are there, those that are away, and by which token they come back. */
export class Registry {
  readonly #maxAway: number;
  readonly #retention: Retention;
  /** All that are not over; some of them are still connecting. */
  readonly all: Set<Peer> = new Set();
  /** Those that broadcasts reach. */
  readonly ready: Map<string, Peer> = new Map();
  readonly clients: Map<string, Client> = new Map();
  readonly #byToken = new Map<string, Peer>();
  /** Longest away first. */
  readonly #away = new Set<Peer>();

  constructor(maxAway: number, retention: Retention) {
    this.#maxAway = maxAway;
    this.#retention = retention;
  }

  get away(): number {
    return this.#away.size;
  }

  add(peer: Peer): void {
    this.all.add(peer);
  }

  addReady(peer: Peer): void {
    this.ready.set(peer.id, peer);
    this.clients.set(peer.id, peer.client);
  }

  delete(peer: Peer): void {
    this.all.delete(peer);
    this.ready.delete(peer.id);
    this.clients.delete(peer.id);
    this.setBack(peer);
    this.#forgetToken(peer.token);
    this.#forgetToken(peer.previousToken);
  }

  // --- tokens ---

  byToken(token: string): Peer | undefined {
    return this.#byToken.get(token);
  }

  /** A new token. The one before stays good until it is known that the client has this one. */
  issueToken(peer: Peer): string {
    this.#forgetToken(peer.previousToken);
    peer.previousToken = peer.token;
    const token = randomBytes(TOKEN_BYTES).toString('base64url');
    peer.token = token;
    this.#byToken.set(token, peer);
    return token;
  }

  confirmToken(peer: Peer): void {
    this.#forgetToken(peer.previousToken);
    peer.previousToken = undefined;
  }

  #forgetToken(token: string | undefined): void {
    if (token !== undefined) this.#byToken.delete(token);
  }

  // --- away ---

  /** Returns who has to go for it, if anybody. */
  setAway(peer: Peer, deadlineMs: number): Peer | undefined {
    peer.deadlineMs = deadlineMs;
    this.#away.add(peer);
    this.#retention.setAway(peer);
    if (this.#away.size <= this.#maxAway) return undefined;
    const [oldest] = this.#away;
    return oldest;
  }

  setBack(peer: Peer): void {
    this.#away.delete(peer);
    this.#retention.setBack(peer);
  }

  /** Those that have been away for too long. All are away for the same time, so the first that may stay ends the search. */
  expired(nowMs: number): Peer[] {
    const expired: Peer[] = [];
    for (const peer of this.#away) {
      if (peer.deadlineMs > nowMs) break;
      expired.push(peer);
    }
    return expired;
  }
}
