import type { PorticoError } from '../../src/base/errors.ts';
import { type BrowserClient, createClient, type NoProtocol } from '../../src/browser/client.ts';
import type { ClientEvents } from '../../src/browser/client-events.ts';
import type { ClientOptions } from '../../src/browser/client-options.ts';
import type { Protocol } from '../../src/protocol/protocol.ts';
import { VirtualClock } from '../../src/testing/virtual-clock.ts';
import { FakeHub } from './fake-hub.ts';
import { FakeNet } from './fake-net.ts';

/** A client and what it told. */
export interface Watched<P extends Protocol = NoProtocol> {
  readonly client: BrowserClient<P>;
  /** Names of the events, without `state`, `error` and `dropped`. */
  readonly events: string[];
  readonly states: string[];
  readonly errors: PorticoError[];
  readonly delays: number[];
  readonly dropped: string[];
  readonly closes: ClientEvents['close'][0][];
}

/** A clock, a network and a server of the native profile. */
export class BrowserScene {
  readonly clock = new VirtualClock(1_000);
  readonly net: FakeNet = new FakeNet(this.clock);
  readonly hub: FakeHub = new FakeHub(this.net);

  client<P extends Protocol = NoProtocol>(options: Partial<ClientOptions<P>> = {}): Watched<P> {
    const client = createClient<P>({ url: 'ws://server/', webSocket: this.net.webSocket, clock: this.clock, page: false, ...options });
    return watch(client);
  }

  /** A client that is open. */
  async open<P extends Protocol = NoProtocol>(options: Partial<ClientOptions<P>> = {}): Promise<Watched<P>> {
    const watched = this.client(options);
    void watched.client.connect();
    await this.clock.advance(10);
    return watched;
  }
}

export function watch<P extends Protocol>(client: BrowserClient<P>): Watched<P> {
  const watched: Watched<P> = { client, events: [], states: [], errors: [], delays: [], dropped: [], closes: [] };
  for (const name of ['open', 'reconnected', 'reconnecting', 'close', 'drain'] as const) {
    client.events.on(name, () => watched.events.push(name));
  }
  client.events.on('state', (state) => watched.states.push(state));
  client.events.on('error', (error) => watched.errors.push(error));
  client.events.on('reconnecting', ({ delayMs }) => watched.delays.push(delayMs));
  client.events.on('close', (close) => watched.closes.push(close));
  client.events.on('dropped', ({ payload, reason }) => watched.dropped.push(`${new TextDecoder().decode(payload)} ${reason}`));
  return watched;
}
