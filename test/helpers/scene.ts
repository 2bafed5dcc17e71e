import { afterEach, beforeEach } from 'vitest';
import type { PorticoError } from '../../src/base/errors.ts';
import type { Option } from '../../src/base/option.ts';
import { LengthFieldHandler } from '../../src/codec/length-field.ts';
import {
  type TcpClientOptions,
  type TcpServerOptions,
  withLocalAddress,
  withReconnect,
  withServerAddress,
} from '../../src/endpoint/options.ts';
import { TcpClient, TcpServer } from '../../src/endpoint/tcp.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import { EventListener } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import type { NewSession } from '../../src/session/session-host.ts';
import type { Address } from '../../src/transport/connection.ts';
import { isStaticReadAllowed } from '../../src/transport/static-read.ts';
import { openHandles, RawPeer, type Target, until } from './raw-peer.ts';

/** The read path that sockets take when `withStaticRead` says so; the environment may forbid the static one. */
export function pathOf(isStatic: boolean): 'static' | 'chunk' {
  return isStatic && isStaticReadAllowed() ? 'static' : 'chunk';
}

export type BytesSession = Session<Buffer, Uint8Array>;
export type ServerOptionOf = Option<TcpServerOptions<Buffer, Uint8Array>>;
export type ClientOptionOf = Option<TcpClientOptions<Buffer, Uint8Array>>;

/** Writes down all that happens to its sessions; the server's half sends every package back. */
export class Watch extends EventListener<Buffer, Uint8Array> {
  readonly opened: BytesSession[] = [];
  readonly packages: Buffer[] = [];
  readonly errors: PorticoError[] = [];
  readonly reasons: CloseReason[] = [];
  /** By the id of the session. */
  readonly reasonOf = new Map<number, CloseReason>();
  readonly #isEcho: boolean;

  constructor(isEcho: boolean) {
    super();
    this.#isEcho = isEcho;
  }

  override onOpen(session: BytesSession): void {
    this.opened.push(session);
  }

  onMessage(session: BytesSession, pkg: Buffer): void {
    this.packages.push(pkg);
    if (this.#isEcho) session.send(pkg);
  }

  override onError(_session: BytesSession, error: PorticoError): void {
    this.errors.push(error);
  }

  override onClose(session: BytesSession, reason: CloseReason): void {
    this.reasons.push(reason);
    this.reasonOf.set(session.id, reason);
  }

  /** The packages as text. */
  get texts(): string[] {
    return this.packages.map(String);
  }

  async sessions(count: number): Promise<BytesSession[]> {
    await until(() => this.opened.length >= count, `${count} session(s)`);
    return this.opened;
  }

  async session(index = 0): Promise<BytesSession> {
    await this.sessions(index + 1);
    const session = this.opened[index];
    if (session === undefined) throw new Error(`there is no session ${index}`);
    return session;
  }

  async closes(count: number, limitMs?: number): Promise<CloseReason[]> {
    await until(() => this.reasons.length >= count, `${count} close(s)`, limitMs);
    return this.reasons;
  }

  async packagesIn(count: number): Promise<Buffer[]> {
    await until(() => this.packages.length >= count, `${count} package(s)`).catch((thrown: Error) => {
      throw new Error(`${thrown.message}: ${this.packages.length} came, errors: ${this.errors.join('; ') || 'none'}`);
    });
    return this.packages;
  }

  async textsIn(count: number): Promise<string[]> {
    await this.packagesIn(count);
    return this.texts;
  }
}

/** A server that echoes, and what it saw. */
export interface EchoServer {
  readonly server: TcpServer<Buffer, Uint8Array>;
  readonly watch: Watch;
  readonly address: Address;
  /** 'connectionLost' events. */
  readonly lost: PorticoError[];
  /** 'refused' events. */
  readonly refused: string[];
  /** 'error' events. */
  readonly troubles: PorticoError[];
}

export interface EchoClient {
  readonly client: TcpClient<Buffer, Uint8Array>;
  readonly session: BytesSession;
  readonly watch: Watch;
}

/** The endpoints and sockets of one test. All are gone when it is over, and so are their descriptors. */
export class Scene {
  readonly #endings: (() => unknown)[] = [];

  /** A server on a free port of 127.0.0.1, frames of LengthFieldHandler, echo; the options may change all of that. */
  async server(...options: readonly ServerOptionOf[]): Promise<EchoServer> {
    return this.serverWith(undefined, ...options);
  }

  async serverWith(newSession: NewSession<Buffer, Uint8Array> | undefined, ...options: readonly ServerOptionOf[]): Promise<EchoServer> {
    const watch = new Watch(true);
    const server = new TcpServer<Buffer, Uint8Array>(
      withLocalAddress('127.0.0.1:0'),
      withPkgHandler(new LengthFieldHandler()),
      withEventListener<Buffer, Uint8Array>(watch),
      ...options,
    );
    const lost: PorticoError[] = [];
    const refused: string[] = [];
    const troubles: PorticoError[] = [];
    server.on('connectionLost', (_address, error) => void lost.push(error));
    server.on('refused', (_address, why) => void refused.push(why));
    server.on('error', (error) => void troubles.push(error));
    this.atEnd(() => server.close({ drainTimeoutMs: 0 }));
    await server.listen(newSession);
    return { server, watch, address: server.localAddress, lost, refused, troubles };
  }

  /** A connected client that tries once. */
  async client(server: EchoServer | string, ...options: readonly ClientOptionOf[]): Promise<EchoClient> {
    const { client, watch } = this.newClient(server, ...options);
    return { client, watch, session: await client.connect() };
  }

  newClient(server: EchoServer | string, ...options: readonly ClientOptionOf[]): Omit<EchoClient, 'session'> {
    const watch = new Watch(false);
    const client = new TcpClient<Buffer, Uint8Array>(
      withServerAddress(typeof server === 'string' ? server : server.address.text),
      withReconnect({ attempts: 1, shouldReconnect: () => false }),
      withPkgHandler(new LengthFieldHandler()),
      withEventListener<Buffer, Uint8Array>(watch),
      ...options,
    );
    this.atEnd(() => client.close({ drainTimeoutMs: 0 }));
    return { client, watch };
  }

  async peer(target: Target | EchoServer, options: { readonly localAddress?: string } = {}): Promise<RawPeer> {
    const peer = await RawPeer.connect('server' in target ? target.address : target, options);
    this.atEnd(() => peer.destroy());
    return peer;
  }

  /** Runs when the test is over, last in, first out. */
  atEnd(ending: () => unknown): void {
    this.#endings.push(ending);
  }

  async close(): Promise<void> {
    for (const ending of this.#endings.splice(0).reverse()) await ending();
  }
}

/** A scene for each test of the file or block; a test that leaves a socket behind fails. */
export function useScene(): Scene {
  const scene = new Scene();
  let base = 0;
  beforeEach(() => {
    base = openHandles();
  });
  afterEach(async () => {
    await scene.close();
    await until(() => openHandles() <= base, `${openHandles() - base} socket(s) to be closed`, 3000);
  });
  return scene;
}
