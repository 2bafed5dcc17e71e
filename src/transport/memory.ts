import { type Clock, systemClock } from '../base/clock.ts';
import { ConfigError, StateError, TransportError } from '../base/errors.ts';
import { checkInteger, checkOneOf } from '../base/option.ts';
import type { Address } from './connection.ts';
import { type MemoryLatency, MemoryLink } from './memory-link.ts';
import type { MemoryEnvironment, MemorySplit } from './memory-pipe.ts';
import { seededRandom } from './memory-random.ts';
import type { Acceptor, AcceptorSink, Transport } from './transport.ts';

export interface MemoryNetworkOptions {
  /** One seed, one course of events. @default 1 */
  readonly seed?: number;
  /** @default the machine's clock; a VirtualClock makes latency cost no time */
  readonly clock?: Clock;
  /** One way, in milliseconds: fixed, or a range to draw from. @default 0 */
  readonly latencyMs?: MemoryLatency;
  /** How a stream is cut on its way. @default 'none' */
  readonly split?: MemorySplit;
  /** What the network takes from a sender before it blocks. @default 65536 */
  readonly bufferBytes?: number;
  /** @default 'stream' */
  readonly kind?: 'stream' | 'message';
  /** Overwrite received bytes once the receiver has returned, so that bytes kept without a copy are found out. @default true */
  readonly poison?: boolean;
}

export interface MemoryTransportOptions {
  /** The host that this transport dials from. @default a new one for each connection: client-1, client-2, … */
  readonly host?: string;
}

interface Listener {
  readonly address: Address;
  readonly sink: AcceptorSink;
}

const FIRST_FREE_PORT = 10_000;

/**
 * A network inside the process, for tests: connections that behave like sockets and break on command. Nothing is delivered
 * from inside `send`; what is random comes from the seed, so that one seed replays one fault.
 *
 * @example
 * ```ts
 * import { MemoryNetwork, VirtualClock } from 'portico/testing';
 *
 * const network = new MemoryNetwork({ clock: new VirtualClock(), latencyMs: [5, 50], split: 'random', seed: 42 });
 * const transport = network.transport();
 * // … listen and dial through it, then:
 * network.links[0]?.cut();
 * ```
 */
export class MemoryNetwork {
  readonly seed: number;
  /** For all links that have none of their own. */
  latencyMs: MemoryLatency;
  /** While true, nobody seems to listen anywhere. */
  refuseDials = false;
  readonly #environment: MemoryEnvironment;
  readonly #links = new Set<MemoryLink>();
  readonly #listeners = new Map<string, Listener>();
  #clients = 0;
  #resets = 0;
  #nextPort = FIRST_FREE_PORT;
  #tasks: (() => void)[] = [];
  readonly #onTurn = (): void => this.#runTasks();

