import type { Server as HttpServer, IncomingMessage } from 'node:http';
import type { Server as HttpsServer } from 'node:https';
import type { Duplex } from 'node:stream';
import { answer, pathOf } from './ws-request.ts';

/** Who takes upgrades of some paths. */
export interface UpgradeTaker {
  /** Empty: every path. */
  readonly paths: readonly string[];
  onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void;
}

/**
 * Shares the upgrades of a user's HTTP server among several WebSocket servers. What none of them wants is left to the other 'upgrade'
 * listeners of the server, or answered with 404 when there are none.
 */
export class UpgradeRouter {
  static readonly #routers = new WeakMap<HttpServer | HttpsServer, UpgradeRouter>();
  readonly #server: HttpServer | HttpsServer;
  readonly #takers: UpgradeTaker[] = [];
  readonly #listener = (request: IncomingMessage, socket: Duplex, head: Buffer): void => this.#onUpgrade(request, socket, head);

  private constructor(server: HttpServer | HttpsServer) {
    this.#server = server;
  }

  static of(server: HttpServer | HttpsServer): UpgradeRouter {
    const router = UpgradeRouter.#routers.get(server) ?? new UpgradeRouter(server);
    UpgradeRouter.#routers.set(server, router);
    return router;
  }

  /** The path that another taker has already, or '*' for all of them; undefined when there is no clash. */
  clashOf({ paths }: UpgradeTaker): string | undefined {
    for (const other of this.#takers) {
      if (paths.length === 0 && other.paths.length === 0) return '*';
      const same = paths.find((path) => other.paths.includes(path));
      if (same !== undefined) return same;
    }
    return undefined;
  }

  add(taker: UpgradeTaker): void {
    if (this.#takers.length === 0) this.#server.on('upgrade', this.#listener);
    this.#takers.push(taker);
  }

  remove(taker: UpgradeTaker): void {
    const index = this.#takers.indexOf(taker);
    if (index === -1) return;
    this.#takers.splice(index, 1);
    if (this.#takers.length === 0) this.#server.off('upgrade', this.#listener);
  }

  #onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const path = pathOf(request.url ?? '');
    // Whoever names the path goes before whoever takes every path.
    const taker = this.#takers.find(({ paths }) => paths.includes(path)) ?? this.#takers.find(({ paths }) => paths.length === 0);
    if (taker !== undefined) {
      taker.onUpgrade(request, socket, head);
    } else if (this.#server.listenerCount('upgrade') === 1) {
      socket.on('error', () => {});
      socket.once('finish', () => socket.destroy());
      answer(socket, { status: 404 });
    }
  }
}
