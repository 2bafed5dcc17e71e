import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import type { Backplane } from '../../src/backplane/backplane.ts';
import type { BusBackplaneOptions } from '../../src/backplane/bus-options.ts';
import { NatsBackplane } from '../../src/backplane-nats/nats-backplane.ts';
import { RedisBackplane } from '../../src/backplane-redis/redis-backplane.ts';
import type { BackplaneService } from '../../src/testing/index.ts';
import { turn } from './raw-peer.ts';

export type ServerKind = 'redis' | 'nats';

/** A Unix socket, or a port of this host. */
type Place = string | number;

/** A redis-server or nats-server in a process of its own, that can be killed, started again at the same place, and frozen. */
export class BackplaneServer {
  readonly kind: ServerKind;
  readonly place: Place;
  readonly #folder: string;
  #child: ChildProcess | undefined;

  private constructor(kind: ServerKind, place: Place, folder: string) {
    this.kind = kind;
    this.place = place;
    this.#folder = folder;
  }

  static async start(kind: ServerKind): Promise<BackplaneServer> {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-'));
    const server = new BackplaneServer(kind, kind === 'redis' ? path.join(folder, 'redis.sock') : await freePort(), folder);
    await server.start();
    return server;
  }

  /** Resolves when it takes connections. */
  async start(): Promise<void> {
    const redis = ['--port', '0', '--unixsocket', `${this.place}`, '--save', '', '--appendonly', 'no', '--dir', this.#folder];
    const args = this.kind === 'redis' ? redis : ['-a', '127.0.0.1', '-p', `${this.place}`];
    this.#child = spawn(`${this.kind}-server`, args, { stdio: 'ignore' });
    const end = performance.now() + 10_000;
    while (!(await isListening(this.place))) {
      if (performance.now() > end || this.#child.exitCode !== null) throw new Error(`${this.kind}-server does not take connections`);
    }
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
  }

  freeze(): void {
    this.#child?.kill('SIGSTOP');
  }

  wakeUp(): void {
    this.#child?.kill('SIGCONT');
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** A node; `place` is that of the server, or of something in front of it. */
export function nodeAt(kind: ServerKind, place: Place, prefix: string, options: BusBackplaneOptions = {}): Backplane {
  const settings = { leaseMs: 2_000, ...options };
  if (kind === 'nats') return new NatsBackplane({ nats: `127.0.0.1:${place}`, subjectPrefix: prefix, ...settings });
  return new RedisBackplane({ redis: { socket: { path: place, tls: false } }, keyPrefix: `${prefix}:`, ...settings });
}

export function newPrefix(): string {
  return `test-${randomBytes(6).toString('hex')}`;
}

/** For the contract. Every node has a way to the server of its own, which can be cut. */
export function serverService(server: BackplaneServer): BackplaneService {
  const prefix = newPrefix();
  const ways = new Map<Backplane, Way>();
  const folder = mkdtempSync(path.join(os.tmpdir(), 'portico-'));
  return {
    make(limits) {
      const way = new Way(server.place, path.join(folder, `${ways.size}.sock`));
      const backplane = nodeAt(server.kind, way.place, prefix, limits);
      ways.set(backplane, way);
      return backplane;
    },
    kill: (backplane) => ways.get(backplane)?.cut(),
    async interrupt(meanwhile) {
      await server.kill();
      await meanwhile();
      await server.start();
    },
    async close() {
      for (const way of ways.values()) way.cut();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Passes connections on until it is cut. */
class Way {
  readonly place: Place;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(target: Place, file: string) {
    this.#server = createServer((socket) => {
      const onward = typeof target === 'string' ? connect(target) : connect(target, '127.0.0.1');
      for (const [from, to] of [
        [socket, onward],
        [onward, socket],
      ] as const) {
        this.#sockets.add(from);
        from.on('error', () => {});
        from.on('close', () => {
          this.#sockets.delete(from);
          to.destroy();
        });
        from.pipe(to);
      }
    });
    if (typeof target === 'string') {
      this.place = file;
      this.#server.listen(file);
    } else {
      // Bound at once, which it is not when an address is given.
      this.#server.listen(0);
      const address = this.#server.address();
      this.place = typeof address === 'object' && address !== null ? address.port : 0;
    }
  }

  cut(): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** These servers cannot say which port they took, so one is looked for that is free now. */
function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      const port = typeof address === 'object' && address !== null ? address.port : 0;
      probe.close(() => resolve(port));
    });
  });
}

async function isListening(place: Place): Promise<boolean> {
  const socket = typeof place === 'string' ? connect(place) : connect(place, '127.0.0.1');
  let isDone = false;
  let isOpen = false;
  socket.once('connect', () => {
    isOpen = true;
    isDone = true;
  });
  socket.once('error', () => {
    isDone = true;
  });
  while (!isDone) await turn();
  socket.destroy();
  return isOpen;
}