  constructor(options: MemoryNetworkOptions = {}) {
    const { seed = 1, clock = systemClock, latencyMs = 0, split = 'none', bufferBytes = 65_536, kind = 'stream', poison = true } = options;
    this.seed = seed;
    this.latencyMs = latencyMs;
    this.#environment = {
      clock,
      split: checkOneOf('split', split, ['none', 'random', 'bytes']),
      bufferBytes: checkInteger('bufferBytes', bufferBytes, 1),
      kind: checkOneOf('kind', kind, ['stream', 'message']),
      poison,
      random: seededRandom(seed),
      soon: (task) => this.#soon(task),
      onReset: () => {
        this.#resets++;
      },
    };
  }

  /** The links that are not over, in the order of their making. */
  get links(): readonly MemoryLink[] {
    return [...this.#links];
  }

  /** How many times a connection was reset. */
  get resets(): number {
    return this.#resets;
  }

  /** A way into this network. All its transports reach each other. */
  transport(options: MemoryTransportOptions = {}): Transport {
    return {
      name: 'memory',
      listen: (address, sink) => this.#listen(address, sink),
      dial: (address, { signal }) => this.#dial(address, options.host, signal),
    };
  }

  #soon(task: () => void): void {
    this.#tasks.push(task);
    if (this.#tasks.length === 1) this.#environment.clock.yield(this.#onTurn);
  }

  #runTasks(): void {
    const tasks = this.#tasks;
    this.#tasks = [];
    for (const task of tasks) {
      try {
        task();
      } catch (thrown) {
        // As from a socket's event: it ends the process unless somebody catches it there, but not the other connections' turn.
        process.nextTick(() => {
          throw thrown;
        });
      }
    }
  }

  #draw(latency: MemoryLatency): number {
    if (typeof latency === 'number') return latency;
    const [min, max] = latency;
    return min + this.#environment.random() * (max - min);
  }

  /** Runs the task when something sent now arrives; returns its cancellation. */
  #travel(task: () => void): () => void {
    const delay = this.#draw(this.latencyMs);
    if (delay > 0) return this.#environment.clock.after(delay, task);
    let isCancelled = false;
    this.#soon(() => {
      if (!isCancelled) task();
    });
    return () => {
      isCancelled = true;
    };
  }

  async #listen(text: string, sink: AcceptorSink): Promise<Acceptor> {
    const address = this.#localAddress(text);
    if (this.#listeners.has(address.text)) throw new TransportError('LISTEN_FAILED', `listen: ${address.text} is in use`);
    const listener = { address, sink };
    this.#listeners.set(address.text, listener);
    return {
      address,
      raw: this,
      close: async () => {
        if (this.#listeners.get(address.text) === listener) this.#listeners.delete(address.text);
      },
    };
  }

  #localAddress(text: string): Address {
    const asked = memoryAddress(text);
    if (asked.port !== 0 || !/:0$/.test(text)) return asked;
    for (;;) {
      const picked = memoryAddress(`${asked.host}:${this.#nextPort++}`);
      if (!this.#listeners.has(picked.text)) return picked;
    }
  }

  #dial(text: string, host: string | undefined, signal: AbortSignal): Promise<MemoryLink['client']> {
    return new Promise((resolve, reject) => {
      const target = memoryAddress(text);
      if (signal.aborted) {
        reject(aborted(signal));
        return;
      }
      let link: MemoryLink | undefined;
      const arrive = (): void => {
        const listener = this.refuseDials ? undefined : this.#listeners.get(target.text);
        cancel = this.#travel(answer);
        if (listener !== undefined) link = this.#connect(listener, host);
        // Who accepted it may have given the dial up from there.
        if (signal.aborted) link?.client.abort();
      };
      const answer = (): void => {
        signal.removeEventListener('abort', onAbort);
        if (link === undefined) reject(new TransportError('CONNECT_FAILED', `dial: nobody listens on ${target.text}`));
        else resolve(link.client);
      };
      const onAbort = (): void => {
        cancel();
        link?.client.abort();
        reject(aborted(signal));
      };
      let cancel = this.#travel(arrive);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  #connect({ address, sink }: Listener, host: string | undefined): MemoryLink {
    this.#clients++;
    const client = memoryAddress(host === undefined ? `client-${this.#clients}` : `${host}:${this.#clients}`);
    const refusal = sink.admit(client);
    const latency = (link: MemoryLink): number => this.#draw(link.latencyMs ?? this.latencyMs);
    const link = new MemoryLink(this.#environment, latency, { client, server: address }, (over) => this.#links.delete(over));
    this.#links.add(link);
    if (refusal === undefined) sink.onConnection(link.server);
    else link.server.abort();
    return link;
  }
}

/** `name:port` or any other text, with or without `memory://` in front. */
function memoryAddress(text: string): Address {
  const name = typeof text === 'string' ? text.replace(/^memory:\/\//, '') : '';
  if (name === '') throw new ConfigError('INVALID_ADDRESS', 'expected the address of a memory network such as "server:1", given none');
  const [, host, port] = /^(.*):(\d{1,5})$/.exec(name) ?? [undefined, name, '0'];
  return host === ''
    ? memoryAddress(`localhost:${port}`)
    : { text: `memory://${name}`, host: host ?? name, port: Number(port), family: 'memory' };
}

function aborted(signal: AbortSignal): StateError {
  return new StateError('ABORTED', 'dial: the signal was aborted', { cause: signal.reason });
}
