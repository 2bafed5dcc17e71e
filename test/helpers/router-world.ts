import type { PorticoError } from '../../src/base/errors.ts';
import type { Option } from '../../src/base/option.ts';
import { RawHandler } from '../../src/codec/raw.ts';
import type { ClientOptions, ServerOptions } from '../../src/endpoint/options.ts';
import type { Server } from '../../src/endpoint/server.ts';
import { type ActionPacket, ActionPacketHandler } from '../../src/router/action-packet.ts';
import type { ActionSession } from '../../src/router/route-context.ts';
import type { Router } from '../../src/router/router.ts';
import type { RouterCalls } from '../../src/router/router-calls.ts';
import { RouterClient, type RouterClientOptions } from '../../src/router/router-client.ts';
import type { ListenerOptions } from '../../src/router/router-listener.ts';
import type { CloseReason } from '../../src/session/close-reason.ts';
import type { Session } from '../../src/session/session.ts';
import { actionFrame, packetsIn } from './action-packets.ts';
import { MemoryWorld } from './session-memory.ts';

/** A peer in the hands of a test: bytes out, packets in. */
export class ActionPeer {
  readonly world: MemoryWorld;
  readonly session: Session<Buffer, Uint8Array>;
  readonly #received: Buffer[];

  constructor(world: MemoryWorld, session: Session<Buffer, Uint8Array>, received: Buffer[]) {
    this.world = world;
    this.session = session;
    this.#received = received;
  }

  get received(): Buffer {
    return Buffer.concat(this.#received);
  }

  /** Action, seq and body of all packets that have come. */
  get packets(): [number, number, string][] {
    return packetsIn(this.received);
  }

  /** Sends bytes, and lets them and the answers arrive. */
  async send(...parts: readonly Uint8Array[]): Promise<void> {
    void this.session.writeBytes(Buffer.concat(parts)).catch(() => {});
    await this.world.clock.advance(10);
  }

  /** Sends a request and returns the bodies of the packets that came back for its seq, with their action. */
  async ask(action: number, seq: number, body?: unknown): Promise<[number, string][]> {
    const before = this.packets.length;
    await this.send(actionFrame(action, seq, body));
    return this.packets
      .slice(before)
      .filter(([, of]) => of === seq)
      .map(([of, , text]) => [of, text]);
  }
}

/** A router's server on a simulated network, and what its sessions told. */
export class RouterWorld extends MemoryWorld {
  readonly errors: PorticoError[] = [];
  readonly reasons: CloseReason[] = [];
  readonly sessions: ActionSession[] = [];

  /** A listener of the router that writes down what happens to sessions, unless the options have hooks of their own. */
  serve(
    router: Router,
    options: ListenerOptions = {},
    ...server: readonly Option<ServerOptions<ActionPacket, ActionPacket>>[]
  ): Promise<Server<ActionPacket>> {
    const listener = router.listener({
      onOpen: (session) => void this.sessions.push(session),
      onError: (_session, error) => void this.errors.push(error),
      onClose: (_session, reason) => void this.reasons.push(reason),
      ...options,
    });
    return this.server(new ActionPacketHandler(), listener, server);
  }

  async peer(): Promise<ActionPeer> {
    const received: Buffer[] = [];
    const listener = { onMessage: (_session: Session<Buffer, Uint8Array>, bytes: Buffer) => void received.push(bytes) };
    return new ActionPeer(this, await this.arrived(this.connect<Buffer, Uint8Array>(new RawHandler(), listener)), received);
  }

  /** A client of the server, and the calls of its session. */
  async calls(
    options: RouterClientOptions = {},
    ...client: readonly Option<ClientOptions<ActionPacket, ActionPacket>>[]
  ): Promise<{ calls: RouterCalls; listener: RouterClient }> {
    const listener = new RouterClient(options);
    const session = await this.arrived(this.connect(new ActionPacketHandler(), listener, ...client));
    return { calls: listener.of(session), listener };
  }

  async arrived<T>(promise: Promise<T>): Promise<T> {
    await this.clock.advance(10);
    return promise;
  }
}
