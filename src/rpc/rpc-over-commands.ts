import { type Clock, systemClock } from '../base/clock.ts';
import { StateError } from '../base/errors.ts';
import { checkFunction, checkMethods, checkOneOf } from '../base/option.ts';
import { after, wheelOf } from '../base/wheel.ts';
import { checkRpcOptions } from './rpc-limits.ts';
import { RpcMethods, type RpcProtocol } from './rpc-methods.ts';
import { RpcPeer } from './rpc-peer.ts';
import type { RpcAnswer, RpcHandler, RpcName, RpcPeerOptions, RpcSpec } from './rpc-types.ts';

/** The ids that the command protocol keeps for JSON-RPC. */
export const RPC_COMMAND_ID = 0xffffffff;
export const RPC_ERROR_COMMAND_ID = 0xfffffffe;

type RpcCommandId = typeof RPC_COMMAND_ID | typeof RPC_ERROR_COMMAND_ID;

/** A client of a command hub, as far as JSON-RPC needs it. */
export interface RpcCommandClient {
  readonly id: string;
  /** Aborted when the client is over; not when it is only away and may resume. */
  readonly signal: AbortSignal;
  readonly isAlive: boolean;
  /** False: it is over, or above its high-water mark. */
  sendReserved(id: RpcCommandId, payload: Uint8Array): boolean;
}

/** What carries commands: the hub of `portico/command` is one. */
export interface RpcCommandCarrier<Client extends RpcCommandClient = RpcCommandClient> {
  /** Has a reserved command handled; returns what ends that. Throws when it is handled already. */
  reserved(id: RpcCommandId, handler: (client: Client, payload: Uint8Array) => void | Promise<void>): () => void;
}

export interface RpcOverCommandsOptions<Local extends RpcSpec = RpcSpec, Remote extends RpcSpec = RpcSpec>
  extends Omit<RpcPeerOptions, 'cost'> {
  /** The protocol of the methods here: their types, and the schemas of their params. */
  readonly protocol?: RpcProtocol<Local>;
  /** That of the methods of the clients; only its types count. */
  readonly remote?: RpcProtocol<Remote>;
  readonly methods?: RpcMethods<Local>;
  /** As `RpcPeerOptions.cost`, and says who pays. */
  readonly cost?: (units: number, client: RpcCommandClient) => boolean;
  /**
   * Where single error responses go: 'error', id fffffffe, or 'rpc', ffffffff, for clients that look nowhere else. Batches always
   * go to ffffffff. What comes is taken from both. Default 'error'.
   */
  readonly errorsOn?: 'error' | 'rpc';
  /** For time-outs of calls. Default: the machine's. */
  readonly clock?: Clock;
}

/** JSON-RPC 2.0 on a command hub; made by `rpcOverCommands`. */
export interface RpcOverCommands<Local extends RpcSpec = RpcSpec, Remote extends RpcSpec = RpcSpec> {
  readonly methods: RpcMethods<Local>;
  /** As `RpcMethods.method`, at any time. */
  method<Name extends RpcName<Local>>(name: Name, handler: RpcHandler<Local[Name]['params'], RpcAnswer<Local[Name]>>): this;
  /** The peer at a client, made when it is first needed. Throws StateError SESSION_CLOSED when the client is over. */
  peerOf(client: RpcCommandClient): RpcPeer<Local, Remote>;
  /** Clients with a peer. */
  readonly peerCount: number;
  /** Takes JSON-RPC off the hub and closes all peers. */
  close(): void;
}

const utf8 = new TextEncoder();

/**
 * Binds JSON-RPC to the two reserved ids of a command hub, both ways. Throws ConfigError INVALID_OPTION, and what the hub throws
 * when the ids are taken.
 *
 * A client that is away and may resume keeps its peer and its calls; they end when it is over.
 */
export function rpcOverCommands<Local extends RpcSpec = RpcSpec, Remote extends RpcSpec = RpcSpec>(
  carrier: RpcCommandCarrier,
  options: RpcOverCommandsOptions<Local, Remote> = {},
): RpcOverCommands<Local, Remote> {
  return new CommandBinding(carrier, options);
}

class CommandBinding<Local extends RpcSpec, Remote extends RpcSpec> implements RpcOverCommands<Local, Remote> {
  readonly methods: RpcMethods<Local>;
  readonly #options: RpcOverCommandsOptions<Local, Remote>;
  readonly #errorId: RpcCommandId;
  readonly #peers = new Map<RpcCommandClient, RpcPeer<Local, Remote>>();
  readonly #unbind: (() => void)[] = [];

  constructor(carrier: RpcCommandCarrier, options: RpcOverCommandsOptions<Local, Remote>) {
    const { cost, errorsOn = 'error', ...others } = options;
    checkMethods('rpcOverCommands', carrier, ['reserved']);
    checkRpcOptions(others);
    if (cost !== undefined) checkFunction('cost', cost);
    this.#options = options;
    this.#errorId = checkOneOf('errorsOn', errorsOn, ['error', 'rpc']) === 'rpc' ? RPC_COMMAND_ID : RPC_ERROR_COMMAND_ID;
    this.methods = options.methods ?? new RpcMethods(options.protocol);
    for (const id of [RPC_COMMAND_ID, RPC_ERROR_COMMAND_ID] as const) {
      try {
        this.#unbind.push(carrier.reserved(id, (client, payload) => this.#receive(client, payload)));
      } catch (thrown) {
        this.close();
        throw thrown;
      }
    }
  }

  get peerCount(): number {
    return this.#peers.size;
  }

  method<Name extends RpcName<Local>>(name: Name, handler: RpcHandler<Local[Name]['params'], RpcAnswer<Local[Name]>>): this {
    this.methods.method(name, handler);
    return this;
  }

  peerOf(client: RpcCommandClient): RpcPeer<Local, Remote> {
    const known = this.#peers.get(client);
    if (known !== undefined) return known;
    const { signal } = client;
    if (signal.aborted) throw new StateError('SESSION_CLOSED', 'the client is over');
    const peer = this.#newPeer(client);
    this.#peers.set(client, peer);
    signal.addEventListener('abort', () => this.#forget(client, signal.reason), { once: true });
    return peer;
  }

  #receive(client: RpcCommandClient, payload: Uint8Array): void {
    if (!client.signal.aborted) this.peerOf(client).receive(payload);
  }

  #newPeer(client: RpcCommandClient): RpcPeer<Local, Remote> {
    const { cost, protocol, clock = systemClock, ...others } = this.#options;
    const wheel = wheelOf(clock);
    const options: RpcPeerOptions = cost === undefined ? others : { ...others, cost: (units) => cost(units, client) };
    const transport = {
      send: (text: string, isError: boolean): void => {
        const isSent = client.sendReserved(isError ? this.#errorId : RPC_COMMAND_ID, utf8.encode(text));
        if (!isSent && client.signal.aborted) throw new StateError('SESSION_CLOSED', 'the client is over');
      },
      now: () => wheel.now(),
      after: (delayMs: number, callback: () => void) => after(wheel, delayMs, callback),
    };
    return new RpcPeer<Local, Remote>(transport, options, {
      client,
      methods: this.methods,
      ...(protocol === undefined ? {} : { protocol }),
    });
  }

  #forget(client: RpcCommandClient, reason: unknown): void {
    this.#peers.get(client)?.close(reason);
    this.#peers.delete(client);
  }

  close(): void {
    for (const unbind of this.#unbind.splice(0)) unbind();
    for (const peer of this.#peers.values()) peer.close();
    this.#peers.clear();
  }
}
