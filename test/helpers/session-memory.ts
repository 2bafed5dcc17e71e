import { onTestFinished } from 'vitest';
import type { Option } from '../../src/base/option.ts';
import type { PkgReader, PkgWriter } from '../../src/codec/pkg-handler.ts';
import { Client } from '../../src/endpoint/client.ts';
import {
  type ClientOptions,
  type ServerOptions,
  withClock,
  withLocalAddress,
  withReconnect,
  withServerAddress,
} from '../../src/endpoint/options.ts';
import { Server } from '../../src/endpoint/server.ts';
import type { EventListenerLike } from '../../src/session/event-listener.ts';
import { withEventListener, withPkgHandler } from '../../src/session/options.ts';
import type { Session } from '../../src/session/session.ts';
import type { NewSession } from '../../src/session/session-host.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { MemoryNetwork, type MemoryNetworkOptions } from '../../src/transport/memory.ts';
import type { MemoryLink } from '../../src/transport/memory-link.ts';

type Framing<In, Out> = PkgReader<In> & PkgWriter<Out>;

/** A network and a clock of its own for one test: time passes only when the test says so. */
export class MemoryWorld {
  readonly clock = new VirtualClock();
  readonly network: MemoryNetwork;

  readonly #onFinished: typeof onTestFinished;

  /** What it makes is closed when the test is over, unless `onFinished` says that somebody else sees to that. */
  constructor(options: MemoryNetworkOptions = {}, onFinished: typeof onTestFinished = onTestFinished) {
    this.#onFinished = onFinished;
    this.network = new MemoryNetwork({ clock: this.clock, ...options });
  }

  /** A server at `server:1`. */
  async server<In, Out>(
    handler: Framing<In, Out>,
    listener: EventListenerLike<In, Out>,
    options: readonly Option<ServerOptions<In, Out>>[] = [],
    newSession?: NewSession<In, Out>,
  ): Promise<Server<In, Out>> {
    const server = Server.over<In, Out>(
      this.network.transport(),
      withClock(this.clock),
      withLocalAddress('server:1'),
      withPkgHandler(handler),
      withEventListener(listener),
      ...options,
    );
    this.#onFinished(() => this.finish(server.close({ drainTimeoutMs: 0 })));
    return server.listen(newSession);
  }

  /** A client of the server, not connected yet, that does not come back. */
  client<In, Out>(
    handler: Framing<In, Out>,
    listener: EventListenerLike<In, Out>,
    ...options: readonly Option<ClientOptions<In, Out>>[]
  ): Client<In, Out> {
    const client = Client.over<In, Out>(
      this.network.transport(),
      withClock(this.clock),
      withServerAddress('server:1'),
      withPkgHandler(handler),
      withEventListener(listener),
      withReconnect(false),
      ...options,
    );
    this.#onFinished(() => this.finish(client.close({ drainTimeoutMs: 0 })));
    return client;
  }

  /** The client's end of a new connection to the server. */
  connect<In, Out>(
    handler: Framing<In, Out>,
    listener: EventListenerLike<In, Out>,
    ...options: readonly Option<ClientOptions<In, Out>>[]
  ): Promise<Session<In, Out>> {
    return this.client(handler, listener, ...options).connect();
  }

  /** Lets time pass for what was begun, up to its end. */
  async finish(begun: Promise<unknown>): Promise<void> {
    await this.clock.advance(60_000);
    await begun;
  }

  /** The link of the connection made as number `index`, among those that live. */
  link(index = 0): MemoryLink {
    const link = this.network.links[index];
    if (link === undefined) throw new Error(`no link ${index}`);
    return link;
  }
}
