import type { Bus, BusSink } from '../../src/backplane/bus.ts';
import { BusBackplane } from '../../src/backplane/bus-backplane.ts';
import type { BusBackplaneOptions } from '../../src/backplane/bus-options.ts';
import { TransportError } from '../../src/base/errors.ts';
import { type BackplaneService, VirtualClock } from '../../src/testing/index.ts';

/** A server in memory, on a virtual clock: it can lose messages, go away, and freeze. */
export class MemoryServer {
  readonly clock: VirtualClock;
  readonly buses = new Set<MemoryBus>();
  /** Whether this one is lost. */
  loses: (topic: string) => boolean = () => false;
  isFrozen = false;
  #frozen: (() => void)[] = [];
  #isThere = true;

  constructor(clock: VirtualClock = new VirtualClock()) {
    this.clock = clock;
  }

  get isThere(): boolean {
    return this.#isThere;
  }

  deliver(topic: string, bytes: Uint8Array): void {
    const run = (): void => {
      for (const bus of this.buses) if (bus.topics.has(topic) && !this.loses(topic)) bus.receive(topic, bytes);
    };
    if (this.isFrozen) this.#frozen.push(run);
    else this.clock.after(1, run);
  }

  /** Settles when the server is not frozen. */
  answer(): Promise<void> {
    return this.isFrozen ? new Promise((resolve) => this.#frozen.push(resolve)) : Promise.resolve();
  }

  goAway(): void {
    this.#isThere = false;
    for (const bus of this.buses) bus.onLost();
  }

  comeBack(): void {
    this.#isThere = true;
    for (const bus of this.buses) bus.onBack();
  }

  wakeUp(): void {
    this.isFrozen = false;
    for (const run of this.#frozen.splice(0)) run();
  }
}

export class MemoryBus implements Bus {
  readonly topics = new Set<string>();
  /** Takes nothing for the moment. */
  isFull = false;
  isCut = false;
  restarts = 0;
  readonly #server: MemoryServer;
  #sink: BusSink | undefined;

  constructor(server: MemoryServer) {
    this.#server = server;
  }

  async open(sink: BusSink): Promise<void> {
    if (!this.#server.isThere) throw new TransportError('BACKPLANE_FAILED', 'nobody there');
    this.#sink = sink;
    this.#server.buses.add(this);
  }

  publish(topic: string, bytes: Uint8Array): boolean {
    if (this.isCut) return true;
    if (this.isFull || !this.#server.isThere) return false;
    // What was read from one buffer may be written over by the next.
    this.#server.deliver(topic, Buffer.from(bytes));
    return true;
  }

  subscribe(topic: string): void {
    this.topics.add(topic);
  }

  unsubscribe(topic: string): void {
    this.topics.delete(topic);
  }

  /** Settled by a server that answers: a frozen one does when it wakes up. */
  flush(): Promise<void> {
    return this.#server.answer();
  }

  restart(): void {
    this.restarts++;
  }

  async close(): Promise<void> {
    this.#server.buses.delete(this);
  }

  drain(): void {
    this.isFull = false;
    this.#sink?.onDrain();
  }

  receive(topic: string, bytes: Uint8Array): void {
    if (!this.isCut) this.#sink?.onBytes(topic, bytes);
  }

  onLost(): void {
    this.#sink?.onDown(new TransportError('BACKPLANE_FAILED', 'the server is lost'));
  }

  onBack(): void {
    this.#sink?.onUp();
  }
}

export interface MemoryNode {
  readonly bus: MemoryBus;
  readonly backplane: BusBackplane;
}

export function memoryNode(server: MemoryServer, options: BusBackplaneOptions = {}): MemoryNode {
  const bus = new MemoryBus(server);
  return { bus, backplane: new BusBackplane('MemoryBackplane', bus, { clock: server.clock, ...options }) };
}

/** For the contract: time goes on by 20 ms with each turn. */
export function memoryService(server: MemoryServer = new MemoryServer()): BackplaneService {
  const buses = new Map<unknown, MemoryBus>();
  return {
    make(limits) {
      const { bus, backplane } = memoryNode(server, limits);
      buses.set(backplane, bus);
      return backplane;
    },
    kill(backplane) {
      const bus = buses.get(backplane);
      if (bus !== undefined) bus.isCut = true;
    },
    async interrupt(meanwhile) {
      server.goAway();
      await meanwhile();
      server.comeBack();
    },
    turn: () => server.clock.advance(20),
  };
}
