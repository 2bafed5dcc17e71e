/** A peer of a socket, as the table links it. */
export interface PeerNode<T> {
  readonly host: string;
  readonly port: number;
  /** This and those below belong to the table. */
  isListed: boolean;
  older: T | undefined;
  newer: T | undefined;
}

/**
 * The peers of a socket by address, in the order of their last use. A port number finds most peers, because it costs nothing to
 * hash; only peers with the same port are told apart by a second map, so that no choice of addresses makes looking up slow.
 */
export class UdpPeers<T extends PeerNode<T>> {
  size = 0;
  readonly #byPort = new Map<number, T | Map<string, T>>();
  #oldest: T | undefined;
  #newest: T | undefined;

  /** The peer used longest ago. */
  get oldest(): T | undefined {
    return this.#oldest;
  }

  find(host: string, port: number): T | undefined {
    const newest = this.#newest;
    if (newest !== undefined && newest.port === port && newest.host === host) return newest;
    const found = this.#byPort.get(port);
    if (found instanceof Map) return found.get(host);
    return found !== undefined && found.host === host ? found : undefined;
  }

  /** MUST NOT be there already. */
  add(peer: T): void {
    const found = this.#byPort.get(peer.port);
    if (found === undefined) this.#byPort.set(peer.port, peer);
    else if (found instanceof Map) found.set(peer.host, peer);
    else {
      this.#byPort.set(
        peer.port,
        new Map([
          [found.host, found],
          [peer.host, peer],
        ]),
      );
    }
    peer.isListed = true;
    this.size++;
    this.#append(peer);
  }

  /** False when it was not there. */
  remove(peer: T): boolean {
    if (!peer.isListed) return false;
    peer.isListed = false;
    const found = this.#byPort.get(peer.port);
    if (found instanceof Map) found.delete(peer.host);
    if (!(found instanceof Map) || found.size === 0) this.#byPort.delete(peer.port);
    this.size--;
    this.#unlink(peer);
    return true;
  }

  /** The peer was used just now; nothing when it is not there. */
  touch(peer: T): void {
    if (peer === this.#newest || !peer.isListed) return;
    this.#unlink(peer);
    this.#append(peer);
  }

  #append(peer: T): void {
    peer.older = this.#newest;
    peer.newer = undefined;
    if (this.#newest === undefined) this.#oldest = peer;
    else this.#newest.newer = peer;
    this.#newest = peer;
  }

  #unlink(peer: T): void {
    const { older, newer } = peer;
    if (older === undefined) this.#oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.#newest = older;
    else newer.older = older;
    peer.older = undefined;
    peer.newer = undefined;
  }
}
